"""Real people teach the state head: what is observed of them, and what each regime asks for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.arrays import read_body
from kinestream.body.skeleton import MIRROR_JOINTS, NUM_KEYPOINTS
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.geometry.rotation import matrix_from_sixd
from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.networks.interface import BodyState, RegressorConfig
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.state_head import Evidence, StateHead
from kinestream.trainer.data.crops.crop_sample import PART_UNKNOWN, CropSample
from kinestream.trainer.data.photos.unlabelled import Views
from kinestream.trainer.losses.agreement import mirror_disagreement
from kinestream.trainer.losses.alignment import PartTargets
from kinestream.trainer.losses.body import in_half_extents
from kinestream.trainer.losses.weak import WeakLossWeights
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.observed_people import ObservedPeople, observe_photos, observe_video
from kinestream.trainer.regressor.real_people import RealPeople, RealPeopleWeights, both_ways
from kinestream.trainer.regressor.updated_people import updated_bodies

SIDE, POOLED, UNDER = 64, 6, 4


class SameCrop:
    """One photo with one label, over and over."""

    def sample(self, rng: np.random.Generator) -> CropSample:
        image = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
        keypoints[0] = (0.1, -0.3, 0.8)
        parts = np.full((SIDE // 4, SIDE // 4), PART_UNKNOWN, np.uint8)
        parts[2:5, 3] = 1
        return CropSample(image, keypoints, keypoints[:, 2] > 0, parts)


class StillVideo:
    """Three equal frames."""

    def sample(self, rng: np.random.Generator) -> Views:
        frames = np.repeat(SameCrop().sample(rng).image[None], 3, 0)
        return Views(frames, frames, np.eye(2, 3, dtype=np.float32), False, np.array([0.0, 0.1, 0.2]))


@pytest.fixture(scope="module")
def network() -> RegressorNetwork:
    torch.manual_seed(0)
    return RegressorNetwork(RegressorConfig(latent_size=5, backbone="tiny", crop_px=SIDE)).eval()


def test_photos_are_observed_with_their_mirror_images_and_kept(
    tmp_path: Path, network: RegressorNetwork
) -> None:
    seen = observe_photos(network, SameCrop(), 3, seed=0)
    image = torch.from_numpy(SameCrop().sample(np.random.default_rng()).image).permute(2, 0, 1)[None]
    with torch.no_grad():
        for side, evidence in ((image, seen.evidence), (image.flip(-1), seen.in_mirror)):
            expected = network.encode(side).evidence
            torch.testing.assert_close(evidence.points[1:2], expected.points, atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(evidence.pooled[1:2], expected.pooled, atol=1e-4, rtol=1e-3)
    assert (seen.parts.part_map[:, 2:5, 3] == 1).all() and (seen.parts.confidence[:, 2:5, 3] == 1).all()
    assert (seen.parts.confidence[:, 6] < 1).any()  # the network's own guess where nothing is known
    seen.save(tmp_path / "people.npz")
    again = ObservedPeople.load(tmp_path / "people.npz")
    some = again.runs(torch.tensor([2, 0]))
    torch.testing.assert_close(some.in_mirror.under, seen.in_mirror.under[[2, 0]])
    torch.testing.assert_close(some.covariance, network.encode(image).covariance.expand(2, -1, -1))
    assert some.keypoints[0, 0].tolist() == pytest.approx([0.1, -0.3, 0.8])
    assert some.parts.part_map.dtype == torch.int64 and some.times_s.shape == (2, 1)
    np.savez(tmp_path / "other.npz", points=np.zeros(3))
    with pytest.raises(ValueError, match="expected observed people"):
        ObservedPeople.load(tmp_path / "other.npz")


def test_video_is_labelled_by_what_the_network_is_sure_of(network: RegressorNetwork) -> None:
    seen = observe_video(network, StillVideo(), 2, seed=0)
    assert seen.times_s.tolist() == [[0.0, 0.1, 0.2]] * 2 and len(seen.log_extent) == 6
    confidence = torch.sigmoid(seen.evidence.confidence_logit)
    weight = torch.where(confidence >= 0.5, confidence, 0.0)
    torch.testing.assert_close(seen.keypoints, torch.cat([seen.evidence.points, weight[..., None]], -1))
    second = seen.runs(torch.tensor([1]))
    torch.testing.assert_close(second.evidence.points, seen.evidence.points[3:])


def test_a_mirrored_body_agrees_and_a_turned_one_does_not() -> None:
    torch.manual_seed(0)
    joints = torch.randn(2, 24, 3)
    mirror = joints[:, list(MIRROR_JOINTS)] * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([0.3, 0.1, 2.0])
    assert mirror_disagreement(joints, mirror) < 1e-6
    assert mirror_disagreement(joints, joints) > 0.5


@pytest.fixture(scope="module")
def teacher() -> BodyTeacher:
    torch.manual_seed(0)
    return BodyTeacher(PoseFlow(FlowConfig(depth=2, hidden=16)))


def people(count: int, frames: int) -> ObservedPeople:
    torch.manual_seed(3)

    def evidence() -> Evidence:
        size = (count * frames, NUM_KEYPOINTS)
        return Evidence(
            0.3 * torch.randn(*size, 2),
            torch.randn(size),
            torch.randn(size[0], POOLED),
            torch.randn(*size, UNDER),
        )

    here = evidence()
    keypoints = torch.cat([here.points, torch.ones(count * frames, NUM_KEYPOINTS, 1)], -1)
    parts = PartTargets(torch.randint(0, 16, (count * frames, 12, 12)), torch.ones(count * frames, 12, 12))
    times = (torch.arange(frames) * 0.1).expand(count, frames)
    eye = torch.eye(3).repeat(count * frames, 1, 1)
    covariance = torch.tensor([0.01, 0.0, 0.01]).expand(count * frames, NUM_KEYPOINTS, 3)
    extent = torch.full((count * frames,), -1.0)
    return ObservedPeople(here, evidence(), covariance, eye, extent, keypoints, parts, times)


def test_every_regime_teaches_the_head(teacher: BodyTeacher) -> None:
    torch.manual_seed(1)
    head = StateHead(teacher.flow.dim, pooled=POOLED, under=UNDER)
    dynamics = LatentDynamics(DynamicsConfig(latent=teacher.flow.dim, hidden=16)).requires_grad_(False)
    weights = RealPeopleWeights(WeakLossWeights(alignment=0.3), mirror=1.0, temporal=0.1)
    real = RealPeople(people(8, 1), people(3, 4), dynamics, weights)
    loss, terms = real.loss(head, teacher, 8, torch.Generator().manual_seed(0))
    names = {"reprojection", "prior", "shape", "alignment", "mirror"}
    assert set(terms) == {f"{kind}_{n}" for kind in ("photos", "video") for n in names} | {"video_temporal"}
    optimizer = torch.optim.Adam(head.parameters(), lr=2e-3)
    for _ in range(12):
        optimizer.zero_grad()
        value, _ = real.loss(head, teacher, 8, torch.Generator().manual_seed(0))
        value.backward()
        optimizer.step()
    after, _ = real.loss(head, teacher, 8, torch.Generator().manual_seed(0))
    assert after < loss
    plain, few = RealPeople(people(8, 1)).loss(head, teacher, 8, torch.Generator().manual_seed(0))
    assert set(few) == {"photos_reprojection", "photos_prior", "photos_shape"} and plain < after


def test_the_updates_bodies_agree_with_the_keypoints_and_teach_the_head() -> None:
    torch.manual_seed(2)
    shipped = BodyTeacher()
    head = StateHead(shipped.flow.dim, pooled=POOLED, under=UNDER)
    with torch.no_grad():  # 4 m away, facing the camera, as sure as a trained head
        state = head.lifter.state
        for parameter in (state.weight, state.bias):
            parameter.zero_()
        dim = shipped.flow.dim
        state.bias[dim : dim + 6] = torch.tensor([1.0, 0, 0, 0, -1.0, 0])
        state.bias[dim + 8] = 0.4
        state.bias[-(dim + 14) :] = -1.0
    crowd = people(3, 1)
    before = head(crowd.evidence, crowd.to_virtual, crowd.log_extent)
    _, body_keypoints, _ = shipped.loss.posed(before, matrix_from_sixd(before.root_sixd), crowd.log_extent)
    shifted = (in_half_extents(body_keypoints, crowd.log_extent) + torch.tensor([0.15, -0.1])).detach()
    sure = torch.full((3, NUM_KEYPOINTS), 4.0)
    sure[2] = -9.0  # of whom the network sees nothing
    evidence = crowd.evidence._replace(points=shifted, confidence_logit=sure)
    crowd = crowd._replace(evidence=evidence)
    found = updated_bodies(head, shipped, KeypointUpdate(read_body(), FlowMap(shipped.flow)), crowd)
    assert found.sure.tolist() == [True, True, False]
    gap = (in_half_extents(shipped.targets(found).keypoints_m, crowd.log_extent) - shifted).norm(dim=-1)
    assert gap[:2].mean() < 0.03 and gap[2].mean() > 0.15
    real = RealPeople(crowd, weights=RealPeopleWeights(updated=1.0), updated_photos=found)
    optimizer = torch.optim.Adam([head.lifter.state.bias], lr=0.01)
    deviations = head.lifter.state.bias[-(dim + 14) :].clone()
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss, terms = real.loss(head, shipped, 8, torch.Generator().manual_seed(0))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and "photos_updated" in terms
    torch.testing.assert_close(head.lifter.state.bias[-(dim + 14) :], deviations)  # learned elsewhere


def test_time_has_no_direction() -> None:
    torch.manual_seed(0)
    dynamics = LatentDynamics(DynamicsConfig(latent=4, hidden=16)).requires_grad_(False)
    count, frames = 2, 3
    size = count * frames
    state = BodyState(
        torch.randn(size, 4), torch.randn(size, 6), torch.randn(size, 3), torch.zeros(size, 10),
        *[torch.full((size, width), -1.0) for width in (4, 1, 3, 10)],
    )  # fmt: skip
    extent, times = torch.linspace(-1.2, -0.8, size), torch.tensor([[0.0, 0.1, 0.3]] * count)

    def back(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(count, frames, -1).flip(1).reshape(values.shape)

    turned = BodyState(*[back(values) for values in state])
    there = both_ways(dynamics, state, extent, times)
    torch.testing.assert_close(there, both_ways(dynamics, turned, back(extent), 0.3 - times.flip(1)))
