"""Filters over simulated observations of true motion: estimates, their error, and their cost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import NUM_BETAS
from kinestream.filtering.base import PersonState, PoseFilter
from kinestream.filtering.error_state import difference, mean_of, std_of
from kinestream.geometry.rotation import matrix_from_quat
from kinestream.latent.decode import FlowDecoder
from kinestream.tools.metrics import motion as metrics
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS, forward_joints
from kinestream.trainer.dynamics.clips import CameraPose, LatentClips, Trajectory, random_cameras
from kinestream.trainer.dynamics.noise import NoiseModel, NoisyObservations, frame_times, observe

Floats = npt.NDArray[np.floating]
Maker = Callable[[], PoseFilter]

JITTER = 0.2
"""Frame times are off by up to this share of the period."""
LONGEST_S = 8.0
WARM_UP_S = 0.5
"""Metrics begin so long after the first frame."""
LEADS_S = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5)
_PARTS = {"": slice(None), "_latent": slice(-6), "_root": slice(-6, -3), "_translation": slice(-3, None)}
"""Dimensions of the error state over which coverage is given."""


@dataclass(frozen=True)
class Scene:
    """One person before a static camera."""

    times_s: npt.NDArray[np.float64]  # (T,) frames
    truth: Trajectory  # states at them; joints_m (T, 24, 3) in the camera frame
    joints_m: Floats
    observed: list[PersonState | None]  # (T,) what was seen, None where the frame was missed
    view: Callable[[npt.NDArray[np.float64]], Trajectory]  # the true states at any times

    def thinned(self, every: int) -> "Scene":
        """Only each ``every``-th frame."""
        kept = slice(None, None, every)
        truth = Trajectory(*(part[kept] for part in vars(self.truth).values()))
        return Scene(self.times_s[kept], truth, self.joints_m[kept], self.observed[kept], self.view)


@dataclass(frozen=True)
class Track:
    """A filter over a scene: an estimate at every frame, forecasts (lead -> frame -> state), cost."""

    estimates: list[PersonState]
    forecasts: dict[float, dict[int, PersonState]]
    update_s: list[float]


def simulate(
    clips: LatentClips, decoder: FlowDecoder, *, fps: float, noise: NoiseModel, seed: int = 0
) -> list[Scene]:
    """Every clip of at least 1.2 s, cut to 8 s, seen by a static camera somewhere around."""
    scenes = []
    for clip in np.flatnonzero(clips.durations_s >= 1.2):
        rng = np.random.default_rng((seed, int(clip)))
        duration = min(float(clips.durations_s[clip]), LONGEST_S)
        times = frame_times(int(duration * fps), np.array([fps]), np.array([JITTER]), rng)
        times = times[:, times[0] <= duration]
        chosen = np.array([clip])
        camera = random_cameras(clips.at(chosen, times).translation_m[:, 0], rng)

        def view(
            at_s: npt.NDArray[np.float64], chosen: npt.NDArray[np.int64] = chosen, camera: CameraPose = camera
        ) -> Trajectory:
            states = camera.apply(clips.at(chosen, at_s[None]))
            return Trajectory(*(part[0] for part in vars(states).values()))

        truth = view(times[0])
        batched = Trajectory(*(part[None] for part in vars(truth).values()))
        seen = observe(batched, times, noise, rng)
        observed = [None if k and seen.missing[0, k] else _person(seen, k) for k in range(times.shape[1])]
        scenes.append(Scene(times[0], truth, joints_of(decoder, truth), observed, view))
    return scenes


def run(make: Maker, scene: Scene, *, leads_s: Sequence[float] = (), every: int = 3) -> Track:
    """Feed a scene to a new filter; forecasts are asked for at each ``every``-th frame that was seen."""
    pose_filter = make()
    estimates: list[PersonState] = []
    forecasts: dict[float, dict[int, PersonState]] = {lead: {} for lead in leads_s}
    cost = []
    for k, (time_s, observed) in enumerate(zip(scene.times_s, scene.observed, strict=True)):
        t_ns = round(time_s * 1e9)
        if observed is None:
            estimates.append(pose_filter.predict(t_ns))
            continue
        start = time.perf_counter()
        estimates.append(pose_filter.update(t_ns, observed))
        cost.append(time.perf_counter() - start)
        if time_s >= WARM_UP_S and k % every == 0:
            for lead in leads_s:
                if time_s + lead <= scene.times_s[-1]:
                    forecasts[lead][k] = pose_filter.predict(t_ns + round(lead * 1e9))
    return Track(estimates, forecasts, cost)


def score(
    decoder: FlowDecoder, scenes: Sequence[Scene], tracks: Sequence[Track], *, lag: bool = True
) -> dict[str, float]:
    """Metrics of the estimates at the frames, averaged over all frames of all scenes.

    Joints are taken around the pelvis, except for ``camera_mpjpe_mm``; the lag (slow) is left out on wish.
    """
    rows, weights, streams, errors, stds = [], [], [], [], []
    for scene, track in zip(scenes, tracks, strict=True):
        kept = scene.times_s >= WARM_UP_S
        times = scene.times_s[kept]
        states = [state for state, use in zip(track.estimates, kept, strict=True) if use]
        in_camera = joints_of(decoder, stacked(states))
        joints, truth = around_pelvis(in_camera), around_pelvis(scene.joints_m[kept])
        rows.append({
            "mpjpe_mm": metrics.mpjpe_mm(joints, truth),
            "camera_mpjpe_mm": metrics.mpjpe_mm(in_camera, scene.joints_m[kept]),
            "acceleration_error_m_s2": metrics.acceleration_error(times, joints, truth),
            "jitter_100m_s3": metrics.jitter(times, joints),
            "above_10hz_mm": metrics.high_frequency_mm(times, joints),
        })  # fmt: skip
        weights.append(len(times))
        streams.append((times, joints, truth))
        error, std = state_errors(states, scene.truth, np.flatnonzero(kept))
        errors.append(error)
        stds.append(std)
    error, std = np.concatenate(errors), np.concatenate(stds)
    cost = np.concatenate([track.update_s for track in tracks]) * 1e6
    return _averages(rows, weights) | {
        "lag_ms": metrics.lag_ms(streams) if lag else float("nan"),
        "nll": metrics.gaussian_nll(error, std),
        "coverage_90": metrics.coverage(error, std),
        **{f"update_us_p{share}": float(np.percentile(cost, share)) for share in (50, 95, 99)},
    }


def score_forecasts(
    decoder: FlowDecoder, scenes: Sequence[Scene], tracks: Sequence[Track]
) -> dict[str, dict[str, float]]:
    """Per lead: error of the forecast and of holding the filter's own estimate; coverage, likelihood."""
    table = {}
    for lead in tracks[0].forecasts:
        rows, weights = [], []
        for scene, track in zip(scenes, tracks, strict=True):
            frames = np.array(list(track.forecasts[lead]), int)
            if not len(frames):
                continue
            states = list(track.forecasts[lead].values())
            truth = scene.view(scene.times_s[frames] + lead)
            future = joints_of(decoder, truth)
            ahead = joints_of(decoder, stacked(states))
            held = joints_of(decoder, stacked([track.estimates[k] for k in frames]))
            error, std = state_errors(states, truth, np.arange(len(frames)))
            coverage = {
                f"coverage_90{name}": metrics.coverage(error[:, part], std[:, part])
                for name, part in _PARTS.items()
            }
            rows.append({
                "mpjpe_mm": metrics.mpjpe_mm(around_pelvis(ahead), around_pelvis(future)),
                "camera_mpjpe_mm": metrics.mpjpe_mm(ahead, future),
                "held_mpjpe_mm": metrics.mpjpe_mm(around_pelvis(held), around_pelvis(future)),
                "held_camera_mpjpe_mm": metrics.mpjpe_mm(held, future),
                **coverage,
                "nll": metrics.gaussian_nll(error, std),
            })  # fmt: skip
            weights.append(len(frames))
        table[f"{lead * 1e3:.0f}"] = _averages(rows, weights)
    return table


