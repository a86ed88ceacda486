"""Recordings: what goes in comes out byte for byte, whatever happens to the file or the disk."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kinestream.geometry.rotation import matrix_from_quat
from kinestream.pose import PoseFrame
from kinestream.stream import Publisher, Recorder, RecordingError, read_messages, read_pictures, read_poses
from kinestream.stream import recorder as recorder_module
from kinestream.stream.axes import AXES, ORIGINS, OutputFrame
from kinestream.stream.foxglove import SCHEMAS

Make = Callable[..., PoseFrame]
DRAWN = ("/people", "/tf", "/camera/calibration", "/camera/image")


def at(frame: PoseFrame, t_capture_ns: int) -> PoseFrame:
    return PoseFrame(
        frame_index=frame.frame_index, t_capture_ns=t_capture_ns, camera=frame.camera, persons=frame.persons
    )


@pytest.fixture
def recorded(tmp_path: Path, pose_frame: Make) -> tuple[Path, list[bytes]]:
    """A recording of thirty frames at 25 fps of a file, and all that was sent."""
    path, sent = tmp_path / "walk.mcap", []

    with (
        Publisher("inproc://recorded", source="test", heartbeat_s=None) as publisher,
        Recorder(path, source="test", wait=True) as recorder,
    ):

        def take(message: Any, data: bytes) -> None:
            sent.append(data)
            recorder.add(message, data)

        publisher.on_message = take
        publisher.publish_stats({"fps_in": 25.0})
        for i in range(30):
            publisher.publish(at(pose_frame(*range(i % 3), frame_index=i), i * 40_000_000), clock="media")
            recorder.add_picture(np.full((48, 64, 3), 8 * i, np.uint8), i * 40_000_000)
    return path, sent


def test_messages_come_back_byte_for_byte(recorded: tuple[Path, list[bytes]]) -> None:
    path, sent = recorded
    messages = list(read_messages(path))
    assert [message.data for message in messages] == sent
    assert [message.topic for message in messages] == ["stats"] + ["pose"] * 30
    assert [message.frame.frame_index for message in read_poses(path)] == list(range(30))


def test_frames_of_a_file_keep_their_own_pace(recorded: tuple[Path, list[bytes]]) -> None:
    times_ns = [message.t_log_ns for message in read_messages(recorded[0], ("pose",))]
    assert np.diff(times_ns).tolist() == [40_000_000] * 29


def test_live_frames_lie_where_they_were_published(tmp_path: Path, pose_frame: Make) -> None:
    path = tmp_path / "live.mcap"
    with Publisher("inproc://live", heartbeat_s=None) as publisher, Recorder(path, wait=True) as recorder:
        publisher.on_message = recorder.add
        sent = [publisher.publish(pose_frame(1), clock="monotonic") for _ in range(5)]
    times_ns = [message.t_log_ns for message in read_messages(path)]
    assert np.diff(times_ns).tolist() == np.diff([message.t_publish_ns for message in sent]).tolist()


def test_a_file_that_starts_again_goes_on_in_time(tmp_path: Path, pose_frame: Make) -> None:
    path = tmp_path / "loop.mcap"
    with Publisher("inproc://loop", heartbeat_s=None) as publisher, Recorder(path, wait=True) as recorder:
        publisher.on_message = recorder.add
        for i in (0, 1, 2, 0, 1, 2):
            publisher.publish(at(pose_frame(), i * 40_000_000), clock="media")
    times_ns = [message.t_log_ns for message in read_messages(path)]
    assert np.diff(times_ns).tolist() == [40_000_000, 40_000_000, 0, 40_000_000, 40_000_000]


def test_pictures_and_what_viewers_draw(recorded: tuple[Path, list[bytes]], pose_frame: Make) -> None:
    path, _ = recorded
    jpegs = [np.frombuffer(jpeg, np.uint8) for _, jpeg in read_pictures(path)]
    pictures = [cv2.imdecode(jpeg, cv2.IMREAD_COLOR) for jpeg in jpegs]
    assert len(pictures) == 30 and pictures[0].shape == (48, 64, 3)
    assert [round(float(picture.mean()) / 8) for picture in pictures] == list(range(30))

    drawn = {topic: [json.loads(m.data) for m in read_messages(path, (topic,))] for topic in DRAWN}
    scenes = drawn["/people"]
    assert [len(scene["entities"]) for scene in scenes] == [i % 3 for i in range(30)]
    (line,) = scenes[2]["entities"][1]["lines"]
    points = np.array([[p["x"], p["y"], p["z"]] for p in line["points"]])
    np.testing.assert_allclose(points, pose_frame(1).persons[0].joints_cam_m, atol=1e-4)
    assert len(line["indices"]) == 46, "two ends for each of 23 bones"
    (calibration,) = drawn["/camera/calibration"]
    np.testing.assert_allclose(np.reshape(calibration["K"], (3, 3)), pose_frame().camera.K)
    assert calibration["D"] == [0.125, -0.25, 0.0, 0.0, 0.0] and calibration["width"] == 1280
    turn = drawn["/tf"][0]["rotation"]
    matrix = matrix_from_quat(np.array([turn["w"], turn["x"], turn["y"], turn["z"]]))
    np.testing.assert_allclose(matrix @ [0, 0, 1], [1, 0, 0], atol=1e-9, err_msg="forward is x")
    np.testing.assert_allclose(matrix @ [0, 1, 0], [0, 0, -1], atol=1e-9, err_msg="down is -z")
    for name, message in (
        ("SceneUpdate", scenes[0]),
        ("CameraCalibration", calibration),
        ("FrameTransform", drawn["/tf"][0]),
        ("CompressedImage", drawn["/camera/image"][0]),
    ):
        assert set(message) == set(SCHEMAS[f"foxglove.{name}"]["properties"])


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("origin", ORIGINS)
def test_other_axes_are_drawn_in_the_camera_frame(
    tmp_path: Path, pose_frame: Make, axes: Any, origin: Any
) -> None:
    path, output = tmp_path / "axes.mcap", OutputFrame(axes, 0.2, origin)
    turns = np.array([[0.5, 0.5, -0.5, 0.5], [0.6, 0.0, 0.8, 0.0], [0.8, 0.6, 0, 0]])
    frame = pose_frame(1, joint_quats_wxyz=turns[np.arange(21) % 3], root_quat_wxyz=turns[0])
    with (
        Publisher("inproc://axes", heartbeat_s=None, output=output) as publisher,
        Recorder(path, wait=True) as recorder,
    ):
        publisher.on_message = recorder.add
        sent = publisher.publish(frame, clock="media")
    (restored,) = output.restore(sent.frame)
    for name in ("joints_cam_m", "keypoints_cam_m", "translation_m", "root_quat_wxyz", "joint_quats_wxyz"):
        np.testing.assert_allclose(getattr(restored, name), getattr(frame.persons[0], name), atol=2e-6)
    (message,) = read_messages(path, ("/people",))
    points = json.loads(message.data)["entities"][0]["lines"][0]["points"]
    joints = [[point[axis] for axis in "xyz"] for point in points]
    np.testing.assert_allclose(joints, frame.persons[0].joints_cam_m, atol=1e-4)


def test_a_camera_that_looks_down_is_placed_as_it_is_held(tmp_path: Path, pose_frame: Make) -> None:
    path, tilt_rad = tmp_path / "tilt.mcap", 0.3
    outputs = [OutputFrame("unity", tilt_rad), OutputFrame("ros", tilt_rad), OutputFrame("unity")]
    with Publisher("inproc://tilt", heartbeat_s=None) as publisher, Recorder(path, wait=True) as recorder:
        publisher.on_message = recorder.add
        for output in outputs:
            publisher.output = output
            publisher.publish(pose_frame(0), clock="media")
    turns = [json.loads(message.data)["rotation"] for message in read_messages(path, ("/tf",))]
    held, level = (matrix_from_quat(np.array([turn[axis] for axis in "wxyz"])) for turn in turns)
    down = -np.sin(tilt_rad)
    np.testing.assert_allclose(held @ [0, 0, 1], [np.cos(tilt_rad), 0, down], atol=1e-9, err_msg="its view")
    np.testing.assert_allclose(held, outputs[1].world, atol=1e-9)
    np.testing.assert_allclose(level @ [0, 0, 1], [1, 0, 0], atol=1e-9)


def test_whatever_is_cut_off_the_rest_is_read(recorded: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    path, sent = recorded
    content = path.read_bytes()
    cut = tmp_path / "cut.mcap"
    found = []
    for size in range(8, len(content), len(content) // 60):
        cut.write_bytes(content[:size])
        if size == 8:
            with pytest.raises(RecordingError, match="not a recording"):
                list(read_messages(cut))
            continue
        data = [message.data for message in read_messages(cut)]
        assert data == sent[: len(data)]
        found.append(len(data))
    assert found == sorted(found) and found[-1] == len(sent), "the end holds nothing but the index"


def test_damage_is_never_worse_than_an_end(recorded: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    path, sent = recorded
    content = np.frombuffer(path.read_bytes(), np.uint8)
    broken = tmp_path / "broken.mcap"
    rng = np.random.default_rng(5)
    for _ in range(300):
        changed = content.copy()
        places = rng.integers(8, len(changed), rng.integers(1, 8))
        changed[places] = rng.integers(0, 256, len(places))
        broken.write_bytes(changed.tobytes())
        data = [message.data for message in read_messages(broken)]
        assert all(message in sent for message in data)


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "old.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(RecordingError, match=r"old.mcap: exists, and a recording is never overwritten"):
        Recorder(path)
    assert path.read_bytes() == b"precious"


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.mcap"
    for content in (b"", b"text that is long enough to be one"):
        path.write_bytes(content)
        with pytest.raises(RecordingError, match="notes.mcap: not a recording"):
            list(read_messages(path))


def test_a_slow_disk_slows_nobody(
    tmp_path: Path, pose_frame: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    busy, go_on = threading.Event(), threading.Event()
    write = recorder_module._McapWriter.write

    def slow(self: Any, item: Any) -> None:
        busy.set()
        assert go_on.wait(30)
        write(self, item)

    monkeypatch.setattr(recorder_module._McapWriter, "write", slow)
    path = tmp_path / "slow.mcap"
    sent = []
    with Publisher("inproc://slow", heartbeat_s=None) as publisher, Recorder(path) as recorder:

        def take(message: Any, data: bytes) -> None:
            sent.append(data)
            recorder.add(message, data)

        publisher.on_message = take
        for i in range(400):
            publisher.publish(pose_frame(frame_index=i), clock="monotonic")
            assert busy.wait(30)
            recorder.add_picture(np.zeros((8, 8, 3), np.uint8), 0)
        go_on.set()
    kept = [message.data for message in read_messages(path)]
    pictures = len(list(read_pictures(path)))
    assert recorder.dropped == 800 - len(kept) - pictures and 200 < len(kept) < 400
    assert kept == sent[: len(kept)] and pictures <= recorder_module.QUEUED_PICTURES
    assert caplog.text.count("the disk does not keep up") == 1


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    with pytest.raises(ImportError, match=r"pip install 'kinestream\[record\]'"):
        Recorder(tmp_path / "new.mcap")
    assert not (tmp_path / "new.mcap").exists()
