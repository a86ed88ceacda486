"""What the Kalman and the learned filter share: refusals, gating, restarts, coasting, shape."""

from __future__ import annotations

import logging
from abc import abstractmethod

import numpy as np

from kinestream.filtering.base import PersonState, PoseFilter
from kinestream.filtering.error_state import Mean, difference, is_finite, mean_of, state_of, std_of
from kinestream.filtering.gating import LONGEST_COAST_S, Gate, GateTimeout, Outcome
from kinestream.filtering.shape import ShapeAverage
from kinestream.kernels.array_types import Float32Array

_logger = logging.getLogger(__name__)

STD_FLOOR = 1e-3
"""No observation counts as surer than this (latent units, radians, metres)."""


class GatedFilter(PoseFilter):
    """A filter that predicts a mean and a variance, and refuses unlikely observations.

    Observations whose time does not advance, or which are not finite, are refused: they change nothing, a
    warning is logged once a track, and `outcome` says so.

    Attributes:
        outcome: what became of the last observation.
    """

    def __init__(self, *, gate: Gate) -> None:
        self._gate = gate
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        self.outcome: Outcome = "started"
        self._gate_timeout = GateTimeout(self._gate)
        self._shape = ShapeAverage()
        self._t_ns: int | None = None
        self._newest: tuple[int, PersonState] | None = None  # what was predicted last, and for when
        self._warned = False

    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Take in what was seen at ``t_ns``; returns the estimate for that time, also when it was refused.

        Raises ``ValueError`` where the first observation of a track is not finite: there is no estimate.
        """
        if not is_finite(observed):
            self._refuse("invalid", "an observation that is not finite")
            if self._t_ns is None:
                raise ValueError("update: expected a finite first observation, found NaN or infinity")
            return self.predict(t_ns)
        if self._t_ns is None:
            self._restart(t_ns, observed, "started")
            return self.predict(t_ns)
        if t_ns <= self._t_ns:
            self._refuse("stale", f"an observation at {t_ns} ns, not after the last one at {self._t_ns} ns")
            return self.predict(t_ns)
        self._newest = None
        lead_s = (t_ns - self._t_ns) / 1e9
        if lead_s > LONGEST_COAST_S:
            self._restart(t_ns, observed, "restarted")
            return self.predict(t_ns)
        mean, variance = self._predicted(lead_s)
        seen, std = mean_of(observed), std_of(observed, floor=STD_FLOOR)
        innovation = difference(seen, mean)
        scale = np.asarray(np.sqrt(variance + std * std), np.float32)
        if self._gate.admits(innovation, scale):
            self._fuse(lead_s, innovation, scale, std * std)
            self._t_ns, self.outcome = t_ns, "fused"
            self._gate_timeout.accepted()
            self._shape.update(observed.betas, observed.betas_std)
        elif self._gate_timeout.exhausted(lead_s):
            self._restart(t_ns, observed, "restarted")
        else:
            self.outcome = "gated"
        return self.predict(t_ns)

    def predict(self, t_ns: int) -> PersonState:
        """The estimate for ``t_ns``, at the last accepted observation or later."""
        if self._t_ns is None:
            raise RuntimeError("predict: there was no update yet")
        if self._newest is None or self._newest[0] != t_ns:
            mean, std = self._published(max(0, t_ns - self._t_ns) / 1e9)
            self._newest = t_ns, state_of(mean, std, self._shape.betas, self._shape.std)
        return self._newest[1]

    @abstractmethod
    def _start(self, mean: Mean, variance: Float32Array) -> None:
        """Begin at an observation with variance (N,)."""

    @abstractmethod
    def _predicted(self, lead_s: float) -> tuple[Mean, Float32Array]:
        """Mean and variance (N,), by which to gate and fuse, ``lead_s`` after the last observation."""

    @abstractmethod
    def _fuse(
        self, lead_s: float, innovation: Float32Array, scale: Float32Array, observed_variance: Float32Array
    ) -> None:
        """Take in an innovation (N,) and its standard deviation; `_predicted(lead_s)` was just called."""

    def _published(self, lead_s: float) -> tuple[Mean, Float32Array]:
        """Mean and standard deviation (N,) as published."""
        mean, variance = self._predicted(lead_s)
        return mean, np.sqrt(variance)

    def _restart(self, t_ns: int, observed: PersonState, outcome: Outcome) -> None:
        std = std_of(observed, floor=STD_FLOOR)
        self._start(mean_of(observed), std * std)
        self._t_ns, self.outcome = t_ns, outcome
        self._gate_timeout.accepted()
        self._shape.update(observed.betas, observed.betas_std)

    def _refuse(self, outcome: Outcome, what: str) -> None:
        self.outcome = outcome
        if not self._warned:
            self._warned = True
            _logger.warning(
                "%s filter: refused %s; further ones of this track are not logged", self.name, what
            )
