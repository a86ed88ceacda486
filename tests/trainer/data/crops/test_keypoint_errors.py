"""Recorded errors come back where they were, on other bodies, and in the mirror."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, NUM_KEYPOINTS
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors

LEFT, RIGHT = KEYPOINT_NAMES.index("left_wrist"), KEYPOINT_NAMES.index("right_wrist")


def truth(count: int) -> torch.Tensor:
    return 0.8 * (torch.rand(count, NUM_KEYPOINTS, 2, generator=torch.Generator().manual_seed(3)) - 0.5)


def test_a_swap_is_kept_as_a_swap() -> None:
    true = truth(1)
    true[0, LEFT], true[0, RIGHT] = torch.tensor([0.4, 0.0]), torch.tensor([-0.4, 0.0])
    seen = true.clone()
    seen[0, LEFT] = true[0, RIGHT] + 0.01
    errors = KeypointErrors.measured(seen, torch.full((1, NUM_KEYPOINTS), 0.7), true)
    assert errors.exchanged.nonzero().tolist() == [[0, LEFT]]
    other = truth(64).flip(1)
    points, confidence = errors.repeated(other, torch.Generator().manual_seed(0))
    straight = (points[:, LEFT] - other[:, RIGHT] - 0.01).abs().amax(-1) < 1e-5
    mirrored = (points[:, RIGHT] - other[:, LEFT] - torch.tensor([-0.01, 0.01])).abs().amax(-1) < 1e-5
    assert (straight | mirrored).all()
    assert straight.any()
    assert mirrored.any()
    assert (confidence == 0.7).all()
    elsewhere = [k for k in range(NUM_KEYPOINTS) if k not in (LEFT, RIGHT)]
    torch.testing.assert_close(points[:, elsewhere], other[:, elsewhere])


def test_cut_people_are_not_kept_and_cut_keypoints_lie_at_the_edge() -> None:
    true = truth(5)
    true[2, 0] = 1.5
    errors = KeypointErrors.measured(true + 0.02, torch.ones(5, NUM_KEYPOINTS), true)
    assert len(errors.offset) == 4
    points, confidence = errors.repeated(true, torch.Generator().manual_seed(0))
    assert points.abs().max() <= 0.95
    assert confidence[2, 0] <= 0.7
    assert (confidence[:2] == 1).all()


def test_files(tmp_path: Path) -> None:
    true = truth(6)
    errors = KeypointErrors.measured(true + 0.03, torch.rand(6, NUM_KEYPOINTS), true)
    KeypointErrors.joined([errors, errors]).save(tmp_path / "e.npz")
    again = KeypointErrors.load(tmp_path / "e.npz")
    assert len(again.offset) == 12
    torch.testing.assert_close(again.offset[:6], errors.offset, atol=1e-3, rtol=0)
    np.savez(tmp_path / "other.npz", offset=np.zeros(3))
    with pytest.raises(ValueError, match="exchanged"):
        KeypointErrors.load(tmp_path / "other.npz")


def test_mirror_pairs_are_their_own_inverse() -> None:
    assert [MIRROR_KEYPOINTS[MIRROR_KEYPOINTS[k]] for k in range(NUM_KEYPOINTS)] == list(range(NUM_KEYPOINTS))
