"""Learning rates over the steps of a training, and the random numbers of a step."""

import math

import torch


def linear_decay(step: int, *, peak: float, steps: int, warmup: int, decay_share: float) -> float:
    """Linear warm-up, constant, then linear decay to 2 % over the last ``decay_share`` of the steps."""
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (steps - step) / max(decay_share * steps, 1.0)
    return peak * min(1.0, max(left, 0.02))


def cosine_decay(step: int, *, peak: float, steps: int, warmup: int, floor: float = 0.0) -> float:
    """Half a cosine from ``peak`` down to the share ``floor`` of it, with a linear warm-up."""
    fall = 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return peak * min(1.0, (step + 1) / warmup) * (floor + (1 - floor) * fall)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step: the same in every process and after every resume."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFFFFFF)
