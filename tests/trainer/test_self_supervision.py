"""Unlabelled views, targets from the averaged network, temporal and alignment losses, several processes."""

import json
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS, PART_NAMES
from kinestream.geometry.rotation import matrix_from_axis_angle, sixd_from_matrix
from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.networks.interface import BodyState, RegressorOutput
from kinestream.trainer.data.crops.crop_sample import PART_PERSON, PART_UNKNOWN
from kinestream.trainer.data.photos.unlabelled import PhotoViews, VideoViews, Views, collate_views, two_views
from kinestream.trainer.losses.alignment import part_targets, project_to_map, visible
from kinestream.trainer.losses.body import BodyLoss
from kinestream.trainer.losses.temporal import temporal_loss
from kinestream.trainer.losses.weak import WeakLossWeights, weak_body_loss
from kinestream.trainer.regressor.self_targets import SelfThresholds, self_targets

SIDE = 64
NOSE, LEFT, RIGHT = (KEYPOINT_NAMES.index(n) for n in ("nose", "left_wrist", "right_wrist"))


class SpotReader(torch.nn.Module):
    """Sees the brightest spot of a picture as the left wrist, and what is bright as the left hand."""

    presence = 5.0

    def forward(self, images: torch.Tensor, *_: torch.Tensor) -> RegressorOutput:
        count, side = len(images), images.shape[-1]
        gray = images.float().mean(1)
        weight = (gray > 0.7 * gray.amax((1, 2), keepdim=True)).float()
        places = (torch.arange(side) + 0.5) * 2 / side - 1
        total = weight.sum((1, 2))
        spot = (
            torch.stack([(weight.sum(1) * places).sum(1), (weight.sum(2) * places).sum(1)], 1)
            / total[:, None]
        )
        points = torch.zeros(count, NUM_KEYPOINTS, 2)
        points[:, LEFT] = spot
        confidence = torch.full((count, NUM_KEYPOINTS), -5.0)
        confidence[:, LEFT] = 2.0
        parts = torch.zeros(count, 16, side // 4, side // 4)
        parts[:, 0] = 10.0
        small = torch.nn.functional.avg_pool2d(weight, 4)
        parts[:, 1 + PART_NAMES.index("l_hand")] = 20.0 * small
        state = BodyState(*[torch.zeros(count, 1)] * 8)
        return RegressorOutput(
            parts[:, :1],
            parts,
            points,
            confidence,
            torch.zeros(count, NUM_KEYPOINTS, 3),
            torch.full((count,), self.presence),
            state,
        )


def spot_picture(x: int, y: int) -> np.ndarray:
    image = np.full((240, 200, 3), 40, np.uint8)
    cv2.circle(image, (x, y), 14, (255, 255, 255), -1)
    return image


@pytest.mark.parametrize("seed", range(8))
def test_targets_follow_the_augmentation(seed: int) -> None:
    """Reading the augmented view itself gives the target that was carried over from the clean view."""
    rng = np.random.default_rng(seed)
    image = spot_picture(118, 95)
    box = np.array([50.0, 40, 150, 190])
    views = two_views(rng, [image, image], box, [0.0, 0.1], crop_px=SIDE)
    batch = collate_views([views])
    target = self_targets(SpotReader(), batch, SelfThresholds(part=0.6))
    row = RIGHT if views.mirrored else LEFT
    assert target.known[:, row].all() and target.known.sum() == 2
    if target.keypoints[0, row, 2] == 0:
        assert (target.keypoints[0, row, :2].abs() >= 1).any()
        return
    assert target.keypoints[0, row, 2] == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item())
    seen = SpotReader()(batch.augmented.images).points[0, LEFT]
    torch.testing.assert_close(target.keypoints[0, row, :2], seen, atol=0.09, rtol=0)
    hand = 1 + PART_NAMES.index("r_hand" if views.mirrored else "l_hand")
    cells = (target.parts[0] == hand).nonzero().float()
    side = target.parts.shape[-1]
    place = (cells.mean(0).flip(0) + 0.5) * 2 / side - 1
    torch.testing.assert_close(place, seen, atol=0.15, rtol=0)


def test_a_crop_in_which_the_network_sees_nobody_teaches_nothing() -> None:
    reader = SpotReader()
    reader.presence = -3.0
    views = two_views(
        np.random.default_rng(0),
        [spot_picture(100, 100)],
        np.array([50.0, 40, 150, 190]),
        [0.0],
        crop_px=SIDE,
    )
    target = self_targets(reader, collate_views([views]), SelfThresholds())
    assert not target.known.any() and (target.keypoints[..., 2] == 0).all()
    assert (target.parts == PART_UNKNOWN).all()


