"""Uses of the pose flow: how plausible is a pose, and which poses complete the joints that are known.

flow = PoseFlow.load()
plausibility(flow, rotations)                     # (B,): part of real poses that are less probable
full = complete_pose(flow, rotations, known)      # known (21,) or (B, 21) bool
several = sample_completions(flow, rotations, known, samples=16)
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from kinestream.body.skeleton import NUM_FLOW_JOINTS
from kinestream.geometry.rotation import project_to_so3
from kinestream.latent.flow import PoseFlow, standard_normal_log_prob

_STEP = 0.1
_BURN_IN = 60
_MOMENT_SAMPLES = 4096


def plausibility(flow: PoseFlow, rotations: Tensor) -> Tensor:
    """Part of held-out real poses that the flow finds less probable than these: (B,) in [0, 1].

    0.5 is an ordinary pose; below 0.01 it is stranger than 99 of 100 real ones. Poses are (B, 21, 3, 3).

    Raises:
        ValueError: when the weights carry no reference of real poses.
    """
    if flow.real_log_probs is None:
        raise ValueError(
            "these weights carry no log-densities of real poses; train with kinestream.trainer.train_flow"
        )
    reference = flow.real_log_probs.to(rotations.device)
    with torch.no_grad():
        rank = torch.searchsorted(reference, flow.log_prob(rotations).contiguous())
    return rank.to(rotations.dtype) / len(reference)


def complete_pose(
    flow: PoseFlow,
    rotations: Tensor,
    known: Tensor,
    *,
    samples: int = 4,
    steps: int = 140,
    seed: int = 0,
) -> Tensor:
    """The expected pose given some of its joints: the mean over Langevin chains and their later steps.

    Args:
        flow: gives the density.
        rotations: (B, 21, 3, 3); rotations of hidden joints are ignored.
        known: (21,) or (B, 21) bool.
        samples: chains for each pose.
        steps: of each chain; those beyond the first 60 (or the last one) are averaged.
        seed: of the chains.

    Returns:
        (B, 21, 3, 3): known joints as given, hidden ones expected.

    Raises:
        ValueError: for wrong shapes or no steps.
    """
    mask = _mask(rotations, known)
    total = torch.zeros_like(rotations)
    for step, drawn in enumerate(_chains(flow, rotations, mask, samples, steps, seed)):
        if step >= min(_BURN_IN, steps - 1):
            total += drawn.mean(1)
    return torch.where(mask[..., None, None], rotations, project_to_so3(total))


def sample_completions(
    flow: PoseFlow,
    rotations: Tensor,
    known: Tensor,
    *,
    samples: int = 8,
    steps: int = 140,
    seed: int = 0,
) -> Tensor:
    """Draw poses (B, S, 21, 3, 3) from the flow's density given some joints; see `complete_pose`."""
    mask = _mask(rotations, known)
    *_, drawn = _chains(flow, rotations, mask, samples, steps, seed)
    last: Tensor = drawn
    return torch.where(mask[:, None, :, None, None], rotations[:, None], last)


def _mask(rotations: Tensor, known: Tensor) -> Tensor:
    """Known joints as (B, 21) bool."""
    if rotations.ndim != 4 or rotations.shape[1:] != (NUM_FLOW_JOINTS, 3, 3):
        raise ValueError(f"rotations must be (B, {NUM_FLOW_JOINTS}, 3, 3), found {tuple(rotations.shape)}")
    shapes = ((NUM_FLOW_JOINTS,), (len(rotations), NUM_FLOW_JOINTS))
    if known.dtype != torch.bool or tuple(known.shape) not in shapes:
        found = f"{known.dtype} {tuple(known.shape)}"
        raise ValueError(f"known must be bool of shape {shapes[0]} or {shapes[1]}, found {found}")
    return known.expand(shapes[1])


def _chains(
    flow: PoseFlow, rotations: Tensor, mask: Tensor, samples: int, steps: int, seed: int
) -> Iterator[Tensor]:
    """Poses (B, S, 21, 3, 3) after each step of Langevin chains on the hidden coordinates.

    Chains start at draws from the Gaussian of the flow's moments, conditioned on the known joints, whose
    covariance C also scales the steps: x' = x + e/2 C grad log p(x) + sqrt(e) C^(1/2) noise.
    """
    if steps < 1 or samples < 1:
        raise ValueError(f"steps and samples must be at least 1, found {steps} and {samples}")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        x = flow.coordinates.encode(rotations)[0].repeat_interleave(samples, 0)
        moments = flow.from_latent(torch.randn(_MOMENT_SAMPLES, flow.dim, generator=generator).to(x)).double()
    given = mask.repeat_interleave(3, 1).repeat_interleave(samples, 0)
    start, factor = _conditional(x, given, moments.mean(0), torch.cov(moments.T))

    def place(white: Tensor) -> Tensor:
        """Coordinates of white numbers (B S, 63)."""
        return torch.where(given, x, start + (factor @ white[..., None])[..., 0])

    white = torch.randn(x.shape, generator=generator).to(x)
    limit = 3.0 * (~given).sum(-1, keepdim=True).sqrt()
    for _ in range(steps):
        with torch.enable_grad():
            white.requires_grad_(True)
            latent, log_det = flow.to_latent(place(white))
            log_prob = (standard_normal_log_prob(latent) + log_det).sum()
            (slope,) = torch.autograd.grad(log_prob, white)
        with torch.no_grad():
            slope = slope * (limit / (slope.norm(dim=-1, keepdim=True) + 1e-6)).clamp(max=1.0)
            noise = torch.randn(x.shape, generator=generator).to(x)
            white = white.detach() + 0.5 * _STEP * slope + _STEP**0.5 * noise
            yield flow.coordinates.decode(place(white)).reshape(
                len(rotations), samples, NUM_FLOW_JOINTS, 3, 3
            )


def _conditional(x: Tensor, given: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Means (N, 63) and factors (N, 63, 63) of N(mean, covariance) on the coordinates that are not given."""
    start, factor = torch.zeros_like(x), x.new_zeros(*x.shape, x.shape[1])
    for pattern in torch.unique(given, dim=0):
        rows = (given == pattern).all(1).nonzero().flatten()
        hidden = (~pattern).nonzero().flatten()
        seen = pattern.nonzero().flatten()
        gain = torch.linalg.solve(covariance[seen][:, seen], covariance[seen][:, hidden])
        left = covariance[hidden][:, hidden] - covariance[hidden][:, seen] @ gain
        left = torch.linalg.cholesky(left + 1e-8 * torch.eye(len(hidden), dtype=left.dtype))
        estimate = mean[hidden] + (x[rows][:, seen].double() - mean[seen]) @ gain
        start[rows[:, None], hidden] = estimate.to(x.dtype)
        factor[rows[:, None, None], hidden[:, None], hidden] = left.to(x.dtype)
    return start, factor
