"""What every filter of a person's motion implements, and the state it works on."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import Float32Array
from kinestream.regress.observation import Observations

GROWTH_PER_S = (1.5, 1.0, 0.6)
"""How fast an unseen person becomes uncertain: standard deviations of z, root (rad), translation (m)."""

LOST_ROOT_STD_RAD = 1.5
LOST_TRANSLATION_STD_M = 1.5
"""A person is lost when direction or place is less certain than this (standard deviations)."""


@dataclass(frozen=True, eq=False)
class PersonState:
    """Pose, place and shape of one person at one time, each with its standard deviation.

    Attributes:
        z, z_std: (D,) pose in the latent space of the flow.
        root_quat_wxyz: (4,) pelvis rotation, body axes to camera frame; root_std_rad per axis.
        translation_m, translation_std_m: (3,) pelvis in the camera frame.
        betas, betas_std: (10,) body shape.
        joint_std_share: (24,) what correlations of the latents, which their deviations do not tell, leave of
            the joints' deviations from the pelvis; None for all of it.
    """

    z: Float32Array
    z_std: Float32Array
    root_quat_wxyz: Float32Array
    root_std_rad: float
    translation_m: Float32Array
    translation_std_m: Float32Array
    betas: Float32Array
    betas_std: Float32Array
    joint_std_share: Float32Array | None = None

    @classmethod
    def from_observations(cls, observations: Observations, row: int) -> "PersonState":
        """What the regressor says of person ``row``."""
        return cls(
            z=observations.z[row],
            z_std=observations.z_std[row],
            root_quat_wxyz=observations.root_quat_wxyz[row],
            root_std_rad=float(observations.root_std_rad[row]),
            translation_m=observations.translation_m[row],
            translation_std_m=observations.translation_std_m[row],
            betas=observations.betas[row],
            betas_std=observations.betas_std[row],
        )


class KeypointEvidence(NamedTuple):
    """The keypoints of one person in one picture, as the network found them."""

    keypoints_px: npt.NDArray[np.floating]  # (23, 3) x, y, confidence 0..1
    camera: Camera
    box_side_px: float  # longer side of the observed box: the unit of the keypoints' deviations
    covariance_px2: npt.NDArray[np.floating] | None = None  # (23, 3) of heat maps: xx, xy, yy; NaN: unknown

    @classmethod
    def of(
        cls, observations: Observations, row: int, camera: Camera, box_side_px: float
    ) -> "KeypointEvidence":
        """What the regressor saw of person ``row`` in a picture of ``camera``."""
        return cls(observations.keypoints_px[row], camera, box_side_px, observations.covariance_px2[row])


class PoseFilter(ABC):
    """Causal filter of one person; one instance per track, constant time per call.

    Times are nanoseconds on one clock and need no fixed rate. `predict` may be asked for any time at or
    after the last `update`, as often as wanted, and changes nothing: that is how the tracker coasts
    through misses and forecasts to the publish time. The standard deviations grow with that distance.
    """

    name: ClassVar[str]
    smoothness: float | None = None
    """-1 (fast) .. 1 (smooth), may be changed at any time; None where there is no such choice."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the person."""

    @abstractmethod
    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Take in what was seen at ``t_ns`` and return the estimate for that time.

        Times that do not advance count as one millisecond later.
        """

    def observe(self, t_ns: int, observed: PersonState, evidence: KeypointEvidence) -> PersonState:
        """As `update`, for filters that use keypoints beside the state; the others do without them."""
        return self.update(t_ns, observed)

    @abstractmethod
    def predict(self, t_ns: int) -> PersonState:
        """The estimate for ``t_ns``; times before the last update give the estimate at that update.

        Raises ``RuntimeError`` before the first update.
        """

    def lost(self, t_ns: int) -> bool:
        """Whether the estimate for ``t_ns`` is too uncertain to keep somebody out of sight."""
        state = self.predict(t_ns)
        worst_m = float(state.translation_std_m.max())
        return state.root_std_rad > LOST_ROOT_STD_RAD or worst_m > LOST_TRANSLATION_STD_M


class FilterAround(PoseFilter):
    """What filters share that work around another one, ``motion``."""

    def __init__(self, motion: PoseFilter) -> None:
        self.motion = motion

    @property
    def smoothness(self) -> float | None:  # an attribute of the others
        """Of the filter within."""
        return self.motion.smoothness

    @smoothness.setter
    def smoothness(self, value: float | None) -> None:
        self.motion.smoothness = value

    def lost(self, t_ns: int) -> bool:
        """As the filter within says."""
        return self.motion.lost(t_ns)


FilterFactory = Callable[[], PoseFilter]

MIN_STEP_S = 1e-3


def grown(std: Float32Array, speed: float, lead_s: float) -> Float32Array:
    """Standard deviation after ``lead_s`` of motion at an unknown speed of this standard deviation."""
    result: Float32Array = np.sqrt(np.square(std) + np.float32((speed * lead_s) ** 2))
    return result
