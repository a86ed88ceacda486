"""Labels that two networks agree on: what is kept, moved, taken over and dropped."""

import numpy as np
import torch

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.networks.interface import RegressorConfig
from kinestream.regress.network import RegressorNetwork
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT
from kinestream.trainer.prepare.filter_pseudo_labels import (
    CONFIRMED,
    SECOND_ONLY,
    confirming_keypoints,
    merged,
)

WRIST = KEYPOINT_NAMES.index("left_wrist")


def filtered(*, visibility: float, distance: float, peak: float) -> np.ndarray:
    """The left wrist as the second network sees it ``distance`` away; the person is 100 pixels tall."""
    landmarks = np.full((33, 4), 50.0)
    landmarks[:, 3] = visibility
    second = np.zeros((17, 3))
    second[WRIST] = (50 + distance, 50, peak)
    return merged(landmarks, second, 100.0)[LANDMARK_OF_KEYPOINT["left_wrist"]]


def test_agreement_is_the_middle_and_is_confirmed() -> None:
    np.testing.assert_allclose(filtered(visibility=0.7, distance=4, peak=0.8), [52, 50, 50, CONFIRMED])
    np.testing.assert_allclose(filtered(visibility=0.2, distance=4, peak=0.8), [52, 50, 50, CONFIRMED])


def test_conflict_drops_the_keypoint() -> None:
    assert filtered(visibility=0.7, distance=20, peak=0.8)[3] == 0


def test_the_second_speaks_where_the_first_sees_nothing() -> None:
    np.testing.assert_allclose(filtered(visibility=0.2, distance=20, peak=0.8), [70, 50, 50, SECOND_ONLY])


def test_an_unsure_second_network_changes_nothing() -> None:
    np.testing.assert_allclose(filtered(visibility=0.7, distance=20, peak=0.1), [50, 50, 50, 0.7], rtol=1e-6)


def test_confirming_keypoints_are_the_same_in_a_mirror() -> None:
    torch.manual_seed(0)
    network = RegressorNetwork(RegressorConfig(latent_size=4, backbone="tiny", crop_px=64)).eval()
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    seen = confirming_keypoints(network, picture, [6, 6, 57, 57])
    mirrored = confirming_keypoints(network, np.ascontiguousarray(picture[:, ::-1]), [6, 6, 57, 57])
    assert seen.shape == (17, 3)
    twin = KEYPOINT_NAMES.index("right_wrist")
    np.testing.assert_allclose(mirrored[twin, 0], 63 - seen[WRIST, 0], atol=1e-3)
    np.testing.assert_allclose(mirrored[twin, 1:], seen[WRIST, 1:], atol=1e-3)
