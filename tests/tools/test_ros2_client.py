"""What the ROS 2 node would send: put together again as tf2 and robot_state_publisher do."""

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import JOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.geometry.level import Ground
from kinestream.pose import Person, PoseFrame
from kinestream.stream import OutputFrame

NODE = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "clients" / "ros2" / "kinestream_node.py"))


class Types:
    """Stands in for every class of ROS."""

    def __getattr__(self, name: str) -> type[SimpleNamespace]:
        return SimpleNamespace


TYPES = Types()
Build = Callable[..., Any]


@pytest.fixture
def frame() -> PoseFrame:
    random = np.random.default_rng(8)
    rotations = Rotation.random(22, random_state=8).as_quat(scalar_first=True)
    person = Person(
        track_id=4,
        score=0.9,
        box_xyxy_px=np.zeros(4, np.float32),
        root_quat_wxyz=rotations[0],
        translation_m=np.float32([0, 0, 3]),
        joint_quats_wxyz=rotations[1:],
        betas=np.zeros(10, np.float32),
        joints_cam_m=random.normal(size=(24, 3)).astype(np.float32) + np.float32([0, 0, 3]),
        joint_std_m=np.zeros(24, np.float32),
        keypoints_cam_m=np.zeros((23, 3), np.float32),
        keypoints_px=np.zeros((23, 3), np.float32),
    )
    camera = Camera(64, 48, (50.0, 50.0), (31.5, 23.5))
    return PoseFrame(frame_index=0, t_capture_ns=0, camera=camera, persons=(person,))


def test_the_tree_leads_to_every_joint(frame: PoseFrame) -> None:
    transforms, _, markers = NODE["messages"](
        OutputFrame("ros").apply(frame), 1_700_000_000_123_456_789, "camera_link", TYPES
    )
    places: dict[str, np.ndarray] = {"camera_link": np.zeros(3)}
    turns: dict[str, Rotation] = {"camera_link": Rotation.identity()}
    for item in transforms:
        parent, child, move = item.header.frame_id, item.child_frame_id, item.transform
        t, q = move.translation, move.rotation
        places[child] = places[parent] + turns[parent].apply([t.x, t.y, t.z])
        turns[child] = turns[parent] * Rotation.from_quat([q.x, q.y, q.z, q.w])
        assert (item.header.stamp.sec, item.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    x, y, z = frame.persons[0].joints_cam_m.T
    for joint, place in zip(JOINT_NAMES, np.stack([z, -x, -y], 1), strict=True):
        np.testing.assert_allclose(places[f"person_4/{joint}"], place, atol=1e-5)
    (marker,) = markers
    assert marker.type == 5 and len(marker.points) == 46 and marker.id == 4
    left_hip = places["person_4/left_hip"]
    np.testing.assert_allclose(
        [marker.points[1].x, marker.points[1].y, marker.points[1].z], left_hip, atol=1e-5
    )


def test_the_world_is_level_and_its_floor_at_0(frame: PoseFrame) -> None:
    ground = Ground(tilt_rad=0.4, roll_rad=-0.2, std_rad=0.05, height_m=1.5, height_std_m=0.1)
    item = NODE["world_transform"](ground, 0, "world", "camera_link", TYPES)
    assert (item.header.frame_id, item.child_frame_id) == ("world", "camera_link")
    q, t = item.transform.rotation, item.transform.translation
    turn = Rotation.from_quat([q.x, q.y, q.z, q.w])
    camera = OutputFrame("ros").apply(frame).persons[0]
    floor = OutputFrame("ros", origin="floor").on(ground).apply(frame).persons[0]
    np.testing.assert_allclose(
        turn.apply(camera.joints_cam_m) + [t.x, t.y, t.z], floor.joints_cam_m, atol=1e-5
    )


def test_three_revolute_joints_make_each_rotation(frame: PoseFrame) -> None:
    ros = OutputFrame("ros").apply(frame)
    _, state, _ = NODE["messages"](ros, 0, "camera_link", TYPES)
    angles = dict(zip(state.name, state.position, strict=True))
    assert len(angles) == 23 * 3
    for joint in range(1, 22):
        chain = Rotation.identity()
        for axis in "xyz":
            chain = chain * Rotation.from_euler(axis, angles[f"person_4/{JOINT_NAMES[joint]}_{axis}"])
        wanted = Rotation.from_quat(ros.persons[0].joint_quats_wxyz[joint - 1], scalar_first=True)
        assert (chain.inv() * wanted).magnitude() < 1e-5


@pytest.mark.parametrize("sign", [1, -1])
def test_where_two_angles_are_one(sign: int) -> None:
    quat = Rotation.from_euler("XYZ", [0.7, sign * np.pi / 2, 0.0]).as_quat(scalar_first=True)
    chain = Rotation.from_euler("XYZ", NODE["euler_xyz"](quat))
    assert (chain.inv() * Rotation.from_quat(quat, scalar_first=True)).magnitude() < 1e-4


def test_without_ros_it_says_what_is_missing() -> None:
    pytest.importorskip("scipy")
    try:
        import rclpy  # noqa: F401
    except ImportError:
        with pytest.raises(SystemExit, match="needs ROS 2: .*source /opt/ros"):
            NODE["main"]()
    else:
        pytest.skip("ROS 2 is here")
