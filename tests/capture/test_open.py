"""What a name means: a path that exists is a path, whatever it looks like."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinestream.capture import SourceNotFoundError, UnreadableSourceError, open_source
from kinestream.capture.av_source import AvDecoder
from kinestream.capture.decoder import WHOLE, Decoder
from kinestream.capture.open import _decoder
from kinestream.capture.picture_files import PictureDecoder
from kinestream.capture.webcam import WebcamDecoder

Make = Callable[..., Path]
Number = Callable[[np.ndarray], int]


def decoder(source: str | Path | int) -> Decoder:
    return _decoder(source, None, None, None, WHOLE)


@pytest.mark.parametrize(
    "name",
    [
        "10:30 walk.mp4",
        "http:clip.mp4",
        "a[bold]b.mp4",
        "100%.mp4",
        "shot%03d.mp4",
        "-",
        "pipe:0.mp4",
        "concat:a|b.mp4",
    ],
)
def test_names_that_look_like_something_else(
    make_video: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = make_video(count=3)
    shutil.copy(path, path.with_name(name))
    monkeypatch.chdir(path.parent)
    with open_source(f"./{name}" if name == "-" else name) as source:
        assert len(list(source)) == 3
        assert name in str(source.info)


def test_a_folder_that_looks_like_an_address(make_video: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(count=3)
    folder = path.parent / "rtsp:" / "host"
    folder.mkdir(parents=True)
    shutil.copy(path, folder / "clip.mp4")
    monkeypatch.chdir(path.parent)
    with open_source("rtsp://host/clip.mp4") as source:
        assert not source.info.live and len(list(source)) == 3


def test_a_device_link_is_a_camera(tmp_path: Path) -> None:
    link = tmp_path / "my camera"
    link.symlink_to("/dev/video7")
    for source in (link, str(link), "/dev/video7", "/dev/v4l/by-id/usb-cam-index0", 7, "7"):
        assert isinstance(decoder(source), WebcamDecoder), source
        assert decoder(source).remote
    assert not isinstance(decoder(tmp_path), WebcamDecoder)


def test_a_number_is_a_camera_and_a_path_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0").mkdir()
    monkeypatch.chdir(tmp_path)
    assert isinstance(decoder("0"), WebcamDecoder)
    assert "write ./0" in caplog.text
    assert isinstance(decoder("./0"), PictureDecoder)
    assert isinstance(decoder(Path("0")), PictureDecoder)


def test_addresses_are_addresses() -> None:
    for address in ("rtsp://camera.local/stream", "http://[::1]:8080/x", "srt://host:9000"):
        opened = decoder(address)
        assert isinstance(opened, AvDecoder) and opened.remote
    with pytest.raises(SourceNotFoundError, match="nothing.mp4: no such file or folder"):
        decoder("nothing.mp4")


@pytest.mark.parametrize("gop", ["4", "100"])
def test_a_piece_of_a_file(make_video: Make, read_number: Number, gop: str) -> None:
    path = make_video(count=50, fps=25, options={"g": gop})
    with open_source(path, start_s=0.6, end_s=1.2) as source:
        frames = list(source)
    assert [read_number(frame.image_rgb) for frame in frames] == list(range(15, 31))
    assert frames[0].t_capture_ns == 600_000_000, "times are those of the file"
    with open_source(path, start_s=1.8) as source:
        assert [read_number(frame.image_rgb) for frame in source] == [45, 46, 47, 48, 49]
    with open_source(path, end_s=0.1) as source:
        assert len(list(source)) == 3


def test_a_piece_that_is_not_there(make_video: Make) -> None:
    path = make_video(count=50, fps=25)
    with pytest.raises(
        UnreadableSourceError, match=r"no picture between --start and --end; it lasts 2\.00 s"
    ):
        open_source(path, start_s=30)
    with pytest.raises(ValueError, match="0 <= start < end, found 3 and 2"):
        open_source(path, start_s=3, end_s=2)
    with pytest.raises(ValueError, match="is a camera; only files"):
        open_source(0, start_s=1)


def test_a_piece_of_a_file_whose_times_do_not_begin_at_zero(make_video: Make, read_number: Number) -> None:
    """MPEG-TS begins at 1.4 s."""
    path = make_video("clip.ts", count=50, fps=25, container_format="mpegts")
    with open_source(path, start_s=0.6, end_s=0.8) as source:
        numbers = [read_number(frame.image_rgb) for frame in source]
    assert numbers == list(range(15, 21))


def test_raw_video_has_the_rate_that_is_given(
    make_video: Make, read_number: Number, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_video("clip.h264", count=12, container_format="h264")
    with open_source(path, fps=50) as source:
        frames = list(source)
        assert source.info.fps == 50
    assert [frame.t_capture_ns for frame in frames] == [20_000_000 * i for i in range(12)]
    assert [read_number(frame.image_rgb) for frame in frames] == list(range(12))
    with open_source(path) as source:
        assert len(list(source)) == 12
    assert "holds no times" in caplog.text and "--fps says otherwise" in caplog.text
    with open_source(make_video(), fps=50) as source:
        assert source.info.fps == 25
    assert "--fps 50 is not used" in caplog.text
