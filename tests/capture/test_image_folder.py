"""Folders of pictures."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.capture import SourceNotFoundError, UnreadableSourceError, open_source
from kinestream.capture.image_folder import ImageFolderDecoder

Picture = Callable[..., np.ndarray]


def write(path: Path, image_rgb: np.ndarray) -> None:
    encoded = cv2.imencode(path.suffix, image_rgb[..., ::-1])[1]
    path.write_bytes(encoded.tobytes())


def test_natural_order_times_and_gaps(tmp_path: Path, make_picture: Picture, read_number: Callable) -> None:
    for number in (0, 1, 2, 10, 11):
        write(tmp_path / f"shot{number}.png", make_picture(number))
    (tmp_path / "shot2.png").write_bytes(b"broken")
    (tmp_path / "readme.txt").write_text("not a picture")
    with open_source(tmp_path, folder_fps=10) as source:
        frames = list(source)
        assert source.info.frame_count == 5 and source.info.fps == 10
    assert [read_number(frame.image_rgb) for frame in frames] == [0, 1, 10, 11]
    assert [frame.index for frame in frames] == [0, 1, 3, 4]
    assert [frame.t_capture_ns // 1_000_000 for frame in frames] == [0, 100, 300, 400]
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
        ImageFolderDecoder(tmp_path / "no").open()
    with pytest.raises(ValueError, match="fps: expected a positive number"):
        open_source(tmp_path, folder_fps=0)
