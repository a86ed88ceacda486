"""The page itself: a server of viser, what it shows to each browser, and what can be set there."""

import contextlib
import io
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

from kinestream.body.arrays import BodyArrays
from kinestream.defaults import DEFAULT_PAGE
from kinestream.pose import PoseFrame
from kinestream.stream.binding import BindError
from kinestream.stream.endpoint import EndpointError, host_and_port, is_loopback, why_not_bound
from kinestream.tools.extras import optional_module
from kinestream.tools.web.guard import Guard, new_token, own_address
from kinestream.tools.web.scene import Scene, Shown, backdrop_distance, look_through

AMBIENT: Final = 1.0
STATUS_S: Final = 0.25
SEND_BUFFER_BYTES: Final = 1 << 18
"""What the system may hold for a browser that stalls: a few pictures."""


@dataclass(frozen=True)
class Update:
    """One frame for the page.

    Attributes:
        poses: the people.
        jpeg: the picture, None where there is none.
        status: what stands above the controls: names and values.
    """

    poses: PoseFrame
    jpeg: bytes | None
    status: dict[str, str]


@dataclass(frozen=True)
class Control:
    """Something to set: a slider, or a checkbox where ``low`` is None."""

    name: str
    label: str
    value: float
    low: float | None = None
    high: float = 1.0
    step: float = 0.05


class Page(AbstractContextManager["Page"]):
    """Serves the newest update to any number of browsers, each as fast as it takes them.

    Attributes:
        url: where it is, with the token where one is needed.
        watched: set while a browser looks.
    """

    def __init__(
        self,
        address: str,
        body: BodyArrays,
        *,
        controls: tuple[Control, ...] = (),
        on_change: Callable[[str, float], None] = lambda name, value: None,
    ) -> None:
        """Serve on ``HOST:PORT`` or a port of this computer; a host that others reach gets a token.

        Args:
            address: port 0 takes a free one.
            body: whose mesh is shown.
            controls: what can be set beside what is shown.
            on_change: is told the name and the new value, in a thread of viser.

        Raises ``BindError``, and ``MissingExtraError`` without the extra ``web``.
        """
        viser: Any = optional_module("viser", extra="web", purpose="the page (--web)")
        listening, host = _listen(address)
        self._guard = Guard(token=None if is_loopback(host) else new_token())
        port = listening.getsockname()[1]
        shown_host = own_address(host)
        shown_host = f"[{shown_host}]" if ":" in shown_host else shown_host
        self.url = f"http://{shown_host}:{port}/{self._guard.token or ''}"
        self.watched = threading.Event()
        self._body, self._shown = body, Shown()
        self._scenes: dict[int, tuple[Any, Scene]] = {}
        self._newest: Update | None = None
        self._fresh: list[Any] = []  # browsers that came before there was a camera to look through
        self._told_s = 0.0
        self._lock = threading.Lock()

        class Server(viser.ViserServer):  # type: ignore[misc]  # of an optional package
            def request_share_url(self, verbose: bool = True) -> None:
                """Any browser may ask for a public address; there is none."""

        with (
            contextlib.redirect_stdout(io.StringIO()),
            self._guard.before_viser(listening),
        ):  # it prints addresses
            self._server: Any = Server(host, port, label="Kinestream", verbose=False)
        scene = self._server.scene
        scene.set_up_direction("-y")
        scene.configure_environment_map(None)  # reflections and shadows are what costs a browser most
        scene.configure_default_lights(cast_shadow=False)
        scene.add_light_ambient("/light", intensity=AMBIENT)
        self._add_gui(controls, on_change)
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._forget)

    @property
    def refused(self) -> int:
        """How many requests were turned away."""
        return self._guard.refusals.count

    def show(self, update: Update) -> None:
        """Show this to everybody who looks."""
        with self._lock:
            self._newest = update
            for client, scene in self._scenes.values():
                with client.atomic():
                    scene.show(update.poses, update.jpeg)
            fresh, self._fresh = self._fresh, []
        for client in fresh:
            self._look_through(client)
        now_s = time.monotonic()
        if now_s - self._told_s > STATUS_S:
            self._told_s = now_s
            self._status.content = _table(update.status)

    def set(self, name: str, value: float) -> None:
        """Move a control."""
        self._controls[name].value = value

    def close(self) -> None:
        """Free the address."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add_gui(self, controls: tuple[Control, ...], on_change: Callable[[str, float], None]) -> None:
        gui = self._server.gui
        gui.configure_theme(control_layout="collapsible", show_logo=False, show_share_button=False)
        self._status = gui.add_markdown("waiting for a picture")
        self._controls: dict[str, Any] = {}
        for control in controls:
            self._controls[control.name] = handle = _add(gui, control)
            handle.on_update(_told(control.name, handle, on_change))
        with gui.add_folder("Show"):
            for control in (
                *(
                    Control(name, name.capitalize(), True)
                    for name in ("picture", "body", "skeleton", "uncertainty")
                ),
                Control("opacity", "Body's opacity", self._shown.opacity, low=0.1),
            ):
                handle = _add(gui, control)
                handle.on_update(_told(control.name, handle, self._set_shown))
        gui.add_button("Look through the camera").on_click(lambda event: self._look_through(event.client))

    def _set_shown(self, name: str, value: float) -> None:
        with self._lock:
            self._shown = replace(self._shown, **{name: value})
            for _, scene in self._scenes.values():
                scene.set_shown(self._shown)

    def _welcome(self, client: Any) -> None:
        with self._lock:
            scene = Scene(client.scene, self._body, self._shown)
            self._scenes[client.client_id] = client, scene
            if self._newest is not None:
                scene.show(self._newest.poses, self._newest.jpeg)
            else:
                self._fresh.append(client)
            self.watched.set()
        self._look_through(client)

    def _forget(self, client: Any) -> None:
        with self._lock:
            self._scenes.pop(client.client_id, None)
            if not self._scenes:
                self.watched.clear()

    def _look_through(self, client: Any) -> None:
        poses = self._newest.poses if self._newest else None
        if poses is not None:
            look_through(client, poses.camera, backdrop_distance(poses))


def quiet_viser() -> None:
    """Keep what viser's tasks say when they are ended from the terminal; for a process that is ours alone."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _add(gui: Any, control: Control) -> Any:
    if control.low is None:
        return gui.add_checkbox(control.label, bool(control.value))
    return gui.add_slider(
        control.label, min=control.low, max=control.high, step=control.step, initial_value=control.value
    )


def _told(name: str, handle: Any, on_change: Callable[[str, float], None]) -> Callable[[Any], None]:
    def changed(event: Any) -> None:
        if event.client is not None and isinstance(handle.value, bool | int | float):  # moved by a person
            on_change(name, handle.value)

    return changed


def _table(status: dict[str, str]) -> str:
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in status.items())


def _listen(address: str) -> tuple[socket.socket, str]:
    """A listening socket and its host. Raises ``BindError``."""
    try:
        host, port = host_and_port(
            f"127.0.0.1:{address}" if address.isdecimal() else address, example=DEFAULT_PAGE
        )
    except EndpointError as error:
        raise BindError(f"no address for the page: {error}") from error
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise BindError(why_not_bound(address, error, example="--web 127.0.0.1:8081")) from error
    listening.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES
    )  # those it accepts have it, too
    return listening, host
