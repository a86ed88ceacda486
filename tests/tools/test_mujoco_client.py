"""The humanoid in MuJoCo stands where the stream says, and is drawn. Over a real socket."""

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.geometry.level import Ground
from kinestream.pose import Person, PoseFrame
from kinestream.stream import OutputFrame, Publisher

pytest.importorskip("mujoco", reason="needs MuJoCo (pip install mujoco)")
PROGRAM = Path(__file__).parents[2] / "tools" / "clients" / "mujoco" / "follow.py"
GROUND = Ground(tilt_rad=0.2, roll_rad=0.1, std_rad=0.01, height_m=1.2, height_std_m=0.1)
PRESENT = ([1, 4], [1, 4], [], [1, 4], [4], [4, 1])
"""Who is there in each frame."""


def person(body: BodyModel, track_id: int, seed: int) -> Person:
    """Somebody upright in any pose, 4 m away, of a shape that changes."""
    turns = Rotation.from_rotvec(0.5 * np.random.default_rng(seed).normal(size=(22, 3)))
    root = Rotation.from_euler("x", 180, degrees=True) * turns[0]
    rotations = np.tile(np.eye(3), (1, 24, 1, 1))
    rotations[0, 0], rotations[0, 1:22] = root.as_matrix(), turns[1:].as_matrix()
    betas = np.full((1, 10), 0.1 * seed, np.float32)
    place_m = np.array([[track_id / 2, 0, 4]], np.float32)
    joints, keypoints = body.skeleton(
        torch.tensor(betas), torch.tensor(rotations, dtype=torch.float32), torch.tensor(place_m)
    )
    return Person(
        track_id=track_id,
        score=0.9,
        box_xyxy_px=[0, 0, 9, 9],
        root_quat_wxyz=root.as_quat(scalar_first=True),
        translation_m=place_m[0],
        joint_quats_wxyz=turns[1:].as_quat(scalar_first=True),
        betas=betas[0],
        joints_cam_m=joints[0].numpy(),
        joint_std_m=np.zeros(24),
        keypoints_cam_m=keypoints[0].numpy(),
        keypoints_px=np.zeros((23, 3)),
    )


@pytest.fixture(scope="module")
def frames() -> list[PoseFrame]:
    body = BodyModel.load()
    return [
        PoseFrame(
            frame_index=index,
            t_capture_ns=index * 33_000_000,
            camera=Camera(640, 480, (500.0, 500.0), (320.0, 240.0)),
            persons=tuple(person(body, track_id, index + track_id) for track_id in present),
            ground=GROUND,
        )
        for index, present in enumerate(PRESENT)
    ]


@pytest.fixture
def address(frames: list[PoseFrame]) -> Iterator[str]:
    """Where the frames are published, again and again."""
    ended = threading.Event()
    with Publisher("tcp://127.0.0.1:0") as publisher:

        def publish() -> None:
            while not ended.wait(0.02):
                publisher.publish(frames[publisher.sequence % len(frames)], clock="monotonic")

        thread = threading.Thread(target=publish)
        thread.start()
        yield publisher.endpoint
        ended.set()
        thread.join()


def test_the_humanoid_follows(address: str, frames: list[PoseFrame]) -> None:
    client = runpy.run_path(str(PROGRAM))
    level = OutputFrame("blender", origin="floor").on(GROUND)
    poses = {
        (frame.frame_index, one.track_id): one.joints_cam_m for frame in frames for one in level.apply(frame)
    }
    met: list[tuple[int, int]] = []
    models = []

    def show(model: Any, data: Any) -> bool:
        at = np.array([data.body(name).xpos for name in JOINT_NAMES])
        errors_m = {who: float(np.abs(joints - at).max()) for who, joints in poses.items()}
        met.append(min(errors_m, key=lambda who: errors_m[who]))
        assert errors_m[met[-1]] < 1e-4, "each joint is where the stream has it"
        models.append(model)
        return len(met) < 500 and (len(met) < 20 or (4, 4) not in met)

    client["follow"](address, show)
    assert all(model is models[0] for model in models) and models[0].nq == 7 + 21 * 4
    left = met.index((4, 4))
    assert {who for _, who in met[:left]} <= {1} and {who for _, who in met[left:]} == {4}, (
        "one person, and another only when that one is gone"
    )


def test_it_is_drawn_without_a_window(address: str, tmp_path: Path) -> None:
    path = tmp_path / "humanoid.png"
    done = subprocess.run(
        [sys.executable, PROGRAM, address, "--seconds", "1", "--picture", path],
        env={**os.environ, "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode and any(word in done.stderr for word in ("EGL", "OpenGL", "OSMesa", "gladLoadGL")):
        pytest.skip(f"MuJoCo cannot draw here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    blue, _, red = cv2.split(cv2.imread(str(path)).astype(int))
    assert 0.01 < np.mean(blue - red > 80) < 0.5, "there is the humanoid"


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with Publisher("tcp://127.0.0.1:0") as publisher:
        nobody = PoseFrame(
            frame_index=0, t_capture_ns=0, camera=Camera(64, 48, (50.0, 50.0), (32.0, 24.0)), persons=()
        )
        ended = threading.Event()

        def publish() -> None:
            while not ended.wait(0.02):
                publisher.publish(nobody, clock="monotonic")

        thread = threading.Thread(target=publish)
        thread.start()
        main = runpy.run_path(str(PROGRAM))["main"]
        with pytest.raises(SystemExit, match=r"nobody was seen within 0\.2 s"):
            main([publisher.endpoint, "--seconds", "0.2", "--picture", str(tmp_path / "no.png")])
        ended.set()
        thread.join()
