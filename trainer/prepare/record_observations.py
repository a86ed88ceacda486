"""Record what the regressor says of rendered people whose motion is known.

    python -m kinestream.trainer.prepare.record_observations --mocap CACHE.npz --data DATA --out OUT.npz

The motions of CACHE are acted by clothed people before real backgrounds. As in the tracker, every crop lies
around what was observed in the frame before. `kinestream.trainer.train_dynamics --recorded`,
`kinestream.tools.bench.filter --recorded` and `kinestream.tools.bench.filter.residuals` read the recording.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer

from kinestream.body.arrays import read_body
from kinestream.filtering.base import PersonState
from kinestream.filtering.error_state import std_of
from kinestream.filtering.temporal_lifter import LAGS_S
from kinestream.geometry.rotation import quat_from_matrix
from kinestream.kernels.array_types import Float32Array
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import PoseFlow
from kinestream.regress.observation import Observations
from kinestream.regress.regressor import Regressor
from kinestream.regress.shipped import DEFAULT_WEIGHTS
from kinestream.regress.upright import Observer
from kinestream.tracking.association import Track, TrackSettings
from kinestream.tracking.framing import framed, with_room
from kinestream.tracking.poser import BodyPoser
from kinestream.trainer import options
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.simulated_observations import BOX_OVER_EXTENT
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import Frame, PersonLabels
from kinestream.trainer.scenes.stage import SceneAssets

_logger = logging.getLogger(__name__)

MOMENTS_HZ = 30.0
MOMENTS = [round((max(LAGS_S) - ago_s) * MOMENTS_HZ) for ago_s in (*LAGS_S[::-1], 0.0)]
"""The frames of a second that a temporal lifter looks at, the last one now."""
MOMENT_OFFSET, MOMENT_LEAST_PX = 0.02, 8.0
"""Centres of boxes are so far off, as a share of the person; no box is smaller than twice this."""


class ObservationRecorder:
    """Follows the one person of a clip with a regressor and no filter."""

    def __init__(self, regressor: Observer, flow: PoseFlow, poser: BodyPoser) -> None:
        self._regressor, self._flow, self._poser = regressor, flow, poser

    def record(self, frames: Iterable[Frame], *, fps: float) -> RecordedObservations:
        """One recorded clip; where the person was missed, the next box is the true one."""
        rows: list[dict[str, Any]] = []
        track: Track | None = None
        for frame in frames:
            person, camera = frame.person, frame.camera
            if track is None:
                track = Track(person.box_xyxy_px, frame.t_ns, frame.t_ns, score=1.0)
            uncertain = np.array([not rows or rows[-1]["missing"]])
            box = with_room(track.box_at(frame.t_ns)[None], np.zeros(1, np.bool_), camera)
            seen = self._regressor(frame.image, framed(box, uncertain, camera), camera)
            rows.append(self._row(frame, box[0], seen))
            if rows[-1]["missing"]:
                track.move_to(person.box_xyxy_px)
            else:
                track.observe(frame.t_ns, seen.keypoints_px[0], float(seen.presence[0]))
                told = PersonState.from_observations(seen, 0)
                track.enclose(self._poser.pose([told])[0].keypoints_px(camera))
        return _clip(rows, fps)

    def record_moments(self, frames: Iterable[Frame], rng: np.random.Generator) -> RecordedObservations:
        """A clip of moments: no track leads from one to the next, boxes are the true ones with its errors."""
        rows = []
        for frame in frames:
            points = frame.person.keypoints_px[:, :2]
            low, high = points.min(0), points.max(0)
            centre = (low + high) / 2 + MOMENT_OFFSET * (high - low).max() * rng.standard_normal(2)
            half = (high - low) / 2 * np.exp(BOX_OVER_EXTENT[0] + BOX_OVER_EXTENT[1] * rng.standard_normal())
            half = np.maximum(half, MOMENT_LEAST_PX)
            box = np.concatenate([centre - half, centre + half]).astype(np.float32)
            shown = framed(box[None], np.zeros(1, np.bool_), frame.camera)
            rows.append(self._row(frame, box, self._regressor(frame.image, shown, frame.camera)))
        return _clip(rows, np.nan)

    def _row(self, frame: Frame, box: Float32Array, seen: Observations) -> dict[str, Any]:
        """What one frame gives to each field."""
        person, camera = frame.person, frame.camera
        fx, fy = camera.focal_px
        told = PersonState.from_observations(seen, 0)
        z, root = true_pose(person, self._flow)
        points = camera.unproject(seen.keypoints_px[0, :, :2])
        points[:, 2] = seen.keypoints_px[0, :, 2]
        return {
            "z": z,
            "root_quat_wxyz": root,
            "translation_m": person.translation_m,
            "seen_z": told.z,
            "seen_root_quat_wxyz": told.root_quat_wxyz,
            "seen_translation_m": told.translation_m,
            "std": std_of(told, floor=0.0),
            "missing": bool(seen.presence[0] < TrackSettings.min_presence),
            "betas": person.betas,
            "seen_betas": told.betas,
            "betas_std": told.betas_std,
            "keypoints": points,
            "covariance": seen.covariance_px2[0] / (fx * fx, fx * fy, fy * fy),
            "half_box": (box[2:] - box[:2]).max() / sum(camera.focal_px),
        }


def _clip(rows: list[dict[str, Any]], fps: float) -> RecordedObservations:
    columns = {name: np.stack([row[name] for row in rows])[None] for name in rows[0]}
    columns = {
        name: value if name == "missing" else value.astype(np.float32) for name, value in columns.items()
    }
    columns["betas"] = columns["betas"][:, 0]
    return RecordedObservations(fps, **columns)


def true_pose(
    person: PersonLabels, flow: PoseFlow
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Latent (D,) and root rotation wxyz (4,) of a person's labels."""
    with torch.no_grad():
        latent = flow.encode(torch.from_numpy(person.rotations[None, 1:22]))[0].numpy()
    return latent, quat_from_matrix(person.rotations[0].astype(np.float64)).astype(np.float32)


