"""What is drawn: triangle meshes in camera space, their materials and their light."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import AnyArray, Float32Array, Int32Array, UInt8Array
from kinestream.kernels.raster.texture import TextureBank

PLAIN: Final = 0
STRIPES_U: Final = 1
STRIPES_V: Final = 2
CHECKS: Final = 3
DOTS: Final = 4


@dataclass(frozen=True)
class Material:
    """How the surface of some triangles looks.

    texture: index into the bank, or -1 for a plain white surface.
    tint: linear RGB factor of the texture's (linearised) colour.
    gray_clip: 0 keeps the colours of the texture; a positive value replaces them by their linear
        luminance, at most this large, so that `tint` alone decides the colour.
    pattern, pattern_count, pattern_width, pattern_tint: stripes, checks or dots, repeated `count`
        times over the texture, in which `pattern_tint` stands in for `tint`; width is the share
        of a repeat that is covered.
    bias_m: how far the surface moves towards the camera in the depth test alone; it settles
        surfaces that nearly coincide (clothes on skin).
    one_sided: not drawn where it is seen from inside; for closed surfaces, which look the same without.
    """

    texture: int = -1
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gray_clip: float = 0.0
    pattern: int = PLAIN
    pattern_count: float = 1.0
    pattern_width: float = 0.5
    pattern_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bias_m: float = 0.0
    one_sided: bool = False


@dataclass(frozen=True, eq=False)
class MaterialTable:
    """Materials as arrays with one row each, the form that kernels read."""

    texture: Int32Array  # (M,)
    tint: Float32Array  # (M, 2, 3): surface and pattern
    surface: Float32Array  # (M, 6): gray_clip, pattern, pattern_count, pattern_width, bias_m, one_sided

    @classmethod
    def build(cls, materials: Sequence[Material]) -> "MaterialTable":
        """Table of the given materials, in their order."""
        return cls(
            np.array([m.texture for m in materials], np.int32),
            np.array([(m.tint, m.pattern_tint) for m in materials], np.float32).reshape(-1, 2, 3),
            np.array(
                [
                    (m.gray_clip, m.pattern, m.pattern_count, m.pattern_width, m.bias_m, m.one_sided)
                    for m in materials
                ],
                np.float32,
            ).reshape(-1, 6),
        )


class MeshArrays(NamedTuple):
    """The arrays of a mesh and of its textures, in the form that compiled kernels take."""

    vertices: AnyArray
    faces: AnyArray
    light: AnyArray
    part: AnyArray
    face_material: AnyArray
    texture: AnyArray
    tint: AnyArray
    surface: AnyArray
    uv: AnyArray
    uv_faces: AnyArray
    texels: AnyArray
    levels: AnyArray
    first_level: AnyArray
    cutout: AnyArray


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in camera space (OpenCV: x right, y down, z forward; metres).

    vertices_m (V, 3) f32; faces (F, 3) i32, counter-clockwise seen from outside, drawn from both sides.
    light (2, V, 3) f32: light that leaves a white surface at each vertex, outside and inside.
    part (V,) u8: label of each vertex; a sample takes that of the corner it is nearest to.
    face_material (F,) i32 into `materials`; uv (T, 2) f32 with the origin bottom left, uv_faces (F, 3) i32.
    person: number that the person map shows as person + 1.

    Raises ValueError where shapes, types or indices disagree.
    """

    vertices_m: Float32Array
    faces: Int32Array
    light: Float32Array
    part: UInt8Array
    face_material: Int32Array
    materials: MaterialTable
    uv: Float32Array
    uv_faces: Int32Array
    textures: TextureBank
    person: int = 0

    def __post_init__(self) -> None:
        vertices, faces = len(self.vertices_m), len(self.faces)
        expected = {
            "vertices_m": ((vertices, 3), np.float32),
            "faces": ((faces, 3), np.int32),
            "light": ((2, vertices, 3), np.float32),
            "part": ((vertices,), np.uint8),
            "face_material": ((faces,), np.int32),
            "uv": ((len(self.uv), 2), np.float32),
            "uv_faces": ((faces, 3), np.int32),
        }
        for name, (shape, dtype) in expected.items():
            array: npt.NDArray[np.generic] = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"mesh.{name} must be {np.dtype(dtype)} {shape}; found {array.dtype} {array.shape}"
                )
        limits = {
            "faces": (0, vertices),
            "uv_faces": (0, len(self.uv)),
            "face_material": (0, len(self.materials.texture)),
        }
        for name, (low, high) in limits.items():
            index: Int32Array = getattr(self, name)
            if index.size and (index.min() < low or index.max() >= high):
                raise ValueError(
                    f"mesh.{name} must lie in {low}..{high - 1}; found {index.min()}..{index.max()}"
                )
        textures = self.materials.texture
        if textures.size and (textures.min() < -1 or textures.max() >= len(self.textures)):
            raise ValueError(
                f"materials refer to texture {textures.max()}, the bank holds {len(self.textures)}; "
                "give the bank that the materials were made for"
            )

    def arrays(self) -> MeshArrays:
        """All arrays, contiguous."""
        arrays = (
            self.vertices_m, self.faces, self.light, self.part, self.face_material,
            self.materials.texture, self.materials.tint, self.materials.surface, self.uv, self.uv_faces,
            self.textures.texels, self.textures.levels, self.textures.first_level, self.textures.cutout,
        )  # fmt: skip
        return MeshArrays(*(np.ascontiguousarray(array) for array in arrays))


def plain_mesh(
    vertices_m: npt.ArrayLike,
    faces: npt.ArrayLike,
    *,
    light: npt.ArrayLike = 1.0,
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0),
    part: npt.ArrayLike | None = None,
    person: int = 0,
) -> Mesh:
    """Mesh without textures: vertices (V, 3) in camera metres, faces (F, 3), light broadcast to (2, V, 3)."""
    points = np.ascontiguousarray(vertices_m, np.float32)
    triangles = np.ascontiguousarray(faces, np.int32)
    return Mesh(
        vertices_m=points,
        faces=triangles,
        light=np.ascontiguousarray(np.broadcast_to(np.asarray(light, np.float32), (2, len(points), 3))),
        part=np.zeros(len(points), np.uint8) if part is None else np.ascontiguousarray(part, np.uint8),
        face_material=np.zeros(len(triangles), np.int32),
        materials=MaterialTable.build([Material(tint=colour)]),
        uv=np.zeros((1, 2), np.float32),
        uv_faces=np.zeros_like(triangles),
        textures=TextureBank.build([]),
        person=person,
    )
