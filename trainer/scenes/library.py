"""The wardrobe: bodies, garments, hair and skins of the character assets, ready for assembly."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.arrays import BodyArrays
from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, PART_NAMES
from kinestream.kernels.raster import TextureBank
from kinestream.kernels.raster.target import SRGB_TO_LINEAR
from kinestream.kernels.raster.texture import mip_levels
from kinestream.trainer.scenes.assets import AssetError, damaged, read_arrays, read_image, read_json

FORMAT: Final = "clothed-people 1"
INFLUENCES: Final = 4
_CELL_M: Final = 0.04
_SAME_BODY_M: Final = 5e-4
_Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Surface:
    """A mesh in the T-pose that follows the 24 joints: the body, a garment, hair."""

    template_m: _Array  # (V, 3) f32
    shapedirs: _Array  # (3V, 10) f32
    joint_index: _Array  # (V, 4) u8
    joint_weight: _Array  # (V, 4) f32, rows sum to 1
    part: _Array  # (V,) u8
    faces: _Array  # (F, 3) i32
    uv: _Array  # (T, 2) f32, origin bottom left
    uv_faces: _Array  # (F, 3) i32
    coarse_faces: _Array  # (G, 3) i32 few triangles on the same vertices, for shadows


@dataclass(frozen=True)
class Item:
    """A garment, shoe, hair or eye model of the library."""

    name: str
    kind: str
    cut: str  # "f", "m" or "u"
    textures: tuple[str, ...]
    surface: Surface
    bind_index: _Array  # (V, 3) i32 body vertices under each vertex
    bind_weight: _Array  # (V, 3) f32; zero where pose correctives of the body do not move the item
    hides: _Array  # (body vertices,) bool


@dataclass(frozen=True)
class Skin:
    """A skin texture and for whom it was painted."""

    texture: str
    gender: str
    age: str
    ancestry: str
    bodysuit: bool


@dataclass(frozen=True)
class Correctives:
    """Sparse pose correctives: pair i moves body vertex `vertex[i]` as joint `joint[i] + 1` turns."""

    vertex: _Array  # (N,) i32
    joint: _Array  # (N,) i32
    offset: _Array  # (N, 3, 9) f32, for the row-major entries of R - I


class CharacterLibrary:
    """Everything that a person is assembled from. Load it once; it is never changed."""

    def __init__(self, folder: Path, body: BodyArrays, *, max_texture_px: int = 1024) -> None:
        """Read the folder `characters` of the data, whose people are to move like `body`.

        Raises AssetError naming the file that is missing, damaged or made for another body.
        """
        self.folder = folder
        manifest_path, geometry_path = folder / "manifest.json", folder / "geometry.npz"
        manifest, arrays = read_json(manifest_path), read_arrays(geometry_path)
        try:
            self._read(manifest, arrays)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise damaged(geometry_path, f"it does not fit {manifest_path.name} ({error!r})") from error
        self._move_like(body)
        names = sorted(
            {t for item in self.items.values() for t in item.textures} | {s.texture for s in self.skins}
        )
        self.texture_id: Mapping[str, int] = {name: i for i, name in enumerate(names)}
        pyramids, medians = [], []
        for name in names:
            image = _limited(read_image(folder / "textures" / name), max_texture_px)
            pyramids.append(mip_levels(image))
            medians.append(_median_luminance(image))
        self.textures = TextureBank.join(pyramids)
        self.median_luminance: _Array = np.array(medians, np.float64)  # (T,) linear

    def _read(self, manifest: Mapping[str, Any], arrays: Mapping[str, _Array]) -> None:
        expected = {
            "format": FORMAT,
            "joints": list(JOINT_NAMES),
            "keypoints": list(KEYPOINT_NAMES),
            "parts": list(PART_NAMES),
        }
        for key, value in expected.items():
            if manifest[key] != value:
                raise ValueError(f"'{key}' is {manifest[key]!r}, expected {value!r}")
        count = len(arrays["body.v_template"])
        self.body = _body_surface(arrays)
        self.items = {record["name"]: _item(arrays, record, count) for record in manifest["items"]}
        self.covers: dict[tuple[str, str], _Array] = {}
        for key, bits in arrays.items():
            if key.startswith("cover."):
                _, outer, inner = key.split(".")
                vertices = len(self.items[inner].surface.template_m)
                self.covers[outer, inner] = np.unpackbits(bits)[:vertices].astype(bool)
        self.skins = [
            Skin(r["texture"], r["gender"], r["age"], r["ancestry"], bool(r["bodysuit"]))
            for r in manifest["skins"]
        ]
        self.adults = {key[7:]: value for key, value in arrays.items() if key.startswith("people.")}
        if not self.skins or not len(self.adults["betas"]):
            raise ValueError("no skins or no adults")

    def named(self, kind: str, cut: str | None = None) -> list[Item]:
        """Items of a kind, optionally only those of a cut (unisex included)."""
        return [i for i in self.items.values() if i.kind == kind and (cut is None or i.cut in ("u", cut))]

    def _move_like(self, body: BodyArrays) -> None:
        """Take joints, keypoints and pose correctives of a body, which must have the shape of this one."""
        count = len(self.body.template_m)
        ours = self.body.template_m, self.body.shapedirs.reshape(count, 3, -1)
        given = body.v_template, body.shapedirs
        for name, own, other in zip(("v_template", "shapedirs"), ours, given, strict=True):
            if own.shape != other.shape or np.abs(own - other).max() > _SAME_BODY_M:
                raise AssetError(
                    f"{self.folder / 'geometry.npz'} was made for another body than the tracker's "
                    f"({name} {own.shape} differs from {other.shape} by more than {_SAME_BODY_M} m), so "
                    "labels would not fit the pictures; docs/training.md says which belong together"
                )
        regressor = body.joint_regressor.astype(np.float64)
        self.joint_template_m = regressor @ self.body.template_m
        self.joint_shapedirs = np.einsum("jv,vds->jds", regressor, ours[1])
        self.keypoint_regressor = np.asarray(body.keypoint_regressor, np.float32)
        posedirs = body.posedirs if body.posedirs is not None else np.zeros((count, 3, 207), np.float32)
        self.correctives = _sparse(posedirs)


def _body_surface(arrays: Mapping[str, _Array]) -> Surface:
    weights = arrays["body.weights"].astype(np.float32)
    index = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES].astype(np.uint8)
    strongest = np.take_along_axis(weights, index.astype(np.int64), 1)
    faces, uv_faces = arrays["body.f"].astype(np.int32), arrays["body.uv_faces"].astype(np.int32)
    eyes = np.unpackbits(arrays["body.eye_vertex"])[: len(weights)].astype(bool)
    keep = ~eyes[faces].all(1)  # separate eyeballs replace the built-in ones
    part = arrays["body.part_labels"]
    return _surface(arrays, "body", index, strongest, part, faces[keep], uv_faces[keep])


def _surface(
    arrays: Mapping[str, _Array], name: str, joints: _Array, weights: _Array, part: _Array,
    faces: _Array, uv_faces: _Array,
) -> Surface:  # fmt: skip
    template = np.ascontiguousarray(arrays[f"{name}.v_template"], np.float32)
    return Surface(
        template,
        np.ascontiguousarray(arrays[f"{name}.shapedirs"].astype(np.float32).reshape(3 * len(template), -1)),
        joints.astype(np.uint8),
        weights / weights.sum(1, keepdims=True),
        part.astype(np.uint8),
        faces.astype(np.int32),
        arrays[f"{name}.uv"].astype(np.float32) / 65535,
        uv_faces.astype(np.int32),
        _coarse(template, faces.astype(np.int32)),
    )


def _item(arrays: Mapping[str, _Array], record: Mapping[str, Any], body_vertices: int) -> Item:
    name = str(record["name"])

    def array(key: str) -> _Array:
        return arrays[f"{name}.{key}"]

    weight = array("joint_weight").astype(np.float32)
    hides = np.zeros(body_vertices, bool)
    if f"{name}.hide" in arrays:
        hides = np.unpackbits(array("hide"))[:body_vertices].astype(bool)
    return Item(
        name,
        str(record["kind"]),
        str(record["gender"]),
        tuple(record["textures"]),
        _surface(arrays, name, array("joint_index"), weight, array("part"), array("f"), array("uv_f")),
        array("bind_index").astype(np.int32),
        array("bind_weight").astype(np.float32) * bool(record["follows_correctives"]),
        hides,
    )


def _sparse(posedirs: _Array) -> Correctives:
    """Pairs of vertex and joint with a corrective, from dense posedirs (V, 3, 207)."""
    blocks = posedirs.astype(np.float32).reshape(len(posedirs), 3, -1, 9)
    vertex, joint = np.nonzero(np.abs(blocks).max((1, 3)))
    return Correctives(
        vertex.astype(np.int32),
        joint.astype(np.int32),
        np.ascontiguousarray(blocks[vertex, :, joint]),
    )


def _coarse(points_m: _Array, faces: _Array) -> _Array:
    """Triangles (G, 3) i32 that remain when vertices in one cell of a grid become one of them."""
    cells = np.floor(points_m / _CELL_M).astype(np.int64)
    _, first, cell_of = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    merged = first[cell_of.reshape(-1)][faces]
    a, b, c = merged.T
    merged = merged[(a != b) & (b != c) & (c != a)]
    _, kept = np.unique(np.sort(merged, axis=1), axis=0, return_index=True)
    return np.asarray(merged[np.sort(kept)], np.int32)


def _limited(image: npt.NDArray[np.uint8], max_px: int) -> npt.NDArray[np.uint8]:
    while max(image.shape[:2]) > max_px:
        size = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image


def _median_luminance(image: npt.NDArray[np.uint8]) -> float:
    """Median linear luminance of the opaque texels."""
    pixels = image[image[..., 3] > 128][:, :3] if image.shape[2] == 4 else image.reshape(-1, 3)
    luminance = SRGB_TO_LINEAR[pixels[::16]] @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return max(float(np.median(luminance)) if luminance.size else 1.0, 1e-3)
