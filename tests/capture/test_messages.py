"""What is said when a source cannot be opened names the cause, and what to do."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.capture import CaptureError, SourceLostError, UnreadableSourceError, av_errors, open_source
from kinestream.capture.av_source import AvDecoder

Make = Callable[..., Path]


@pytest.fixture
def server(make_video: Make) -> Iterator[str]:
    """Answers with the status that is the path; ``/half`` breaks off in the middle of a file."""
    video = make_video("clip.mkv", count=60, fps=25).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            word = self.path.strip("/")
            if word == "silent":
                time.sleep(3)
                return
            if word == "half":
                self.send_response(200)
                self.send_header("Content-Length", str(len(video)))
                self.end_headers()
                self.wfile.write(video[: len(video) // 2])
                return
            self.send_response(int(word))
            self.end_headers()
            self.wfile.write(b"<html><body>Log in</body></html>" * 400)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def message_of(source: str | Path | AvDecoder) -> str:
    with pytest.raises(CaptureError) as caught:
        source.open() if isinstance(source, AvDecoder) else open_source(source)
    text = str(caught.value)
    assert "cut off" not in text and "damaged" not in text, "a network is not blamed on the file"
    return text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("401", "asks for a user name and password"),
        ("403", "access denied"),
        ("404", "no such file, device or address"),
        ("503", "an error of its own"),
        ("200", "a page about"),
    ],
)
def test_answers_of_a_server(server: str, path: str, said: str) -> None:
    assert said in message_of(f"{server}/{path}")


def test_silence_and_refusal(server: str) -> None:
    assert "no answer in time" in message_of(AvDecoder(f"{server}/silent", open_timeout_s=0.5))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for scheme in ("http", "rtsp", "tcp"):
            assert "nobody answers there (connection refused)" in message_of(f"{scheme}://127.0.0.1:{port}/x")


def test_names_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(av_errors.socket, "getaddrinfo", unknown)
    assert "no computer called nowhere.invalid is known" in message_of("http://user:pw@nowhere.invalid/x")
    assert "this kind of address is not known" in message_of("htp://camera/x")


def test_a_file_over_the_network_that_breaks_off(server: str) -> None:
    with open_source(f"{server}/half") as source:
        assert not source.info.live
        with pytest.raises(SourceLostError, match="broke off"):
            list(source)


def test_an_empty_file_and_one_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.touch()
    with pytest.raises(UnreadableSourceError, match=r"empty \(0 bytes\)"):
        open_source(path)
    denied = av.error.PermissionError(13, "no")
    assert "you may not read it" in str(av_errors.opening_failed("clip", "", denied, path=tmp_path))


def test_pictures_that_are_too_large(tmp_path: Path) -> None:
    """72 megapixels, of a camera and not of a damaged header."""
    path = tmp_path / "large.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 12000, 6000, "yuvj420p"
        frame = av.VideoFrame(12000, 6000, "yuvj420p")
        for plane in frame.planes:
            plane.update(np.full(plane.buffer_size, 128, np.uint8))
        frame.pts, frame.time_base = 0, Fraction(1)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UnreadableSourceError, match=r"12000x6000 px, and more than 67 megapixels.*scale"):
        open_source(path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (av.error.ExitError(1, "exit"), "nothing came in time; does the program before the | run"),
        (av.error.InvalidDataError(1, "no video"), "what came is no video"),
    ],
)
def test_standard_input_is_no_address(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("av.open", fail)
    text = message_of(AvDecoder(av_errors.STANDARD_INPUT, name="standard input"))
    assert said in text and "address" not in text and "camera" not in text
