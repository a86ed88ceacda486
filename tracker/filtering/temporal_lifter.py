"""The temporal lifter: what keypoints of the last second say about depth, applied to the network's state.

One picture does not tell how far an arm reaches towards the camera; how its keypoints moved often does. A
small network reads the keypoints of now and of a few moments before, and corrects latent pose, root and
their deviations. Each picture's keypoints are taken in the virtual camera that looks at the person's pelvis,
so that panning and walking change nothing; lengths are in units of half the person's box.

Plain numpy; `kinestream.trainer.dynamics.temporal_lifter.TemporalLifter` is the same computation, batched and
differentiable, and a test holds the two together.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.defaults import ASSETS
from kinestream.filtering.base import KeypointEvidence, PersonState
from kinestream.filtering.error_state import is_finite, rotation_columns
from kinestream.filtering.linear import Linear
from kinestream.geometry.compiled_rotation import matrix_from_sixd
from kinestream.geometry.quaternion import from_matrix, product, unit
from kinestream.kernels.array_types import Float32Array, Float64Array
from kinestream.networks.weight_files import read_weights
from kinestream.regress.preprocessing import turn_towards

DEFAULT_WEIGHTS: Final = ASSETS / "temporal_lifter.safetensors"
FORMAT: Final = "kinestream.temporal_lifter.v1"
ADVICE: Final = "train one with `python -m kinestream.trainer.train_temporal_lifter`"

LAGS_S: Final = (1 / 30, 2 / 30, 4 / 30, 8 / 30, 16 / 30, 1.0)
"""How far back the network looks; of each moment it takes the nearest picture, and is told which."""
NEARER, FARTHER, FARTHER_S = 0.6, 1.5, 0.15
"""Shares of a lag that a picture may be away and still count for it, or seconds at low frame rates."""
OLDEST_S: Final = 1.3
"""Older pictures are forgotten."""
POINT_LIMIT: Final = 3.0
"""Keypoints and how far they moved are cut at so many half boxes."""
LOG_STD_STEP: Final = 1.5
"""A deviation changes by no more than this in its logarithm."""
_NEAREST: Final = 0.05
_LAGS: Final = np.array(LAGS_S)
_OLDEST_OF_LAG: Final = np.maximum(FARTHER * _LAGS, FARTHER_S)


class SeenKeypoints(NamedTuple):
    """The keypoints of one picture."""

    t_ns: int
    plane: Float64Array  # (23, 2) on the plane at 1 of the virtual camera
    confidence: Float64Array  # (23,)


class Norm(NamedTuple):
    """A layer normalisation."""

    weight: Float32Array
    bias: Float32Array

    def __call__(self, x: Float32Array) -> Float32Array:
        """Apply to a vector."""
        centred = x - x.mean()
        scale = np.float32(1 / np.sqrt(float(centred @ centred) / len(x) + 1e-5))
        return np.asarray(centred * scale * self.weight + self.bias, np.float32)


@dataclass(frozen=True)
class LifterWeights:
    """The layers of a temporal lifter, and the flow for whose latents it was trained."""

    inputs: tuple[Linear, Linear, Linear]  # of now, the past and the state
    blocks: tuple[tuple[Norm, Linear, Linear], ...]
    norm: Norm
    outputs: Linear  # target, gain and steps of deviations below each other
    target_size: int
    flow_id: str

    @classmethod
    def load(cls, path: str | Path | None = None) -> LifterWeights:
        """Read a temporal lifter; None gives the shipped one.

        Raises ``FileNotFoundError``, or ``WeightsError`` where the file holds none.
        """
        return _load(Path(path or DEFAULT_WEIGHTS))


class TemporalLifter:
    """The temporal lifter of one track, with its memory of keypoints."""

    def __init__(self, weights: LifterWeights) -> None:
        """Take weights, which tracks may share."""
        self._weights = weights
        self._seen: deque[SeenKeypoints] = deque()

    def reset(self) -> None:
        """Forget the person."""
        self._seen.clear()

    def correct(self, t_ns: int, state: PersonState, evidence: KeypointEvidence) -> PersonState:
        """The state observed at ``t_ns``, corrected by its keypoints and those before; they are remembered.

        Times that do not advance, and what is not finite or shows nobody, leave the state as it is.
        """
        points = np.asarray(evidence.keypoints_px, np.float64)
        stale = bool(self._seen) and t_ns <= self._seen[-1].t_ns
        if stale or not np.isfinite(points).all() or not points[:, 2].any() or not is_finite(state):
            return state
        if not state.translation_m[2] > _NEAREST or not evidence.box_side_px > 0:
            return state
        while self._seen and t_ns - self._seen[0].t_ns > OLDEST_S * 1e9:
            self._seen.popleft()
        turn = turn_towards(np.asarray(state.translation_m, np.float64)[None])[0]
        rays = evidence.camera.unproject(points[:, :2]) @ turn
        now = SeenKeypoints(t_ns, rays[:, :2] / np.maximum(rays[:, 2:], _NEAREST), points[:, 2].clip(0, 1))
        half = float(evidence.box_side_px / sum(evidence.camera.focal_px))
        features, sixd = self._features(now, half, state, turn)
        target, gain, log_std = self._network(features)
        self._seen.append(now)
        size = len(state.z)
        turned = (sixd + gain[size] * (target[size:] - sixd))[None].astype(np.float64)
        root = turn @ matrix_from_sixd(turned)[0]
        return replace(
            state,
            z=state.z + gain[:size] * (target[:size] - state.z),
            z_std=state.z_std * np.exp(log_std[:size]),
            root_quat_wxyz=from_matrix(root).astype(np.float32),
            root_std_rad=float(state.root_std_rad * np.exp(log_std[size])),
        )

    def _features(
        self, now: SeenKeypoints, half: float, state: PersonState, turn: Float64Array
    ) -> tuple[tuple[Float32Array, Float32Array, Float32Array], Float32Array]:
        """What the network reads: now, the past relative to it, and the state in the virtual camera.

        Also the root there, by the first two columns of its rotation (6,).
        """
        count = len(LAGS_S)
        moved, confidence = np.zeros((count, NUM_KEYPOINTS, 2)), np.zeros((count, NUM_KEYPOINTS))
        lateness = np.zeros(count)
        if self._seen:
            ages_s = np.array([now.t_ns - seen.t_ns for seen in self._seen]) * 1e-9
            nearest = np.abs(ages_s[:, None] - _LAGS).argmin(0)
            ages_s = ages_s[nearest]
            slots = np.flatnonzero((ages_s >= NEARER * _LAGS) & (ages_s <= _OLDEST_OF_LAG))
            if len(slots):
                before = [self._seen[index] for index in nearest[slots]]
                confidence[slots] = [seen.confidence for seen in before]
                moved[slots] = [seen.plane for seen in before]
                moved[slots] = ((moved[slots] - now.plane) / half).clip(-POINT_LIMIT, POINT_LIMIT)
                moved[slots] *= np.minimum(confidence[slots], now.confidence)[..., None]
                lateness[slots] = np.log(ages_s[slots] / _LAGS[slots])
        points = (now.plane / half).clip(-POINT_LIMIT, POINT_LIMIT) * now.confidence[:, None]
        w, x, y, z = state.root_quat_wxyz.tolist()
        sixd = rotation_columns(product(from_matrix(turn.T), unit((w, x, y, z))))
        parts = (
            (points.ravel(), now.confidence, (np.log(half),)),
            (moved.ravel(), confidence.ravel(), lateness),
            (state.z, sixd, np.log(state.z_std), (np.log(state.root_std_rad),)),
        )
        present, past, told = (np.concatenate(part, dtype=np.float32) for part in parts)
        return (present, past, told), np.array(sixd, np.float32)

    def _network(
        self, features: tuple[Float32Array, Float32Array, Float32Array]
    ) -> tuple[Float32Array, Float32Array, Float32Array]:
        """What is aimed at (D + 6,), how much of the way to go (D + 1,), steps of log deviations (D + 1,)."""
        w = self._weights
        now, past, state = (layer(part) for layer, part in zip(w.inputs, features, strict=True))
        hidden = now + past + state
        for norm, first, second in w.blocks:
            hidden = hidden + second(np.maximum(first(norm(hidden)), np.float32(0)))
        answer = w.outputs(w.norm(hidden))
        size = w.target_size
        target, gain, log_std = np.split(answer, [size, (size + len(answer)) // 2])
        return target, 0.5 + 0.5 * np.tanh(0.5 * gain), log_std.clip(-LOG_STD_STEP, LOG_STD_STEP)


@lru_cache(maxsize=4)
def _load(path: Path) -> LifterWeights:
    _, arrays, notes = read_weights(path, kind=FORMAT, advice=ADVICE, packed=True)
    now, past, state = (Linear.of(arrays, name) for name in ("embed", "past", "state"))

    def norm(name: str) -> Norm:
        return Norm(arrays[f"{name}.weight"], arrays[f"{name}.bias"])

    depth = sum(name.endswith(".first.bias") for name in arrays)
    blocks = tuple(
        (norm(f"{block}.norm"), Linear.of(arrays, f"{block}.first"), Linear.of(arrays, f"{block}.second"))
        for block in (f"layers.{index}" for index in range(depth))
    )
    return LifterWeights(
        inputs=(now, past, state),
        blocks=blocks,
        norm=norm(f"layers.{depth}"),
        outputs=Linear.of(arrays, "lifted", "gain", "log_std"),
        target_size=len(arrays["lifted.bias"]),
        flow_id=notes.get("flow_id", ""),
    )
