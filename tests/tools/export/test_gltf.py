"""glTF, read back by its specification."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from kinestream.body.arrays import DEFAULT_BODY_PATH, load_body_arrays
from kinestream.body.model import BodyModel

Written = Callable[..., list[Path]]
FLIP = np.array([1, -1, -1])
"""Camera frame to y up."""
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


def test_glb(written: Written, recording: Path, walk: Any, body: BodyModel, tmp_path: Path) -> None:
    (path,) = written(recording, tmp_path, "glb")
    glb = Glb(path)
    assert [skin["name"] for skin in glb.json["skins"]] == ["person 0", "person 5"]
    plain = BodyModel(replace(load_body_arrays(DEFAULT_BODY_PATH), posedirs=None))
    for person, track_id in enumerate((0, 5)):
        for index in (12, 75):
            row = walk.seen(track_id, index, index)[0]
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
    written: Written, recording: Path, tmp_path: Path
) -> None:
    (path,) = written(recording, tmp_path, "glb")
    glb = Glb(path)
    root = next(i for i, node in enumerate(glb.json["nodes"]) if node.get("name") == "person 5")
    shown = {i: float(glb.at(i / 25)[root]["scale"][0]) for i in (0, 9, 10, 19, 20, 69, 70, 79, 80, 89)}
    assert shown == {0: 0, 9: 0, 10: 1, 19: 1, 20: 0, 69: 0, 70: 1, 79: 1, 80: 0, 89: 0}
    other = next(i for i, node in enumerate(glb.json["nodes"]) if node.get("name") == "person 0")
    assert "scale" not in glb.at(0)[other], "there from start to end"
