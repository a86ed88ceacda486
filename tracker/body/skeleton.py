"""The skeleton, the keypoints and the body parts, as docs/units-and-frames.md names them.

Joints follow the SMPL order, keypoints are COCO-17 plus six foot points, parts are 15 semantic
regions. All names are from the person's own point of view: ``left`` is the person's left.

>>> JOINT_NAMES[0], JOINT_NAMES[PARENTS[20]], len(JOINT_NAMES), len(KEYPOINT_NAMES)
('pelvis', 'left_elbow', 24, 23)
"""

from typing import Final

JOINT_NAMES: Final[tuple[str, ...]] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand",
    "right_hand",
)  # fmt: skip
"""The 24 joints; the pelvis is the root."""

PARENTS: Final[tuple[int, ...]] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
)  # fmt: skip
"""Parent of each joint; -1 for the root. A parent always precedes its children."""

FLOW_JOINT_NAMES: Final[tuple[str, ...]] = JOINT_NAMES[1:22]
"""The 21 joints whose rotations make a pose: all but the root and the two hands."""

KEYPOINT_NAMES: Final[tuple[str, ...]] = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle", "left_big_toe", "right_big_toe", "left_small_toe",
    "right_small_toe", "left_heel", "right_heel",
)  # fmt: skip
"""The 23 surface keypoints: COCO-17, then toes and heels."""

PART_NAMES: Final[tuple[str, ...]] = (
    "head", "upper_torso", "lower_torso", "l_upper_arm", "r_upper_arm", "l_forearm", "r_forearm", "l_hand",
    "r_hand", "l_thigh", "r_thigh", "l_shin", "r_shin", "l_foot", "r_foot",
)  # fmt: skip
"""The 15 semantic parts; in a part map 0 is background and part p is stored as p + 1."""

NUM_JOINTS: Final = len(JOINT_NAMES)
NUM_FLOW_JOINTS: Final = len(FLOW_JOINT_NAMES)
NUM_KEYPOINTS: Final = len(KEYPOINT_NAMES)
NUM_PARTS: Final = len(PART_NAMES)
NUM_BETAS: Final = 10

PART_OF_JOINT: Final[tuple[int, ...]] = (
    2, 9, 10, 2, 11, 12, 1, 13, 14, 1, 13, 14, 0, 1, 1, 0, 3, 4, 5, 6, 7, 8, 7, 8,
)  # fmt: skip
"""The part to which a surface point belongs when this joint moves it most."""


def _mirror(names: tuple[str, ...], left: str, right: str) -> tuple[int, ...]:
    def partner(name: str) -> str:
        if name.startswith(left):
            return right + name[len(left) :]
        if name.startswith(right):
            return left + name[len(right) :]
        return name

    return tuple(names.index(partner(name)) for name in names)


MIRROR_JOINTS: Final = _mirror(JOINT_NAMES, "left_", "right_")
"""Index of the joint on the other side of the body."""
MIRROR_KEYPOINTS: Final = _mirror(KEYPOINT_NAMES, "left_", "right_")
"""Index of the keypoint on the other side of the body."""
MIRROR_PARTS: Final = _mirror(PART_NAMES, "l_", "r_")
"""Index of the part on the other side of the body."""

_KEYPOINT_EDGE_NAMES: Final[tuple[tuple[str, str], ...]] = (
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"), ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"), ("left_hip", "right_hip"), ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("left_ankle", "left_heel"), ("left_heel", "left_big_toe"), ("left_big_toe", "left_small_toe"),
    ("right_ankle", "right_heel"), ("right_heel", "right_big_toe"), ("right_big_toe", "right_small_toe"),
)  # fmt: skip
KEYPOINT_EDGES: Final[tuple[tuple[int, int], ...]] = tuple(
    (KEYPOINT_NAMES.index(a), KEYPOINT_NAMES.index(b)) for a, b in _KEYPOINT_EDGE_NAMES
)
"""Pairs of keypoints to connect when a person is drawn as lines."""
