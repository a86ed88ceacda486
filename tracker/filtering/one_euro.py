"""The One Euro filter (Casiez, Roussel, Vogel, CHI 2012) on latent pose, root and translation.

A first-order low-pass whose cut-off rises with speed: steady at rest, quick in motion. Written for real
time stamps: the step is measured at every frame.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kinestream.filtering.base import MIN_STEP_S, PersonState, PoseFilter
from kinestream.filtering.shape import ShapeAverage
from kinestream.filtering.unfiltered import hold
from kinestream.geometry import quaternion
from kinestream.kernels.array_types import AnyArray, Float32Array


@dataclass(frozen=True)
class OneEuroSettings:
    """Of one signal: cut-off at rest (Hz), its rise per unit of speed, cut-off of the speed (Hz)."""

    min_cutoff_hz: float = 1.0
    beta: float = 0.0
    speed_cutoff_hz: float = 1.0

    def __post_init__(self) -> None:
        if not (self.min_cutoff_hz > 0 and self.beta >= 0 and self.speed_cutoff_hz > 0):
            raise ValueError(
                f"OneEuroSettings: cut-offs must be positive and beta not negative, found {self}"
            )


LATENT = OneEuroSettings(min_cutoff_hz=3.0, beta=0.2)
ROOT = OneEuroSettings(min_cutoff_hz=1.5, beta=1.0)
TRANSLATION = OneEuroSettings(min_cutoff_hz=1.5, beta=3.0)

LONGEST_FORECAST_S = 0.1
"""How long a velocity is carried on."""


def smoothing(cutoff_hz: npt.ArrayLike, step_s: float) -> AnyArray:
    """Weight of the new value in a first-order low-pass with this cut-off."""
    result: AnyArray = 1.0 / (1.0 + 1.0 / (2.0 * math.pi * np.asarray(cutoff_hz) * step_s))
    return result


class OneEuroSignal:
    """One vector. With ``joint`` all components share the cut-off of their common speed.

    Attributes:
        value: filtered.
        velocity: of the filtered value, low-passed, per second.
        weight: share of the newest value in the filtered one.
    """

    def __init__(self, settings: OneEuroSettings, *, joint: bool = False) -> None:
        self.settings = settings
        self._joint = joint
        self.value: AnyArray | None = None
        self.velocity: AnyArray = np.zeros(0)
        self.weight: AnyArray = np.ones(())
        self._speed: AnyArray = np.zeros(0)

    def update(self, value: AnyArray, step_s: float) -> AnyArray:
        """Filtered value, ``step_s`` after the last."""
        if self.value is None:
            self.value = value
            self._speed = self.velocity = np.zeros(value.shape)
        else:
            self.value = self.value + self.advance(value - self.value, step_s)
        return self.value

    def advance(self, difference: AnyArray, step_s: float) -> AnyArray:
        """How far the filtered value moves when the new value lies this far from it."""
        settings = self.settings
        speed_weight = smoothing(settings.speed_cutoff_hz, step_s)
        # The speed which the paper takes is that of the new value against the filtered one.
        self._speed = self._speed + speed_weight * (difference / step_s - self._speed)
        magnitude = np.linalg.norm(self._speed) if self._joint else np.abs(self._speed)
        self.weight = smoothing(settings.min_cutoff_hz + settings.beta * magnitude, step_s)
        moved: AnyArray = self.weight * difference
        self.velocity = self.velocity + speed_weight * (moved / step_s - self.velocity)
        return moved


class OneEuroFilter(PoseFilter):
    """One Euro on z, root rotation and translation; the shape is a running mean.

    The forecast goes on with the filtered velocity for at most 0.1 s.
    """

    name = "one-euro"

    def __init__(
        self,
        *,
        latent: OneEuroSettings = LATENT,
        root: OneEuroSettings = ROOT,
        translation: OneEuroSettings = TRANSLATION,
    ) -> None:
        self._settings = (latent, root, translation)
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        latent, root, translation = self._settings
        self._latent = OneEuroSignal(latent)
        self._turn = OneEuroSignal(root, joint=True)
        self._place = OneEuroSignal(translation, joint=True)
        self._shape = ShapeAverage()
        self._t_ns = 0
        self._state: PersonState | None = None

    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Take in an observation."""
        last = self._state
        step_s = max(MIN_STEP_S, (t_ns - self._t_ns) / 1e9)
        self._t_ns = t_ns if last is None else max(t_ns, self._t_ns)
        if last is None:
            self._turn.update(np.zeros(3), step_s)
            root = observed.root_quat_wxyz
            last = observed
        else:
            opposite = quaternion.conjugate(last.root_quat_wxyz.tolist())
            turn = np.array(quaternion.log(quaternion.product(observed.root_quat_wxyz.tolist(), opposite)))
            root = _turned(last.root_quat_wxyz, self._turn.advance(turn, step_s))
        self._shape.update(observed.betas, observed.betas_std)
        self._state = PersonState(
            z=np.asarray(self._latent.update(observed.z, step_s), np.float32),
            z_std=_blended_std(last.z_std, observed.z_std, self._latent.weight),
            root_quat_wxyz=root,
            root_std_rad=float(_blended_std(last.root_std_rad, observed.root_std_rad, self._turn.weight)),
            translation_m=np.asarray(self._place.update(observed.translation_m, step_s), np.float32),
            translation_std_m=_blended_std(
                last.translation_std_m, observed.translation_std_m, self._place.weight
            ),
            betas=self._shape.betas,
            betas_std=self._shape.std,
        )
        return self._state

    def predict(self, t_ns: int) -> PersonState:
        """Carry on with the filtered velocity for a moment, then stand still; ever less certain."""
        if self._state is None:
            raise RuntimeError("predict: there was no update yet")
        lead_s = max(0, t_ns - self._t_ns) / 1e9
        if lead_s == 0:
            return self._state
        carried_s = min(lead_s, LONGEST_FORECAST_S)
        moved = replace(
            self._state,
            z=np.asarray(self._state.z + carried_s * self._latent.velocity, np.float32),
            root_quat_wxyz=_turned(self._state.root_quat_wxyz, carried_s * self._turn.velocity),
            translation_m=np.asarray(
                self._state.translation_m + carried_s * self._place.velocity, np.float32
            ),
        )
        return hold(moved, lead_s)


def _blended_std(last: npt.ArrayLike, observed: npt.ArrayLike, weight: npt.ArrayLike) -> Float32Array:
    """Standard deviation of ``(1 - weight) last + weight observed``, for errors that are much the same."""
    last, share = np.asarray(last), np.asarray(weight)
    return np.asarray(last + share * (np.asarray(observed) - last), np.float32)


def _turned(quat_wxyz: Float32Array, vector: AnyArray) -> Float32Array:
    """The rotation after a further turn by a rotation vector (3,) of the camera frame."""
    x, y, z = vector.tolist()
    w, a, b, c = quat_wxyz.tolist()
    turned = quaternion.product(quaternion.exp(x, y, z), (w, a, b, c))
    return np.array(quaternion.unit(turned), np.float32)
