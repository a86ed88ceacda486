"""Capture times of live streams against the moments at which their pictures were really sent."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.capture import Frame, open_source

from .conftest import HEIGHT, WIDTH, numbered_picture

Sent = list[tuple[int, int]]
"""Number of a picture, and when it was sent: `time.monotonic_ns`."""
Number = Callable[[np.ndarray], int]
FPS, COUNT = 10, 200
SYSTEM_PYTHON = "/usr/bin/python3"
CHECK = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ("appsrc", "rtph264pay", "rtpbin")))
"""
SERVER = Path(__file__).with_name("rtsp_server.py")


def encoder() -> av.VideoCodecContext:
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.thread_count = Fraction(1, FPS), 1
    context.options = {
        "tune": "zerolatency",
        "preset": "ultrafast",
        "g": "5",
        "x264-params": "repeat-headers=1",
    }
    return context


def errors_ms(frames: list[Frame], sent: Sent, read_number: Number) -> np.ndarray:
    """Claimed capture time of each frame less the moment at which its picture was last sent before."""
    errors = []
    for frame in frames:
        number = read_number(frame.image_rgb)
        sent_ns = max(at for n, at in sent if n == number and at <= frame.t_ready_ns)
        errors.append((frame.t_capture_ns - sent_ns) / 1e6)
    return np.array(errors)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_transport_stream_is_two_pictures_late_in_ffmpeg_but_not_in_its_times(read_number: Number) -> None:
    address = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    sent: Sent = []
    stop = threading.Event()

    def send() -> None:
        with av.open(address, "w", format="mpegts", options={"flush_packets": "1"}) as container:
            stream = container.add_stream("libx264", rate=FPS, options={"tune": "zerolatency", "g": "5"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            origin_ns = time.monotonic_ns()
            for number in range(COUNT):
                frame = av.VideoFrame.from_ndarray(numbered_picture(number), "rgb24")
                sent.append((number, time.monotonic_ns()))
                frame.pts, frame.time_base = (sent[-1][1] - origin_ns) // 1000, Fraction(1, 1_000_000)
                container.mux(stream.encode(frame))
                if stop.wait(1 / FPS):
                    return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with open_source(address, policy="every") as source:
            frames = [frame for frame in (source.read() for _ in range(20)) if frame is not None]
    finally:
        stop.set()
        sender.join()
    errors = errors_ms(frames[5:], sent, read_number)
    assert abs(np.median(errors)) < 1000 / FPS, "within one picture"


@pytest.fixture
def rtsp(tmp_path: Path) -> Iterator[Callable[[int], tuple[subprocess.Popen[str], Sent]]]:
    """Starts the real server; gives its process and the list, still growing, of what it sent."""
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", CHECK], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(
            "no RTSP server: Debian's gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-good"
        )
    context = encoder()
    packets = []
    for number in range(COUNT):
        frame = av.VideoFrame.from_ndarray(numbered_picture(number), "rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += context.encode(frame)
    data = tmp_path / "units"
    data.write_bytes(b"".join(len(unit).to_bytes(4, "big") + unit for unit in map(bytes, packets)))
    started: list[subprocess.Popen[str]] = []

    def start(port: int) -> tuple[subprocess.Popen[str], Sent]:
        server = subprocess.Popen(
            [SYSTEM_PYTHON, str(SERVER), str(port), str(FPS), str(data)], stdout=subprocess.PIPE, text=True
        )
        started.append(server)
        sent: Sent = []

        def listen() -> None:
            assert server.stdout is not None
            for line in server.stdout:
                number, at = line.split()
                sent.append((int(number), int(at)))

        threading.Thread(target=listen, daemon=True).start()
        return server, sent

    yield start
    for server in started:
        server.kill()
        server.wait()


def test_an_rtsp_server_that_was_away_comes_back_with_true_times(
    rtsp: Callable[[int], tuple[subprocess.Popen[str], Sent]], read_number: Number
) -> None:
    port = free_port(socket.SOCK_STREAM)
    server, before = rtsp(port)
    with open_source(f"rtsp://127.0.0.1:{port}/camera", policy="every", reconnect_s=60, wait_s=30) as source:
        first = [frame for frame in (source.read() for _ in range(25)) if frame is not None]
        server.kill()
        server.wait()
        time.sleep(1)
        _, after = rtsp(port)
        while source.reconnects == 0:
            source.read()
        second = [frame for frame in (source.read() for _ in range(25)) if frame is not None]
    assert source.reconnects == 1
    for frames, sent in ((first, before), (second[5:], after)):
        assert abs(np.median(errors_ms(frames, sent, read_number))) < 0.5 * 1000 / FPS
    steps_ns = np.diff([frame.t_capture_ns for frame in first + second])
    assert (steps_ns > 0).all()
