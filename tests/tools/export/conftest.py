"""A walk of two people, as an archive and as a recording, to be exported.

Every export is read back by a parser that shares no code with its writer, and compared with the joints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from kinestream.body.model import BodyModel
from kinestream.geometry.camera import Camera
from kinestream.pose import Person, PoseFrame
from kinestream.stream import Publisher, Recorder
from kinestream.tools.export import Options, export, read_tracks
from kinestream.tools.sinks.npz import ROW

STEP_NS = 40_000_000


@dataclass(frozen=True)
class Walk:
    """What was tracked; ``takes`` are track, first and last frame of each stretch without a long gap."""

    rows: np.ndarray
    takes: ClassVar = {"track-0": (0, 0, 89), "track-5.take-1": (5, 10, 19), "track-5.take-2": (5, 70, 79)}

    def seen(self, track_id: int, first: int, last: int) -> np.ndarray:
        """Rows of a track by frame index, both ends included."""
        mine = self.rows[self.rows["track_id"] == track_id]
        return mine[(mine["frame_index"] >= first) & (mine["frame_index"] <= last)]


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="session")
def rows(body: BodyModel) -> np.ndarray:
    """Two people at 25 fps. 0 lacks frame 7. 5 comes at frame 10, is away from 20 to 69, and leaves at 80."""
    rng = np.random.default_rng(4)
    frames = {0: [i for i in range(90) if i != 7], 5: [*range(10, 20), *range(70, 80)]}
    pieces = []
    for track_id, indices in frames.items():
        t = np.array(indices) / 25
        swing = np.sin(2 * np.pi * (t[:, None, None] * 0.4 + rng.random((1, 22, 3))))
        vectors = 0.6 * rng.normal(size=(1, 22, 3)) * swing
        facing = Rotation.from_euler("X", 180, degrees=True)
        root = facing * Rotation.from_rotvec(vectors[:, 0])
        local = Rotation.from_rotvec(vectors[:, 1:].reshape(-1, 3)).as_quat()[:, [3, 0, 1, 2]]
        piece = np.zeros(len(indices), ROW)
        piece["frame_index"], piece["t_capture_ns"] = indices, np.array(indices) * STEP_NS
        piece["track_id"], piece["score"] = track_id, 0.75
        piece["root_quat_wxyz"] = root.as_quat()[:, [3, 0, 1, 2]]
        piece["joint_quats_wxyz"] = local.reshape(-1, 21, 4)
        piece["translation_m"] = np.stack([t, 0.1 * t, 3 + 0 * t], 1) + [track_id / 5, 0, 0]
        piece["betas"] = rng.normal(size=10)
        rotations = np.tile(np.eye(3), (len(indices), 24, 1, 1))
        rotations[:, 0] = root.as_matrix()
        rotations[:, 1:22] = (
            Rotation.from_rotvec(vectors[:, 1:].reshape(-1, 3)).as_matrix().reshape(-1, 21, 3, 3)
        )
        joints, keypoints = body.skeleton(
            torch.tensor(piece["betas"]),
            torch.tensor(rotations, dtype=torch.float32),
            torch.tensor(piece["translation_m"]),
        )
        piece["joints_cam_m"], piece["keypoints_cam_m"] = joints, keypoints
        piece["keypoints_px"][..., 2] = 0.5
        pieces.append(piece)
    return np.concatenate(pieces)


@pytest.fixture(scope="session")
def walk(rows: np.ndarray) -> Walk:
    return Walk(rows)


@pytest.fixture(scope="session")
def archive(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "walk.npz"
    shuffled = rows[np.argsort(rows["frame_index"], kind="stable")]
    np.savez(path, **{name: shuffled[name] for name in ROW.names or ()})
    return path


@pytest.fixture(scope="session")
def recording(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a recording, one frame of which is empty, and in which coasting is told."""
    path = tmp_path_factory.mktemp("recording") / "walk.mcap"
    with Publisher("inproc://export", heartbeat_s=None) as publisher, Recorder(path, wait=True) as recorder:
        publisher.on_message = recorder.add
        for index in range(91):
            persons = tuple(
                Person(
                    state="coasting" if index == 15 else "tracked",
                    box_xyxy_px=[0, 0, 9, 9],
                    **{
                        name: row[name]
                        for name in ROW.names or ()
                        if name not in ("frame_index", "t_capture_ns")
                    },
                )
                for row in rows[rows["frame_index"] == index]
            )
            frame = PoseFrame(
                frame_index=index,
                t_capture_ns=index * STEP_NS,
                camera=Camera.from_fov(640, 480, fov_deg=60),
                persons=persons,
            )
            publisher.publish(frame, clock="media")
    return path


@pytest.fixture(scope="session")
def written(body: BodyModel) -> Callable[..., list[Path]]:
    """Exports a file into a folder and gives the paths."""

    def write(source: Path, folder: Path, format_name: str, **options: Any) -> list[Path]:
        return export(source, folder, format_name, read_tracks(source), body, Options(**options))

    return write
