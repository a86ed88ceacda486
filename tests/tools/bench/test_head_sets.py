"""State heads measured on recorded evidence say what the whole regressor says."""

import numpy as np
import pytest
import torch

from kinestream.body.arrays import read_body
from kinestream.body.model import BodyModel
from kinestream.capture.open import open_source
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.geometry.camera import Camera
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.networks.interface import RegressorConfig
from kinestream.regress.network import InferenceNetwork, RegressorNetwork
from kinestream.regress.regressor import Regressor, load_network
from kinestream.tools.bench.accuracy.head import RecordedCrops, _mean, _overlaps
from kinestream.tools.bench.accuracy.sets import posed
from kinestream.tools.metrics.clip import CLIP, ClipTruth
from kinestream.trainer.data.crops.crop_sample import PART_PERSON, PART_UNKNOWN


def test_recorded_evidence_gives_the_regressors_observations() -> None:
    torch.manual_seed(0)
    network = RegressorNetwork(RegressorConfig(latent_size=5, backbone="tiny", crop_px=64)).eval()
    image = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    camera, boxes = Camera.from_fov(120, 80), [[10, 5, 50, 70], [60, 20, 110, 60]]
    crops = RecordedCrops(bfloat16=False)
    for box in boxes:
        crops.add(network, image, box, camera)
    seen = crops.finish(network).observed(network.head)

    def run(images: np.ndarray, *place: np.ndarray) -> object:
        with torch.no_grad():
            return InferenceNetwork(network)(torch.from_numpy(images.copy()), *map(torch.from_numpy, place))

    expected = Regressor(run, network.config)(image, boxes, camera)
    np.testing.assert_allclose(seen.keypoints_px[..., :2], expected.keypoints_px[..., :2], atol=0.05)
    np.testing.assert_allclose(seen.translation_m, expected.translation_m, rtol=1e-3)
    np.testing.assert_allclose(seen.covariance_px2, expected.covariance_px2, rtol=1e-3)
    np.testing.assert_allclose(seen.z, expected.z, atol=1e-3)


def test_updated_observations_are_nearer_to_the_keypoints() -> None:
    flow, body, network = PoseFlow.load().eval(), BodyModel.load(), load_network()
    truth = ClipTruth.load()
    crops = RecordedCrops(bfloat16=False)
    with open_source(CLIP) as source:
        for frame in source:
            pixels = truth.keypoints_px[frame.index]
            if frame.index % 40 == 0:
                box = np.concatenate([pixels.min(0), pixels.max(0)])
                crops.add(network, frame.image_rgb, box, truth.camera)
    crops.finish(network)
    update = KeypointUpdate(read_body(), FlowMap(flow))
    gaps = []
    for seen in (crops.observed(network.head), crops.observed(network.head, update)):
        keypoints = posed(seen, flow, body)[1]
        pixels = np.stack([truth.camera.project(person) for person in keypoints])
        gaps.append(np.median(np.linalg.norm(pixels - seen.keypoints_px[..., :2], axis=-1)))
    assert gaps[1] < 0.8 * gaps[0]


def test_overlaps_leave_out_what_is_unknown_and_absent() -> None:
    parts = np.zeros((8, 8), np.uint8)
    parts[2:4], parts[4:6], parts[6:] = 1, PART_PERSON, PART_UNKNOWN
    drawn = np.zeros((8, 8), np.uint8)
    drawn[3:8] = 1
    person, head, *feet = _overlaps(drawn, parts)
    assert person == pytest.approx(3 / 4)  # two rows too many are unknown, one is missing
    assert head == pytest.approx(1 / 2)  # what is the person's, of no part in particular, says nothing
    assert np.isnan(feet).all()


def test_trials_count_by_their_frames() -> None:
    assert _mean([{"frames": 30, "e": 1.0}, {"frames": 10, "e": 5.0}]) == {"frames": 40, "e": 2.0}
