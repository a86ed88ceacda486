"""The measurement update by keypoints: a person's state is moved until its body agrees with the picture.

    update = KeypointUpdate(body, flow_map)
    updated = update(state, KeypointEvidence(keypoints_px, camera, box_side_px=240.0))
    updated.state, updated.used

The flow is linearised once at the state's mean (`FlowMap.linearise`). Turns of joints, place and shape are
then found by an iterated robust Kalman update through exact kinematics and the full perspective camera
(`keypoint_solver`), and the pose goes back to the latent space by one exact `encode`. The result is never
less likely than the state that was given: where it would be, the step is shortened, and at last not taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from kinestream.body.arrays import BodyArrays
from kinestream.body.skeleton import NUM_BETAS, NUM_FLOW_JOINTS, NUM_JOINTS, NUM_KEYPOINTS
from kinestream.filtering import keypoint_solver as solver
from kinestream.filtering.base import KeypointEvidence, PersonState
from kinestream.filtering.error_state import is_finite
from kinestream.filtering.keypoint_kinematics import KeypointKinematics, camera_array
from kinestream.filtering.keypoint_noise import KeypointNoise, keypoint_offsets_m
from kinestream.filtering.keypoint_swaps import Believed, believe
from kinestream.geometry.camera import Camera
from kinestream.geometry.compiled_rotation import quat_from_matrix
from kinestream.geometry.quaternion import to_matrix, unit
from kinestream.kernels.array_types import Float32Array, Float64Array

ITERATIONS = 3
"""Of the solver; from five on nothing moves any more."""
SHORTENINGS = 3
"""So often a step that raised the energy is halved before it is dropped."""
_ROOT_STD_SCALE = np.array([0.7, 1.0, 0.5])
"""The turn about the body's long axis is as uncertain as the regressor says of all three, the others less."""
STD_FLOOR = 1e-4
CORRELATED = 8.0
"""Keypoints of one look err alike: so many of them count as one where deviations are concerned."""
REUSE = 0.15
"""Tangents serve for latents whose components are this far away (root mean square)."""


