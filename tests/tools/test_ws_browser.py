"""The example page in a real browser: it draws, and finds the tracker again; foreign pages get nothing."""

import functools
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kinestream.pose import PoseFrame
from kinestream.stream import PoseMessage, Publisher, WebSocketServer, decode

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("websockets", reason="needs websockets, the extra 'ws'")
ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "tools" / "clients" / "js"
PATIENCE_S = 60
RELEASED = threading.Event()
"""Ends requests for /hang."""
COLOURED = """() => {
    const canvas = document.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const found = { left: 0, right: 0, middle: 0 };
    for (let i = 0; i < data.length; i += 4) {
        const r = data[i], g = data[i + 1], b = data[i + 2];
        if (b > 240 && r < 100) found.left += 1;
        if (r > 240 && b < 100) found.right += 1;
        if (r > 220 && g > 225 && b > 230) found.middle += 1;
    }
    return found;
}"""


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    """Where the example is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            if self.path == "/hang":
                RELEASED.wait(PATIENCE_S)
            super().do_GET()

    handler = functools.partial(Quiet, directory=str(CLIENT))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def frame() -> PoseFrame:
    """Somebody who stands, arms apart, three metres away."""
    message = decode((ROOT / "tests" / "golden" / "wire_v1_pose.bin").read_bytes())
    assert isinstance(message, PoseMessage)
    side = np.float32([0, 1, -1, 0, 1, -1, 0, 1, -1, 0, 1, -1, 0, 1, -1, 0, 2, -2, 4, -4, 6, -6, 7, -7]) * 0.1
    down = np.float32([0, 1, 1, -1, 4, 4, -2, 8, 8, -3, 9, 9, -5, -4, -4, -6, -4, -4, -4, -4, -4, -4, -4, -4])
    person = replace(
        message.frame.persons[0],
        joints_cam_m=np.stack([side, down * 0.1, np.full(24, 3, np.float32)], axis=1),
        joint_std_m=np.full(24, 0.01, np.float32),
        vertices_cam_m=None,
    )
    return replace(message.frame, persons=(person,))


@contextmanager
def tracker(frame: PoseFrame, address: str = "127.0.0.1:0", **options: Any) -> Iterator[WebSocketServer]:
    """Publishes a frame 30 times a second."""
    with (
        WebSocketServer(address) as server,
        Publisher("tcp://127.0.0.1:0", heartbeat_s=0.1, websocket=server, **options) as publisher,
    ):
        stop = threading.Event()

        def publish() -> None:
            while not stop.wait(1 / 30):
                publisher.publish(frame, clock="monotonic")

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            thread.join()


@contextmanager
def opened(browser: "Browser") -> "Iterator[Page]":
    """A page that shares nothing with others."""
    with browser.new_context(viewport={"width": 480, "height": 320}) as context:
        yield context.new_page()


def until(page: "Page", expression: str, holds: Callable[[Any], bool] = bool) -> Any:
    """The value of an expression in the page, once it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds(value := page.evaluate(expression)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert holds(value), f"{expression}: {value}"
    return value


def test_the_page_draws_and_loads_nothing_from_elsewhere(
    browser: "Browser", pages: str, frame: PoseFrame
) -> None:
    with tracker(frame) as server, opened(browser) as one, opened(browser) as two:
        asked: list[str] = []
        for page in (one, two):
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: asked.append(f"error: {error}"))
            page.goto(f"{pages}/skeleton.html#ws={server.address}")
            until(page, "stream.received", lambda count: count > 10)
            until(page, COLOURED, lambda pixels: min(pixels.values()) > 50)
            assert page.evaluate("stream.malformed") == 0
        assert "poses a second" in until(page, "document.querySelector('#status').textContent")
    assert [url for url in asked if not url.startswith((pages, "data:", server.address))] == []


def test_it_finds_a_tracker_that_restarts(browser: "Browser", pages: str, frame: PoseFrame) -> None:
    with opened(browser) as page:
        with tracker(frame) as server:
            page.goto(f"{pages}/skeleton.html#ws={server.address}")
            before = until(page, "stream.received && stream.latest.stream_id")
        until(page, "stream.condition", lambda condition: condition == "silent")
        until(page, COLOURED, lambda pixels: max(pixels.values()) == 0)
        with tracker(frame, server.address.removeprefix("ws://")):
            until(page, "stream.latest.stream_id", lambda now: now != before)
            until(page, COLOURED, lambda pixels: min(pixels.values()) > 50)


def test_a_page_that_hangs_changes_nothing_for_another(
    browser: "Browser", pages: str, frame: PoseFrame
) -> None:
    with tracker(frame) as server, opened(browser) as hanging, opened(browser) as lively:
        for page in (hanging, lively):
            page.goto(f"{pages}/skeleton.html#ws={server.address}")
            until(page, "stream.received")
        hanging.evaluate(
            """() => void setTimeout(() => {
                const request = new XMLHttpRequest();
                request.open("GET", "/hang", false); // nothing of the page goes on until it is answered
                request.send();
            })"""
        )
        start = lively.evaluate("stream.received")
        until(lively, "stream.received", lambda count: count > start + 90)
        newest = lively.evaluate("stream.latest.sequence")
        RELEASED.set()
        until(hanging, "stream.latest.sequence", lambda sequence: sequence >= newest)


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"], ids=["honest address", "rebound name"])
def test_a_foreign_page_gets_nothing(browser: "Browser", pages: str, frame: PoseFrame, host: str) -> None:
    """Whatever somebody opens beside the tracker: its script runs, connects, and hears nothing."""
    with tracker(frame) as server, opened(browser) as page:
        page.goto(f"{pages.replace('127.0.0.1', 'evil.example')}/package.json")
        heard = page.evaluate(
            """address => new Promise((done) => {
                const heard = [];
                const socket = new WebSocket(address);
                socket.onopen = () => heard.push("open");
                socket.onmessage = ({ data }) => heard.push(data);
                socket.onclose = () => done(heard);
            })""",
            server.address.replace("127.0.0.1", host),
        )
        assert heard == []
        assert server.refusals.count == 1
