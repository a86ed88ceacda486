"""The temporal lifter, batched and differentiable, and its training.

The tracker runs the same computation on one person in numpy (`kinestream.filtering.temporal_lifter`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.filtering.temporal_lifter import LAGS_S, LOG_STD_STEP, POINT_LIMIT
from kinestream.geometry.rotation import geodesic_distance, matrix_from_sixd, sixd_from_matrix
from kinestream.latent.flow import PoseFlow
from kinestream.regress.lifter import HIDDEN, Lifter, ResidualLayer
from kinestream.trainer.dynamics.keypoint_windows import Windows, random_windows, simulated_windows
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.simulated_observations import ObservationSimulator
from kinestream.trainer.losses.body import deviation_nll, with_hands
from kinestream.trainer.metrics import aligned_error
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import cosine_decay, step_generator

JOINTS, ROOT, LATENT, DEVIATIONS = 10.0, 0.5, 0.02, 0.05
"""Weights of the loss: metres, squared entries of a rotation, squared latents, nats."""
FIRST_GAIN = -1.0


class TemporalLifter(nn.Module):
    """See `kinestream.filtering.temporal_lifter`."""

    def __init__(self, latent_size: int, *, hidden: int = HIDDEN, depth: int = 3) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.embed = nn.Linear(3 * NUM_KEYPOINTS + 1, hidden)
        self.past = nn.Linear(len(LAGS_S) * (3 * NUM_KEYPOINTS + 1), hidden)
        self.state = nn.Linear(2 * latent_size + 7, hidden)
        self.layers = nn.Sequential(*[ResidualLayer(hidden) for _ in range(depth)], nn.LayerNorm(hidden))
        self.lifted = nn.Linear(hidden, latent_size + 6)
        self.gain = nn.Linear(hidden, latent_size + 1)
        self.log_std = nn.Linear(hidden, latent_size + 1)
        for layer in (self.past, self.state, self.gain, self.log_std):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.gain.bias, FIRST_GAIN)

    def begin_with(self, lifter: Lifter) -> None:
        """Take over what a lifter of single frames has learned."""
        self.embed.load_state_dict(lifter.embed.state_dict())
        self.layers.load_state_dict(lifter.layers.state_dict())
        size = self.latent_size + 6
        with torch.no_grad():
            self.lifted.weight.copy_(lifter.state.weight[:size])
            self.lifted.bias.copy_(lifter.state.bias[:size])

    def forward(self, seen: Windows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latent (B, D), root (B, 3, 3) and logarithms of their deviations, (B, D) and (B, 1)."""
        now = (seen.points.clamp(-POINT_LIMIT, POINT_LIMIT) * seen.confidence[..., None]).flatten(1)
        shared = torch.minimum(seen.past_confidence, seen.confidence[:, None])[..., None]
        moved = (seen.past - seen.points[:, None]).clamp(-POINT_LIMIT, POINT_LIMIT) * shared
        lateness = (seen.lag_s / seen.lag_s.new_tensor(LAGS_S)).log()
        sixd = sixd_from_matrix(seen.root)
        hidden = (
            self.embed(torch.cat([now, seen.confidence, seen.log_half_box[:, None]], 1))
            + self.past(torch.cat([moved.flatten(1), seen.past_confidence.flatten(1), lateness], 1))
            + self.state(torch.cat([seen.z, sixd, seen.z_log_std, seen.root_log_std], 1))
        )
        hidden = self.layers(hidden)
        size = self.latent_size
        gain = torch.sigmoid(self.gain(hidden))
        target = self.lifted(hidden)
        z = seen.z + gain[:, :size] * (target[:, :size] - seen.z)
        root = matrix_from_sixd(sixd + gain[:, size:] * (target[:, size:] - sixd))
        step = self.log_std(hidden).clamp(-LOG_STD_STEP, LOG_STD_STEP)
        return z, root, seen.z_log_std + step[:, :size], seen.root_log_std + step[:, size:]


class LiftingLoss:
    """Joints around the pelvis, root and latent; deviations learn how far off these are."""

    def __init__(self, flow: PoseFlow, body: BodyModel) -> None:
        self._flow, self._body = flow, body

    def __call__(self, lifter: nn.Module, seen: Windows) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its unweighted terms."""
        z, root, z_log_std, root_log_std = lifter(seen)
        error = self.joints(z, root, seen.true_betas) - self.joints(
            seen.true_z, seen.true_root, seen.true_betas
        )
        angle = geodesic_distance(root.detach(), seen.true_root)[:, None]
        terms = {
            "joints": error.norm(dim=-1).mean(),
            "root": (root - seen.true_root).square().sum((1, 2)).mean(),
            "latent": (z - seen.true_z).square().mean(),
            "deviations": deviation_nll(z - seen.true_z, z_log_std) + deviation_nll(angle, root_log_std),
        }
        weights = (JOINTS, ROOT, LATENT, DEVIATIONS)
        total = torch.stack([weight * term for weight, term in zip(weights, terms.values(), strict=True)])
        return total.sum(), {name: value.detach() for name, value in terms.items()}

    def joints(self, z: Tensor, root: Tensor, betas: Tensor) -> Tensor:
        """Joints (B, 24, 3) around the pelvis, metres."""
        rotations = torch.cat([root[:, None], self._flow.decode(z)], 1)
        joints, _ = self._body.skeleton(betas, with_hands(rotations), torch.zeros_like(betas[:, :3]))
        return joints

    @torch.no_grad()
    def figures(self, lifter: nn.Module, seen: Windows) -> dict[str, float]:
        """Errors in mm with the observed shape, before and after; MPJPE and after a similarity."""
        true = self.joints(seen.true_z, seen.true_root, seen.true_betas)
        z, root, _, _ = lifter(seen)
        found: dict[str, float] = {}
        for name, state in (("single_", (seen.z, seen.root)), ("", (z, root))):
            joints = self.joints(*state, seen.betas)
            found[f"{name}mpjpe_mm"] = 1000 * float((joints - true).norm(dim=-1).mean())
            aligned = aligned_error(joints.numpy(), true.numpy()).mean()
            found[f"{name}pa_mpjpe_mm"] = 1000 * float(aligned)
        return found


def train(
    run: TrainingRun,
    loss: LiftingLoss,
    simulate: ObservationSimulator,
    recorded: list[RecordedObservations],
    validation: dict[str, Windows],
    *,
    steps: int,
    batch_size: int,
    recorded_share: float,
    peak_rate: float,
    seed: int = 0,
    **loop: Any,
) -> None:
    """Train ``run.network``, a `TemporalLifter`; ``loop`` are options of `TrainingRun.train`."""

    def loss_of_step() -> tuple[Tensor, dict[str, Tensor]]:
        generator = step_generator(seed, run.step)
        real = round(batch_size * recorded_share) if recorded else 0
        windows = [simulated_windows(simulate, batch_size - real, generator)]
        if real:
            clips = torch.tensor([float(len(part)) for part in recorded])
            chosen = torch.multinomial(clips, real, replacement=True, generator=generator)
            shares = chosen.bincount(minlength=len(recorded)).tolist()
            parts = zip(recorded, shares, strict=True)
            windows += [random_windows(part, share, generator) for part, share in parts if share]
        return loss(run.network, Windows.joined(windows))

    run.train(
        loss_of_step,
        rate=lambda step: cosine_decay(step, peak=peak_rate, steps=steps, warmup=200, floor=0.02),
        steps=steps,
        validate=lambda average: {name: loss.figures(average, seen) for name, seen in validation.items()},
        **loop,
    )
