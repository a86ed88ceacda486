"""Is a motion physically sane? Joint limits of poses, and feet that slide or sink."""

from dataclasses import dataclass

import numpy as np

from kinestream.body.skeleton import FLOW_JOINT_NAMES
from kinestream.geometry.rotation import axis_angle_from_matrix
from kinestream.trainer.data.motion.clip import ANKLE_HEIGHT_M, MotionClip
from kinestream.trainer.data.motion.source import FloatArray

# Bounds of the rotation vector's components in degrees (x forward bend, y turn, z side bend; left side).
# Wide on purpose: they hold for gymnasts, so what is outside is an artefact.
_LIMITS_DEG: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "hip": ((-135, 55), (-65, 65), (-50, 75)),
    "knee": ((-20, 160), (-30, 30), (-30, 30)),
    "ankle": ((-70, 60), (-60, 60), (-45, 45)),
    "foot": ((-75, 80), (-20, 20), (-20, 20)),
    "spine1": ((-40, 75), (-35, 35), (-35, 35)),
    "spine2": ((-40, 60), (-35, 35), (-35, 35)),
    "spine3": ((-45, 45), (-35, 35), (-40, 40)),
    "neck": ((-75, 60), (-60, 60), (-60, 60)),
    "head": ((-75, 60), (-60, 60), (-60, 60)),
    "collar": ((-25, 25), (-30, 30), (-35, 50)),
    "shoulder": ((-135, 135), (-135, 85), (-115, 95)),
    "elbow": ((-65, 40), (-160, 20), (-35, 100)),
    "wrist": ((-120, 120), (-80, 80), (-80, 80)),
}


def _limit_table() -> FloatArray:
    table = np.empty((len(FLOW_JOINT_NAMES), 3, 2))
    for index, name in enumerate(FLOW_JOINT_NAMES):
        side, _, limb = name.partition("_")
        table[index] = _LIMITS_DEG[limb or name]
        if side == "right":  # mirrored at x = 0: y and z change sign
            table[index, 1:] = -table[index, 1:, ::-1]
    return np.radians(table)


JOINT_LIMITS: FloatArray = _limit_table()
"""(21, 3, 2) lower and upper bounds, in radians, of the components of each flow joint's rotation vector."""


def limit_excess(rotations: FloatArray) -> FloatArray:
    """How far each joint of poses (..., 21, 3, 3) is outside of its limits: (..., 21) radians, 0 inside."""
    vectors = axis_angle_from_matrix(rotations)
    outside = np.maximum(JOINT_LIMITS[..., 0] - vectors, vectors - JOINT_LIMITS[..., 1])
    excess: FloatArray = np.maximum(outside, 0.0).max(axis=-1)
    return excess


@dataclass(frozen=True)
class FootReport:
    """Feet of a clip: mean sliding speed while in contact, share of frames in contact, deepest sinking."""

    slide_m_s: float
    contact_share: float
    sink_m: float


def foot_report(clip: MotionClip, *, contact_height_m: float = 0.03) -> FootReport:
    """Measure the feet of a clip on the floor y = 0.

    A foot is in contact when its ankle is less than contact_height_m above standing height; sliding is then
    the horizontal speed of the ankle. Not meaningful for clips without a flat floor.
    """
    ankles = clip.joints_m()[:, (7, 8)]
    height = ankles[..., 1] - ANKLE_HEIGHT_M
    speed = np.linalg.norm(np.diff(ankles[..., (0, 2)], axis=0), axis=-1) * clip.fps
    contact = (height[1:] < contact_height_m) & (height[:-1] < contact_height_m)
    slide = float(speed[contact].mean()) if contact.any() else 0.0
    return FootReport(slide, float(contact.mean()) if contact.size else 0.0, float(max(0.0, -height.min())))


@dataclass(frozen=True)
class LimitReport:
    """Joint limits of a clip: share of frames with a violation, and the worst joint with its share."""

    violation_share: float
    worst_joint: str
    worst_share: float


def limit_report(clip: MotionClip) -> LimitReport:
    """Share of frames in which a joint leaves its limits."""
    outside = limit_excess(clip.rotations[:, 1:]) > 0
    shares = outside.mean(axis=0)
    worst = int(shares.argmax())
    return LimitReport(float(outside.any(axis=1).mean()), FLOW_JOINT_NAMES[worst], float(shares[worst]))
