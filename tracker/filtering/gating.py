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
        timeout_s: after ignoring everything for so long, the last observation is accepted after all,
        timeout_count: provided that this many were ignored.
    """

    latent: float = 6.0
    root: float = 16.0
    translation: float = 25.0
    timeout_s: float = 0.5
    timeout_count: int = 3

    def admits(self, normalised: Float32Array) -> bool:
        """Whether an innovation (N,), divided by its standard deviation, is acceptable."""
        latent, root, translation = normalised[:-6], normalised[-6:-3], normalised[-3:]
        return (
            float(latent @ latent) <= self.latent * len(latent)
            and float(root @ root) <= self.root * len(root)
            and float(translation @ translation) <= self.translation * len(translation)
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
