"""Losses: zero or least where the answer is right, gradients towards it, nothing from what is unlabelled."""

import math

import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.geometry.rotation import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    random_rotations,
    sixd_from_matrix,
)
from kinestream.networks.interface import BodyState
from kinestream.regress.heads import read_keypoints
from kinestream.trainer.data.crops.crop_sample import PART_PERSON, PART_UNKNOWN
from kinestream.trainer.losses.body import (
    BodyLoss,
    BodyLossWeights,
    BodyTarget,
    deviation_nll,
    in_half_extents,
    pelvis_code,
    pelvis_from_code,
)
from kinestream.trainer.losses.detection import box_loss, center_loss, center_target
from kinestream.trainer.losses.keypoints import (
    CONFIDENCE_RADIUS,
    TARGET_STD_CELLS,
    confidence_loss,
    correct_share,
    heatmap_loss,
    presence_loss,
)
from kinestream.trainer.losses.parts import part_iou, part_loss
from kinestream.trainer.losses.weak import weak_body_loss


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_fitting_a_heat_map_finds_the_label_and_the_entropy() -> None:
    heat = torch.zeros(1, 1, 24, 24, requires_grad=True)
    label = torch.tensor([[[0.31, -0.22, 1.0]]])
    optimizer = torch.optim.Adam([heat], lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = heatmap_loss(heat, label)
        loss.backward()
        optimizer.step()
    entropy = 1 + math.log(2 * math.pi * TARGET_STD_CELLS**2)
    assert loss.item() == pytest.approx(entropy, abs=0.05)
    torch.testing.assert_close(read_keypoints(heat).points[0, 0], label[0, 0, :2], atol=0.01, rtol=0)


def test_unlabelled_keypoints_teach_nothing() -> None:
    heat = torch.randn(2, NUM_KEYPOINTS, 8, 8, generator=generator(), requires_grad=True)
    labels = torch.zeros(2, NUM_KEYPOINTS, 3)
    labels[0, 3, 2] = 1.0
    heatmap_loss(heat, labels).backward()
    touched = heat.grad.abs().amax((2, 3)) > 0
    assert touched[0, 3]
    assert touched.sum() == 1
    assert heatmap_loss(heat, torch.zeros(2, NUM_KEYPOINTS, 3)).item() == 0


def test_confidence_learns_whether_the_answer_was_right() -> None:
    labels = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    points = torch.tensor(
        [[[0.5 * CONFIDENCE_RADIUS, 0.0], [2 * CONFIDENCE_RADIUS, 0.0], [0.0, 0.0], [0.0, 0.0]]]
    )
    known = torch.tensor([[True, True, True, False]])
    logits = torch.zeros(1, 4, requires_grad=True)
    confidence_loss(logits, points, labels, known).backward()
    right, wrong, absent, unknown = logits.grad[0].tolist()
    assert right < 0 < wrong
    assert absent == wrong
    assert unknown == 0


def test_presence_and_share() -> None:
    logits = torch.tensor([8.0, -8.0])
    assert presence_loss(logits, torch.tensor([1.0, 0.0])) < 0.01 < presence_loss(logits, torch.zeros(2))
    labels = torch.tensor([[[0.0, 0.0, 1.0], [0.5, 0.5, 1.0], [0.0, 0.0, 0.0]]])
    assert correct_share(torch.zeros(1, 3, 2), labels, radius=0.1) == 0.5


def test_part_loss_by_kind_of_label() -> None:
    logits = torch.zeros(1, 16, 2, 2)
    logits[0, 3, 0, 0] = 9.0
    logits[0, 0, 1, 1] = 9.0
    right = torch.tensor([[[3, PART_UNKNOWN], [PART_UNKNOWN, 0]]])
    assert part_loss(logits, right) < 0.01
    person = torch.tensor([[[PART_PERSON, PART_UNKNOWN], [PART_UNKNOWN, PART_UNKNOWN]]])
    assert part_loss(logits, person) < 0.01
    wrong = torch.tensor([[[0, PART_UNKNOWN], [PART_UNKNOWN, PART_PERSON]]])
    assert part_loss(logits, wrong) > 5
    assert part_loss(logits, torch.full((1, 2, 2), PART_UNKNOWN)) == 0
    assert part_iou(logits, right) == 1


class Tangent:
    """The plainest bijection: one axis-angle vector per joint."""

    def encode(self, rotations: torch.Tensor) -> torch.Tensor:
        return axis_angle_from_matrix(rotations).flatten(1)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return matrix_from_axis_angle(latent.view(len(latent), 21, 3))


@pytest.fixture(scope="module")
def exact() -> tuple[BodyLoss, BodyTarget]:
    body = BodyModel.load()
    draw = generator(3)
    rotations = matrix_from_axis_angle(0.4 * torch.randn(4, 22, 3, generator=draw))
    rotations[:, 0] = random_rotations((4,), generator=draw)
    target = BodyTarget(
        Tangent(),
        body,
        rotations=rotations,
        translation_m=torch.tensor([[0.1, 0.2, 3.0]]).repeat(4, 1),
        betas=torch.randn(4, 10, generator=draw),
        log_extent=torch.full((4,), -1.0),
    )
    return BodyLoss(Tangent(), body), target


def right_state(target: BodyTarget, log_std: float = -3.0) -> BodyState:
    count = len(target.z)
    return BodyState(
        z=target.z.clone(),
        root_sixd=sixd_from_matrix(target.rotations[:, 0]),
        pelvis=target.pelvis.clone(),
        betas=target.betas.clone(),
        z_log_std=torch.full((count, target.z.shape[1]), log_std),
        root_log_std=torch.full((count, 1), log_std),
        pelvis_log_std=torch.full((count, 3), log_std),
        betas_log_std=torch.full((count, 10), log_std),
    )


def test_the_exact_body_has_no_error(exact: tuple[BodyLoss, BodyTarget]) -> None:
    loss, target = exact
    _, terms = loss(right_state(target), target)
    for name in ("root", "joints", "reprojection", "pelvis", "latent", "betas"):
        assert terms[name] < 1e-4, name


@pytest.mark.parametrize("field", ["z", "root_sixd", "pelvis", "betas"])
def test_a_wrong_field_costs_and_is_pulled_back(exact: tuple[BodyLoss, BodyTarget], field: str) -> None:
    loss, target = exact
    state = right_state(target, log_std=-1.0)
    right, _ = loss(state, target)
    moved = (getattr(state, field) + 0.3).requires_grad_(True)
    total, _ = loss(state._replace(**{field: moved}), target)
    total.backward()
    assert total > right
    assert torch.isfinite(moved.grad).all()
    closer, _ = loss(state._replace(**{field: (moved - 0.05 * moved.grad.sign()).detach()}), target)
    assert closer < total


def test_reprojection_is_least_for_the_true_body(exact: tuple[BodyLoss, BodyTarget]) -> None:
    loss, target = exact
    true = in_half_extents(target.keypoints_m, target.log_extent)
    labels = torch.cat([true, torch.ones(*true.shape[:2], 1)], -1)
    given = {
        "keypoints": labels,
        "to_virtual": torch.eye(3).expand(len(true), 3, 3),
        "log_extent": target.log_extent,
    }
    state = right_state(target)
    _, right = weak_body_loss(loss, state, **given)
    assert right["reprojection"] < 1e-4
    moved = (state.pelvis + torch.tensor([0.4, 0.0, 0.0])).requires_grad_(True)
    total, terms = weak_body_loss(loss, state._replace(pelvis=moved), **given)
    assert terms["reprojection"] == pytest.approx(0.32, abs=0.02)  # 0.4, softened
    total.backward()
    assert (moved.grad[:, 0] > 0).all()
    _, unlabelled = weak_body_loss(
        loss, state._replace(pelvis=moved), **given | {"keypoints": labels * torch.tensor([1.0, 1.0, 0.0])}
    )
    assert unlabelled["reprojection"] == 0


def test_pelvis_code_round_trip_and_meaning() -> None:
    points = torch.tensor([[0.3, -0.4, 2.5], [-1.0, 0.5, 9.0]])
    extent = torch.tensor([-1.2, -2.0])
    torch.testing.assert_close(pelvis_from_code(pelvis_code(points, extent), extent), points)
    torch.testing.assert_close(
        pelvis_code(points, extent)[:, :2], in_half_extents(points[:, None], extent)[:, 0]
    )


def test_likelihood_is_best_at_the_true_spread() -> None:
    error = 0.3 * torch.randn(20000, 1, generator=generator())
    log_std = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([log_std], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        deviation_nll(error, log_std.expand(len(error))[:, None]).backward()
        optimizer.step()
    assert log_std.exp().item() == pytest.approx(0.3, rel=0.03)


def test_deviations_do_not_pull_the_means(exact: tuple[BodyLoss, BodyTarget]) -> None:
    _, target = exact
    only = BodyLossWeights(joints=0, root=0, reprojection=0, pelvis=0, latent=0, betas=0, deviations=1)
    loss = BodyLoss(Tangent(), BodyModel.load(), only)
    state = BodyState(*[(field + 0.2).requires_grad_(True) for field in right_state(target)])
    loss(state, target)[0].backward()
    for name, field in state._asdict().items():
        moved = field.grad is not None and field.grad.abs().max() > 0
        assert moved == name.endswith("log_std"), name


def test_centres_and_boxes_of_known_people() -> None:
    boxes = torch.tensor([[8.0, 8.0, 40.0, 72.0], [90.0, 20.0, 110.0, 50.0]])
    target, owner = center_target(boxes, 24, 32)
    assert (target == 1).sum() == 2
    assert target[10, 6] == target[8, 25] == 1  # cell centres (25.5, 41.5) and (101.5, 33.5)
    torch.testing.assert_close(owner[:, 10, 6], boxes[0])
    torch.testing.assert_close(owner[:, 8, 25], boxes[1])
    empty, _ = center_target(torch.zeros(0, 4), 12, 16)
    assert empty.max() == 0


def test_detection_losses_are_least_for_the_right_answer() -> None:
    boxes = torch.tensor([[8.0, 8.0, 40.0, 72.0]])
    target, owner = center_target(boxes, 24, 32)
    target, owner = target[None], owner[None]
    sure = torch.where(target == 1, 8.0, -8.0)
    assert center_loss(sure, target) < 0.05 < center_loss(-sure, target)
    assert center_loss(torch.full_like(target, -8.0), torch.zeros_like(target)) < 0.01
    assert box_loss(owner, owner, target) < 1e-5
    assert box_loss(owner + 8, owner, target) < box_loss(owner + 24, owner, target)
    away = (owner + 200).requires_grad_(True)
    box_loss(away, owner, target).backward()
    assert away.grad.abs().max() > 0  # boxes that do not touch are still pulled
