"""The rasteriser for NVIDIA GPUs (package numba-cuda). `reference` says what it computes.

Three passes per mesh: every triangle lowers the depth of its samples (atomic minimum of float32), then
claims those where its depth is the one that stayed (atomic minimum of the id: of equal depths the first
triangle wins, as on the CPU), then every sample is shaded. Buffers stay on the device between calls and
the textures, by far the largest input, are uploaded once per bank.

The compiler fuses multiplications and additions, so a sample within rounding of an edge may go to the other
triangle than on the CPU.

Run so far in numba's CUDA simulator (NUMBA_ENABLE_CUDASIM=1) and compiled for sm_90 with numba-cuda 0.30; it
has not yet been executed on a GPU.
"""

# mypy: disallow-untyped-decorators=False, warn-return-any=False

import math
import weakref
from importlib.util import find_spec
from typing import Any, Final

import numba
import numba.cuda
import numpy as np
import numpy.typing as npt
from numba.core.errors import NumbaError

from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array, RgbImage
from kinestream.kernels.raster import cpu
from kinestream.kernels.raster.mesh import Mesh, MeshArrays
from kinestream.kernels.raster.target import NEAR_M, SRGB_TO_LINEAR, TONE_MAX, TONE_STEPS, Target, ToneCurve
from kinestream.kernels.raster.texture import TextureBank

cuda: Any = numba.cuda
_config: Any = numba.config
_THREADS: Final = 128
_TILE: Final = (16, 16)
_NOBODY: Final = 2**31 - 1
_MARGIN: Final = 1e-4

_edge_functions = cuda.jit(device=True)(cpu.edge_functions)
_least_inside = cuda.jit(device=True)(cpu.least_inside)
_clipped_window = cuda.jit(device=True)(cpu.clipped_window)
_mip_level = cuda.jit(device=True)(cpu.mip_level)
_footprint = cuda.jit(device=True)(cpu.footprint)
_blend = cuda.jit(device=True)(cpu.blend)
_pattern_weight = cuda.jit(device=True)(cpu.pattern_weight)


def unavailable() -> str | None:
    """Why this backend cannot run here, or None where it can."""
    if not _config.ENABLE_CUDASIM and find_spec("numba_cuda") is None:
        return "numba-cuda is not installed; install numba-cuda[cu12], or use kinestream.kernels.raster.cpu"
    try:
        if cuda.is_available():
            return None
    except (NumbaError, OSError, RuntimeError) as error:
        return f"CUDA does not start ({error}); use kinestream.kernels.raster.cpu"
    return "numba finds no CUDA driver and device (see `numba -s`); use kinestream.kernels.raster.cpu"


class DeviceTarget(Target):
    """A `Target` whose buffers live on the GPU; `download` copies them to those of the host."""

    def __init__(self, height_px: int, width_px: int, *, samples: int = 1) -> None:
        """Allocate on the host and on the device; RuntimeError says why a GPU cannot be used."""
        reason = unavailable()
        if reason is not None:
            raise RuntimeError(f"kinestream.kernels.raster.gpu needs an NVIDIA GPU: {reason}")
        super().__init__(height_px, width_px, samples=samples)
        shape = self.depth_m.shape
        self.before = cuda.device_array(shape, np.float32)
        self.winner = cuda.device_array(shape, np.int32)
        self.device = {
            name: cuda.to_device(getattr(self, name))
            for name in ("depth_m", "triangle", "part", "person", "colour")
        }

    def clear(self) -> None:
        """Forget what was drawn, on the device; the host's copies follow with the next `download`."""
        buffers = self.device
        blocks = _blocks(self)
        _clear[blocks, _TILE](buffers["depth_m"], buffers["triangle"], buffers["part"], buffers["person"])
        self.num_triangles = 0

    def download(self, *names: str) -> None:
        """Copy buffers (all of them, or those named) to the attributes of the same name."""
        for name in names or self.device:
            self.device[name].copy_to_host(getattr(self, name))


