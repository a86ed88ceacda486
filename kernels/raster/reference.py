"""The rasteriser in plain numpy: slow, obvious, and what the other backends must equal.

A triangle with corners v0, v1, v2 in camera space covers the sample with the ray d = K⁻¹ (x, y, 1) when d
is a positive combination of the corners. With n0 = v1 × v2, n1 = v2 × v0, n2 = v0 × v1 and
det = v0 · n0 its weights are e_i = n_i · d / det; the perspective-correct barycentric coordinates are
p_i = e_i / (e0 + e1 + e2) and the depth is 1 / (e0 + e1 + e2). Nothing is projected, so triangles that
reach behind the camera need no clipping but the test of the depth against the near plane
(Olano and Greer, Triangle Scan Conversion using 2D Homogeneous Coordinates, 1997).
All arithmetic is in float64 and in the same order in every backend, which makes their ids equal.
"""

import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array, RgbImage
from kinestream.kernels.raster.mesh import CHECKS, DOTS, STRIPES_U, STRIPES_V, Mesh
from kinestream.kernels.raster.target import NEAR_M, SRGB_TO_LINEAR, TONE_MAX, TONE_STEPS, Target, ToneCurve


def draw(target: Target, mesh: Mesh, K: npt.ArrayLike, *, near_m: float = NEAR_M, shade: bool = True) -> None:
    """Draw a mesh into the target, seen by the pinhole camera K (3, 3).

    Of the surfaces at a sample the nearest wins, of equals the first. Samples where a texture's alpha is
    below one half are left alone. A sample exactly on the edge of two triangles belongs to one of them.
    Triangles without area, seen exactly edge-on, or one-sided and seen from inside cover nothing. With
    shade=False only depth and triangle ids are drawn.

    Raises ValueError for a K that is no pinhole camera.
    """
    k = target.intrinsics(K)
    height, width = target.depth_m.shape
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    for t, corners in enumerate(mesh.faces):
        v = mesh.vertices_m[corners].astype(np.float64)
        n = np.stack([_cross(v[1], v[2]), _cross(v[2], v[0]), _cross(v[0], v[1])])
        det = v[0, 0] * n[0, 0] + v[0, 1] * n[0, 1] + v[0, 2] * n[0, 2]
        material = mesh.face_material[t]
        texture, surface = (
            mesh.materials.texture[material],
            mesh.materials.surface[material].astype(np.float64),
        )
        if det == 0 or not np.isfinite(det) or (det > 0 and surface[5] > 0):
            continue
        sign = 1.0 if det > 0 else -1.0
        covered = np.ones(x.shape, bool)
        e = []
        for i in range(3):
            a, b = sign * n[i, 0] * k[4], sign * n[i, 1] * k[5]
            c = sign * n[i, 2] - a * k[2] - b * k[3]
            edge = a * x + (b * y + c)
            owns_border = a > 0 or (a == 0 and b > 0)
            covered &= (edge >= 0) if owns_border else (edge > 0)
            e.append(edge)
        inverse = 1.0 / np.where(covered, e[0] + e[1] + e[2], 1.0)
        z = abs(det) * inverse
        p = np.stack([edge * inverse for edge in e], axis=-1)  # (H, W, 3)
        depth = (z - surface[4]).astype(np.float32)
        covered &= (z >= near_m) & (depth < target.depth_m)
        u, v_ = _interpolate(p, mesh.uv[mesh.uv_faces[t]].astype(np.float64))
        rgba = np.full((*x.shape, 4), 255.0)
        if texture >= 0:
            rgba = _texels(mesh, _level(mesh, t, texture, det, k, near_m), u, v_)
        covered &= rgba[..., 3] >= 128
        target.depth_m[covered] = depth[covered]
        target.triangle[covered] = target.num_triangles + t
        if not shade:
            continue
        light = np.stack(
            _interpolate(p, mesh.light[0 if det < 0 else 1][corners].astype(np.float64)), axis=-1
        )
        tint = mesh.materials.tint[material].astype(np.float64)
        colour = light * _surface(rgba, float(surface[0]), texture >= 0)
        weight = _pattern(surface, u, v_)[..., None]
        colour = colour * (tint[0] * (1.0 - weight) + tint[1] * weight)
        target.colour[covered] = colour[covered]
        target.part[covered] = mesh.part[corners][p.argmax(-1)][covered] + 1
        target.person[covered] = mesh.person + 1
    target.num_triangles += len(mesh.faces)
    target.touch((0, width - 1, 0, height - 1))


def resolve(target: Target, background: AnyArray, *, tone: ToneCurve | None = None) -> RgbImage:
    """Picture (H, W, 3) uint8: the mean light of the covered samples through the tone curve (default sRGB),
    mixed with the background, uint8 of that shape, by their share.
    """
    target.check_background(background)
    table = (tone or ToneCurve.srgb()).table.astype(np.float64)
    height, width, step = target.height_px, target.width_px, target.samples
    hit = (target.triangle >= 0).reshape(height, step, width, step)
    light = np.where(hit[..., None], target.colour.reshape(height, step, width, step, 3), 0).astype(
        np.float64
    )
    count = hit.sum((1, 3))[..., None]
    mean = np.clip(light.sum((1, 3)) / np.maximum(count, 1), 0, TONE_MAX)
    shown = table[(np.sqrt(mean / TONE_MAX) * (TONE_STEPS - 1) + 0.5).astype(int)]
    share = count / (step * step)
    return np.asarray((1 - share) * background + share * shown + 0.5).astype(np.uint8)


