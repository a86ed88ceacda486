"""Small character and background assets in the documented layout, made by the tests themselves."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.body.arrays import DEFAULT_BODY_PATH
from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, PARENTS, PART_NAMES
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS, MotionClip
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.stage import SceneAssets

SHIRT_PARTS = (1, 2)


def _shirt(body: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The torso of the body, a centimetre wider, as a garment bound to the vertices under it."""
    on = np.isin(body["part_labels"], SHIRT_PARTS)
    faces = body["f"][on[body["f"]].all(1)]
    used = np.unique(faces)
    local = np.full(len(on), -1)
    local[used] = np.arange(len(used))
    weights = body["weights"][used].astype(np.float32)
    joints = np.argsort(-weights, axis=1)[:, :4]
    centre = np.array([0, 1, 0]) * body["v_template"][used]
    out = body["v_template"][used] - centre
    return {
        "v_template": (body["v_template"][used] + 0.01 * out / np.linalg.norm(out, axis=1, keepdims=True)),
        "shapedirs": body["shapedirs"][used],
        "joint_index": joints.astype(np.uint8),
        "joint_weight": np.take_along_axis(weights, joints, 1).astype(np.float16),
        "bind_index": np.repeat(used[:, None], 3, 1).astype(np.uint16),
        "bind_weight": np.tile(np.array([1, 0, 0], np.float16), (len(used), 1)),
        "part": body["part_labels"][used].astype(np.uint8),
        "f": local[faces].astype(np.uint16),
        "uv": np.array([[0, 0], [65535, 0], [0, 65535]], np.uint16),
        "uv_f": np.tile(np.array([0, 1, 2], np.uint16), (len(faces), 1)),
        "hide": np.packbits(np.isin(np.arange(len(on)), np.unique(faces))),
    }


def write_characters(folder: Path) -> None:
    """A naked body, one shirt and one skin."""
    (folder / "textures").mkdir(parents=True)
    with np.load(DEFAULT_BODY_PATH) as content:
        body = {key: content[key] for key in content.files}
    shirt = _shirt(body)
    arrays = {
        **{
            f"body.{key}": body[key]
            for key in ("v_template", "shapedirs", "J_regressor", "weights", "posedirs")
        },
        "body.f": body["f"].astype(np.uint16),
        "body.part_labels": body["part_labels"],
        "body.keypoint_regressor": body["keypoint_regressor"],
        "body.uv": (body["uv"] * 65535).astype(np.uint16),
        "body.uv_faces": body["uv_faces"].astype(np.uint16),
        "body.eye_vertex": np.packbits(np.zeros(len(body["v_template"]), bool)),
        **{f"shirt.{key}": value for key, value in shirt.items()},
        "people.betas": np.random.default_rng(0).normal(size=(12, 10)).astype(np.float32),
        "people.gender": np.linspace(0, 1, 12).astype(np.float32),
        "people.age": np.linspace(20, 70, 12).astype(np.float32),
        "people.ancestry": np.eye(3, dtype=np.float32)[np.arange(12) % 3],
        "people.varied": np.arange(4, dtype=np.uint16),
    }
    np.savez(folder / "geometry.npz", **arrays)
    item = {
        "name": "shirt",
        "kind": "top",
        "gender": "u",
        "textures": ["shirt.png"],
        "follows_correctives": True,
    }
    skins = [
        {"texture": "skin.png", "gender": g, "age": "young", "ancestry": "asian", "bodysuit": False}
        for g in "fm"
    ]
    manifest = {
        "format": "clothed-people 1",
        "joints": list(JOINT_NAMES),
        "parents": list(PARENTS),
        "parts": list(PART_NAMES),
        "keypoints": list(KEYPOINT_NAMES),
        "skins": skins,
        "items": [item],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rng = np.random.default_rng(1)
    for name, colour in (("skin.png", (120, 160, 210)), ("shirt.png", (150, 60, 40))):
        picture = np.clip(np.array(colour) + rng.integers(-20, 20, (32, 32, 1)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "textures" / name), picture)


def write_backgrounds(folder: Path) -> None:
    """One panorama, bright above and dark below, with the sun at the upper right; two photos."""
    (folder / "hdri").mkdir(parents=True)
    (folder / "photos").mkdir()
    rows = np.linspace(220, 40, 64)[:, None, None]
    picture = np.broadcast_to(rows, (64, 128, 3)) + np.random.default_rng(2).integers(0, 20, (64, 128, 3))
    cv2.imwrite(str(folder / "hdri" / "field.jpg"), picture.astype(np.uint8))
    harmonics = np.zeros((9, 3))
    harmonics[0], harmonics[1] = 1.2, 0.5
    record = {
        "sh2_radiance": harmonics.tolist(),
        "light_dir": [0.6, 0.64, 0.48],
        "light_irradiance": [1.0, 0.95, 0.9],
        "exposure": 1.1,
        "small_people": False,
    }
    (folder / "hdri" / "field.json").write_text(json.dumps(record))
    for index in range(2):
        photo = np.random.default_rng(index).integers(0, 256, (30, 40, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "photos" / f"n{index}.jpg"), photo)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with characters/ and backgrounds/."""
    folder = tmp_path_factory.mktemp("data")
    write_characters(folder / "characters")
    write_backgrounds(folder / "backgrounds")
    return folder


@pytest.fixture(scope="session")
def assets(data_folder: Path) -> SceneAssets:
    """The loaded assets."""
    return SceneAssets.load(data_folder)


@pytest.fixture(scope="session")
def motion_clip() -> MotionClip:
    """Two seconds at 60 fps of somebody who swings arms and legs and walks along z."""
    times = np.arange(121) / 60
    angles = np.zeros((len(times), NUM_BODY_JOINTS, 3))
    swing = np.sin(2 * np.pi * times)
    angles[:, 1, 0], angles[:, 2, 0] = 0.5 * swing, -0.5 * swing
    angles[:, 16, 2], angles[:, 17, 2] = -1.2, 1.2
    angles[:, 18, 1] = -0.6
    path = np.stack([0 * times, 0.93 + 0.02 * swing, 0.5 * times], -1)
    return MotionClip("walk", matrix_from_axis_angle(angles), path, 60.0, "train", "test")


@pytest.fixture(scope="session")
def poses(motion_clip: MotionClip) -> ClipPoses:
    """Poses of that clip."""
    return ClipPoses([motion_clip])
