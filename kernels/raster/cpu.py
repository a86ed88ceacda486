"""The rasteriser compiled for the CPU (numba). `reference` says what it computes."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array, RgbImage
from kinestream.kernels.raster.compiled import compiled
from kinestream.kernels.raster.mesh import CHECKS, PLAIN, STRIPES_U, STRIPES_V, Mesh, MeshArrays
from kinestream.kernels.raster.target import NEAR_M, SRGB_TO_LINEAR, TONE_MAX, TONE_STEPS, Target, ToneCurve

_MARGIN = 1e-4  # samples; keeps rounding from narrowing a window
SMALLEST: Final = 5e-324  # the least positive number


def draw(target: Target, mesh: Mesh, K: npt.ArrayLike, *, near_m: float = NEAR_M, shade: bool = True) -> None:
    """Draw a mesh into the target, seen by the pinhole camera K (3, 3); see `reference.draw`."""
    k, arrays, first = target.intrinsics(K), mesh.arrays(), target.num_triangles
    screen = np.empty((len(mesh.vertices_m), 2))
    window = _rasterise(arrays, k, near_m, first, screen, target.depth_m, target.triangle)
    if shade:
        _shade(
            arrays, k, near_m, first, mesh.person + 1, window,
            target.triangle, target.part, target.person, target.colour, SRGB_TO_LINEAR,
        )  # fmt: skip
    target.num_triangles += len(mesh.faces)
    target.touch(window)


def resolve(target: Target, background: AnyArray, *, tone: ToneCurve | None = None) -> RgbImage:
    """Picture (H, W, 3) uint8 over a background of that shape; see `reference.resolve`."""
    target.check_background(background)
    table = (tone or ToneCurve.srgb()).table
    image = np.array(background, np.uint8, order="C")
    _resolve(target.colour, target.triangle, target.samples, table, target.touched_px(), image)
    return image


def vertex_visibility(
    target: Target,
    vertices_m: Float32Array,
    K: npt.ArrayLike,
    *,
    tolerance_m: float | Float64Array = 0.01,
    near_m: float = NEAR_M,
) -> npt.NDArray[np.bool_]:
    """Which of the points (V, 3) are seen, (V,) bool; see `reference.vertex_visibility`."""
    tolerance = np.ascontiguousarray(np.broadcast_to(np.asarray(tolerance_m, np.float64), len(vertices_m)))
    seen = np.zeros(len(vertices_m), np.bool_)
    _visible(vertices_m, target.intrinsics(K), target.depth_m, tolerance, near_m, seen)
    return seen


def edge_functions(vertices: AnyArray, corners: AnyArray, k: AnyArray) -> tuple[float, ...]:
    """Nine coefficients of the edge functions A x + B y + C (positive inside) and the signed determinant.

    They are the rows of the adjugate of the matrix of the three corners, mapped to samples: no division
    by depth, so corners behind the camera need no care, and neighbours share an edge to the last bit.
    """
    a = vertices[corners[0]]
    ax, ay, az = np.float64(a[0]), np.float64(a[1]), np.float64(a[2])
    b = vertices[corners[1]]
    bx, by, bz = np.float64(b[0]), np.float64(b[1]), np.float64(b[2])
    c = vertices[corners[2]]
    cx, cy, cz = np.float64(c[0]), np.float64(c[1]), np.float64(c[2])
    n0x, n0y, n0z = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    n1x, n1y, n1z = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
    n2x, n2y, n2z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    det = ax * n0x + ay * n0y + az * n0z
    sign = 1.0 if det > 0.0 else -1.0
    a0, b0 = sign * n0x * k[4], sign * n0y * k[5]
    a1, b1 = sign * n1x * k[4], sign * n1y * k[5]
    a2, b2 = sign * n2x * k[4], sign * n2y * k[5]
    c0 = sign * n0z - a0 * k[2] - b0 * k[3]
    c1 = sign * n1z - a1 * k[2] - b1 * k[3]
    c2 = sign * n2z - a2 * k[2] - b2 * k[3]
    return a0, b0, c0, a1, b1, c1, a2, b2, c2, det


def least_inside(a: float, b: float) -> float:
    """Least value of an edge function that counts as inside: zero belongs to one of the edge's two sides."""
    return 0.0 if a > 0.0 or (a == 0.0 and b > 0.0) else SMALLEST


