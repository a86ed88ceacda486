"""No password of a camera's address in what `kinestream run` writes, publishes and says."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.stream import read_poses

Command = Callable[..., tuple[int, str, str]]
PICTURES = 40


@pytest.fixture
def camera(paint_blocks: Callable[..., np.ndarray]) -> Iterator[str]:
    """Host and port of a network camera (MJPEG) that asks for nothing."""
    images = [paint_blocks((320, 240), {0: (40 + i, 60, 50, 120)}) for i in range(PICTURES)]

    class Camera(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for image in images:
                jpeg = cv2.imencode(".jpg", image)[1].tobytes()
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                self.wfile.write(head + jpeg + b"\r\n")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("stand_ins")
def test_a_stream_from_a_camera_with_a_password(camera: str, kinestream: Command, tmp_path: Path) -> None:
    address = f"http://admin:s3@cr3t@{camera}/stream?user=admin&pwd=s3cr3t"
    recording, lines = tmp_path / "a.mcap", tmp_path / "a.jsonl"
    files = ("--record", recording, "--json", lines, "--npz", tmp_path / "a.npz")
    code, out, err = kinestream("-v", "run", address, "--no-publish", *files, "--max-frames", 5)
    assert code == 0, err
    told = [out, err, *(path.read_bytes().decode("latin-1") for path in tmp_path.iterdir())]
    assert not [text for text in told if "cr3t" in text]
    assert next(iter(read_poses(recording))).identity.source == f"http://***@{camera}/stream?user=***&pwd=***"


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_nor_where_it_cannot_be_opened(kinestream: Command, scheme: str) -> None:
    code, out, err = kinestream(
        "-v", "run", f"{scheme}://u:s3@cr3t@127.0.0.1:9/live?t=s3cr3t", "--no-publish"
    )
    assert code == 1 and "cr3t" not in out + err and "127.0.0.1:9" in err.replace(" ", "")