def vertex_visibility(
    target: Target,
    vertices_m: Float32Array,
    K: npt.ArrayLike,
    *,
    tolerance_m: float | Float64Array = 0.01,
    near_m: float = NEAR_M,
) -> npt.NDArray[np.bool_]:
    """Which of the points (V, 3) in camera space are seen, (V,) bool.

    A point is seen when it projects into the picture and the surface drawn there is nearer than the point by
    no more than `tolerance_m` (one number or one per point).
    """
    k = target.intrinsics(K)
    points = np.asarray(vertices_m, np.float64)
    tolerance = np.broadcast_to(np.asarray(tolerance_m, np.float64), len(points))
    seen = np.zeros(len(points), bool)
    for i, (px, py, pz) in enumerate(points):
        if pz >= near_m:
            column, row = np.floor(k[0] * px / pz + k[2] + 0.5), np.floor(k[1] * py / pz + k[3] + 0.5)
            if 0 <= column < target.depth_m.shape[1] and 0 <= row < target.depth_m.shape[0]:
                seen[i] = target.depth_m[int(row), int(column)] >= pz - tolerance[i]
    return seen


def _cross(a: AnyArray, b: AnyArray) -> AnyArray:
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _interpolate(p: AnyArray, values: AnyArray) -> list[AnyArray]:
    """Every column of the corner values (3, C) at barycentric coordinates p (H, W, 3)."""
    return [
        p[..., 0] * values[0, c] + p[..., 1] * values[1, c] + p[..., 2] * values[2, c]
        for c in range(values.shape[1])
    ]


def _level(mesh: Mesh, t: int, texture: int, det: float, k: AnyArray, near_m: float) -> int:
    """Mip level at which the triangle has no more than two texels per sample."""
    first, end = mesh.textures.first_level[texture : texture + 2]
    uv = mesh.uv[mesh.uv_faces[t]].astype(np.float64)
    (qu, qv), (ru, rv) = uv[1] - uv[0], uv[2] - uv[0]
    _, height, width = mesh.textures.levels[first]
    texels = abs(qu * rv - qv * ru) * height * width
    z = np.maximum(mesh.vertices_m[mesh.faces[t], 2].astype(np.float64), near_m)
    bound = 2.0 * abs(det) * k[0] * k[1] / (z[0] * z[1] * z[2])
    level = int(first)
    while level < end - 1 and texels > bound:
        level, bound = level + 1, bound * 4.0
    return level


def _texels(mesh: Mesh, level: int, u: AnyArray, v: AnyArray) -> AnyArray:
    """RGBA (H, W, 4) in 0..255 of a texture level, bilinear and clamped at the borders."""
    offset, height, width = mesh.textures.levels[level]
    image = (
        mesh.textures.texels[offset : offset + height * width].reshape(height, width, 4).astype(np.float64)
    )
    x = np.clip(u * width - 0.5, 0.0, width - 1.0)
    y = np.clip((1.0 - v) * height - 0.5, 0.0, height - 1.0)
    x0, y0 = x.astype(int), y.astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    top = image[y0, x0] * (1.0 - fx) + image[y0, x1] * fx
    low = image[y1, x0] * (1.0 - fx) + image[y1, x1] * fx
    return np.asarray(top * (1.0 - fy) + low * fy)


def _surface(rgba: AnyArray, gray_clip: float, textured: bool) -> AnyArray:
    """Linear colour of the texture, or its clipped luminance where the material asks for it."""
    if not textured:
        return np.ones((*rgba.shape[:2], 3))
    colour: AnyArray = SRGB_TO_LINEAR.astype(np.float64)[(rgba[..., :3] + 0.5).astype(int)]
    if gray_clip > 0:
        gray = 0.2126 * colour[..., 0] + 0.7152 * colour[..., 1] + 0.0722 * colour[..., 2]
        colour = np.repeat(np.minimum(gray, gray_clip)[..., None], 3, axis=-1)
    return colour


def _pattern(surface: AnyArray, u: AnyArray, v: AnyArray) -> AnyArray:
    kind, count, width = surface[1:4]
    fu, fv = u * count - np.floor(u * count), v * count - np.floor(v * count)
    if kind == STRIPES_U:
        return np.where(fu < width, 1.0, 0.0)
    if kind == STRIPES_V:
        return np.where(fv < width, 1.0, 0.0)
    if kind == CHECKS:
        return np.where(fu < width, 0.5, 0.0) + np.where(fv < width, 0.5, 0.0)
    if kind == DOTS:
        return np.where((fu - 0.5) ** 2 + (fv - 0.5) ** 2 < 0.25 * width, 1.0, 0.0)
    return np.zeros_like(u)