def clipped_window(
    vertices: AnyArray, corners: AnyArray, k: AnyArray, near: float
) -> tuple[float, float, float, float]:
    """Bounds x0, x1, y0, y1 in samples of the triangle beyond the near plane; infinite where it has none."""
    x0, x1, y0, y1 = np.inf, -np.inf, np.inf, -np.inf
    for i in range(3):
        a, b = vertices[corners[i]], vertices[corners[(i + 1) % 3]]
        az, bz = np.float64(a[2]), np.float64(b[2])
        if az >= near:
            x, y = k[0] * a[0] / az + k[2], k[1] * a[1] / az + k[3]
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
        if (az >= near) != (bz >= near):
            s = (near - az) / (bz - az)
            x = k[0] * (a[0] + s * (np.float64(b[0]) - a[0])) / near + k[2]
            y = k[1] * (a[1] + s * (np.float64(b[1]) - a[1])) / near + k[3]
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    return x0, x1, y0, y1


def mip_level(mesh: MeshArrays, t: int, texture: int, det: float, k: AnyArray, near: float) -> int:
    """Level of a texture at which a texel of triangle t is about as large as a sample."""
    first, end = mesh.first_level[texture], mesh.first_level[texture + 1]
    p, q, r = mesh.uv[mesh.uv_faces[t, 0]], mesh.uv[mesh.uv_faces[t, 1]], mesh.uv[mesh.uv_faces[t, 2]]
    qu, qv = np.float64(q[0]) - p[0], np.float64(q[1]) - p[1]
    ru, rv = np.float64(r[0]) - p[0], np.float64(r[1]) - p[1]
    texels = abs(qu * rv - qv * ru) * mesh.levels[first, 1] * mesh.levels[first, 2]
    za = max(np.float64(mesh.vertices[mesh.faces[t, 0], 2]), near)
    zb = max(np.float64(mesh.vertices[mesh.faces[t, 1], 2]), near)
    zc = max(np.float64(mesh.vertices[mesh.faces[t, 2], 2]), near)
    bound = 2.0 * abs(det) * k[0] * k[1] / (za * zb * zc)
    level = int(first)
    while level < end - 1 and texels > bound:
        level += 1
        bound *= 4.0
    return level


def footprint(levels: AnyArray, level: int, u: float, v: float) -> tuple[int, int, int, int, float, float]:
    """The four texels around (u, v), clamped at the borders, and the weights of right and lower ones."""
    offset, height, width = levels[level, 0], levels[level, 1], levels[level, 2]
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.0)
    x0, y0 = int(x), int(y)
    right, lower = min(x0 + 1, width - 1) - x0, (min(y0 + 1, height - 1) - y0) * width
    i00 = offset + y0 * width + x0
    return i00, i00 + right, i00 + lower, i00 + right + lower, x - x0, y - y0


def blend(
    texels: AnyArray, channel: int, i00: int, i01: int, i10: int, i11: int, fx: float, fy: float
) -> float:
    """One channel (0..255) of four texels, bilinear."""
    top = texels[i00, channel] * (1.0 - fx) + texels[i01, channel] * fx
    low = texels[i10, channel] * (1.0 - fx) + texels[i11, channel] * fx
    return float(top * (1.0 - fy) + low * fy)


def pattern_weight(surfaces: AnyArray, material: int, u: float, v: float) -> float:
    """How far the pattern's tint replaces the surface's at (u, v), in 0..1."""
    kind = surfaces[material, 1]
    if kind == PLAIN:
        return 0.0
    count, width = surfaces[material, 2], surfaces[material, 3]
    fu, fv = u * count - math.floor(u * count), v * count - math.floor(v * count)
    if kind == STRIPES_U:
        return 1.0 if fu < width else 0.0
    if kind == STRIPES_V:
        return 1.0 if fv < width else 0.0
    if kind == CHECKS:
        return (0.5 if fu < width else 0.0) + (0.5 if fv < width else 0.0)
    return 1.0 if (fu - 0.5) * (fu - 0.5) + (fv - 0.5) * (fv - 0.5) < 0.25 * width else 0.0


# Shared with the GPU backend, and in this file because numba's cache watches the file of a function alone.
_edge_functions = compiled(edge_functions)
_least_inside = compiled(least_inside)
_clipped_window = compiled(clipped_window)
_mip_level = compiled(mip_level)
_footprint = compiled(footprint)
_blend = compiled(blend)
_pattern_weight = compiled(pattern_weight)


