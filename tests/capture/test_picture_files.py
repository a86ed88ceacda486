"""Folders of pictures."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.capture import SourceNotFoundError, UnreadableSourceError, open_source
from kinestream.capture.picture_files import PictureDecoder

Picture = Callable[..., np.ndarray]


def write(path: Path, image_rgb: np.ndarray) -> None:
    encoded = cv2.imencode(path.suffix, image_rgb[..., ::-1])[1]
    path.write_bytes(encoded.tobytes())


def test_natural_order_times_and_gaps(tmp_path: Path, make_picture: Picture, read_number: Callable) -> None:
    for number in (0, 1, 2, 10, 11):
        write(tmp_path / f"shot{number}.png", make_picture(number))
    (tmp_path / "shot2.png").write_bytes(b"broken")
    (tmp_path / "readme.txt").write_text("not a picture")
    with open_source(tmp_path, fps=10) as source:
        frames = list(source)
        assert source.info.frame_count == 5 and source.info.fps == 10
    assert [read_number(frame.image_rgb) for frame in frames] == [0, 1, 10, 11]
    assert [frame.index for frame in frames] == [0, 1, 3, 4]
    assert [frame.t_capture_ns // 1_000_000 for frame in frames] == [0, 100, 1000, 1100], "a gap is time"
    assert source.corrupt == 1


def test_one_picture_with_a_foreign_name(tmp_path: Path, make_picture: Picture) -> None:
    path = tmp_path / "Bild ä 人.png"
    write(path, make_picture(5))
    with open_source(path) as source:
        assert np.array_equal(source.read().image_rgb, make_picture(5))  # type: ignore[union-attr]
        assert source.read() is None


def test_pictures_may_differ_in_size(tmp_path: Path, make_picture: Picture) -> None:
    write(tmp_path / "a.png", make_picture(1))
    write(tmp_path / "b.png", make_picture(2, 128, 32))
    with open_source(tmp_path) as source:
        assert [frame.image_rgb.shape for frame in source] == [(64, 256, 3), (32, 128, 3)]


def test_errors_name_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSourceError, match=r"expected pictures \(.bmp, .*found none"):
        open_source(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(UnreadableSourceError, match="none of its 1 pictures can be read"):
        open_source(tmp_path)
    with pytest.raises(SourceNotFoundError, match="no such picture or folder"):
        PictureDecoder(tmp_path / "no").open()
    with pytest.raises(ValueError, match="fps: expected a positive number"):
        open_source(tmp_path, fps=0)


def test_numbers_are_places_in_time(
    tmp_path: Path, make_picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (100, 105, 115, 120):  # every fifth frame of a video, one is missing
        write(tmp_path / f"shot_{number:05d}.png", make_picture(number))
    with open_source(tmp_path, fps=6) as source:
        assert [round(frame.t_capture_ns * 6 / 1e9, 3) for frame in source] == [0, 1, 3, 4]
    assert "pictures missing: 1" in caplog.text


@pytest.mark.parametrize(
    "names",
    [
        ["1305031102175304", "1305031102211214", "1305031102275326"],  # times, no count
        ["left1", "left9", "right2"],
        ["a", "b", "c"],
        ["take1_3", "take2_1", "take2_2"],
    ],
)
def test_other_names_follow_one_another(tmp_path: Path, make_picture: Picture, names: list[str]) -> None:
    for i, name in enumerate(names):
        write(tmp_path / f"{name}.png", make_picture(i))
    with open_source(tmp_path, fps=10) as source:
        assert [frame.t_capture_ns // 1_000_000 for frame in source] == [0, 100, 200]


def test_companions_of_macos_are_no_pictures(tmp_path: Path, make_picture: Picture) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.png", make_picture(i))
        (tmp_path / f"._{i}.png").write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    (tmp_path / "3.png").mkdir()
    with open_source(tmp_path) as source:
        assert source.info.frame_count == 3
        assert len(list(source)) == 3 and source.corrupt == 0


def test_printf_patterns(tmp_path: Path, make_picture: Picture, read_number: Callable) -> None:
    for i in (8, 9, 10, 12):
        write(tmp_path / f"cam (1) {i:04d}.png", make_picture(i))
        write(tmp_path / f"other{i}.png", make_picture(99))
    with open_source(tmp_path / "cam (1) %04d.png", fps=10) as source:
        frames = list(source)
    assert [read_number(frame.image_rgb) for frame in frames] == [8, 9, 10, 12]
    assert [frame.t_capture_ns // 1_000_000 for frame in frames] == [0, 100, 200, 400]
    with open_source(str(tmp_path / "other%d.png")) as source:
        assert len(list(source)) == 4
    with pytest.raises(SourceNotFoundError, match="no picture has such a name"):
        open_source(tmp_path / "nothing%03d.png")
    write(tmp_path / "really%d.png", make_picture(7))
    with open_source(tmp_path / "really%d.png") as source:
        assert [read_number(frame.image_rgb) for frame in source] == [7]


def test_a_piece_of_a_folder(tmp_path: Path, make_picture: Picture, read_number: Callable) -> None:
    for i in range(10):
        write(tmp_path / f"{i}.png", make_picture(i))
    with open_source(tmp_path, fps=10, start_s=0.3, end_s=0.6) as source:
        frames = list(source)
    assert [read_number(frame.image_rgb) for frame in frames] == [3, 4, 5, 6]
    assert frames[0].t_capture_ns == 300_000_000
    with pytest.raises(UnreadableSourceError, match="no picture between --start and --end"):
        open_source(tmp_path, fps=10, start_s=9)


def test_a_folder_of_videos_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    with pytest.raises(UnreadableSourceError, match=r"found none, but 2 \.mp4.*kinestream batch"):
        open_source(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableSourceError, match="the folder is empty"):
        open_source(tmp_path / "empty")