def _averages(rows: Sequence[dict[str, float]], weights: Sequence[float]) -> dict[str, float]:
    """The weighted mean of every figure."""
    return {key: float(np.average([row[key] for row in rows], weights=weights)) for key in rows[0]}


def stacked(states: Sequence[PersonState]) -> Trajectory:
    """States one after the other; ``swapped_z`` is empty."""
    return Trajectory(
        np.stack([state.z for state in states]),
        np.empty((len(states), 0), np.float32),
        np.stack([state.root_quat_wxyz for state in states]),
        np.stack([state.translation_m for state in states]),
    )


def joints_of(decoder: FlowDecoder, states: Trajectory) -> Floats:
    """Joints (T, 24, 3) of the default body in the camera frame."""
    rotations = np.empty((len(states.z), NUM_BODY_JOINTS, 3, 3))
    rotations[:, 0] = matrix_from_quat(np.asarray(states.root_quat_wxyz, np.float64))
    rotations[:, 1:] = decoder.decode(states.z)
    return forward_joints(rotations, np.asarray(states.translation_m, np.float64))


def around_pelvis(joints_m: Floats) -> Floats:
    """Joints relative to the pelvis."""
    return np.asarray(joints_m - joints_m[:, :1])


def state_errors(
    states: Sequence[PersonState], truth: Trajectory, rows: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Error state and standard deviation (T, D + 6) of estimates against ``truth`` at ``rows``."""
    errors, stds = [], []
    for state, k in zip(states, rows, strict=True):
        true = person_state(
            truth.z[k], truth.root_quat_wxyz[k], truth.translation_m[k], np.ones(len(state.z) + 6)
        )
        errors.append(difference(mean_of(true), mean_of(state)))
        stds.append(std_of(state, floor=1e-6))
    return np.stack(errors).astype(np.float64), np.stack(stds).astype(np.float64)


def _person(seen: NoisyObservations, k: int) -> PersonState:
    return person_state(seen.z[0, k], seen.root_quat_wxyz[0, k], seen.translation_m[0, k], seen.std[0, k])


def person_state(z: Floats, root: Floats, translation: Floats, std: Floats) -> PersonState:
    """A state of these parts with standard deviations (D + 6,) and an average shape."""
    std = np.asarray(std, np.float32)
    return PersonState(
        z=np.asarray(z, np.float32),
        z_std=std[:-6],
        root_quat_wxyz=np.asarray(root, np.float32),
        root_std_rad=float(np.sqrt(np.square(std[-6:-3]).mean())),
        translation_m=np.asarray(translation, np.float32),
        translation_std_m=std[-3:],
        betas=np.zeros(NUM_BETAS, np.float32),
        betas_std=np.ones(NUM_BETAS, np.float32),
    )
