"""The page in a process of its own: whatever browsers do there takes no time from the tracker."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from kinestream.tools.web.page import Control, Page, Update, quiet_viser

JOIN_S: Final = 2.0
YIELDING: Final = 5
"""How much the page gives way to the tracker on a busy processor (nice)."""
POLL_S: Final = 0.2
SHORTEST_STEP_S: Final = 0.01
"""Between two updates: browsers show sixty pictures a second at most."""


class PageError(OSError):
    """The page could not be served; the message says why."""


@dataclass(frozen=True)
class _Ready:
    url: str


@dataclass(frozen=True)
class _Failed:
    reason: str


@dataclass(frozen=True)
class _Wanted:
    """The page could show another update."""


@dataclass(frozen=True)
class _Changed:
    name: str
    value: float


class PageProcess(AbstractContextManager["PageProcess"]):
    """The page, seen from the tracker.

    Attributes:
        url: where it is.
        wanted: set while the page would take an update; to be cleared with each.
        alive: false once the process has ended.
    """

    def __init__(
        self,
        address: str,
        *,
        body: str | Path | None = None,
        controls: tuple[Control, ...] = (),
        on_change: Callable[[str, float], None] = lambda name, value: None,
    ) -> None:
        """Start it and wait until it serves; arguments as for `Page`, ``body`` as in `kinestream.load_body`.

        Raises ``PageError`` where it cannot be served.
        """
        context = multiprocessing.get_context("spawn")  # OpenCV's threads do not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, address, body, controls), name="kinestream page", daemon=True
        )
        self._process.start()
        theirs.close()
        self._listener: threading.Thread | None = None
        try:
            answer = self._pipe.recv()
        except EOFError:
            answer = _Failed(f"its process ended with exit code {self._process.exitcode}")
        if not isinstance(answer, _Ready):
            self.close()
            raise PageError(f"--web: {answer.reason}")
        self.url = answer.url
        self.wanted = threading.Event()
        self.alive = True
        self._on_change = on_change
        self._listener = threading.Thread(target=self._listen, name="kinestream page", daemon=True)
        self._listener.start()

    def show(self, update: Update) -> None:
        """Hand over an update; nothing comes of it where the process has ended."""
        try:
            self._pipe.send(update)
        except OSError:
            self.alive = False

    def close(self) -> None:
        """End the process; may be called twice."""
        if self._pipe.closed:
            return
        try:
            self._pipe.send(None)
        except OSError:
            pass  # it has ended already
        self._process.join(JOIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if self._listener is not None:
            self._listener.join()
        self._pipe.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                self.alive = False
                return
            if isinstance(message, _Wanted):
                self.wanted.set()
            else:
                self._on_change(message.name, message.value)


def _serve(pipe: Connection, address: str, body: str | Path | None, controls: tuple[Control, ...]) -> None:
    """Body of the process; ends when the tracker is gone."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):  # they may reach the whole group; the tracker decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    quiet_viser()
    if hasattr(os, "nice"):
        os.nice(YIELDING)
    from kinestream.body.arrays import read_body

    lock = threading.Lock()

    def send(message: object) -> None:
        with lock:
            pipe.send(message)

    try:
        page = Page(
            address,
            read_body(body),
            controls=controls,
            on_change=lambda name, value: send(_Changed(name, value)),
        )
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        send(_Failed(str(error)))
        return
    with page:
        send(_Ready(page.url))
        try:
            while True:
                if page.watched.wait(POLL_S):
                    send(_Wanted())
                elif not pipe.poll():
                    continue
                update = pipe.recv()
                while update is not None and page.watched.is_set():
                    send(_Wanted())  # the next one is on its way while this one is shown
                    page.show(update)
                    time.sleep(SHORTEST_STEP_S)
                    update = pipe.recv()
                if update is None:
                    return
                page.show(update)
        except (EOFError, OSError):
            return