def write_video(path: Path, count: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 200, 240, "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(spot_picture(40 + 8 * index, 100), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_labels(path: Path, frames: list[int]) -> None:
    number = np.array(frames, np.int32)
    box = np.stack([30 + 8 * number, 60 + 0 * number, 60 + 8 * number, 160 + 0 * number], 1)
    np.savez(
        path,
        frame=number,
        person=np.zeros(len(number), np.int16),
        detected=np.ones(len(number), bool),
        box=box.astype(np.float32),
    )


def test_video_views_are_runs_of_one_person(tmp_path: Path) -> None:
    write_video(tmp_path / "walk.mp4", 14)
    write_labels(tmp_path / "walk.npz", [0, 1, 2, 3, 10, 11, 12])
    source = VideoViews(tmp_path / "walk.mp4", tmp_path / "walk.npz", crop_px=SIDE, frames=3)
    assert len(source) == 3  # 0-2, 1-3 and 10-12; the gap of 0.7 s is no run
    views = source.sample(np.random.default_rng(0))
    assert isinstance(views, Views)
    np.testing.assert_allclose(views.times_s, [0, 0.1, 0.2], atol=1e-6)
    seen = SpotReader()(collate_views([views]).clean.images).points[:, LEFT, 0]
    assert (seen.diff() > 0.05).all()  # the spot moves to the right in a window that stays
    assert collate_views([views, views]).times_s.shape == (2, 3)
    write_labels(tmp_path / "late.npz", [12, 40])
    with pytest.raises(ValueError, match="labels frames that are not in it, 40"):
        VideoViews(tmp_path / "walk.mp4", tmp_path / "late.npz", crop_px=SIDE, frames=2)
    np.savez(tmp_path / "none.npz", files=np.array(["a"]))
    with pytest.raises(ValueError, match="keys"):
        VideoViews(tmp_path / "walk.mp4", tmp_path / "none.npz", crop_px=SIDE)


def test_photo_views_show_the_whole_photo(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no photo"):
        PhotoViews(tmp_path, crop_px=SIDE)
    cv2.imwrite(str(tmp_path / "a.png"), spot_picture(100, 120))
    views = PhotoViews(tmp_path, crop_px=SIDE, frames=2).sample(np.random.default_rng(1))
    np.testing.assert_array_equal(views.clean[0], views.clean[1])
    point = SpotReader()(collate_views([views]).clean.images).points[0, LEFT]
    torch.testing.assert_close(point, torch.zeros(2), atol=0.03, rtol=0)


def random_states(dim: int, count: int, spread: float = 0.1) -> BodyState:
    turn = torch.from_numpy(matrix_from_axis_angle(np.tile([np.pi, 0, 0], (count, 1)))).float()
    return BodyState(
        spread * torch.randn(count, dim),
        sixd_from_matrix(turn),
        torch.tensor([[0.0, 0.0, 0.2]]).repeat(count, 1),
        torch.zeros(count, 10),
        *[torch.full((count, size), -2.0) for size in (dim, 1, 3, 10)],
    )


def test_the_temporal_loss_prefers_steady_motion() -> None:
    torch.manual_seed(0)
    dynamics = LatentDynamics(DynamicsConfig(latent=8, hidden=16)).requires_grad_(False)
    times = torch.arange(4)[None].double() * 0.04
    extent = torch.full((4,), -1.0)
    still = random_states(8, 1, 1.0)
    still = BodyState(*[field.repeat(4, 1) for field in still])
    jumpy = still._replace(z=(still.z + torch.randn(4, 8)).requires_grad_())
    calm = temporal_loss(dynamics, still, log_extent=extent, times_s=times)
    rough = temporal_loss(dynamics, jumpy, log_extent=extent, times_s=times)
    assert calm < 1e-4 < rough
    rough.backward()
    assert torch.isfinite(jumpy.z.grad).all() and (jumpy.z.grad[1:] != 0).any()
    widened = jumpy._replace(z_log_std=torch.full((4, 8), -2.0, requires_grad=True))
    loss = temporal_loss(dynamics, widened, log_extent=extent, times_s=times)
    (gradient,) = torch.autograd.grad(loss, widened.z_log_std, allow_unused=True)
    assert gradient is None
    with pytest.raises(ValueError, match="at least 2"):
        temporal_loss(dynamics, still, log_extent=extent, times_s=times.T)


@pytest.fixture(scope="module")
def body_loss() -> BodyLoss:
    torch.manual_seed(1)
    return BodyLoss(PoseFlow(FlowConfig(depth=2, hidden=16)).eval().requires_grad_(False), BodyModel.load())


def map_of(body_loss: BodyLoss, state: BodyState, extent: torch.Tensor, side: int) -> torch.Tensor:
    """Part map painted with the visible vertices of a state."""
    from kinestream.geometry.rotation import matrix_from_sixd

    surface = body_loss.surface(state, matrix_from_sixd(state.root_sixd), extent)
    eye = torch.eye(3).repeat(len(extent), 1, 1)
    points = project_to_map(surface.vertices_m, eye, extent, side)
    seen = visible(points, surface.vertices_m[..., 2], side)
    labels = torch.zeros(len(extent), side, side, dtype=torch.long)
    for row in range(len(extent)):
        cell = points[row][seen[row]].round().long().clamp(0, side - 1)
        labels[row, cell[:, 1], cell[:, 0]] = body_loss.body.part_labels[seen[row]] + 1
    return labels


def test_alignment_pulls_a_body_onto_its_parts(body_loss: BodyLoss) -> None:
    torch.manual_seed(0)
    extent, side = torch.full((1,), np.log(0.45)).float(), 32
    true = random_states(63, 1)
    labels = map_of(body_loss, true, extent, side)
    assert len(labels.unique()) > 10
    logits = torch.zeros(1, 16, side, side)
    keypoints = torch.zeros(1, NUM_KEYPOINTS, 3)
    eye = torch.eye(3)[None]

    def loss_of(state: BodyState, parts: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
        total, terms = weak_body_loss(
            body_loss,
            state,
            keypoints=keypoints,
            to_virtual=eye,
            log_extent=extent,
            parts=part_targets(parts, guess),
            weights=WeakLossWeights(alignment=1.0, prior=0.0, shape=0.0),
        )
        assert "alignment" in terms
        return total

    moved = true._replace(pelvis=(true.pelvis + torch.tensor([[0.25, 0.0, 0.0]])).requires_grad_())
    away, home = loss_of(moved, labels, logits), loss_of(true, labels, logits)
    assert away > home + 0.1
    (gradient,) = torch.autograd.grad(away, moved.pelvis)
    assert gradient[0, 0] > 0  # back to the left
    # a silhouette takes its parts from the network; with the true parts there it is the same loss
    told = torch.nn.functional.one_hot(labels, 16).permute(0, 3, 1, 2) * 60.0
    silhouette = torch.where(labels > 0, PART_PERSON, 0)
    torch.testing.assert_close(loss_of(moved, silhouette, told), away, atol=1e-4, rtol=1e-4)
    unknown = torch.full_like(labels, PART_UNKNOWN)
    torch.testing.assert_close(loss_of(moved, unknown, told), away, atol=1e-4, rtol=1e-4)


def test_hidden_vertices_do_not_count() -> None:
    points = torch.tensor([[[3.0, 3.0], [3.2, 3.1], [9.0, 9.0], [torch.nan, 0.0]]])
    seen = visible(points, torch.tensor([[2.0, 2.3, 2.3, 1.0]]), 16)
    assert seen.tolist() == [[True, False, True, False]]


SCRIPT = """
import json, sys
from pathlib import Path
import torch
sys.path[:0] = json.loads(sys.argv[2])
from test_train_regressor import OneBody, new_run
from kinestream.trainer.processes import Processes
from kinestream.trainer.regressor.training import train
from kinestream.trainer.run_state import TrainingRun
torch.set_num_threads(1)
processes = Processes.join()
folder = Path(sys.argv[1])
run = new_run(folder / "run", 63)
run.processes = processes
torch.manual_seed(processes.rank)
train(sources=OneBody(), validation={}, run=run, teacher=None, steps=3, batch_size=4, peak_rate=1e-3,
      warmup=1, bfloat16=False, validate_every=3, log_every=1)
torch.save(run.network.state_dict(), folder / f"rank{processes.rank}.pt")
processes.leave()
"""


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--standalone",
        str(script),
    ]
    paths = json.dumps([str(root), str(Path(__file__).parent)])
    result = subprocess.run(
        [*command, str(tmp_path), paths],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0, msg=name)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    torch.testing.assert_close(checkpoint["network"], first, rtol=0, atol=0)
