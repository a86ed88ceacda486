"""Joint-limit and foot reports find what is wrong and leave what is right."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.body.mirror import mirror_rotations
from kinestream.trainer.data.motion.clip import ANKLE_HEIGHT_M, REST_JOINTS_M, MotionClip
from kinestream.trainer.data.motion.sanity import JOINT_LIMITS, foot_report, limit_excess, limit_report

LEFT_KNEE, LEFT_ELBOW = 3, 17  # among the 21 flow joints


def standing(frames: int = 20, speed: float = 0.0) -> MotionClip:
    rotations = np.broadcast_to(np.eye(3), (frames, 22, 3, 3)).copy()
    height = ANKLE_HEIGHT_M - REST_JOINTS_M[7, 1]
    x = speed * np.arange(frames) / 60.0
    return MotionClip("stand", rotations, np.stack([x, x * 0 + height, x * 0], 1), 60.0)


def test_limits_are_mirror_images() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(scale=1.0, size=(500, 21, 3))
    poses = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(500, 21, 3, 3)
    here, there = limit_excess(poses), limit_excess(mirror_rotations(poses))
    np.testing.assert_allclose(np.sort(here, axis=1), np.sort(there, axis=1), atol=1e-6)
    assert (JOINT_LIMITS[..., 0] < 0).all()
    assert (JOINT_LIMITS[..., 1] > 0).all()


@pytest.mark.parametrize(
    ("joint", "vector_deg", "excess_deg"),
    [
        (LEFT_KNEE, (100, 0, 0), 0),
        (LEFT_KNEE, (-50, 0, 0), 30),
        (LEFT_ELBOW, (0, 60, 0), 40),
        (LEFT_ELBOW, (0, -120, 40), 0),
    ],
)
def test_excess_beyond_the_limits(joint: int, vector_deg: tuple[float, ...], excess_deg: float) -> None:
    pose = np.broadcast_to(np.eye(3), (21, 3, 3)).copy()
    pose[joint] = Rotation.from_rotvec(vector_deg, degrees=True).as_matrix()
    assert np.degrees(limit_excess(pose)[joint]) == pytest.approx(excess_deg, abs=1e-4)


def test_limit_report_names_the_joint() -> None:
    clip = standing()
    clip.rotations[5:10, LEFT_KNEE + 1] = Rotation.from_rotvec([-1.0, 0, 0]).as_matrix()
    report = limit_report(clip)
    assert (report.worst_joint, report.worst_share, report.violation_share) == ("left_knee", 0.25, 0.25)


def test_foot_report_measures_sliding_and_sinking() -> None:
    assert foot_report(standing()).slide_m_s == pytest.approx(0.0)
    assert foot_report(standing(speed=0.7)).slide_m_s == pytest.approx(0.7)
    clip = standing()
    clip.root_translation_m[3, 1] -= 0.1
    assert foot_report(clip).sink_m == pytest.approx(0.1)
    clip.root_translation_m[:, 1] += 1.0
    assert foot_report(clip).contact_share == 0.0
