"""One policy for waiting: files may pause, live sources are looked for as long as was said."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.capture import (
    Decoder,
    FrameSource,
    FrameTimeoutError,
    SourceInfo,
    SourceLostError,
    UnreadableSourceError,
    open_source,
    source,
)
from kinestream.capture.decoder import Picture

Make = Callable[..., Path]
IMAGE = np.zeros((4, 6, 3), np.uint8)


class MjpegCamera:
    """A network camera: multipart MJPEG at a rate of its own; may be switched off and on."""

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self.port = 0
        self._jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        self._server: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream"

    def on(self) -> None:
        camera = self
        self._off = off = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"
                while not off.wait(1 / camera.rate_hz):
                    self.wfile.write(part % (len(camera._jpeg), camera._jpeg))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def off(self) -> None:
        if self._server is not None:
            self._off.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera(20)
    camera.on()
    yield camera
    camera.off()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FIRST_BACKOFF_S", 0.05)
    monkeypatch.setattr(source, "LONGEST_BACKOFF_S", 0.1)


def test_arrival_times_count_where_the_container_invents_stamps(camera: MjpegCamera) -> None:
    """FFmpeg takes MJPEG over HTTP for 25 fps; this camera has another rate."""
    camera.rate_hz = 10
    with open_source(camera.address, policy="every") as frames:
        assert frames.info.live and frames.info.fps is None, "the guess of 25 is no rate"
        assert "arrival times" in frames.info.detail
        taken = [frame for frame in (frames.read() for _ in range(25)) if frame is not None]
    times_s = np.array([frame.t_capture_ns for frame in taken]) / 1e9
    ready_s = np.array([frame.t_ready_ns for frame in taken]) / 1e9
    steps = np.diff(times_s)
    assert (steps > 0).all()
    assert times_s[-1] - times_s[0] == pytest.approx(ready_s[-1] - ready_s[0], abs=0.5), (
        "no rate but the camera's"
    )
    assert np.median(steps) > 0.08, "never the 40 ms of the guess"


def test_a_camera_that_comes_back_is_taken_up_again(
    camera: MjpegCamera, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays away for longer than any one read may take."""
    with open_source(camera.address, reconnect_s=60) as frames:
        before = frames.read()
        camera.off()
        back = threading.Timer(3.0, camera.on)
        back.start()
        while frames.reconnects == 0:
            assert frames.read() is not None
        after = frames.read()
        back.join()
    assert before is not None and after is not None
    assert after.t_capture_ns - before.t_capture_ns > 2.5e9, "the time away is time"
    assert after.index > before.index
    assert "trying to reconnect for 60 s" in caplog.text and "connected again" in caplog.text


def test_a_camera_that_stays_away_ends_when_it_was_said(camera: MjpegCamera) -> None:
    with open_source(camera.address, reconnect_s=1.0) as frames:
        frames.read()
        camera.off()
        start = time.monotonic()
        with pytest.raises(
            SourceLostError, match=r"not back within 1 s .*refused.*--reconnect 0 tries for ever"
        ):
            list(frames)
        assert time.monotonic() - start > 0.9