@compiled
def _rasterise(
    mesh: MeshArrays, k: AnyArray, near: float, first: int, screen: AnyArray, depth: AnyArray,
    triangle: AnyArray,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Depth test of all triangles; returns the window x0, x1, y0, y1 that was touched.

    `screen` (V, 2) is scratch for the projected vertices.
    """
    height, width = depth.shape
    touched_x0, touched_x1, touched_y0, touched_y1 = width, -1, height, -1
    vertices, faces, uv, uv_faces = mesh.vertices, mesh.faces, mesh.uv, mesh.uv_faces
    for v in range(vertices.shape[0]):
        inverse = 1.0 / np.float64(vertices[v, 2])
        screen[v, 0] = k[0] * vertices[v, 0] * inverse + k[2]
        screen[v, 1] = k[1] * vertices[v, 1] * inverse + k[3]
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        if min(vertices[a, 2], vertices[b, 2], vertices[c, 2]) >= near:
            left = min(screen[a, 0], screen[b, 0], screen[c, 0])
            right = max(screen[a, 0], screen[b, 0], screen[c, 0])
            top = min(screen[a, 1], screen[b, 1], screen[c, 1])
            bottom = max(screen[a, 1], screen[b, 1], screen[c, 1])
        else:
            left, right, top, bottom = _clipped_window(vertices, faces[t], k, near)
        if not (left <= width and right >= -1.0 and top <= height and bottom >= -1.0):
            continue
        x0, x1 = int(np.ceil(max(left - _MARGIN, 0.0))), int(np.floor(min(right + _MARGIN, width - 1.0)))
        y0, y1 = int(np.ceil(max(top - _MARGIN, 0.0))), int(np.floor(min(bottom + _MARGIN, height - 1.0)))
        if x1 < x0 or y1 < y0:
            continue
        a0, b0, c0, a1, b1, c1, a2, b2, c2, det = _edge_functions(vertices, faces[t], k)
        if det == 0.0 or not np.isfinite(det):
            continue
        size = abs(det)
        material = mesh.face_material[t]
        bias = np.float64(mesh.surface[material, 4])
        if det > 0.0 and mesh.surface[material, 5] > 0.0:
            continue
        texture = mesh.texture[material]
        cutout = texture >= 0 and mesh.cutout[texture]
        level = _mip_level(mesh, t, texture, det, k, near) if cutout else 0
        ta, tb, tc = uv_faces[t, 0], uv_faces[t, 1], uv_faces[t, 2]
        least0, least1, least2 = _least_inside(a0, b0), _least_inside(a1, b1), _least_inside(a2, b2)
        hit = False
        for y in range(y0, y1 + 1):
            r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
            entered = False
            for x in range(x0, x1 + 1):
                e0, e1, e2 = a0 * x + r0, a1 * x + r1, a2 * x + r2
                if not (e0 >= least0 and e1 >= least1 and e2 >= least2):
                    if entered:  # a row of a triangle is in one piece
                        break
                    continue
                entered = True
                inverse = 1.0 / (e0 + e1 + e2)
                z = size * inverse
                if z < near or not np.float32(z - bias) < depth[y, x]:
                    continue
                if cutout:
                    p0, p1, p2 = e0 * inverse, e1 * inverse, e2 * inverse
                    u = p0 * uv[ta, 0] + p1 * uv[tb, 0] + p2 * uv[tc, 0]
                    v = p0 * uv[ta, 1] + p1 * uv[tb, 1] + p2 * uv[tc, 1]
                    i00, i01, i10, i11, fx, fy = _footprint(mesh.levels, level, u, v)
                    if _blend(mesh.texels, 3, i00, i01, i10, i11, fx, fy) < 128.0:
                        continue
                depth[y, x] = z - bias
                triangle[y, x] = first + t
                hit = True
        if hit:
            touched_x0, touched_x1 = min(touched_x0, x0), max(touched_x1, x1)
            touched_y0, touched_y1 = min(touched_y0, y0), max(touched_y1, y1)
    return touched_x0, touched_x1, touched_y0, touched_y1


@compiled
def _shade(
    mesh: MeshArrays, k: AnyArray, near: float, first: int, person: int,
    window: tuple[int, int, int, int], triangle: AnyArray, part: AnyArray, people: AnyArray, colour: AnyArray,
    decode: AnyArray,
) -> None:  # fmt: skip
    """Colour, part and person of the samples in the window that show this mesh."""
    vertices, faces, uv, uv_faces = mesh.vertices, mesh.faces, mesh.uv, mesh.uv_faces
    light, face_material, textures, parts = mesh.light, mesh.face_material, mesh.texture, mesh.part
    texels, levels, surfaces, tints = mesh.texels, mesh.levels, mesh.surface, mesh.tint
    last, level, side, material, texture = -1, 0, 0, 0, -1
    a = b = c = ta = tb = tc = 0
    a0 = b0 = c0 = a1 = b1 = c1 = a2 = b2 = c2 = det = 0.0
    for y in range(window[2], window[3] + 1):
        for x in range(window[0], window[1] + 1):
            t = triangle[y, x] - first
            if t < 0:
                continue
            if t != last:
                last = t
                a0, b0, c0, a1, b1, c1, a2, b2, c2, det = _edge_functions(vertices, faces[t], k)
                side = 0 if det < 0.0 else 1
                a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
                ta, tb, tc = uv_faces[t, 0], uv_faces[t, 1], uv_faces[t, 2]
                material = face_material[t]
                texture = textures[material]
                if texture >= 0:
                    level = _mip_level(mesh, t, texture, det, k, near)
            e0, e1, e2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
            inverse = 1.0 / (e0 + e1 + e2)
            p0, p1, p2 = e0 * inverse, e1 * inverse, e2 * inverse
            red = p0 * light[side, a, 0] + p1 * light[side, b, 0] + p2 * light[side, c, 0]
            green = p0 * light[side, a, 1] + p1 * light[side, b, 1] + p2 * light[side, c, 1]
            blue = p0 * light[side, a, 2] + p1 * light[side, b, 2] + p2 * light[side, c, 2]
            u = p0 * uv[ta, 0] + p1 * uv[tb, 0] + p2 * uv[tc, 0]
            v = p0 * uv[ta, 1] + p1 * uv[tb, 1] + p2 * uv[tc, 1]
            if texture >= 0:
                i00, i01, i10, i11, fx, fy = _footprint(levels, level, u, v)
                q0 = np.float64(decode[int(_blend(texels, 0, i00, i01, i10, i11, fx, fy) + 0.5)])
                q1 = np.float64(decode[int(_blend(texels, 1, i00, i01, i10, i11, fx, fy) + 0.5)])
                q2 = np.float64(decode[int(_blend(texels, 2, i00, i01, i10, i11, fx, fy) + 0.5)])
                gray = np.float64(surfaces[material, 0])
                if gray > 0.0:
                    q0 = q1 = q2 = min(0.2126 * q0 + 0.7152 * q1 + 0.0722 * q2, gray)
                red, green, blue = red * q0, green * q1, blue * q2
            w = _pattern_weight(surfaces, material, u, v)
            colour[y, x, 0] = red * (tints[material, 0, 0] * (1.0 - w) + tints[material, 1, 0] * w)
            colour[y, x, 1] = green * (tints[material, 0, 1] * (1.0 - w) + tints[material, 1, 1] * w)
            colour[y, x, 2] = blue * (tints[material, 0, 2] * (1.0 - w) + tints[material, 1, 2] * w)
            corner = a
            if p1 > p0 and p1 >= p2:
                corner = b
            elif p2 > p0 and p2 > p1:
                corner = c
            part[y, x], people[y, x] = parts[corner] + 1, person


@compiled
def _resolve(
    colour: AnyArray, triangle: AnyArray, step: int, table: AnyArray, window: tuple[int, int, int, int],
    image: AnyArray,
) -> None:  # fmt: skip
    """Mix what was drawn into the picture, which holds the background."""
    for y in range(window[2], window[3] + 1):
        for x in range(window[0], window[1] + 1):
            hit = 0
            red = green = blue = 0.0
            for j in range(y * step, (y + 1) * step):
                for i in range(x * step, (x + 1) * step):
                    if triangle[j, i] >= 0:
                        hit += 1
                        red += colour[j, i, 0]
                        green += colour[j, i, 1]
                        blue += colour[j, i, 2]
            if hit == 0:
                continue
            share = hit / (step * step)
            for channel, total in enumerate((red, green, blue)):
                light = min(max(total / hit, 0.0), TONE_MAX)
                shown = table[int(np.sqrt(light / TONE_MAX) * (TONE_STEPS - 1) + 0.5)]
                image[y, x, channel] = int((1.0 - share) * image[y, x, channel] + share * shown + 0.5)


@compiled
def _visible(
    points: AnyArray, k: AnyArray, depth: AnyArray, tolerance: AnyArray, near: float, seen: AnyArray
) -> None:
    for i in range(points.shape[0]):
        z = np.float64(points[i, 2])
        if not z >= near:
            continue
        x = np.floor(k[0] * points[i, 0] / z + k[2] + 0.5)
        y = np.floor(k[1] * points[i, 1] / z + k[3] + 0.5)
        if x >= 0 and y >= 0 and x < depth.shape[1] and y < depth.shape[0]:
            seen[i] = depth[int(y), int(x)] >= z - tolerance[i]
