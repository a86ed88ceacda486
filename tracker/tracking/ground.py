"""Which way is up, and how high the camera is: from people who stand and walk, and from their feet.

Two kinds of evidence, one person at a time:

* **Posture.** A weighted sum of trunk, thighs, shins and feet points against gravity, the better the
  straighter somebody stands. The regressor draws everybody towards the elevation from which most of its
  training pictures are taken; the known part of that is taken out. The rest is much the same in every frame,
  so that time alone makes it no surer.
* **Floor.** The lowest points of the soles of one person lie in one plane. Where somebody walks about, its
  normal is surer than posture, above all towards and away from the camera.

The estimate is causal, takes the same time for every frame, and forgets within minutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from kinestream.geometry.level import Ground
from kinestream.kernels.array_types import AnyArray, Float64Array

MEMORY_S: Final = 60.0
"""Time in which evidence loses two thirds of its weight."""
SETTLING_S: Final = 4.0
"""So many seconds of people in sight settle the estimate."""
SETTLING_RAD_PER_S: Final = math.radians(20)
SETTLED_RAD_PER_S: Final = math.radians(1)
"""How fast the published direction turns at most, before and after it has settled."""
SETTLING_M_PER_S: Final = 1.0
SETTLED_M_PER_S: Final = 0.05
"""How fast the published height changes at most."""
MAX_TRACKS: Final = 16

TRUNK, THIGH, SHIN, FOOT = 0.92, 0.84, 0.49, -0.48
"""Weights of their sum, fitted to motion capture: 4 degrees off in the median, 2 of straight people."""
DRAWN_RAD, DRAWN_UNSEEN_RAD = math.radians(5), math.radians(10)
DRAWN_TO_RAD, DRAWN_WITHIN_RAD = math.radians(6.5), math.radians(5)
"""By the first, and by the second of the share of the legs that is not seen, the regressor's elevations are
nearer to the third than the true ones; by less within the fourth. Fitted to rendered clips."""
LEAST_LEGS: Final = 0.6
"""No smaller share of the legs counts: that they are hidden is another matter."""
STRAIGHT_RAD, PER_BEND, PER_KNEE = math.radians(3), 0.5, 0.2
"""Deviation of posture: of somebody straight, and what bends of the hips and of the straighter knee add."""
SIGHT_RAD, ACROSS_RAD = math.radians(6), math.radians(2)
"""What stays of a person's error: towards or away from the camera, and sideways."""
POSTURE_S, CONTACT_S = 0.5, 2.0
"""Times over which errors of posture and of contacts are the same."""
CONTACT_M, CONTACT_OF_DEPTH = 0.05, 0.03
"""Deviation of a sole from the floor: its own, and along the line of sight as a share of the distance."""
SOLE_M: Final = 0.02
"""Thickness of the foot under the keypoints of its sole."""
HEIGHT_OF_DEPTH: Final = 0.06
"""What stays of the error of somebody's distance."""


