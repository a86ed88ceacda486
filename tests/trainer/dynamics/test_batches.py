"""What the filter is trained on: recordings, their batches, drifting cameras."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.trainer.dynamics.batches import (
    draw_batch,
    drifting,
    recorded_batch,
)
from kinestream.trainer.dynamics.clips import LatentClips
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from tests.trainer.dynamics.small_motion import recording


def test_a_recording_is_what_was_saved(clips: LatentClips, tmp_path: Path) -> None:
    made, path = recording(clips), tmp_path / "observations.npz"
    made.save(path)
    found = RecordedObservations.load(path)
    for name, value in vars(made).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert len(RecordedObservations.joined([made, found])) == 6
    with pytest.raises(ValueError, match="one rate and length"):
        RecordedObservations.joined([made, replace(made, fps=30.0)])
    np.savez(path, z=made.z)
    with pytest.raises(ValueError, match="trainer.prepare.record_observations"):
        RecordedObservations.load(path)


def test_recorded_sequences_are_stretches_of_the_recording(clips: LatentClips) -> None:
    recorded = recording(clips)
    data = recorded_batch(recorded, batch=64, steps=12, rng=np.random.default_rng(0))
    step = np.diff(data.times_s.numpy(), axis=1)
    assert step.min() >= 1 / 60 - 1e-9 and 1 / 60 <= step.mean() <= 1 / 8
    assert len(np.unique(step.mean(1).round(3))) > 20, "many rates"
    assert not data.missing[:, 0].any() and 0.01 < data.missing.float().mean() < 0.25
    whole = data.valid.all(1)
    assert 0.5 < whole.float().mean() <= 1.0
    offset = (data.observed.z - data.truth.z)[:, 0, 0].abs()
    assert float(offset.max()) == pytest.approx(0.5, abs=1e-5) and 0.24 < float(offset.min()) < 0.4
    weaker = offset / 0.5
    factor = data.std[:, 3, 5] / (0.4 * weaker)
    assert float(factor.log().std()) == pytest.approx(0.25, abs=0.06)
    torch.testing.assert_close(data.std[:, 0, 60], data.std[:, 3, 5])
    too_far = (data.observed.translation_m - data.truth.translation_m)[:, 4, 2]
    torch.testing.assert_close(too_far.abs(), 0.2 * weaker, atol=1e-4, rtol=1e-3)
    assert 15 < int((too_far > 0).sum()) < 49, "either sign"
    turned = (data.observed.root_quat_wxyz * data.truth.root_quat_wxyz).sum(-1)[:, 2]
    torch.testing.assert_close(2 * torch.acos(turned.clamp(max=1)), 0.1 * weaker, atol=2e-3, rtol=1e-2)


def test_truth_ahead_is_the_truth_of_the_later_frame(clips: LatentClips) -> None:
    recorded = recording(clips)
    recorded.z[:] = np.arange(90)[None, :, None]  # the frame's number
    data = recorded_batch(recorded, batch=16, steps=6, rng=np.random.default_rng(1))
    passed = (data.ahead.z - data.truth.z)[..., 0][data.ahead_valid].abs() / 60
    torch.testing.assert_close(passed, data.lead_s[data.ahead_valid], atol=1e-4, rtol=1e-4)
    assert float(data.lead_s.max()) <= 0.5


def test_recorded_people_are_moved_elsewhere_with_all_that_was_seen_of_them(clips: LatentClips) -> None:
    recorded = recording(clips)
    recorded.z[:], recorded.seen_z[:] = 1.0, 1.5
    recorded.root_quat_wxyz[:] = [1, 0, 0, 0]
    data = recorded_batch(recorded, batch=200, steps=4, rng=np.random.default_rng(3))
    torch.testing.assert_close(data.truth.z, data.truth.z[:, :1].expand(-1, 4, -1))
    for sign in (-1, 1):
        side = data.truth.z[torch.sign(data.observed.z - data.truth.z)[:, 0, 0] == sign]
        assert 70 < len(side) < 130
        assert float(side.mean()) == pytest.approx(sign, abs=0.05)
        assert float(side.std()) == pytest.approx(0.5, abs=0.05)
    root = data.truth.root_quat_wxyz[:, 0].numpy()
    assert np.abs(root[:, [1, 3]]).max() == 0 and np.abs(root[:, 2]).max() > 0.9


def test_what_the_latents_report_does_not_tell_the_clip(clips: LatentClips) -> None:
    recorded = recording(clips)
    recorded.std[:] = np.array([1, 2, 3])[:, None, None]
    data = recorded_batch(recorded, batch=90, steps=3, rng=np.random.default_rng(4))
    latent, place = data.std[:, 0, 0], data.std[:, 0, -1]
    same = (latent / place - 1).abs() < 1e-5
    assert 0.2 < float(same.float().mean()) < 0.5, "of three clips, as often the same one as by chance"


def test_before_a_drifting_camera_everything_moves_alike(clips: LatentClips) -> None:
    data = recorded_batch(recording(clips), batch=80, steps=5, rng=np.random.default_rng(5))
    moved = drifting(data, np.random.default_rng(6))
    gone = moved.truth.translation_m - data.truth.translation_m
    torch.testing.assert_close(moved.observed.translation_m - data.observed.translation_m, gone)
    speed = gone[:, -1] / data.times_s[:, -1:].float()
    still = (speed == 0).all(1)
    assert 25 < int(still.sum()) < 55 and float(speed[~still].std()) == pytest.approx(0.7, rel=0.15)
    torch.testing.assert_close(gone[:, 2], speed * data.times_s[:, 2:3].float(), atol=1e-5, rtol=1e-4)
    ahead = (moved.ahead.translation_m - data.ahead.translation_m)[:, 1]
    after_s = (data.times_s.float() + data.lead_s)[:, 1:2]
    torch.testing.assert_close(ahead, speed * after_s, atol=1e-5, rtol=1e-4)


def test_half_of_a_batch_is_recorded(clips: LatentClips) -> None:
    recorded = replace(recording(clips), std=np.full((3, 90, 69), 999.0, np.float32))
    data = draw_batch(clips, batch=9, steps=6, rng=np.random.default_rng(2), recorded=recorded)
    assert len(data.times_s) == len(data.observed.z) == 9
    assert int((data.std[:, 0, 0] > 40).sum()) == 4
