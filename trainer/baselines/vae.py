"""A VPoser-style variational autoencoder of poses (after Pavlakos et al., SMPL-X, CVPR 2019), small.

Rotation matrices in, 6D rotations out, 32 latents, two hidden layers each way. Trained on the same noisy
poses as the flow. `decode` and `encode` have the flow's signature, so that completion and fitting take
either.
"""

import torch
from torch import Tensor, nn

from kinestream.body.skeleton import NUM_FLOW_JOINTS
from kinestream.geometry.rotation import geodesic_distance, matrix_from_sixd, project_to_so3, sixd_from_matrix
from kinestream.trainer.data.motion.augment import perturb
from kinestream.trainer.flow.training import TrainConfig, draw_batch, spread_factor

LATENT_DIM = 32


class PoseVAE(nn.Module):
    """Variational autoencoder between poses (B, 21, 3, 3) and latents (B, 32)."""

    def __init__(self, hidden: int = 256, dim: int = LATENT_DIM) -> None:
        super().__init__()
        self.dim = dim
        self.encoder = nn.Sequential(
            nn.Linear(9 * NUM_FLOW_JOINTS, hidden), nn.LeakyReLU(), nn.Dropout(0.1),
            nn.Linear(hidden, hidden), nn.LeakyReLU(), nn.Linear(hidden, 2 * dim),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(dim, hidden), nn.LeakyReLU(), nn.Dropout(0.1),
            nn.Linear(hidden, hidden), nn.LeakyReLU(), nn.Linear(hidden, 6 * NUM_FLOW_JOINTS),
        )  # fmt: skip
        with torch.no_grad():
            last = self.decoder[-1]
            last.bias.copy_(sixd_from_matrix(torch.eye(3)).repeat(NUM_FLOW_JOINTS))  # type: ignore[operator]

    def posterior(self, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, (B, D) each."""
        mean, log_variance = self.encoder(rotations.flatten(1)).chunk(2, -1)
        return mean, log_variance

    def encode(self, rotations: Tensor) -> Tensor:
        """Poses (B, 21, 3, 3) to mean latents (B, D)."""
        return self.posterior(rotations)[0]

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (B, D) to poses (B, 21, 3, 3)."""
        rotations: Tensor = matrix_from_sixd(self.decoder(latent).reshape(len(latent), -1, 6))
        return rotations

    def sample(self, count: int, *, temperature: float = 1.0, generator: torch.Generator) -> Tensor:
        """Draw poses (count, 21, 3, 3) from the prior."""
        return self.decode(temperature * torch.randn(count, self.dim, generator=generator))


def train_vae(poses: Tensor, config: TrainConfig, *, residual_rad: float = 0.1, hidden: int = 256) -> PoseVAE:
    """Maximise the evidence bound with geodesic residuals of standard deviation residual_rad.

    Takes noise, batch, steps, learning rate and seed from the flow's training configuration.
    """
    torch.manual_seed(config.seed)
    vae = PoseVAE(hidden)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    factor = spread_factor(poses)
    for step in range(config.steps):
        batch = draw_batch(poses, factor, config, step)
        mean, log_variance = vae.posterior(batch)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        residual = geodesic_distance(vae.decode(latent), batch).square().sum(-1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1)
        loss = (residual / (2.0 * residual_rad**2) + divergence).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return vae.eval().requires_grad_(False)


def complete_by_latents(
    vae: PoseVAE,
    rotations: Tensor,
    known: Tensor,
    *,
    samples: int = 8,
    noise_rad: float = 0.1,
    iterations: int = 120,
    seed: int = 0,
) -> Tensor:
    """Expected poses given the known joints (21,): mean of posterior draws by randomise-then-optimise.

    Each draw minimises sum over known joints of angle(R(z), R + noise)^2 / (2 noise_rad^2) + 1/2 |z - z0|^2
    with z0 ~ N(0, I) (Bardsley et al., SIAM J. Sci. Comput. 2014). The autoencoder has no density of poses
    to sample by.
    """
    generator = torch.Generator().manual_seed(seed)
    target = perturb(rotations.repeat_interleave(samples, 0), noise_rad, generator)
    anchor = torch.randn(len(target), vae.dim, generator=generator)
    latent = anchor.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latent], lr=0.1, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for _ in range(iterations):
        misfit = geodesic_distance(vae.decode(latent), target)[:, known].square().sum()
        loss = misfit / (2.0 * noise_rad**2) + 0.5 * (latent - anchor).square().sum()
        (latent.grad,) = torch.autograd.grad(loss, latent)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        drawn = vae.decode(latent).reshape(len(rotations), samples, NUM_FLOW_JOINTS, 3, 3)
        return torch.where(known[:, None, None], rotations, project_to_so3(drawn.mean(1)))