def draw(
    target: DeviceTarget, mesh: Mesh, K: npt.ArrayLike, *, near_m: float = NEAR_M, shade: bool = True
) -> None:
    """Draw a mesh into the target, seen by the pinhole camera K (3, 3); see `reference.draw`."""
    k, first = cuda.to_device(target.intrinsics(K)), target.num_triangles
    if len(mesh.faces):
        arrays, buffers, tiles = _on_device(mesh), target.device, _blocks(target)
        depth, triangle = buffers["depth_m"], buffers["triangle"]
        groups = -(-len(mesh.faces) // _THREADS)
        _begin[tiles, _TILE](depth, target.before, target.winner)
        _nearest[groups, _THREADS](arrays, k, near_m, depth)
        _claim[groups, _THREADS](arrays, k, near_m, depth, target.before, target.winner)
        _finish[tiles, _TILE](
            arrays, k, near_m, first, mesh.person + 1, shade, target.winner,
            triangle, buffers["part"], buffers["person"], buffers["colour"], _decode_table(),
        )  # fmt: skip
    target.num_triangles += len(mesh.faces)


def resolve(target: DeviceTarget, background: RgbImage, *, tone: ToneCurve | None = None) -> RgbImage:
    """Picture (H, W, 3) uint8 over a background of that shape; see `reference.resolve`."""
    target.check_background(background)
    table = cuda.to_device((tone or ToneCurve.srgb()).table)
    image = cuda.to_device(np.ascontiguousarray(background))
    blocks = _blocks(target, per_pixel=True)
    _resolve[blocks, _TILE](target.device["colour"], target.device["triangle"], target.samples, table, image)
    return np.asarray(image.copy_to_host(), np.uint8)


def vertex_visibility(
    target: DeviceTarget,
    vertices_m: Float32Array,
    K: npt.ArrayLike,
    *,
    tolerance_m: float | Float64Array = 0.01,
    near_m: float = NEAR_M,
) -> npt.NDArray[np.bool_]:
    """Which of the points (V, 3) are seen, (V,) bool; see `reference.vertex_visibility`."""
    target.download("depth_m")
    return cpu.vertex_visibility(target, vertices_m, K, tolerance_m=tolerance_m, near_m=near_m)


_banks: "weakref.WeakKeyDictionary[TextureBank, tuple[Any, ...]]" = weakref.WeakKeyDictionary()
_tables: dict[str, Any] = {}


def _on_device(mesh: Mesh) -> MeshArrays:
    arrays = mesh.arrays()
    bank = ("texels", "levels", "first_level", "cutout")
    if mesh.textures not in _banks:
        _banks[mesh.textures] = tuple(cuda.to_device(_padded(getattr(arrays, name))) for name in bank)
    kept = dict(zip(bank, _banks[mesh.textures], strict=True))
    return MeshArrays(
        **{
            name: kept[name] if name in kept else cuda.to_device(array)
            for name, array in arrays._asdict().items()
        }
    )


def _padded(array: AnyArray) -> AnyArray:
    """The array, or one row of zeros where it is empty: CUDA allocates nothing of no size."""
    return array if array.size else np.zeros((1, *array.shape[1:]), array.dtype)


def _decode_table() -> Any:
    if "decode" not in _tables:
        _tables["decode"] = cuda.to_device(SRGB_TO_LINEAR)
    return _tables["decode"]


def _blocks(target: Target, *, per_pixel: bool = False) -> tuple[int, int]:
    height, width = target.depth_m.shape
    if per_pixel:
        height, width = target.height_px, target.width_px
    return -(-width // _TILE[0]), -(-height // _TILE[1])


@cuda.jit
def _clear(depth: AnyArray, triangle: AnyArray, part: AnyArray, person: AnyArray) -> None:
    x, y = cuda.grid(2)
    if y < depth.shape[0] and x < depth.shape[1]:
        depth[y, x] = math.inf
        triangle[y, x] = -1
        part[y, x] = 0
        person[y, x] = 0


@cuda.jit
def _begin(depth: AnyArray, before: AnyArray, winner: AnyArray) -> None:
    x, y = cuda.grid(2)
    if y < depth.shape[0] and x < depth.shape[1]:
        before[y, x] = depth[y, x]
        winner[y, x] = _NOBODY


@cuda.jit(device=True)
def _bounds(mesh: MeshArrays, t: int, k: AnyArray, near: float, height: int, width: int) -> tuple[int, ...]:
    """First and last column, then row, that triangle t may cover; the last comes before the first if none."""
    left, right, top, bottom = _clipped_window(mesh.vertices, mesh.faces[t], k, near)
    if not (left <= width and right >= -1.0 and top <= height and bottom >= -1.0):
        return 0, -1, 0, -1
    x0, x1 = math.ceil(max(left - _MARGIN, 0.0)), math.floor(min(right + _MARGIN, width - 1.0))
    y0, y1 = math.ceil(max(top - _MARGIN, 0.0)), math.floor(min(bottom + _MARGIN, height - 1.0))
    return int(x0), int(x1), int(y0), int(y1)


@cuda.jit(device=True)
def _depth_at(
    mesh: MeshArrays, t: int, level: int, edges: tuple[float, ...], x: int, y: int, near: float
) -> float:
    """Biased depth of triangle t at a sample; infinite where it does not cover it. level < 0: opaque."""
    a0, b0, c0, a1, b1, c1, a2, b2, c2, det = edges
    e0, e1, e2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
    if not (e0 >= _least_inside(a0, b0) and e1 >= _least_inside(a1, b1) and e2 >= _least_inside(a2, b2)):
        return math.inf
    inverse = 1.0 / (e0 + e1 + e2)
    z = abs(det) * inverse
    if z < near:
        return math.inf
    if level >= 0:
        ta, tb, tc = mesh.uv_faces[t, 0], mesh.uv_faces[t, 1], mesh.uv_faces[t, 2]
        p0, p1, p2 = e0 * inverse, e1 * inverse, e2 * inverse
        u = p0 * mesh.uv[ta, 0] + p1 * mesh.uv[tb, 0] + p2 * mesh.uv[tc, 0]
        v = p0 * mesh.uv[ta, 1] + p1 * mesh.uv[tb, 1] + p2 * mesh.uv[tc, 1]
        i00, i01, i10, i11, fx, fy = _footprint(mesh.levels, level, u, v)
        if _blend(mesh.texels, 3, i00, i01, i10, i11, fx, fy) < 128.0:
            return math.inf
    return z - mesh.surface[mesh.face_material[t], 4]


@cuda.jit(device=True)
def _cutout_level(mesh: MeshArrays, t: int, det: float, k: AnyArray, near: float) -> int:
    texture = mesh.texture[mesh.face_material[t]]
    if texture < 0 or not mesh.cutout[texture]:
        return -1
    return _mip_level(mesh, t, texture, det, k, near)


@cuda.jit
def _nearest(mesh: MeshArrays, k: AnyArray, near: float, depth: AnyArray) -> None:
    t = cuda.grid(1)
    if t >= mesh.faces.shape[0]:
        return
    x0, x1, y0, y1 = _bounds(mesh, t, k, near, depth.shape[0], depth.shape[1])
    edges = _edge_functions(mesh.vertices, mesh.faces[t], k)
    det = edges[9]
    if x1 < x0 or y1 < y0 or det == 0.0 or not math.isfinite(det):
        return
    if det > 0.0 and mesh.surface[mesh.face_material[t], 5] > 0.0:
        return
    level = _cutout_level(mesh, t, det, k, near)
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            z = _depth_at(mesh, t, level, edges, x, y, near)
            if np.float32(z) < depth[y, x]:
                cuda.atomic.min(depth, (y, x), np.float32(z))


@cuda.jit
def _claim(
    mesh: MeshArrays, k: AnyArray, near: float, depth: AnyArray, before: AnyArray, winner: AnyArray
) -> None:
    t = cuda.grid(1)
    if t >= mesh.faces.shape[0]:
        return
    x0, x1, y0, y1 = _bounds(mesh, t, k, near, depth.shape[0], depth.shape[1])
    edges = _edge_functions(mesh.vertices, mesh.faces[t], k)
    det = edges[9]
    if x1 < x0 or y1 < y0 or det == 0.0 or not math.isfinite(det):
        return
    if det > 0.0 and mesh.surface[mesh.face_material[t], 5] > 0.0:
        return
    level = _cutout_level(mesh, t, det, k, near)
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            if depth[y, x] < before[y, x]:
                z = _depth_at(mesh, t, level, edges, x, y, near)
                if np.float32(z) == depth[y, x]:
                    cuda.atomic.min(winner, (y, x), t)


@cuda.jit
def _finish(
    mesh: MeshArrays, k: AnyArray, near: float, first: int, person: int, shade: bool, winner: AnyArray,
    triangle: AnyArray, part: AnyArray, people: AnyArray, colour: AnyArray, decode: AnyArray,
) -> None:  # fmt: skip
    x, y = cuda.grid(2)
    if y >= winner.shape[0] or x >= winner.shape[1] or winner[y, x] == _NOBODY:
        return
    t = winner[y, x]
    triangle[y, x] = first + t
    if not shade:
        return
    a0, b0, c0, a1, b1, c1, a2, b2, c2, det = _edge_functions(mesh.vertices, mesh.faces[t], k)
    e0, e1, e2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
    inverse = 1.0 / (e0 + e1 + e2)
    p0, p1, p2 = e0 * inverse, e1 * inverse, e2 * inverse
    a, b, c = mesh.faces[t, 0], mesh.faces[t, 1], mesh.faces[t, 2]
    ta, tb, tc = mesh.uv_faces[t, 0], mesh.uv_faces[t, 1], mesh.uv_faces[t, 2]
    u = p0 * mesh.uv[ta, 0] + p1 * mesh.uv[tb, 0] + p2 * mesh.uv[tc, 0]
    v = p0 * mesh.uv[ta, 1] + p1 * mesh.uv[tb, 1] + p2 * mesh.uv[tc, 1]
    side = 0 if det < 0.0 else 1
    material = mesh.face_material[t]
    texture = mesh.texture[material]
    gray, weight = mesh.surface[material, 0], _pattern_weight(mesh.surface, material, u, v)
    i00 = i01 = i10 = i11 = 0
    fx = fy = 0.0
    if texture >= 0:
        level = _mip_level(mesh, t, texture, det, k, near)
        i00, i01, i10, i11, fx, fy = _footprint(mesh.levels, level, u, v)
    luminance = 0.0
    if texture >= 0 and gray > 0.0:
        for channel in range(3):
            value = decode[int(_blend(mesh.texels, channel, i00, i01, i10, i11, fx, fy) + 0.5)]
            luminance += (0.2126, 0.7152, 0.0722)[channel] * value
        luminance = min(luminance, gray)
    for channel in range(3):
        light = p0 * mesh.light[side, a, channel]
        light += p1 * mesh.light[side, b, channel] + p2 * mesh.light[side, c, channel]
        surface = 1.0
        if texture >= 0:
            surface = luminance
            if gray <= 0.0:
                surface = decode[int(_blend(mesh.texels, channel, i00, i01, i10, i11, fx, fy) + 0.5)]
        tint = mesh.tint[material, 0, channel] * (1.0 - weight) + mesh.tint[material, 1, channel] * weight
        colour[y, x, channel] = light * surface * tint
    corner = a
    if p1 > p0 and p1 >= p2:
        corner = b
    elif p2 > p0 and p2 > p1:
        corner = c
    part[y, x] = mesh.part[corner] + 1
    people[y, x] = person


@cuda.jit
def _resolve(colour: AnyArray, triangle: AnyArray, step: int, table: AnyArray, image: AnyArray) -> None:
    x, y = cuda.grid(2)
    if y >= image.shape[0] or x >= image.shape[1]:
        return
    for channel in range(3):
        hit, total = 0, 0.0
        for j in range(y * step, (y + 1) * step):
            for i in range(x * step, (x + 1) * step):
                if triangle[j, i] >= 0:
                    hit += 1
                    total += colour[j, i, channel]
        if hit:
            share = hit / (step * step)
            light = min(max(total / hit, 0.0), TONE_MAX)
            shown = table[int(math.sqrt(light / TONE_MAX) * (TONE_STEPS - 1) + 0.5)]
            image[y, x, channel] = int((1.0 - share) * image[y, x, channel] + share * shown + 0.5)