def _pair(name: str) -> list[int]:
    return [JOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right")]


_NECK = JOINT_NAMES.index("neck")
_HIPS, _KNEES, _ANKLES, _TOES = map(_pair, ("hip", "knee", "ankle", "foot"))
_LEGS = [i for i, name in enumerate(KEYPOINT_NAMES) if name.endswith(("_ankle", "_toe", "_heel"))]
_SOLES = [i for i, name in enumerate(KEYPOINT_NAMES) if name.endswith(("_toe", "_heel"))]


class Seen(NamedTuple):
    """A person in one frame, in the camera frame."""

    joints_m: AnyArray  # (24, 3)
    keypoints_m: AnyArray  # (23, 3)
    keypoints_px: AnyArray  # (23, 3) x, y, confidence


def posture(joints_m: Float64Array) -> tuple[Float64Array, float]:
    """Upward direction (3,) that joints (24, 3) tell, and its standard deviation in radians."""
    hips, knees, ankles = joints_m[_HIPS], joints_m[_KNEES], joints_m[_ANKLES]
    trunk, thighs, shins = joints_m[_NECK] - joints_m[0], hips - knees, knees - ankles
    feet = (joints_m[_TOES] - ankles).sum(0)
    up = TRUNK * trunk + (THIGH * thighs.sum(0) + SHIN * shins.sum(0) + FOOT * feet) / 2
    bend = _angle(trunk, (thighs + shins).sum(0))
    knee = min(_angle(thighs[0], shins[0]), _angle(thighs[1], shins[1]))
    return _unit(up), math.hypot(STRAIGHT_RAD, PER_BEND * bend, PER_KNEE * knee)


def corrected(up: Float64Array, sight: Float64Array, legs: float = 1.0) -> Float64Array:
    """The direction without the regressor's known error.

    ``sight`` (3,) is the unit vector to the person, ``legs`` how surely lower legs and feet are seen, 0 to 1.
    """
    drawn = DRAWN_RAD + DRAWN_UNSEEN_RAD * (1 - max(legs, LEAST_LEGS))
    sine = -float(up @ sight)
    elevation = math.asin(min(1.0, max(-1.0, sine)))
    elevation += drawn * math.tanh((elevation - DRAWN_TO_RAD) / DRAWN_WITHIN_RAD)
    return math.cos(elevation) * _unit(up + sine * sight) - math.sin(elevation) * sight


def lowest_sole(keypoints_m: AnyArray, up: Float64Array) -> Float64Array:
    """The one (3,) of keypoints (23, 3) on the soles that is furthest down."""
    soles = keypoints_m[_SOLES].astype(np.float64)
    point: Float64Array = soles[int(np.argmin(soles @ up))]
    return point


class _Evidence:
    """What one person has told: sums over the time in sight, which fade together."""

    def __init__(self) -> None:
        self.seconds = self.weight = 0.0
        self.up, self.sight, self.contact_m = np.zeros(3), np.zeros(3), np.zeros(3)
        self.scatter = np.zeros((3, 3))

    def fade(self, share: float) -> None:
        self.seconds *= share
        self.weight *= share
        self.up *= share
        self.sight *= share
        self.scatter *= share

    def add(self, seen: Seen, up: Float64Array | None, step_s: float) -> None:
        """Take in what was seen for ``step_s``; ``up`` is what was estimated before, if anything."""
        joints = seen.joints_m.astype(np.float64)
        sight = _unit(joints[0])
        told, std = posture(joints)
        told = corrected(told, sight, float(seen.keypoints_px[_LEGS, 2].mean()))
        weight = step_s / (std * std)
        self.weight += weight
        self.up += weight * told
        self.sight += weight * sight
        sole = lowest_sole(seen.keypoints_m, told if up is None else up)
        self.seconds += step_s
        offset = sole - self.contact_m
        self.contact_m += step_s / self.seconds * offset
        self.scatter += step_s * np.outer(offset, sole - self.contact_m)

    def direction(self) -> tuple[Float64Array, Float64Array]:
        """Mean upward direction (3,) by posture, and its information (3, 3)."""
        mean = _unit(self.up)
        noise = self.seconds / self.weight / (1 + self.seconds / POSTURE_S)
        across = _unit(_cross(mean, self.sight))
        along = _cross(across, mean)
        sure = np.outer(along, along) / (SIGHT_RAD**2 + noise)
        return mean, sure + np.outer(across, across) / (ACROSS_RAD**2 + noise)

    def flatness(self, up: Float64Array) -> Float64Array:
        """Information (3, 3) that contacts have about directions which lie in the floor."""
        std = math.hypot(CONTACT_M, CONTACT_OF_DEPTH * float(self.contact_m @ up))
        return self.scatter / (CONTACT_S * std * std)


class GroundEstimator:
    """Follows gravity and floor for one camera that stands still, or nearly so.

    Attributes:
        ground: what is published; None before anybody was seen.
    """

    def __init__(self, *, memory_s: float = MEMORY_S) -> None:
        """Forget with this time constant; ``math.inf`` for never."""
        self._memory_s = memory_s
        self.ground: Ground | None = None
        self._people: dict[int, _Evidence] = {}
        self._up: Float64Array | None = None
        self._t_ns: int | None = None

    @property
    def settled(self) -> bool:
        """Whether enough was seen."""
        return sum(evidence.seconds for evidence in self._people.values()) >= SETTLING_S

    def reset(self) -> None:
        """Forget everything, as at a cut."""
        self.ground = self._up = self._t_ns = None
        self._people.clear()

    def update(self, t_ns: int, people: Mapping[int, Seen]) -> Ground | None:
        """Take in the people seen at ``t_ns``, by track; returns what is published.

        The first frame with somebody sets it; from then on it moves no faster than the limits above.
        """
        step_s = 0.0 if self._t_ns is None else min(max(0, t_ns - self._t_ns) / 1e9, POSTURE_S)
        self._t_ns = t_ns
        for evidence in self._people.values():
            evidence.fade(math.exp(-step_s / self._memory_s))
        for track, seen in people.items():
            self._people.setdefault(track, _Evidence()).add(seen, self._up, max(step_s, 1e-3))
        while len(self._people) > MAX_TRACKS:
            del self._people[min(self._people, key=lambda track: self._people[track].weight)]
        if self._people:
            self._publish(step_s)
        return self.ground

    def estimate(self) -> Ground:
        """The best estimate by all evidence, however far that is from what is published.

        Raises ``RuntimeError`` before anybody was seen.
        """
        if not self._people:
            raise RuntimeError("estimate: nobody was seen yet")
        told = [evidence.direction() for evidence in self._people.values()]
        up = _unit(np.sum([information.trace() * mean for mean, information in told], 0))
        for _ in range(2):  # Gauss-Newton on the sphere
            flatness = np.sum([evidence.flatness(up) for evidence in self._people.values()], 0)
            pull = np.sum([information @ (mean - up) for mean, information in told], 0) - flatness @ up
            across = _tangents(up)
            total = np.sum([information for _, information in told], 0) + flatness
            covariance = np.linalg.inv(across.T @ total @ across)
            up = _unit(up + across @ covariance @ across.T @ pull)
        std = math.sqrt(float(np.linalg.eigvalsh(covariance)[-1]))
        seconds = np.array([evidence.seconds for evidence in self._people.values()])
        places = np.stack([evidence.contact_m for evidence in self._people.values()])
        height, depth = (
            seconds @ np.stack([-places @ up, np.linalg.norm(places, axis=1)], 1)
        ) / seconds.sum()
        height_std = math.hypot(CONTACT_M, HEIGHT_OF_DEPTH * height, std * depth)
        return Ground.of(up, std_rad=std, height_m=float(height) + SOLE_M, height_std_m=height_std)

    def _publish(self, step_s: float) -> None:
        found, old = self.estimate(), self.ground
        self._up = found.up
        if old is not None:
            settled = self.settled
            most_rad = step_s * (SETTLED_RAD_PER_S if settled else SETTLING_RAD_PER_S)
            most_m = step_s * (SETTLED_M_PER_S if settled else SETTLING_M_PER_S)
            found = Ground.of(
                turned_towards(old.up, self._up, most_rad),
                std_rad=found.std_rad,
                height_m=min(max(found.height_m, old.height_m - most_m), old.height_m + most_m),
                height_std_m=found.height_std_m,
            )
        self.ground = found


def turned_towards(start: Float64Array, goal: Float64Array, most_rad: float) -> Float64Array:
    """Unit vector (3,) on the way from one to another, no further than ``most_rad``."""
    if _angle(start, goal) <= most_rad:
        return goal
    away = _unit(goal - float(goal @ start) * start)
    return math.cos(most_rad) * start + math.sin(most_rad) * away


def _tangents(up: Float64Array) -> Float64Array:
    """Two unit vectors (3, 2) across a third."""
    other = np.zeros(3)
    other[int(np.argmin(np.abs(up)))] = 1.0
    first = _unit(_cross(up, other))
    return np.stack([first, _cross(up, first)], 1)


def _cross(one: Float64Array, other: Float64Array) -> Float64Array:
    a, b, c = one.tolist()
    x, y, z = other.tolist()
    return np.array([b * z - c * y, c * x - a * z, a * y - b * x])


def _angle(one: Float64Array, other: Float64Array) -> float:
    return math.atan2(math.hypot(*_cross(one, other).tolist()), float(one @ other))


def _unit(vector: Float64Array) -> Float64Array:
    return vector / max(math.hypot(*vector.tolist()), 1e-12)
