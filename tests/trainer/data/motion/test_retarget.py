"""Retargeting by global orientation: bone directions survive, zero poses are taken out, contact stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import JOINT_NAMES
from kinestream.trainer.data.motion.arms import hinge_elbow, infer_collar
from kinestream.trainer.data.motion.clip import ANKLE_HEIGHT_M, REST_JOINTS_M, MotionClip
from kinestream.trainer.data.motion.retarget import SkeletonMap, find_map, retarget, to_floor
from kinestream.trainer.data.motion.source import MocapError, SourceMotion, compose_global, shortest_arc

BODY = ("pelvis", "spine3", "neck", "head")
CHAIN = {
    "pelvis": (None, (0, 0, 0)),
    "spine3": ("pelvis", (0, 0.3, 0)),
    "neck": ("spine3", (0, 0.2, 0)),
    "head": ("neck", (0, 0.1, 0)),
}


def source(*, arms_down: bool = False, seed: int | None = None, scale: float = 1.0) -> SourceMotion:
    """A simple figure, spread legs and optionally hanging arms in its zero pose, posed at random."""
    tree: dict[str, tuple[str | None, tuple[float, float, float]]] = dict(CHAIN)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        tree[f"{side}_hip"] = ("pelvis", (0.1 * sign, -0.05, 0))
        tree[f"{side}_knee"] = (f"{side}_hip", (0.15 * sign, -0.4, 0))
        tree[f"{side}_ankle"] = (f"{side}_knee", (0.15 * sign, -0.4, 0))
        tree[f"{side}_shoulder"] = ("spine3", (0.2 * sign, 0.1, 0))
        bone = (0, -0.3, 0) if arms_down else (0.3 * sign, 0, 0)
        tree[f"{side}_elbow"] = (f"{side}_shoulder", bone)
        tree[f"{side}_wrist"] = (f"{side}_elbow", bone)
    names = tuple(tree)
    parents = tuple(-1 if parent is None else names.index(parent) for parent, _ in tree.values())
    frames = 5
    local = np.broadcast_to(np.eye(3), (frames, len(names), 3, 3)).copy()
    if seed is not None:
        vectors = np.random.default_rng(seed).normal(scale=0.5, size=(frames * len(names), 3))
        local = Rotation.from_rotvec(vectors).as_matrix().reshape(frames, len(names), 3, 3)
    offsets = np.array([offset for _, offset in tree.values()], dtype=float) * scale
    translation = np.linspace(0, 1, frames)[:, None] * np.array([0.0, 0.0, 1.0]) * scale
    return SourceMotion("figure", names, parents, offsets, compose_global(local, parents), translation, 60.0)


MAP = SkeletonMap("figure", {name: name for name in source().joint_names}, legs_spread=True)
LIMBS = [
    (f"{side}_{joint}", f"{side}_{child}")
    for side in ("left", "right")
    for joint, child in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]


def directions(joints: np.ndarray, names: tuple[str, ...], bone: tuple[str, str]) -> np.ndarray:
    vector = joints[:, names.index(bone[1])] - joints[:, names.index(bone[0])]
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


@pytest.mark.parametrize("arms_down", [False, True])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_limbs_point_where_the_sources_do(arms_down: bool, seed: int) -> None:
    motion = source(arms_down=arms_down, seed=seed)
    clip = retarget(motion, MAP)
    for bone in LIMBS:
        ours = directions(clip.joints_m(), JOINT_NAMES, bone)
        theirs = directions(motion.positions_m(), motion.joint_names, bone)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_zero_pose_with_hanging_arms_is_no_t_pose() -> None:
    clip = retarget(source(arms_down=True), MAP)
    angle = np.degrees(Rotation.from_matrix(clip.rotations[0, 16]).magnitude())
    collar = np.degrees(Rotation.from_matrix(clip.rotations[0, 13]).magnitude())
    assert angle + collar == pytest.approx(90.0, abs=1.0)
    assert 5.0 < collar < 15.0  # inferred: a part of the way down


def test_feet_follow_spread_legs() -> None:
    clip = retarget(source(), MAP)
    assert np.degrees(Rotation.from_matrix(clip.rotations[0, 7]).magnitude()) < 8.0


def test_root_translation_is_scaled_by_leg_length_and_keeps_the_hips() -> None:
    small, large = retarget(source(seed=3, scale=0.5), MAP), retarget(source(seed=3, scale=2.0), MAP)
    np.testing.assert_allclose(small.root_translation_m, large.root_translation_m, atol=1e-9)
    motion = source(seed=3)
    leg = 2 * np.hypot(0.15, 0.4)
    rest = REST_JOINTS_M
    own = np.linalg.norm(rest[1] - rest[4]) + np.linalg.norm(rest[4] - rest[7])
    theirs = (
        motion.positions_m()[:, [motion.index("left_hip"), motion.index("right_hip")]].mean(1) * own / leg
    )
    np.testing.assert_allclose(large.joints_m()[:, (1, 2)].mean(1), theirs, atol=1e-9)


def test_to_floor_puts_the_lower_ankle_at_its_height() -> None:
    clip = to_floor(retarget(source(), MAP))
    assert clip.joints_m()[:, (7, 8), 1].min() == pytest.approx(ANKLE_HEIGHT_M, abs=1e-9)


def test_unmapped_joints_are_named() -> None:
    motion = source()
    with pytest.raises(MocapError, match=r"\['left_knee'\] are not mapped"):
        retarget(motion, SkeletonMap("x", {k: v for k, v in MAP.joints.items() if k != "left_knee"}))
    with pytest.raises(MocapError, match=r"\['lKnee'\] that the file has not; it has pelvis"):
        retarget(motion, SkeletonMap("x", {**MAP.joints, "left_knee": "lKnee"}))
    with pytest.raises(MocapError, match="no target joint"):
        retarget(motion, SkeletonMap("x", {**MAP.joints, "left_tail": "pelvis"}))
    with pytest.raises(MocapError, match="no known joint map fits") as error:
        find_map(motion)
    assert "CMU as ASF/AMC lacks" in str(error.value)


def test_a_missing_frame_rate_is_an_error() -> None:
    motion = source()
    silent = SourceMotion(*[getattr(motion, name) for name in list(vars(motion))[:6]], fps=float("nan"))
    with pytest.raises(MocapError, match="frame rate"):
        retarget(silent, MAP)


def test_mirroring_twice_is_the_identity_and_swaps_the_sides() -> None:
    clip = retarget(source(seed=5), MAP)
    mirrored = clip.mirrored()
    np.testing.assert_allclose(mirrored.mirrored().rotations, clip.rotations, atol=1e-12)
    flipped = clip.joints_m() * np.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(mirrored.joints_m()[:, 20], flipped[:, 21], atol=2e-3)


def test_shortest_arc_turns_start_into_stop() -> None:
    start, stop = np.array([0.3, 0.2, -1.0]), np.array([-2.0, 0.1, 0.4])
    rotation = shortest_arc(start, stop)
    np.testing.assert_allclose(rotation @ start / np.linalg.norm(start), stop / np.linalg.norm(stop))
    with pytest.raises(ValueError, match="opposite"):
        shortest_arc(start, -start)


@pytest.mark.parametrize(("side", "sign"), [("left", 1.0), ("right", -1.0)])
def test_collars_rise_with_raised_arms_and_rest_in_the_t_pose(side: str, sign: float) -> None:
    chest = np.eye(3)[None].repeat(3, 0)
    arm = Rotation.from_euler("z", np.array([[0.0], [80.0], [-80.0]]) * sign, degrees=True).as_matrix()
    collar = Rotation.from_matrix(infer_collar(chest, arm, side)).as_rotvec(degrees=True)
    np.testing.assert_allclose(collar[0], 0.0, atol=1e-9)
    assert collar[1, 2] * sign == pytest.approx(24.0, abs=0.1)
    assert collar[2, 2] * sign == pytest.approx(-9.6, abs=0.1)


@settings(max_examples=20, deadline=None)
@given(turn=st.floats(-3.0, 3.0), bend=st.floats(0.5, 2.5), side=st.sampled_from(["left", "right"]))
def test_hinge_elbow_keeps_bones_and_makes_a_hinge(turn: float, bend: float, side: str) -> None:
    sign = 1.0 if side == "left" else -1.0
    shoulder, elbow, wrist = (JOINT_NAMES.index(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
    rotations = np.broadcast_to(np.eye(3), (1, 22, 3, 3)).copy()
    upper = Rotation.from_euler("ZY", [0.4, 0.3])
    axis = np.array([0.0, np.sin(turn), np.cos(turn)])
    rotations[0, shoulder] = upper.as_matrix()
    rotations[0, elbow] = rotations[0, wrist] = (upper * Rotation.from_rotvec(bend * axis)).as_matrix()
    before = rotations.copy()
    hinge_elbow(rotations, side)
    along = np.array([sign, 0.0, 0.0])
    for joint in (shoulder, elbow, wrist):
        np.testing.assert_allclose(rotations[0, joint] @ along, before[0, joint] @ along, atol=1e-6)
    local = Rotation.from_matrix(rotations[0, shoulder].T @ rotations[0, elbow]).as_rotvec()
    hinge = np.array([0.0, -0.866, 0.5]) * sign
    np.testing.assert_allclose(local / np.linalg.norm(local), hinge, atol=2e-3)


def test_clips_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"rotations must be \(3, 22, 3, 3\)"):
        MotionClip("x", np.zeros((3, 21, 3, 3)), np.zeros((3, 3)), 60.0)
    with pytest.raises(ValueError, match="fps"):
        MotionClip("x", np.zeros((3, 22, 3, 3)), np.zeros((3, 3)), 0.0)