@runtime_checkable
class InvertibleDecoder(Protocol):
    """A flow that also encodes and linearises; see `kinestream.latent.flow_map.FlowMap`."""

    def rotations(self, latent: npt.ArrayLike) -> Float64Array:
        """Rotations (21, 3, 3) of a latent (63,)."""
        ...

    def linearise(self, latent: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Rotations (21, 3, 3) of a latent (63,), and how they turn with it (63, 63)."""
        ...

    def encode(self, rotations: npt.ArrayLike) -> Float32Array:
        """Rotations (21, 3, 3) to the latent (63,)."""
        ...


class Tangents(NamedTuple):
    """How joints turn with the latent (63, 63 and one of zeros), and the latent (63,) where they do."""

    z: Float32Array
    turns: Float64Array


@dataclass(frozen=True, eq=False)
class Updated:
    """What the keypoints made of a state.

    Attributes:
        state: posterior mean and standard deviations.
        used: (23,) keypoints that had a say.
        swapped: whether left and right were exchanged, of the arms and of the legs.
        energy_before, energy_after: negative log-posterior of the given state and of the result.
        tangents: how joints turn with the latent near the given state; None where nothing was done.
    """

    state: PersonState
    used: npt.NDArray[np.bool_]
    swapped: tuple[bool, bool]
    energy_before: float
    energy_after: float
    tangents: Tangents | None = None


class KeypointUpdate:
    """Updates states of one body by keypoints. Not thread-safe: it computes in workspaces of its own."""

    def __init__(
        self, body: BodyArrays, flow: InvertibleDecoder, *, noise: KeypointNoise | None = None
    ) -> None:
        """Take the body that is published and the flow of its poses; compiles what it needs."""
        self.noise = noise or KeypointNoise()
        self._flow = flow
        self._solver = solver.Solver(KeypointKinematics.with_offsets(body, keypoint_offsets_m()))
        self._rotations = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
        self._zero = np.zeros(solver.STATE)
        self._believed = Believed.empty()
        self._compile()

    def __call__(
        self,
        state: PersonState,
        seen: KeypointEvidence,
        *,
        prior_scale: float = 1.0,
        shape_scale: float = 1.0,
        tangents: Tangents | None = None,
        deviations: bool = True,
        swapped: tuple[bool, bool] | None = None,
    ) -> Updated:
        """The state after the keypoints were seen.

        Args:
            state: prior mean and standard deviations.
            seen: keypoints; what is not finite is not used.
            prior_scale: factor of the standard deviations of pose and place; below 1 the state follows the
                keypoints only so far.
            shape_scale: the same of the shape.
            tangents: of an earlier update; they save their computation where the state is not far from it.
            deviations: whether those of the result are wanted; else they are those of ``state``.
            swapped: whether left and right are to be exchanged, of the arms and of the legs; None tests it.

        """
        keypoints_px, camera, box_side_px, heatmaps_px2 = seen
        nothing = Updated(state, np.zeros(NUM_KEYPOINTS, np.bool_), (False, False), 0.0, 0.0)
        if not (is_finite(state) and math.isfinite(box_side_px) and box_side_px > 0):
            return nothing
        confident = keypoints_px[:, 2] >= self.noise.min_confidence  # False for NaN
        if not (confident & np.isfinite(keypoints_px).all(1)).any():
            return nothing
        work = self._solver
        prior, tangents = self._prior(state, prior_scale, shape_scale, tangents)
        evidence, swapped = self._evidence(prior, keypoints_px, camera, box_side_px, heatmaps_px2, swapped)
        used = evidence.weights > 0  # a copy
        if not used.any():
            return nothing
        before = work.evidence_energy(evidence)  # the prior's part is 0 at its mean
        work.solve(prior, evidence, ITERATIONS)
        for _ in range(SHORTENINGS):
            z = self._flow.encode(work.local[1 : NUM_FLOW_JOINTS + 1])
            exact = work.state.copy()
            exact[: solver.LATENT] = z - state.z  # not to first order
            after = solver.prior_energy(prior, exact) + work.keypoint_energy
            if after <= before:
                posterior = self._posterior(state, prior, z, deviations)
                return Updated(posterior, used, swapped, before, after, tangents)
            work.state *= 0.5
            work.evaluate(prior, evidence, work.state)
        return replace(nothing, used=used, swapped=swapped, energy_before=before, energy_after=before)

    def _compile(self) -> None:
        """Run all of it once, so that the first person does not wait for the compiler."""
        small = np.full(solver.LATENT, 0.1, np.float32)
        state = PersonState(
            z=0 * small,
            z_std=small,
            root_quat_wxyz=_float32([0, 1, 0, 0]),
            root_std_rad=0.1,
            translation_m=_float32([0, 0, 3]),
            translation_std_m=small[:3],
            betas=0 * small[:NUM_BETAS],
            betas_std=small[:NUM_BETAS],
        )
        camera = Camera(640, 640, (640.0, 640.0), (320.0, 320.0))
        keypoints = np.full((NUM_KEYPOINTS, 3), 320.0)
        keypoints[:, 2] = 0.5
        self(state, KeypointEvidence(keypoints, camera, 640.0))

    def _prior(
        self, state: PersonState, scale: float, shape_scale: float, tangents: Tangents | None
    ) -> tuple[solver.Prior, Tangents]:
        if tangents is None or np.square(state.z - tangents.z).mean() > REUSE * REUSE:
            turned, turns = self._flow.linearise(state.z)
            padded = np.zeros((solver.LATENT, solver.LATENT + 1))
            padded[:, :-1] = turns
            tangents = Tangents(state.z, padded)
        else:
            turned = self._flow.rotations(state.z)
        self._rotations[1 : NUM_FLOW_JOINTS + 1] = turned
        w, x, y, z = state.root_quat_wxyz.tolist()
        self._rotations[0] = to_matrix(unit((w, x, y, z)))
        place = state.translation_m.astype(np.float64)
        axes = _ray_axes(place)
        std = np.empty(solver.STATE)
        std[: solver.LATENT] = state.z_std
        std[solver.ROOT : solver.PLACE] = _ROOT_STD_SCALE * state.root_std_rad
        # stated along the camera's axes: that of the depth is along the ray, the smaller other one across it
        x, y, z = state.translation_std_m.tolist()
        std[solver.PLACE : solver.PLACE + 2] = min(x, y)
        std[solver.PLACE + 2] = z / max(abs(axes[2, 2]), 0.1)
        std[: solver.SHAPE] *= scale
        std[solver.SHAPE :] = state.betas_std
        std[solver.SHAPE :] *= shape_scale
        np.maximum(std, STD_FLOOR, out=std)
        betas = state.betas.astype(np.float64)
        return solver.Prior(self._rotations, tangents.turns, place, axes, betas, std), tangents

    def _evidence(
        self,
        prior: solver.Prior,
        keypoints_px: npt.NDArray[np.floating],
        camera: Camera,
        box_side_px: float,
        heatmaps_px2: npt.NDArray[np.floating] | None,
        swapped: tuple[bool, bool] | None,
    ) -> tuple[solver.Evidence, tuple[bool, bool]]:
        """Keypoints with their deviations, swaps undone; weight 0 for those that are not believed.

        Leaves the prior's body evaluated.
        """
        points = keypoints_px.astype(np.float64)
        covariance = self.noise.covariance_px2(points[:, 2], box_side_px, heatmaps_px2)
        lens, believed, work = camera_array(camera), self._believed, self._solver
        believed.weights[:] = 0.0
        work.evaluate(prior, solver.Evidence(*believed, lens, 1.0), self._zero)
        swaps = believe(
            points, covariance, work.predicted, box_side_px, self.noise.min_confidence, believed, swapped
        )
        return solver.Evidence(*believed, lens, self.noise.robust), swaps

    def _posterior(
        self, state: PersonState, prior: solver.Prior, z: Float32Array, deviations: bool
    ) -> PersonState:
        work = self._solver
        mean = replace(
            state,
            z=z,
            root_quat_wxyz=quat_from_matrix(work.local[:1])[0],
            translation_m=_float32(work.place),
            betas=_float32(work.betas),
        )
        if not deviations:
            return mean
        learned = work.learned(prior, 1 / CORRELATED)
        kept = 1.0 - np.einsum("ij,ij->j", learned, learned)  # of each variance
        # Along the ray nothing is learned that the network did not know: both go by the person's size.
        kept[solver.PLACE + 2] = 1.0
        joints = work.joints(prior)
        joints *= prior.std[: solver.PLACE]
        squares = joints * joints
        known = joints @ learned[:, : solver.PLACE].T
        together = squares.sum(1) - np.einsum("ij,ij->i", known, known)
        apart = squares @ kept[: solver.PLACE]
        share = np.sqrt(np.maximum(together, 0.0) / np.maximum(apart, 1e-12))
        shrunk = np.sqrt(kept)
        place = slice(solver.PLACE, solver.SHAPE)
        spread = np.square(prior.axes * prior.std[place])
        return replace(
            mean,
            z_std=_float32(state.z_std * shrunk[: solver.LATENT]),
            root_std_rad=state.root_std_rad * float(shrunk[solver.ROOT : solver.PLACE].mean()),
            translation_std_m=_float32(
                state.translation_std_m * np.sqrt(spread @ kept[place] / spread.sum(1))
            ),
            betas_std=_float32(state.betas_std * shrunk[solver.SHAPE :]),
            joint_std_share=_float32(np.minimum(share, 1.0)),
        )


def _ray_axes(place: Float64Array) -> Float64Array:
    """Orthonormal columns (3, 3), the last along the ray from the camera to a place."""
    x, y, z = place.tolist()
    length = math.sqrt(x * x + y * y + z * z)
    if length < 1e-6:
        return np.eye(3)
    x, y, z = x / length, y / length, z / length
    # the smallest rotation that takes the optical axis to the ray; half a turn behind the camera
    if z < -0.999:
        return np.ascontiguousarray([[1.0, 0.0, x], [0.0, -1.0, y], [0.0, 0.0, z]])
    share = 1 / (1 + z)
    return np.array(
        [[1 - x * x * share, -x * y * share, x], [-x * y * share, 1 - y * y * share, y], [-x, -y, z]]
    )


def _float32(values: npt.ArrayLike) -> Float32Array:
    return np.asarray(values, np.float32)
