"""Record what the regressor says of rendered people whose motion is known.

    python -m kinestream.trainer.prepare.record_observations --mocap CACHE.npz --data DATA --out OUT.npz

The motions of CACHE are acted by clothed people before real backgrounds. As in the tracker, every crop lies
around what was observed in the frame before. `kinestream.trainer.train_dynamics --recorded`,
`kinestream.tools.bench.filter --recorded` and `kinestream.tools.bench.filter.residuals` read the recording.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer

from kinestream.body.arrays import read_body
from kinestream.filtering.base import PersonState
from kinestream.geometry.rotation import quat_from_matrix
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import PoseFlow
from kinestream.models import Observer
from kinestream.regress.regressor import Regressor
from kinestream.regress.shipped import DEFAULT_WEIGHTS
from kinestream.tracking.association import Track, TrackSettings
from kinestream.tracking.people import CUT_OFF_ROOM
from kinestream.tracking.poser import BodyPoser
from kinestream.trainer import options
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import Frame, PersonLabels
from kinestream.trainer.scenes.stage import SceneAssets

_logger = logging.getLogger(__name__)


class ObservationRecorder:
    """Follows the one person of a clip with a regressor and no filter."""

    def __init__(self, regressor: Observer, flow: PoseFlow, poser: BodyPoser) -> None:
        self._regressor, self._flow, self._poser = regressor, flow, poser

    def record(self, frames: Iterable[Frame], *, fps: float) -> RecordedObservations:
        """One recorded clip; where the person was missed, the next box is the true one."""
        rows = []
        track: Track | None = None
        for frame in frames:
            person = frame.person
            if track is None:
                track = Track(person.box_xyxy_px, frame.t_ns, frame.t_ns, score=1.0)
            box = frame.camera.within_picture(track.box_at(frame.t_ns), room=CUT_OFF_ROOM)
            seen = self._regressor(frame.image, box[None], frame.camera)
            told = PersonState.from_observations(seen, 0)
            missing = bool(seen.presence[0] < TrackSettings.min_presence)
            if missing:
                track.move_to(person.box_xyxy_px)
            else:
                track.observe(frame.t_ns, seen.keypoints_px[0], float(seen.presence[0]))
                track.enclose(self._poser.pose([told])[0].keypoints_px(frame.camera))
            std = np.concatenate([told.z_std, np.repeat(told.root_std_rad, 3), told.translation_std_m])
            z, root = true_pose(person, self._flow)
            rows.append(
                (z, root, person.translation_m, told.z, told.root_quat_wxyz, told.translation_m, std, missing)
            )
        *states, missed = (np.stack(column)[None] for column in zip(*rows, strict=True))
        return RecordedObservations(fps, *(state.astype(np.float32) for state in states), missed)


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
    seed: Annotated[int, typer.Option(help="seed of the first clip")] = 0,
    threads: int = 1,
) -> None:
    """Render clips, observe every frame, write truth and observations."""
    options.set_up(threads=threads, seed=seed)
    config = SceneConfig(image_sizes_px=((640, 480), (480, 640)), clip_fps=fps)
    assets, poses, augmenter = SceneAssets.load(data), ClipPoses.load(mocap, split=split), Augmenter(config)
    pose_flow = PoseFlow.load(flow)
    poser = BodyPoser(read_body(), FlowDecoder(pose_flow))
    recorder = ObservationRecorder(Regressor.load(model), pose_flow, poser)
    done: list[RecordedObservations] = []
    for index in range(seed, seed + clips):
        clip = make_clip(assets, poses, augmenter, index, frames=frames)
        done.append(recorder.record(clip, fps=fps))
        if len(done) % 8 == 0 or len(done) == clips:
            RecordedObservations.joined(done).save(out)
            _logger.info("%d of %d clips", len(done), clips)


if __name__ == "__main__":
    typer.run(main)
