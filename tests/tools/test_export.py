"""Exports, each read back by a parser that shares no code with its writer, and compared with the joints."""

import csv
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from tools.cli import app
from tools.commands.export import FORMATS
from tools.export import SUFFIXES, ExportError, Options, export, read_tracks
from tools.export.bvh import euler_zxy
from tools.export.motion import frame_rate, takes_of
from tools.sinks.npz import ROW
from tracker.body.arrays import load_body_arrays
from tracker.body.camera import Camera
from tracker.body.model import DEFAULT_BODY_PATH, BodyModel
from tracker.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, PARENTS
from tracker.pose import Person, PoseFrame
from tracker.stream import Publisher, Recorder
from trainer.data.amass import load_amass
from trainer.data.bvh import load_bvh

STEP_NS = 40_000_000
FLIP = np.array([1, -1, -1])
"""Camera frame to y up."""


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def archive(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "walk.npz"
    shuffled = rows[np.argsort(rows["frame_index"], kind="stable")]
    np.savez(path, **{name: shuffled[name] for name in ROW.names or ()})
    return path


@pytest.fixture(scope="module")
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


def written(source: Path, folder: Path, format_name: str, body: BodyModel, **options: Any) -> list[Path]:
    return export(source, folder, format_name, read_tracks(source), body, Options(**options))


def seen(rows: np.ndarray, track_id: int, first: int, last: int) -> np.ndarray:
    """Rows of a track by frame index, both ends included."""
    mine = rows[rows["track_id"] == track_id]
    return mine[(mine["frame_index"] >= first) & (mine["frame_index"] <= last)]


TAKES = {"track-0": (0, 0, 89), "track-5.take-1": (5, 10, 19), "track-5.take-2": (5, 70, 79)}


@pytest.mark.parametrize("source_name", ["archive", "recording"])
def test_both_inputs_give_the_same_tracks(
    source_name: str, rows: np.ndarray, request: pytest.FixtureRequest
) -> None:
    tracks = read_tracks(request.getfixturevalue(source_name))
    assert [track.track_id for track in tracks] == [0, 5]
    for track in tracks:
        np.testing.assert_array_equal(track.rows, rows[rows["track_id"] == track.track_id])
        if source_name == "recording":
            assert track.coasting is not None
            assert (track.coasting == (track.rows["frame_index"] == 15)).all()


def test_bvh(archive: Path, rows: np.ndarray, body: BodyModel, tmp_path: Path) -> None:
    paths = written(archive, tmp_path, "bvh", body)
    assert [path.name for path in paths] == [f"walk.{name}.bvh" for name in TAKES]
    for path, (track_id, first, last) in zip(paths, TAKES.values(), strict=True):
        motion = load_bvh(path)
        assert motion.fps == pytest.approx(25) and set(motion.joint_names) == set(JOINT_NAMES)
        joints = np.zeros((len(motion.root_translation_m), 24, 3))
        for i, (name, parent) in enumerate(zip(motion.joint_names, motion.parents, strict=True)):
            assert parent < 0 or motion.joint_names[parent] == JOINT_NAMES[PARENTS[JOINT_NAMES.index(name)]]
            if parent < 0:
                joints[:, i] = motion.root_translation_m
            else:
                turn = motion.global_rotations[:, parent]
                joints[:, i] = joints[:, parent] + turn @ motion.offsets_m[i]
        assert len(joints) == last - first + 1, "the missing frame is filled in"
        expected = seen(rows, track_id, first, last)
        at = expected["frame_index"] - first
        order = [motion.joint_names.index(name) for name in JOINT_NAMES]
        np.testing.assert_allclose(joints[at][:, order], expected["joints_cam_m"] * FLIP, atol=2e-4)


def test_a_missing_frame_lies_halfway(
    archive: Path, rows: np.ndarray, body: BodyModel, tmp_path: Path
) -> None:
    motion = load_bvh(written(archive, tmp_path, "bvh", body)[0])
    before, after = (seen(rows, 0, i, i)[0] for i in (6, 8))
    middle = (before["translation_m"] + after["translation_m"]) / 2 * FLIP
    np.testing.assert_allclose(motion.root_translation_m[7], middle, atol=1e-4)
    roots = Rotation.from_matrix(motion.global_rotations[[6, 7, 8], 0])
    step, whole = (roots[0].inv() * roots[1]).magnitude(), (roots[0].inv() * roots[2]).magnitude()
    assert whole > 0.01 and step == pytest.approx(whole / 2, rel=1e-3)


def test_euler_angles_against_scipy() -> None:
    rotations = Rotation.random(500, random_state=1)
    angles = euler_zxy(rotations.as_matrix())
    again = Rotation.from_euler("ZXY", angles)
    assert (again.inv() * rotations).magnitude().max() < 1e-6
    locked = Rotation.from_euler("ZXY", [[0.3, np.pi / 2, 0.4], [-2.0, -np.pi / 2, 1.0]])
    again = Rotation.from_euler("ZXY", euler_zxy(locked.as_matrix()))
    assert (again.inv() * locked).magnitude().max() < 1e-6


def test_amass(archive: Path, rows: np.ndarray, body: BodyModel, tmp_path: Path) -> None:
    """Read by our loader, and by the layout's definition with the body's rest joints."""
    paths = written(archive, tmp_path, "amass", body)
    for path, (track_id, first, last) in zip(paths, TAKES.values(), strict=True):
        content = np.load(path)
        count = last - first + 1
        assert content["poses"].shape == (count, 156) and content["betas"].shape == (16,)
        assert float(content["mocap_framerate"]) == pytest.approx(25)
        assert not content["poses"][:, 66:].any(), "hands rest"
        expected = seen(rows, track_id, first, last)
        local = (
            Rotation.from_rotvec(content["poses"][:, :66].reshape(-1, 3)).as_matrix().reshape(-1, 22, 3, 3)
        )
        betas = torch.tensor(content["betas"][:10], dtype=torch.float32)[None]
        rest = (body.joint_template + (betas @ body.joint_shapedirs).view(24, 3)).numpy()
        joints, turns = [content["trans"] + rest[0]], [local[:, 0]]
        for j in range(1, 22):
            joints.append(joints[PARENTS[j]] + turns[PARENTS[j]] @ (rest[j] - rest[PARENTS[j]]))
            turns.append(turns[PARENTS[j]] @ local[:, j])
        up = expected["joints_cam_m"][:, :22][..., [0, 2, 1]] * [1, 1, -1]
        at = expected["frame_index"] - first
        np.testing.assert_allclose(np.stack(joints, 1)[at], up, atol=1e-4)
        clip = load_amass(path)
        assert clip.fps == pytest.approx(25) and len(clip.root_translation_m) == count
        facing = clip.rotations[at, 0] @ [0, 0, 1]
        root = Rotation.from_quat(expected["root_quat_wxyz"][:, [1, 2, 3, 0]])
        np.testing.assert_allclose(facing, root.apply([0, 0, 1]) * FLIP, atol=1e-5)


def test_trc(archive: Path, rows: np.ndarray, body: BodyModel, tmp_path: Path) -> None:
    paths = written(archive, tmp_path, "trc", body)
    for path, (track_id, first, last) in zip(paths, TAKES.values(), strict=True):
        lines = path.read_text().splitlines()
        head = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
        count = last - first + 1
        assert (head["NumFrames"], head["NumMarkers"], head["Units"]) == (str(count), "47", "m")
        assert float(head["DataRate"]) == pytest.approx(25)
        names = [name for name in lines[3].split("\t")[2:] if name]
        assert names == [*JOINT_NAMES, *(f"skin_{name}" for name in KEYPOINT_NAMES)]
        assert len(lines[4].split("\t")) == 2 + 3 * 47 and lines[5] == ""
        table = np.array([[float(value) for value in line.split("\t")] for line in lines[6:]])
        assert table[:, 0].tolist() == list(range(1, count + 1))
        np.testing.assert_allclose(table[:, 1], (first + np.arange(count)) / 25, atol=1e-6)
        points = table[:, 2:].reshape(count, 47, 3)
        expected = seen(rows, track_id, first, last)
        at = expected["frame_index"] - first
        np.testing.assert_allclose(points[at][:, :24], expected["joints_cam_m"] * FLIP, atol=2e-6)
        np.testing.assert_allclose(points[at][:, 24:], expected["keypoints_cam_m"] * FLIP, atol=2e-6)


def test_csv(recording: Path, rows: np.ndarray, body: BodyModel, tmp_path: Path) -> None:
    (path,) = written(recording, tmp_path, "csv", body)
    with open(path, newline="") as file:
        table = list(csv.DictReader(file))
    expected = rows[np.lexsort((rows["track_id"], rows["t_capture_ns"]))]
    assert [int(row["frame_index"]) for row in table] == expected["frame_index"].tolist()
    assert [int(row["track_id"]) for row in table] == expected["track_id"].tolist()
    assert {int(row["frame_index"]) for row in table if row["state"] == "coasting"} == {15}
    for j, name in enumerate(JOINT_NAMES):
        found = [[float(row[f"joints_cam_m.{name}.{axis}"]) for axis in "xyz"] for row in table]
        np.testing.assert_allclose(found, expected["joints_cam_m"][:, j], atol=1e-6)
    found = [[float(row[f"root_quat_wxyz.{axis}"]) for axis in "wxyz"] for row in table]
    np.testing.assert_allclose(found, expected["root_quat_wxyz"], atol=1e-6)
    assert float(table[3]["betas.9"]) == pytest.approx(expected["betas"][3, 9], abs=1e-6)


def test_json_lines(
    recording: Path, archive: Path, rows: np.ndarray, body: BodyModel, tmp_path: Path
) -> None:
    for source in (recording, archive):
        (path,) = written(source, tmp_path, "jsonl", body)
        frames = [json.loads(line) for line in path.read_text().splitlines()]
        indices = [frame["frame_index"] for frame in frames]
        missing = {90} if source is archive else set()
        assert indices == [i for i in range(91) if i not in missing | ({7} if source is archive else set())]
        assert {person["track_id"] for person in frames[indices.index(12)]["persons"]} == {0, 5}
        person = frames[indices.index(12)]["persons"][1]
        expected = seen(rows, 5, 12, 12)[0]
        np.testing.assert_allclose(person["joints_cam_m"], expected["joints_cam_m"], atol=1e-5)
        if source is recording:
            assert frames[7]["persons"] == [] and frames[7]["camera"]["width_px"] == 640


SIZES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
TYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


class Glb:
    """A binary glTF file, read by its specification."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.json = json.loads(data[20 : 20 + size])
        blob_size, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0" and 28 + size + blob_size == length
        self.blob = data[28 + size :]

    def array(self, index: int) -> np.ndarray:
        accessor = self.json["accessors"][index]
        view = self.json["bufferViews"][accessor["bufferView"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        width = SIZES[accessor["type"]]
        array = np.frombuffer(self.blob, TYPES[accessor["componentType"]], accessor["count"] * width, start)
        array = array.reshape(-1, width)
        np.testing.assert_allclose(array.min(0), accessor["min"], rtol=1e-6)
        np.testing.assert_allclose(array.max(0), accessor["max"], rtol=1e-6)
        return array

    def at(self, t_s: float) -> list[dict[str, Any]]:
        """The nodes with what the animation says at a time: the nearest key, or the one before (STEP)."""
        nodes = [dict(node) for node in self.json["nodes"]]
        (animation,) = self.json["animations"]
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            keys = self.array(sampler["input"])[:, 0]
            assert (np.diff(keys) > 0).all()
            if sampler.get("interpolation") == "STEP":
                key = max(0, int(np.searchsorted(keys, t_s + 1e-6)) - 1)
            else:
                key = int(np.abs(keys - t_s).argmin())
            nodes[channel["target"]["node"]][channel["target"]["path"]] = self.array(sampler["output"])[key]
        return nodes

    def globals_at(self, t_s: float) -> np.ndarray:
        """(nodes, 4, 4) maps to the scene."""
        nodes, result = self.at(t_s), np.tile(np.eye(4), (len(self.json["nodes"]), 1, 1))

        def visit(index: int, parent: np.ndarray) -> None:
            node, local = nodes[index], np.eye(4)
            local[:3, :3] = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
            local[:3, :3] *= np.asarray(node.get("scale", [1, 1, 1]))
            local[:3, 3] = node.get("translation", [0, 0, 0])
            result[index] = parent @ local
            for child in node.get("children", []):
                visit(child, result[index])

        for root in self.json["scenes"][0]["nodes"]:
            visit(root, np.eye(4))
        return result

    def skinned(self, t_s: float, person: int) -> np.ndarray:
        skin, mesh = self.json["skins"][person], self.json["meshes"][person]
        attributes = mesh["primitives"][0]["attributes"]
        vertices = np.pad(self.array(attributes["POSITION"]), ((0, 0), (0, 1)), constant_values=1)
        bind = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        maps = (self.globals_at(t_s)[skin["joints"]] @ bind)[self.array(attributes["JOINTS_0"])]
        weights = self.array(attributes["WEIGHTS_0"])
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        return np.einsum("vk,vkab,vb->va", weights, maps, vertices)[:, :3]


def test_glb(recording: Path, rows: np.ndarray, body: BodyModel, tmp_path: Path) -> None:
    (path,) = written(recording, tmp_path, "glb", body)
    glb = Glb(path)
    assert [skin["name"] for skin in glb.json["skins"]] == ["person 0", "person 5"]
    plain = BodyModel(replace(load_body_arrays(DEFAULT_BODY_PATH), posedirs=None))
    for person, track_id in enumerate((0, 5)):
        for index in (12, 75):
            row = seen(rows, track_id, index, index)[0]
            joints = glb.globals_at(index / 25)[glb.json["skins"][person]["joints"], :3, 3]
            np.testing.assert_allclose(joints, row["joints_cam_m"] * FLIP, atol=1e-4)
            rotations = np.tile(np.eye(3), (1, 24, 1, 1))
            quats = np.concatenate([row["root_quat_wxyz"][None], row["joint_quats_wxyz"]])
            rotations[0, :22] = Rotation.from_quat(quats[:, [1, 2, 3, 0]]).as_matrix()
            mesh = plain(
                torch.tensor(row["betas"])[None],
                torch.tensor(rotations, dtype=torch.float32),
                torch.tensor(row["translation_m"])[None],
            )
            vertices = glb.skinned(index / 25, person)
            np.testing.assert_allclose(vertices, mesh.vertices_m[0].numpy() * FLIP, atol=2e-4)
    faces = glb.array(glb.json["meshes"][0]["primitives"][0]["indices"]).reshape(-1, 3)
    np.testing.assert_array_equal(faces, body.faces)
    normals = glb.array(glb.json["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)


def test_people_are_hidden_in_a_glb_while_they_are_away(
    recording: Path, body: BodyModel, tmp_path: Path
) -> None:
    (path,) = written(recording, tmp_path, "glb", body)
    glb = Glb(path)
    root = next(i for i, node in enumerate(glb.json["nodes"]) if node.get("name") == "person 5")
    shown = {i: float(glb.at(i / 25)[root]["scale"][0]) for i in (0, 9, 10, 19, 20, 69, 70, 79, 80, 89)}
    assert shown == {0: 0, 9: 0, 10: 1, 19: 1, 20: 0, 69: 0, 70: 1, 79: 1, 80: 0, 89: 0}
    other = next(i for i, node in enumerate(glb.json["nodes"]) if node.get("name") == "person 0")
    assert "scale" not in glb.at(0)[other], "there from start to end"


def test_the_frame_rate_is_that_of_the_times(archive: Path, body: BodyModel, tmp_path: Path) -> None:
    tracks = read_tracks(archive)
    assert frame_rate(tracks, 0.5) == pytest.approx(25)
    rng = np.random.default_rng(2)
    live = tracks[0].rows.copy()
    live["t_capture_ns"] = np.cumsum(rng.normal(1e9 / 29.97, 2e6, len(live)).astype(int))
    assert frame_rate([replace(tracks[0], rows=live)], 0.5) == pytest.approx(29.97, rel=0.02)
    path = written(archive, tmp_path, "bvh", body, fps=50)[0]
    motion = load_bvh(path)
    assert motion.fps == pytest.approx(50) and len(motion.root_translation_m) == 179
    single = replace(tracks[0], rows=live[:1])
    with pytest.raises(ExportError, match="give the frame rate with --fps"):
        frame_rate([single], 0.5)
    assert [len(take.rows) for take in takes_of(tracks[1], 0.5)] == [10, 10]
    assert [len(take.rows) for take in takes_of(tracks[1], 3.0)] == [20]


def kinestream(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.stderr.replace("│", " ").split())


def test_the_command_knows_all_formats() -> None:
    assert tuple(SUFFIXES) == FORMATS


def test_the_command(archive: Path, tmp_path: Path) -> None:
    code, err = kinestream(
        "export", archive, "--to", "bvh", "--to", "csv", "--track", 5, "-o", tmp_path / "new"
    )
    assert code == 0 and "warning" not in err
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["walk.csv", "walk.track-5.take-1.bvh", "walk.track-5.take-2.bvh"]


def test_a_crashed_archive_is_exported(rows: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "walk.rows.npy", rows)
    assert kinestream("export", tmp_path / "walk.rows.npy", "--to", "csv")[0] == 0
    assert (tmp_path / "walk.csv").exists()


def test_another_body_is_noticed(rows: np.ndarray, tmp_path: Path) -> None:
    other = rows.copy()
    other["joints_cam_m"] *= 1.05
    np.save(tmp_path / "other.rows.npy", other)
    code, err = kinestream("export", tmp_path / "other.rows.npy", "--to", "csv")
    assert code == 0 and "was another one tracked? Give it with --body" in err


@pytest.mark.parametrize(
    ("name", "arguments", "code", "complaint"),
    [
        ("walk.npz", ["--to", "fbx"], 2, "expected bvh, amass, trc, csv, jsonl, glb, found 'fbx'"),
        ("walk.npz", ["--to", "csv", "--track", "3"], 1, "no such track; it has 0, 5"),
        ("empty.npz", ["--to", "csv"], 1, "nobody is in it"),
        ("other.npz", ["--to", "csv"], 1, "it lacks frame_index, t_capture_ns"),
        ("text.npz", ["--to", "csv"], 1, "not an archive of kinestream run --npz"),
        ("text.mcap", ["--to", "csv"], 1, "not a recording"),
        ("nothing.mcap", ["--to", "csv"], 1, "No such file"),
    ],
)
def test_what_cannot_be_exported_is_said(
    archive: Path, tmp_path: Path, name: str, arguments: list[str], code: int, complaint: str
) -> None:
    (tmp_path / "walk.npz").write_bytes(archive.read_bytes())
    np.savez(tmp_path / "empty.npz", **{key: np.zeros(0, ROW)[key] for key in ROW.names or ()})
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    for suffix in ("npz", "mcap"):
        (tmp_path / f"text.{suffix}").write_text("this is no such file, whatever its name says")
    found, err = kinestream("export", tmp_path / name, *arguments)
    assert found == code and complaint in err
