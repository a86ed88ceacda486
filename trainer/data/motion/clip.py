"""A motion on the project's 24-joint skeleton."""

from dataclasses import dataclass, replace

import numpy as np

from kinestream.body.mirror import mirror_rotations
from kinestream.body.skeleton import JOINT_NAMES, PARENTS
from kinestream.trainer.data.motion.source import FloatArray

NUM_BODY_JOINTS = 22
"""The root and the 21 flow joints; hands stay at rest."""

BODY_JOINT_NAMES = JOINT_NAMES[:NUM_BODY_JOINTS]

REST_JOINTS_M: FloatArray = np.array(
    [
        (0.000, 0.000, 0.000), (0.093, -0.060, 0.013), (-0.093, -0.060, 0.013), (0.000, 0.106, -0.003),
        (0.119, -0.444, 0.043), (-0.119, -0.444, 0.043), (0.000, 0.187, -0.007), (0.112, -0.879, 0.011),
        (-0.112, -0.879, 0.011), (0.000, 0.316, -0.019), (0.113, -0.929, 0.156), (-0.113, -0.929, 0.156),
        (0.000, 0.517, 0.024), (0.066, 0.439, 0.037), (-0.066, 0.439, 0.037), (0.000, 0.601, 0.055),
        (0.176, 0.408, 0.032), (-0.176, 0.408, 0.032), (0.436, 0.408, 0.032), (-0.436, 0.408, 0.032),
        (0.670, 0.408, 0.032), (-0.670, 0.408, 0.032), (0.775, 0.408, 0.032), (-0.775, 0.408, 0.032),
    ]
)  # fmt: skip
"""(24, 3) joints of the default body in its T-pose, rounded to millimetres: x left, y up, z forward."""

ANKLE_HEIGHT_M = 0.08
"""Height of the default body's ankle joints above the sole."""


@dataclass(frozen=True)
class MotionClip:
    """One continuous motion of one person."""

    name: str  # source file, and `#first` frame when the clip is a part of it
    rotations: FloatArray  # (T, 22, 3, 3); [:, 0] world from pelvis, the others relative to the parent
    root_translation_m: FloatArray  # (T, 3) pelvis of the default body; y up, a flat floor at y = 0
    fps: float
    split: str = "train"  # "train" or "val"
    source: str = ""  # data set, for instance "cmu"

    def __post_init__(self) -> None:
        frames = len(self.root_translation_m)
        if self.rotations.shape != (frames, NUM_BODY_JOINTS, 3, 3):
            raise ValueError(
                f"{self.name}: rotations must be ({frames}, {NUM_BODY_JOINTS}, 3, 3), "
                f"found {self.rotations.shape}"
            )
        if not self.fps > 0:
            raise ValueError(f"{self.name}: fps must be positive, found {self.fps}")

    def __len__(self) -> int:
        return len(self.root_translation_m)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self) / self.fps

    def part(self, first: int, stop: int) -> "MotionClip":
        """Frames first..stop-1 as a clip of its own."""
        return replace(
            self,
            name=f"{self.name}#{first}",
            rotations=self.rotations[first:stop],
            root_translation_m=self.root_translation_m[first:stop],
        )

    def mirrored(self) -> "MotionClip":
        """The same motion with left and right exchanged (mirrored at the plane x = 0)."""
        return replace(
            self,
            name=f"{self.name}~mirror",
            rotations=mirror_rotations(self.rotations),
            root_translation_m=self.root_translation_m * np.array([-1.0, 1.0, 1.0]),
        )

    def joints_m(self) -> FloatArray:
        """(T, 24, 3) joints of the default body in the world."""
        return forward_joints(self.rotations, self.root_translation_m)


def forward_joints(rotations: FloatArray, root_translation_m: FloatArray) -> FloatArray:
    """Forward kinematics of the default body: (T, 22, 3, 3) and (T, 3) to joints (T, 24, 3) in metres."""
    turned = [rotations[:, 0]]
    joints = [np.asarray(root_translation_m)]
    for joint in range(1, len(PARENTS)):
        parent = PARENTS[joint]
        joints.append(joints[parent] + turned[parent] @ (REST_JOINTS_M[joint] - REST_JOINTS_M[parent]))
        own = rotations[:, joint] if joint < NUM_BODY_JOINTS else np.eye(3)
        turned.append(turned[parent] @ own)
    return np.stack(joints, axis=1)
