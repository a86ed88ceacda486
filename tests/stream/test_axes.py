"""Frames of reference, by cases worked out by hand, and by what must hold for all of them."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import PARENTS
from kinestream.geometry.level import Ground
from kinestream.geometry.quaternion import multiply, rotate
from kinestream.pose import Person, PoseFrame
from kinestream.stream import PoseMessage, decode, encode
from kinestream.stream.axes import AXES, OutputFrame
from kinestream.stream.message import StreamIdentity

Make = Callable[..., PoseFrame]
HALF = math.sqrt(0.5)


def moved(pose_frame: Make, output: OutputFrame, **changes: object) -> Person:
    return output.apply(pose_frame(0, **changes)).persons[0]


@pytest.mark.parametrize(
    ("axes", "place"),
    [
        ("camera", [1, 2, 3]),  # 1 right, 2 down, 3 ahead
        ("ros", [3, -1, -2]),  # x ahead, y left, z up
        ("unity", [1, -2, 3]),  # x right, y up, z ahead
        ("blender", [1, 3, -2]),  # x right, y ahead, z up
    ],
)
def test_a_place_one_right_two_down_three_ahead(pose_frame: Make, axes: str, place: list[float]) -> None:
    joints = np.tile([1, 2, 3], (24, 1))
    person = moved(pose_frame, OutputFrame(axes), translation_m=[1, 2, 3], joints_cam_m=joints)  # type: ignore[arg-type]
    np.testing.assert_allclose(person.translation_m, place, atol=1e-6)
    np.testing.assert_allclose(person.joints_cam_m, np.tile(place, (24, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("axes", "quat"),
    [
        ("camera", [0, 1, 0, 0]),  # half a turn about x: body up against picture down
        ("ros", [0, 0, 0, 1]),  # half a turn about z: looks back at the camera
        ("unity", [0, 0, 1, 0]),  # half a turn about y
        ("blender", [1, 0, 0, 0]),  # rest poses look along -y, which is back at the camera
    ],
)
def test_who_stands_upright_and_faces_the_camera(pose_frame: Make, axes: str, quat: list[float]) -> None:
    person = moved(pose_frame, OutputFrame(axes), root_quat_wxyz=[0, 1, 0, 0])  # type: ignore[arg-type]
    assert abs(np.dot(person.root_quat_wxyz, quat)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("axes", "quat"),
    [
        ("camera", [HALF, HALF, 0, 0]),  # a quarter turn about the person's left: bends forward
        ("ros", [HALF, 0, HALF, 0]),  # about y, which is left
        ("unity", [HALF, HALF, 0, 0]),  # x is right, and left hands turn the other way
        ("blender", [HALF, HALF, 0, 0]),  # about x, which is left
    ],
)
def test_a_spine_that_bends_forward(pose_frame: Make, axes: str, quat: list[float]) -> None:
    quats = np.tile([1.0, 0, 0, 0], (21, 1))
    quats[2] = [HALF, HALF, 0, 0]
    person = moved(pose_frame, OutputFrame(axes), joint_quats_wxyz=quats)  # type: ignore[arg-type]
    np.testing.assert_allclose(person.joint_quats_wxyz[2], quat, atol=1e-6)


def test_a_camera_that_looks_down_is_levelled(pose_frame: Make) -> None:
    """30 degrees down: what lies 2 m along the axis is 1.732 m ahead and 1 m below the camera."""
    tilt = math.radians(30)
    for axes, place in (
        ("camera", [0, 1, 1.7320508]),
        ("ros", [1.7320508, 0, -1]),
        ("unity", [0, -1, 1.7320508]),
        ("blender", [0, 1.7320508, -1]),
    ):
        person = moved(pose_frame, OutputFrame(axes, tilt), translation_m=[0, 0, 2])  # type: ignore[arg-type]
        np.testing.assert_allclose(person.translation_m, place, atol=1e-6)


def test_hips_as_origin_leave_the_place_in_the_translation(pose_frame: Make) -> None:
    joints = np.tile([1, 2, 3], (24, 1)) + np.eye(24, 3)
    person = moved(pose_frame, OutputFrame("ros", 0, "hips"), translation_m=[1, 2, 3], joints_cam_m=joints)
    np.testing.assert_allclose(
        person.joints_cam_m[:4], [[0, -1, 0], [0, 0, -1], [1, 0, 0], [0, 0, 0]], atol=1e-6
    )
    np.testing.assert_allclose(person.translation_m, [3, -1, -2], atol=1e-6)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("tilt_rad", [0.0, -0.4])
def test_rotations_and_positions_tell_the_same_pose(pose_frame: Make, axes: str, tilt_rad: float) -> None:
    """Forward kinematics in the new axes, of the new rotations and rest pose, gives the new positions."""
    random = np.random.default_rng(3)
    rest = random.normal(size=(24, 3))
    rest[0] = 0
    local = Rotation.random(24, random_state=3)
    quats = local.as_quat()[:, [3, 0, 1, 2]]
    quats[22:] = [1, 0, 0, 0]
    joints = forward(rest, quats) + [0.3, 0.2, 4]
    output = OutputFrame(axes, tilt_rad, "hips")  # type: ignore[arg-type]
    person = moved(
        pose_frame,
        output,
        translation_m=[0.3, 0.2, 4],
        joints_cam_m=joints,
        root_quat_wxyz=quats[0],
        joint_quats_wxyz=quats[1:22],
    )
    turned = np.concatenate([person.root_quat_wxyz[None], person.joint_quats_wxyz, quats[22:]])
    np.testing.assert_allclose(forward(rest @ output.body.T, turned), person.joints_cam_m, atol=2e-5)


def forward(rest: np.ndarray, quats: np.ndarray) -> np.ndarray:
    turns = [quats[0]]
    joints = np.zeros((24, 3))
    for joint in range(1, 24):
        parent = PARENTS[joint]
        joints[joint] = joints[parent] + rotate(turns[parent], rest[joint] - rest[parent])
        turns.append(multiply(turns[parent], quats[joint]))
    return joints


@pytest.mark.parametrize(
    "output",
    [
        OutputFrame(),
        OutputFrame("unity"),
        OutputFrame("ros", 0.25, "hips"),
        OutputFrame("blender", 0.25, "camera", -0.5),
    ],
)
def test_messages_say_in_which_frame_they_are(pose_frame: Make, output: OutputFrame) -> None:
    message = PoseMessage(
        identity=StreamIdentity(stream_id="s", clock_id="c"),
        sequence=0, t_publish_ns=1, clock="media", lead_ns=0, dropped=0, corrupt=0,
        frame=output.apply(pose_frame(0)), output=output,
    )  # fmt: skip
    assert decode(encode(message)) == message


@pytest.mark.parametrize(("tilt_rad", "roll_rad"), [(0.5, 0.0), (-0.4, 0.3), (0.7, -2.8), (0.0, 1.5)])
def test_a_ground_levels_the_world_and_puts_the_floor_at_0(
    pose_frame: Make, tilt_rad: float, roll_rad: float
) -> None:
    ground = Ground(tilt_rad, roll_rad, 0.05, 1.6, 0.1)
    up = ground.up
    again = Ground.of(up, std_rad=0.05, height_m=1.6, height_std_m=0.1)
    assert (again.tilt_rad, again.roll_rad) == pytest.approx((tilt_rad, roll_rad))
    assert up[2] == pytest.approx(-math.sin(tilt_rad)), "a camera that looks down sees up behind it"
    foot = np.array([0.0, 0.0, 3.0]) - (up @ [0, 0, 3.0] + 1.6) * up  # on the floor, straight down
    output = OutputFrame("ros", origin="floor").on(ground)
    frame = pose_frame(0, translation_m=foot, joints_cam_m=np.tile(foot + up, (24, 1)))
    (person,) = output.apply(frame).persons
    assert person.translation_m[2] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(person.joints_cam_m[0] - person.translation_m, [0, 0, 1], atol=1e-5)
    restored = output.restore(output.apply(frame)).persons[0]
    for name in ("translation_m", "joints_cam_m", "keypoints_cam_m", "root_quat_wxyz"):
        np.testing.assert_allclose(getattr(restored, name), getattr(frame.persons[0], name), atol=2e-6)
    assert OutputFrame("ros").on(None) == OutputFrame("ros")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("maya",), "axes: expected one of camera, ros, unity, blender, found 'maya'"),
        (("ros", 2.0), "tilt: expected -90 to 90 degrees, found 114"),
        (("ros", math.nan), "tilt: expected"),
        (("ros", 0.0, "moon"), "origin: expected one of camera, hips, floor, found 'moon'"),
        (("ros", 0.0, "floor", 4.0), "roll: expected -180 to 180 degrees, found 229"),
        (("ros", 0.0, "camera", 0.0, 1.5), "height: expected metres for the origin floor, found 1.5"),
    ],
)
def test_impossible_frames_are_refused(arguments: tuple[object, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        OutputFrame(*arguments)  # type: ignore[arg-type]
