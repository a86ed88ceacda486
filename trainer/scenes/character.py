"""A dressed person: all its meshes in one, posed by 24 rotations."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kinestream.kernels.raster import Material, MaterialTable, Mesh
from kinestream.kernels.raster.target import srgb_decode
from kinestream.trainer.scenes.library import CharacterLibrary, Surface
from kinestream.trainer.scenes.outfit import Outfit, Worn
from kinestream.trainer.scenes.skinning import add_correctives, joint_chain, skin

_Array = npt.NDArray[Any]

LAYER_BIAS_M: Final = {
    "body": 0.0, "eyes": 0.0, "brows": 0.003, "socks": 0.002, "shoes": 0.003, "bottom": 0.005,
    "outfit": 0.006, "top": 0.009, "hair": 0.004, "hat": 0.008,
}  # fmt: skip
"""Depth offsets that settle layers which nearly coincide."""

_HIGHLIGHT: Final = 5.0  # a dyed texel is at most this many times as bright as the median


@dataclass(frozen=True)
class PosedCharacter:
    """A character in a pose, in the frame of its root rotation and translation (the camera's)."""

    vertices_m: npt.NDArray[np.float32]  # (V, 3), body first
    joints_m: npt.NDArray[np.float64]  # (24, 3)
    keypoints_m: npt.NDArray[np.float64]  # (23, 3)


class Character:
    """A shaped, dressed person; every mesh shares one vertex array, the body's vertices first."""

    def __init__(self, library: CharacterLibrary, outfit: Outfit) -> None:
        """Assemble; raises KeyError for an item or a texture that the library has not got."""
        self.library, self.outfit = library, outfit
        items = [library.items[worn.item] for worn in outfit.worn]
        surfaces = [library.body, *(item.surface for item in items)]
        betas = np.asarray(outfit.betas, np.float32)
        self.rest_m = np.concatenate(
            [s.template_m + (s.shapedirs @ betas).reshape(-1, 3) for s in surfaces], dtype=np.float32
        )
        self.rest_joints_m = library.joint_template_m + library.joint_shapedirs @ betas.astype(np.float64)
        self.joint_index = np.concatenate([s.joint_index for s in surfaces])
        self.joint_weight = np.concatenate([s.joint_weight for s in surfaces])
        self.part = np.concatenate([s.part for s in surfaces])
        self.bind_index = np.concatenate([item.bind_index for item in items] or [np.zeros((0, 3), np.int32)])
        self.bind_weight = np.concatenate(
            [item.bind_weight for item in items] or [np.zeros((0, 3), np.float32)]
        )
        first = np.cumsum([0, *(len(s.template_m) for s in surfaces)])
        first_uv = np.cumsum([0, *(len(s.uv) for s in surfaces)])
        self.uv = np.concatenate([s.uv for s in surfaces])
        marks = [self._body_hidden(), *(self._item_covered(worn.item) for worn in outfit.worn)]
        picked = [
            _visible_faces(s, marked, int(v), int(t))
            for s, marked, v, t in zip(surfaces, marks, first, first_uv, strict=False)
        ]
        self.faces = np.concatenate([faces for faces, _, _ in picked])
        self.uv_faces = np.concatenate([uv_faces for _, uv_faces, _ in picked])
        self.coarse_faces = np.concatenate([coarse for _, _, coarse in picked])
        self.face_material = np.repeat(
            np.arange(len(surfaces), dtype=np.int32), [len(faces) for faces, _, _ in picked]
        )
        skin_material = Material(
            texture=library.texture_id[outfit.skin], tint=outfit.skin_tint, one_sided=True
        )
        self.materials = MaterialTable.build([skin_material, *(self._material(w) for w in outfit.worn)])

    def _body_hidden(self) -> _Array:
        """Body vertices that an item hides, (V,) bool."""
        hidden = np.zeros(len(self.library.body.template_m), bool)
        for worn in self.outfit.worn:
            hidden |= self.library.items[worn.item].hides
        return hidden

    def _item_covered(self, name: str) -> _Array:
        """Vertices of an item that an outer item covers, (V,) bool."""
        covered = np.zeros(len(self.library.items[name].surface.template_m), bool)
        for worn in self.outfit.worn:
            cover = self.library.covers.get((worn.item, name))
            if cover is not None:
                covered |= cover
        return covered

    def _material(self, worn: Worn) -> Material:
        bias_m = LAYER_BIAS_M[self.library.items[worn.item].kind]
        texture = self.library.texture_id[worn.texture]
        if worn.colour is None:
            return Material(texture=texture, bias_m=bias_m)
        median = float(self.library.median_luminance[texture])
        return Material(
            texture=texture,
            tint=_dye(worn.colour, median),
            gray_clip=_HIGHLIGHT * median,
            pattern=worn.pattern,
            pattern_count=worn.pattern_count,
            pattern_width=worn.pattern_width,
            pattern_tint=_dye(worn.pattern_colour, median),
            bias_m=bias_m,
        )

    def pose(self, rotations: _Array, translation_m: _Array) -> PosedCharacter:
        """Pose by rotations (24, 3, 3), the root's first, with the pelvis at `translation_m` (3,)."""
        body_vertices = len(self.library.body.template_m)
        world, joints, shift = joint_chain(rotations, self.rest_joints_m, translation_m)
        points = self.rest_m.copy()
        add_correctives(
            points, self.library.correctives, rotations, body_vertices, self.bind_index, self.bind_weight
        )
        vertices = skin(points, self.joint_index, self.joint_weight, world, shift)
        keypoints = self.library.keypoint_regressor @ vertices[:body_vertices]
        return PosedCharacter(vertices, joints, keypoints.astype(np.float64))

    def mesh(self, vertices_m: _Array, light: _Array, *, person: int = 0) -> Mesh:
        """What the rasteriser draws: posed vertices (V, 3) in camera metres, light (2, V, 3)."""
        return Mesh(
            vertices_m=vertices_m,
            faces=self.faces,
            light=light,
            part=self.part,
            face_material=self.face_material,
            materials=self.materials,
            uv=self.uv,
            uv_faces=self.uv_faces,
            textures=self.library.textures,
            person=person,
        )


def _visible_faces(
    surface: Surface, marked: _Array, first_vertex: int, first_uv: int
) -> tuple[_Array, _Array, _Array]:
    """Faces, texture faces and coarse faces with a vertex that is not marked, counted from these offsets."""
    kept, coarse = (~marked[faces].all(1) for faces in (surface.faces, surface.coarse_faces))
    return (
        surface.faces[kept] + first_vertex,
        surface.uv_faces[kept] + first_uv,
        surface.coarse_faces[coarse] + first_vertex,
    )


def _dye(colour: tuple[int, int, int], median: float) -> tuple[float, float, float]:
    """Linear factor that gives a texel of median luminance this sRGB colour."""
    red, green, blue = (float(c) / median for c in srgb_decode(np.array(colour) / 255))
    return red, green, blue
