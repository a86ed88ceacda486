"""The page in a real browser: what is seen there, and what becomes of browsers that come, stall and go."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2
import msgspec
import numpy as np
import pytest

pytest.importorskip("viser", reason="needs the extra 'web'")

import viser
from websockets.asyncio.client import ClientConnection, connect

from kinestream.body.orientations import joint_orientations
from kinestream.geometry.quaternion import rotate
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.tools.sinks.web import WebSink
from kinestream.tools.web.page import Page
from kinestream.tools.web.scene import error_bars, rest
from tests.tools.web.people import BODY, mesh, person, update

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

PATIENCE_S = 60.0
"""A browser that draws with a busy processor takes its time."""
BESIDE_PANEL_PX = 370


def until(true: Callable[[], bool], tab: "Tab | None" = None) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s
        tab.wait_for_timeout(200) if tab else time.sleep(0.05)


class Viewer:
    """A tab with the page."""

    def __init__(self, browser: "Browser", url: str) -> None:
        self.tab = browser.new_page(viewport={"width": 640, "height": 300})
        self.tab.set_default_timeout(1000 * PATIENCE_S)
        self.asked: list[str] = []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(url)
        self.tab.locator(".mantine-Notification-closeButton").click()  # "software rendering"

    def picture(self) -> np.ndarray:
        """What is drawn, RGB."""
        data = self.tab.screenshot(clip={"x": 0, "y": 0, "width": BESIDE_PANEL_PX, "height": 300})
        return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], int)

    def red(self) -> np.ndarray:
        """Where the person of the picture is."""
        r, g, b = np.moveaxis(self.picture(), 2, 0)
        return (r > g + 40) & (r > b + 40)

    def blue(self) -> np.ndarray:
        """Where the body is."""
        r, g, b = np.moveaxis(self.picture(), 2, 0)
        return (b > r + 15) & (b > g)

    def show(self, **wanted: bool) -> None:
        """Tick and untick, in all browsers at once."""
        for name, visible in wanted.items():
            box = self.tab.get_by_label(name.capitalize(), exact=True)
            if box.is_checked() != visible:
                box.click()
            until(lambda box=box, visible=visible: box.is_checked() == visible, self.tab)  # type: ignore[misc]


@pytest.fixture
def page() -> Iterator[Page]:
    with Page("127.0.0.1:0", BODY) as page:
        yield page


def test_the_body_lies_on_the_person_in_the_picture(page: Page, browser: "Browser") -> None:
    viewer = Viewer(browser, page.url)  # before there is a picture, as with every tracker
    until(page.watched.is_set, viewer.tab)
    page.show(update([person()]))
    viewer.show(skeleton=False, uncertainty=False, body=False)
    until(lambda: viewer.red().sum() > 1000 and not viewer.blue().any(), viewer.tab)
    seen = viewer.red()
    viewer.show(body=True, picture=False)
    until(lambda: not viewer.red().any() and viewer.blue().sum() > 1000, viewer.tab)
    body = viewer.blue()
    assert (seen & body).sum() / (seen | body).sum() > 0.8
    rows, columns = np.nonzero(body)
    raised = columns[rows < rows.min() + 0.12 * np.ptp(rows)]  # head, and the hand beside it
    assert np.ptp(raised) > 0.2 * np.ptp(rows)
    host = f"//{urlsplit(page.url).netloc}/"
    assert viewer.asked and all(host in asked or asked.startswith("data:") for asked in viewer.asked)
    viewer.tab.close()


def test_people_come_change_and_go_in_every_browser(page: Page, browser: "Browser") -> None:
    page.show(update([person()]))
    viewers = [Viewer(browser, page.url) for _ in range(2)]
    for viewer in viewers:
        until(lambda viewer=viewer: viewer.blue().sum() > 1000, viewer.tab)  # type: ignore[misc]
    broad = np.float32([2, 2, 0, 0, 0, 0, 0, 0, 0, 0])
    first, second, grey = (
        person(betas=broad),
        person(x_m=0.8, track_id=1),
        np.full((240, 320, 3), 90, np.uint8),
    )
    for index in range(80):  # longer than it takes to put a new mesh in the place of the old one
        page.show(update([first, second] if 20 < index < 60 else [first], index=index, image=grey))
    viewers[0].show(skeleton=False, uncertainty=False)
    for index in range(80, 90):
        page.show(update([person(x_m=-0.8, track_id=2)], index=index, image=grey))
    for viewer in viewers:

        def alone_on_the_left(viewer: Viewer = viewer) -> bool:
            columns = np.nonzero(np.ptp(viewer.picture(), axis=2) > 25)[1]
            return len(columns) > 500 and columns.max() < 0.5 * BESIDE_PANEL_PX

        until(alone_on_the_left, viewer.tab)
        viewer.tab.close()


def test_a_browser_finds_the_page_again(browser: "Browser") -> None:
    with Page("127.0.0.1:0", BODY) as page:
        url, port = page.url, urlsplit(page.url).port
        page.show(update([person()]))
        viewer = Viewer(browser, url)
        until(lambda: viewer.blue().sum() > 1000, viewer.tab)
    with Page(f"127.0.0.1:{port}", BODY) as page:
        until(page.watched.is_set, viewer.tab)
        page.show(update([person(x_m=-0.8)]))
        until(lambda: bool(viewer.blue().any() and np.nonzero(viewer.blue())[1].mean() < 150), viewer.tab)
    viewer.tab.close()


def test_what_is_set_on_the_page_changes_the_tracker(block_models: Models, browser: "Browser") -> None:
    with Tracker(models=block_models) as tracker, WebSink("127.0.0.1:0", tracker) as sink:
        viewer = Viewer(browser, sink.url)
        smoothness, lead = (viewer.tab.get_by_role("slider").nth(i) for i in range(2))
        before = tracker.smoothness
        smoothness.press("ArrowLeft")
        until(lambda: tracker.smoothness == pytest.approx(before - 0.05), viewer.tab)
        lead.press("ArrowRight")
        until(lambda: tracker.lead_ms == 5.0, viewer.tab)
        viewer.tab.close()


async def a_client(url: str, **options: object) -> ClientConnection:
    """A client that is no browser; the page counts it once it has told where it looks from."""
    from viser._messages import ViewerCameraMessage

    connection = await connect(
        url.replace("http", "ws"), subprotocols=[f"viser-v{viser.__version__}"], max_size=None, **options
    )  # type: ignore[arg-type]
    looks = ViewerCameraMessage(
        wxyz=(1.0, 0.0, 0.0, 0.0), position=(0.0, 0.0, 0.0), fov=1.0, near=0.01, far=100.0, image_height=200,
        image_width=300, look_at=(0.0, 0.0, 1.0), up_direction=(0.0, -1.0, 0.0),
    )  # fmt: skip
    await connection.send(msgspec.msgpack.encode(looks.as_serializable_dict([])))
    return connection


def test_a_client_that_stalls_costs_the_others_nothing(page: Page) -> None:
    """It gets the newest state once it reads again, not all that it has missed."""
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    frames = [update([person(x_m=0.01 * i)], index=i, image=np.roll(noise, i, 0)) for i in range(20)]
    size = len(frames[0].jpeg or b"")

    async def run() -> tuple[int, int]:
        stalled = await a_client(page.url, max_queue=1)
        awake = await a_client(page.url)
        received = 0

        async def read() -> None:
            nonlocal received
            async for data in awake:
                received += len(data)

        reading = asyncio.create_task(read())
        while len(page._scenes) < 2:
            await asyncio.sleep(0.05)
        deadline_s = time.monotonic() + 30
        for index in itertools.count():
            await asyncio.to_thread(page.show, frames[index % len(frames)])
            await asyncio.sleep(0.005)
            if (index >= 400 and received > 100 * size) or time.monotonic() > deadline_s:
                break
        await asyncio.sleep(1)
        reading.cancel()
        missed = 0
        while True:
            try:
                missed += len(await asyncio.wait_for(stalled.recv(), 2))
            except asyncio.TimeoutError:
                break
        await stalled.close()
        await awake.close()
        return received, missed

    with ThreadPoolExecutor(1) as apart:  # a loop of the browser's driver runs in this thread
        received, missed = apart.submit(asyncio.run, run()).result()
    assert received > 100 * size
    assert missed < received / 2


def test_a_page_that_nobody_sees_or_that_died_stops_no_tracker(
    block_models: Models, block_video: Callable[..., object]
) -> None:
    clip = block_video([{0: (40 + 2 * i, 60, 50, 120)} for i in range(30)])
    with Tracker(clip, models=block_models) as tracker, WebSink("127.0.0.1:0", tracker) as sink:
        for number, pair in enumerate(tracker.frames()):
            if number < 15:
                sink.write(*pair)
                assert sink.shown == 0
                continue
            sink._page._process.kill()
            sink._page._process.join()
            until(lambda: not sink._page.alive)
            with pytest.raises(OSError, match="it ended"):
                sink.write(*pair)


def test_bones_move_the_mesh_as_the_body_model_does() -> None:
    """By linear blend skinning alone, with the four largest weights: correctives are left out on the page."""
    body, someone = BODY, person(betas=np.float32([1, -1, 0.5, 0, 0, 0, 0, 0, 0, 0]))
    vertices, joints = rest(body, someone.betas)
    turns = joint_orientations(someone.root_quat_wxyz, someone.joint_quats_wxyz)
    turned = rotate(turns[:, None], vertices[None] - joints[:, None])
    placed = turned + someone.joints_cam_m[:, None]
    largest = np.argsort(body.skin_weights, axis=1)[:, :-4]
    weights = body.skin_weights.copy()
    np.put_along_axis(weights, largest, 0, axis=1)
    skinned = np.einsum("vj,jvc->vc", weights / weights.sum(1, keepdims=True), placed)
    away_mm = 1000 * np.linalg.norm(skinned - mesh(someone), axis=1)
    assert away_mm.mean() < 3 and np.quantile(away_mm, 0.99) < 25


def test_error_bars_lie_along_the_line_of_sight() -> None:
    someone = person(x_m=0.5)
    bars = error_bars(someone)
    along = bars[:, 1] - bars[:, 0]
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 2 * someone.joint_std_m, rtol=1e-4)
    np.testing.assert_allclose(np.cross(along, someone.joints_cam_m), 0, atol=1e-5)