def main(
    mocap: options.Mocap,
    data: options.Data,
    out: Annotated[Path, typer.Option(help="recording to write (.npz); it holds every clip that is done")],
    split: Annotated[str, typer.Option(help="motions to act: train or val")] = "train",
    model: Annotated[Path, typer.Option(help="regressor weights")] = DEFAULT_WEIGHTS,
    flow: options.Flow = None,
    clips: Annotated[int, typer.Option(min=1)] = 120,
    frames: Annotated[int, typer.Option(help="frames of a clip", min=2)] = 132,
    fps: Annotated[float, typer.Option(help="their rate", min=1.0)] = 60.0,
    moments: Annotated[
        bool,
        typer.Option(help="of each clip only the frames that a temporal lifter looks at: many more people"),
    ] = False,
    seed: Annotated[int, typer.Option(help="seed of the first clip")] = 0,
    threads: int = 1,
) -> None:
    """Render clips, observe every frame, write truth and observations."""
    options.set_up(threads=threads, seed=seed)
    config = SceneConfig(image_sizes_px=((640, 480), (480, 640)), clip_fps=MOMENTS_HZ if moments else fps)
    assets, poses, augmenter = SceneAssets.load(data), ClipPoses.load(mocap, split=split), Augmenter(config)
    pose_flow = PoseFlow.load(flow)
    poser = BodyPoser(read_body(), FlowDecoder(pose_flow))
    recorder = ObservationRecorder(Regressor.load(model), pose_flow, poser)
    done: list[RecordedObservations] = []
    for index in range(seed, seed + clips):
        if moments:
            clip = make_clip(assets, poses, augmenter, index, frames=MOMENTS[-1] + 1, only=MOMENTS)
            done.append(recorder.record_moments(clip, np.random.default_rng((index, 1))))
        else:
            clip = make_clip(assets, poses, augmenter, index, frames=frames)
            done.append(recorder.record(clip, fps=fps))
        if len(done) % 8 == 0 or len(done) == clips:
            RecordedObservations.joined(done).save(out)
            _logger.info("%d of %d clips", len(done), clips)


if __name__ == "__main__":
    typer.run(main)
