"""Fitting to 2D keypoints: recovers synthetic people, shrugs off a wrong label, needs no complete labels."""

import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.latent.flow import PoseFlow
from kinestream.latent.prior.fit import FitConfig, fit_keypoints, person_size_px
from kinestream.latent.prior.landmarks import LSP_LANDMARKS

FOCAL, CENTER = 250.0, torch.tensor([100.0, 100.0])
QUICK = FitConfig(yaws=4, iterations=50)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def flow() -> PoseFlow:
    return PoseFlow.load()


def people(flow: PoseFlow, body: BodyModel, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keypoints (B, 14, 2) and landmarks in metres (B, 14, 3) of samples, turned and tilted."""
    generator = torch.Generator().manual_seed(0)
    pose = flow.sample(count, temperature=0.7, generator=generator)
    yaw = torch.arange(count) * (2 * torch.pi / count)
    tilt = matrix_from_axis_angle(torch.tensor([0.2, 0.0, 0.6]).expand(count, 3))
    turn = matrix_from_axis_angle(torch.stack([0 * yaw, yaw, 0 * yaw], -1))
    root = tilt @ torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn
    rotations = torch.cat([root[:, None], pose, torch.eye(3).expand(count, 2, 3, 3)], 1)
    place = torch.tensor([0.1, 0.0, 3.0]).expand(count, 3)
    points = LSP_LANDMARKS.place(body, torch.zeros(count, 10), rotations, place)
    return FOCAL * points[..., :2] / points[..., 2:] + CENTER, points


def test_synthetic_people_are_recovered(flow: PoseFlow, body: BodyModel) -> None:
    keypoints, points = people(flow, body, 8)
    fit = fit_keypoints(
        flow, body, keypoints, torch.ones(8, 14), focal_px=FOCAL, center_px=CENTER, config=QUICK
    )
    assert fit.mean_error.max() < 0.05
    assert fit.mean_error.median() < 0.025
    torch.testing.assert_close(fit.points_px, keypoints, atol=25.0, rtol=0)
    placed = LSP_LANDMARKS.place(body, fit.betas, fit.rotations, fit.translation_m)
    hips = [2, 3]
    relative = [p - p[:, hips].mean(1, keepdim=True) for p in (placed, points)]
    error = (relative[0] - relative[1]).norm(dim=-1).mean(1)
    assert error.median() < 0.2  # depth is guessed, but not absurdly
    assert (fit.translation_m[:, 2] > 1.5).all()


def test_one_wrong_label_does_not_bend_the_rest(flow: PoseFlow, body: BodyModel) -> None:
    keypoints, _ = people(flow, body, 4)
    spoiled = keypoints.clone()
    spoiled[:, 6] += torch.tensor([80.0, -80.0])  # right wrist
    confidence = torch.ones(4, 14)
    fit = fit_keypoints(flow, body, spoiled, confidence, focal_px=FOCAL, center_px=CENTER, config=QUICK)
    others = [k for k in range(14) if k not in (6, 7)]
    size = person_size_px(keypoints, confidence)
    error = (fit.points_px - keypoints)[:, others].norm(dim=-1).mean(1) / size
    assert error.median() < 0.05


def test_unlabelled_keypoints_are_ignored(flow: PoseFlow, body: BodyModel) -> None:
    keypoints, _ = people(flow, body, 2)
    confidence = torch.ones(2, 14)
    confidence[:, (0, 6, 12)] = 0.0
    quick = FitConfig(yaws=2, iterations=10)
    fits = []
    for value in (0.0, float("nan"), 1e6):
        keypoints[:, (0, 6, 12)] = value
        fits.append(
            fit_keypoints(flow, body, keypoints, confidence, focal_px=FOCAL, center_px=CENTER, config=quick)
        )
    for other in fits[1:]:
        torch.testing.assert_close(other.latent, fits[0].latent)
        torch.testing.assert_close(other.mean_error, fits[0].mean_error)


def test_persons_do_not_influence_each_other(flow: PoseFlow, body: BodyModel) -> None:
    keypoints, _ = people(flow, body, 3)
    quick = FitConfig(yaws=2, iterations=15)
    options = {"focal_px": FOCAL, "center_px": CENTER, "config": quick}
    together = fit_keypoints(flow, body, keypoints, torch.ones(3, 14), **options)
    alone = fit_keypoints(flow, body, keypoints[1:2], torch.ones(1, 14), **options)
    torch.testing.assert_close(together.latent[1:2], alone.latent, atol=1e-3, rtol=1e-3)


def test_landmarks_sit_on_the_body(body: BodyModel) -> None:
    identity = torch.eye(3).expand(1, 24, 3, 3)
    points = LSP_LANDMARKS.place(body, torch.zeros(1, 10), identity, torch.zeros(1, 3))[0]
    top = body.v_template[:, 1].max()
    assert float(points[LSP_LANDMARKS.names.index("head_top"), 1]) == pytest.approx(float(top), abs=0.005)
    turned = identity.clone()
    turned[:, 0] = matrix_from_axis_angle(torch.tensor([0.0, 0.0, torch.pi / 2]))
    moved = LSP_LANDMARKS.place(body, torch.zeros(1, 10), turned, torch.zeros(1, 3))[0]
    rotated = torch.stack([-points[:, 1], points[:, 0], points[:, 2]], -1)
    torch.testing.assert_close(moved, rotated, atol=1e-3, rtol=0)  # the pelvis is 0.4 mm off the origin


@pytest.mark.parametrize(
    ("keypoints", "confidence", "message"),
    [
        (torch.zeros(2, 17, 2), torch.ones(2, 17), "expected keypoints"),
        (torch.zeros(2, 14, 2), torch.ones(2, 13), "expected keypoints"),
        (torch.full((1, 14, 2), float("nan")), torch.ones(1, 14), "finite"),
        (torch.zeros(2, 14, 2), torch.zeros(2, 14), r"persons \[0, 1\]"),
    ],
)
def test_wrong_input(
    flow: PoseFlow, body: BodyModel, keypoints: torch.Tensor, confidence: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_keypoints(flow, body, keypoints, confidence, focal_px=FOCAL, center_px=CENTER)
