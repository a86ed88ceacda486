"""Calibration files: the three dialects people have, and every way such a file can be wrong."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.geometry.calibration import CameraFileError, load_camera
from kinestream.geometry.camera import Camera

EXPECTED = Camera(640, 480, (526.5, 525.25), (312.5, 246.75), (0.0625, -0.125, 0.5e-3, -0.25e-3, 0.03125))

ROS = """\
image_width: 640
image_height: 480
camera_name: head
camera_matrix:
  rows: 3
  cols: 3
  data: [526.5, 0, 312.5, 0, 525.25, 246.75, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.0625, -0.125, 0.0005, -0.00025, 0.03125]
"""

ECHOED = """\
header:
  stamp: {sec: 12, nanosec: 0}
  frame_id: camera
height: 480
width: 640
distortion_model: plumb_bob
d:
- 0.0625
- -0.125
- 0.0005
- -0.00025
- 0.03125
k: [526.5, 0.0, 312.5, 0.0, 525.25, 246.75, 0.0, 0.0, 1.0]
---
height: 1
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "camera.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [ROS, ECHOED, ROS.replace("plumb_bob", "''")])
def test_ros_dialects(tmp_path: Path, text: str) -> None:
    assert load_camera(write(tmp_path, text)) == EXPECTED


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_files_written_by_opencv(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"camera{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", EXPECTED.K)
    storage.write("distortion_coefficients", np.array(EXPECTED.distortion)[:, None])
    storage.release()
    assert load_camera(path) == EXPECTED


def test_zero_distortion_and_its_absence_mean_the_same(tmp_path: Path) -> None:
    zeros = ROS.replace("[0.0625, -0.125, 0.0005, -0.00025, 0.03125]", "[0, 0, 0, 0, 0]")
    absent = ROS[: ROS.index("distortion_model")]
    assert load_camera(write(tmp_path, zeros)) == load_camera(write(tmp_path, absent))
    assert load_camera(write(tmp_path, zeros)).distortion == ()


def test_unused_tilt_coefficients_are_dropped(tmp_path: Path) -> None:
    long = ROS.replace("0.03125]", "0.03125, 0, 0, 0, 0, 0, 0, 0, 0, 0]")
    assert load_camera(write(tmp_path, long)).distortion == (*EXPECTED.distortion, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds NoneType, expected a mapping"),
        ("just words", "holds str, expected a mapping"),
        ("a: [1, 2", "is not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("image_width: 640", "has no key camera_matrix / k / K; found keys: image_width"),
        (ROS.replace("image_width", "w"), "has no key image_width / width"),
        (ROS.replace("640", "wide"), "image_width is not a list of numbers"),
        (ROS.replace("640", "640.5"), "image_width must be one whole number"),
        (ROS.replace("640", "-3"), "width_px and height_px must be positive"),
        (ROS.replace("0, 0, 1]", "0, 1]"), "camera_matrix has 8 numbers, expected 9"),
        (ROS.replace("526.5,", "-1,"), "focal_px must be two positive numbers"),
        (ROS.replace("526.5,", ".nan,"), "camera_matrix has numbers that are not finite"),
        (
            ROS.replace("plumb_bob", "equidistant"),
            "is 'equidistant'; supported are plumb_bob",
        ),
        (ROS.replace("0.03125]", "0.03125, 1]"), "0, 4, 5 or 8 finite OpenCV coefficients"),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CameraFileError, match="camera.yaml") as caught:
        load_camera(write(tmp_path, text))
    assert message in str(caught.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(CameraFileError, match="absent.yaml: cannot be read"):
        load_camera(tmp_path / "absent.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(CameraFileError, match="b.yaml"):
        load_camera(tmp_path / "b.yaml")
