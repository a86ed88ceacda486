"""Which observations a filter accepts: Mahalanobis gates, and when a gate that refuses everything opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kinestream.kernels.array_types import Float32Array

Outcome = Literal["started", "fused", "gated", "restarted", "stale", "invalid"]
"""What became of an observation.

``started``: the first one. ``fused``: accepted. ``gated``: too unlikely, ignored. ``restarted``: the track
began anew from it, after a long gap or when the gate timed out. ``stale``: its time does not
advance, refused. ``invalid``: not finite, refused.
"""

LONGEST_COAST_S = 1.0
"""After a gap longer than this a track starts anew rather than fuse."""


@dataclass(frozen=True)
class Gate:
    """Limits on the mean squared normalised innovation, per group of dimensions.

    Attributes:
        latent, root, translation: largest mean of (innovation / std)^2 that is accepted.
        latent_jump, root_jump_rad, translation_jump_m: deviations, added in squares, of what a person may do
            between two frames that no forecast knows of: what is seen precisely is not refused for it.
        timeout_s: after ignoring everything for so long, the last observation is accepted after all,
        timeout_count: provided that this many were ignored.
    """

    latent: float = 6.0
    root: float = 16.0
    translation: float = 25.0
    latent_jump: float = 0.25
    root_jump_rad: float = 0.25
    translation_jump_m: float = 0.1
    timeout_s: float = 0.5
    timeout_count: int = 3

    def admits(self, innovation: Float32Array, std: Float32Array) -> bool:
        """Whether an innovation (N,) with these standard deviations (N,) is acceptable."""
        error, expected = np.square(innovation), np.square(std)
        return all(
            float((error[part] / (expected[part] + jump * jump)).mean()) <= limit
            for part, jump, limit in (
                (slice(None, -6), self.latent_jump, self.latent),
                (slice(-6, -3), self.root_jump_rad, self.root),
                (slice(-3, None), self.translation_jump_m, self.translation),
            )
        )


OPEN_GATE = Gate(latent=np.inf, root=np.inf, translation=np.inf)
"""Accepts everything."""


class GateTimeout:
    """Counts what a gate ignored in a row."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._ignored = gate, 0

    def accepted(self) -> None:
        """An observation was fused."""
        self._ignored = 0

    def exhausted(self, since_fused_s: float) -> bool:
        """Count an ignored observation; true when the track had better start anew from it."""
        self._ignored += 1
        gate = self._gate
        return self._ignored >= gate.timeout_count and since_fused_s >= gate.timeout_s
