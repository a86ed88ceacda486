"""The zero-phase low-pass of the root."""

import numpy as np
from scipy.spatial.transform import Rotation

from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.low_pass import continuous_quat, low_pass, low_pass_root


def turning(frames: int = 61, fps: float = 60.0, rate: float = 2.0) -> MotionClip:
    times = np.arange(frames) / fps
    vectors = np.zeros((frames, 22, 3))
    vectors[:, :, 1] = rate * times[:, None] * np.linspace(0.1, 1.0, 22)
    rotations = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(frames, 22, 3, 3)
    return MotionClip("turn", rotations, np.stack([times, 1 + 0 * times, -times], 1), fps)


def test_low_pass_removes_jitter_without_lag_and_keeps_the_joints() -> None:
    clip = turning(121)
    noisy = clip.rotations.copy()
    jitter = 0.05 * np.where(np.arange(121) % 2, 1.0, -1.0)
    noisy[:, 0] = noisy[:, 0] @ Rotation.from_rotvec(jitter[:, None] * [1.0, 0.0, 0.0]).as_matrix()
    smooth = low_pass_root(MotionClip("n", noisy, clip.root_translation_m, 60.0), 10.0)
    error = Rotation.from_matrix(clip.rotations[:, 0].transpose(0, 2, 1) @ smooth.rotations[:, 0]).magnitude()
    assert error[10:-10].max() < 0.005
    np.testing.assert_array_equal(smooth.rotations[:, 1:], noisy[:, 1:])


def test_low_pass_leaves_slow_signals_and_short_ones() -> None:
    slow = np.sin(2 * np.pi * 1.0 * np.arange(120) / 60)[:, None]
    np.testing.assert_allclose(low_pass(slow, 60.0, 10.0)[10:-10], slow[10:-10], atol=2e-3)
    np.testing.assert_array_equal(low_pass(slow[:3], 60.0, 10.0), slow[:3])
    np.testing.assert_array_equal(low_pass(slow, 16.0, 10.0), slow)


def test_quaternion_signs_become_continuous() -> None:
    quats = Rotation.from_rotvec(np.linspace(0, 6, 50)[:, None] * [0.0, 1.0, 0.0]).as_quat()[:, [3, 0, 1, 2]]
    flipped = quats * np.where(np.arange(50) % 3 == 0, -1.0, 1.0)[:, None]
    steps = np.linalg.norm(np.diff(continuous_quat(flipped), axis=0), axis=1)
    assert steps.max() < 0.2
