"""Real local streams: MPEG-TS over HTTP that breaks off, and RTSP with a real sender."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from kinestream.capture import FrameSource, SourceNotFoundError, UnreadableSourceError, open_source
from kinestream.capture.av_source import AvDecoder

Number = Callable[[np.ndarray], int]


@pytest.fixture
def ts_address(make_video: Callable[..., Path]) -> Iterator[str]:
    """A server that sends the same 30 pictures to whoever connects, then closes the connection."""
    data = make_video("live.ts", count=30, container_format="mpegts").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/live":
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            for start in range(0, len(data), 1880):
                self.wfile.write(data[start : start + 1880])
                time.sleep(0.002)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/live"
    server.shutdown()
    server.server_close()


def test_a_stream_that_breaks_off_is_taken_up_again(
    ts_address: str, read_number: Number, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinestream.capture.source.FIRST_BACKOFF_S", 0.01)
    decoder = AvDecoder(ts_address, live=True, options={"probesize": "50000", "analyzeduration": "200000"})
    with FrameSource(decoder, policy="every") as source:
        frames = [source.read() for _ in range(45)]
        assert source.reconnects >= 1
    numbers = [read_number(frame.image_rgb) for frame in frames if frame is not None]
    assert numbers.count(5) == 2, "the second connection starts over"
    times = np.array([frame.t_capture_ns for frame in frames if frame is not None])
    assert (np.diff(times) > 0).all()
    now_ns = time.monotonic_ns()
    assert ((times <= now_ns) & (times > now_ns - 60 * 10**9)).all(), "on the monotonic clock"
    assert [frame.index for frame in frames if frame is not None] == list(range(45))


def test_addresses_that_do_not_answer_are_named(ts_address: str) -> None:
    with pytest.raises(SourceNotFoundError, match="/nothing: no such file, device or address"):
        open_source(ts_address.replace("/live", "/nothing"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(UnreadableSourceError, match="cannot be opened") as caught:
            open_source(f"http://user:secret@127.0.0.1:{port}/x")
    assert "secret" not in str(caught.value)


RTSP_SENDER = """
import sys, time
from fractions import Fraction
import av, numpy as np

def send(address):
    container = av.open(address, "w", format="rtsp", options={"rtsp_transport": "tcp"})
    stream = container.add_stream("libx264", rate=50, options={"g": "5", "tune": "zerolatency"})
    stream.width, stream.height, stream.pix_fmt = 256, 64, "yuv420p"
    for number in range(250):
        image = np.zeros((64, 256, 3), np.uint8)
        for bit in range(8):
            image[:32, bit * 32 : bit * 32 + 32] = 255 * (number >> bit & 1)
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 50)
        container.mux(stream.encode(frame))
        time.sleep(0.018)

for attempt in range(200):
    try:
        send(sys.argv[1])
    except av.error.ConnectionRefusedError:
        time.sleep(0.05)
"""
"""Pushes to a listening reader, as the relay of an IP camera does."""


def test_rtsp(read_number: Number) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"rtsp://127.0.0.1:{port}/live"
    sender = subprocess.Popen([sys.executable, "-c", RTSP_SENDER, address])
    try:
        options = {"rtsp_flags": "listen", "listen_timeout": "10"}
        with FrameSource(AvDecoder(address, live=True, options=options), policy="every") as source:
            frames = [frame for frame in (source.read() for _ in range(70)) if frame is not None]
            assert source.info.live and source.clock == "monotonic"
    finally:
        sender.kill()
        sender.wait()
    numbers = [read_number(frame.image_rgb) for frame in frames]
    assert len(numbers) == 70 and (np.diff(numbers) > 0).all()
    steps_ms = np.diff([frame.t_capture_ns for frame in frames[40:]]) / 1e6  # behind the start-up backlog
    assert np.median(steps_ms / np.diff(numbers[40:])) == pytest.approx(20, abs=3), "the sender's times"


def test_a_stream_that_falls_silent_is_taken_up_again(
    make_video: Callable[..., Path], read_number: Number, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinestream.capture.source.FIRST_BACKOFF_S", 0.01)
    data = make_video("silent.ts", count=20, container_format="mpegts").read_bytes()
    leave = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()
            leave.wait(30)  # the connection stays open, as with a camera whose cable was pulled

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        decoder = AvDecoder(
            f"http://127.0.0.1:{server.server_port}/live",
            live=True,
            options={"probesize": "50000", "analyzeduration": "200000"},
            open_timeout_s=2.0,
            read_timeout_s=0.5,
        )
        with FrameSource(decoder, policy="every") as source:
            numbers = [read_number(frame.image_rgb) for frame in (source.read() for _ in range(24)) if frame]
            assert source.reconnects >= 1
    finally:
        leave.set()
        server.shutdown()
        server.server_close()
    assert numbers.count(3) == 2, "the second connection starts over"


def test_a_stream_may_change_its_resolution(make_video: Callable[..., Path], tmp_path: Path) -> None:
    parts = [
        make_video(f"{width}.ts", count=10, size=(width, 64), container_format="mpegts").read_bytes()
        for width in (256, 512)
    ]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(parts))
    with open_source(both) as source:
        frames = list(source)
    assert [frame.image_rgb.shape[1] for frame in frames] == [256] * 10 + [512] * 10
    assert (np.diff([frame.t_capture_ns for frame in frames]) > 0).all()