def test_zero_looks_for_it_for_ever() -> None:
    class Away(ScriptedCamera):
        def open(self) -> SourceInfo:
            if self.opened and self.opened < 40:
                self.opened += 1
                raise UnreadableSourceError("script: away")
            return super().open()

    decoder = Away(pictures=2)
    with FrameSource(decoder, policy="every", reconnect_s=0) as frames:
        assert [frames.read().index for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
    assert decoder.opened > 40


def test_it_is_waited_for_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    camera = MjpegCamera(20)
    camera.on()
    camera.off()  # the port is known now, and nobody answers there
    with pytest.raises(UnreadableSourceError, match="connection refused"):
        open_source(camera.address)
    with pytest.raises(UnreadableSourceError, match="connection refused"):
        open_source(camera.address, wait_s=0.3)
    later = threading.Timer(1.0, camera.on)
    later.start()
    try:
        with open_source(camera.address, wait_s=0) as frames:
            assert frames.read() is not None
    finally:
        later.join()
        camera.off()
    assert "waiting for it for ever" in caplog.text


def test_a_file_is_not_waited_for(make_video: Make) -> None:
    with pytest.raises(ValueError, match=r"--wait.*cameras and addresses, found .*clip.mp4"):
        open_source(make_video(), wait_s=5)
    with pytest.raises(ValueError, match="--reconnect.*found -1"):
        open_source(make_video(), reconnect_s=-1)


class ScriptedCamera(Decoder):
    """A live decoder whose pictures come when the test says."""

    remote = True

    def __init__(self, pictures: int = 10**6) -> None:
        super().__init__("script")
        self.pictures = pictures
        self.opened = 0
        self.go = threading.Semaphore(10**6)

    def open(self) -> SourceInfo:
        self.opened += 1
        self.left = self.pictures
        return SourceInfo("script", 6, 4, None, None, live=True, clock="monotonic")

    def next_picture(self) -> Picture | None:
        self.go.acquire()
        if not self.left:
            raise SourceLostError("script: unplugged")
        self.left -= 1
        return Picture(10, IMAGE)

    def close(self) -> None:
        pass


def test_a_driver_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "STUCK_S", 0.5)
    decoder = ScriptedCamera()
    decoder.go = threading.Semaphore(1)
    with FrameSource(decoder) as frames:
        assert frames.read() is not None
        with pytest.raises(FrameTimeoutError, match="its driver has not answered"):
            frames.read()
        decoder.go.release(10)


def test_times_of_a_live_source_never_stand_still() -> None:
    """The decoder gives the same time again and again, as after a reconnection within its jitter."""
    with FrameSource(ScriptedCamera(pictures=2), policy="every", reconnect_s=5) as frames:
        times = [frames.read().t_capture_ns for _ in range(6)]  # type: ignore[union-attr]
    assert (np.diff(times) > 0).all()


def test_a_paced_file_may_pause(make_video: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap in a file is longer than any limit that belongs to live sources."""
    monkeypatch.setattr(source, "STUCK_S", 0.2)
    path = make_video("gap.mkv", count=4, times_ms=[0, 40, 3000, 3040])
    with open_source(path, policy="paced") as frames:
        start = time.monotonic()
        shown = list(frames)
        assert time.monotonic() - start > 2.9
    assert shown[-1].index == 3


PIPED = """
import sys
from kinestream.capture import open_source
policy = sys.argv[1] if len(sys.argv) > 1 else None
with open_source("-", policy=policy) as source:
    print(source.info.live, source.policy, len(list(source)) if policy is None else len(list(source)) > 0)
"""


@pytest.mark.parametrize(("policy", "said"), [([], "False every 20"), (["latest"], "True latest True")])
def test_standard_input(make_video: Make, policy: list[str], said: str) -> None:
    """It ends where it ends, live or not: there is nothing to connect to again."""
    data = make_video("clip.ts", count=20, container_format="mpegts").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", PIPED, *policy], input=data, capture_output=True, timeout=120
    )
    assert done.stdout.decode().strip() == said, done.stderr.decode()


def test_frames_are_those_of_now_and_not_of_the_backlog(camera: MjpegCamera) -> None:
    """Models load for seconds before the first frame is asked for; a socket would hold all meanwhile."""
    with open_source(camera.address) as frames:
        time.sleep(1.5)
        first = frames.read()
        start = time.monotonic()
        taken = [frames.read() for _ in range(10)]
        assert time.monotonic() - start > 0.2, "one after the other, not all at once"
        assert frames.dropped <= taken[-1].index - 10, "what came before nobody asked for is not counted"  # type: ignore[union-attr]
    assert first is not None and first.index == 0 and taken[0] is not None and taken[0].index >= 1
