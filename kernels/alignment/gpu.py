"""GPU backend: Triton kernels that search by tiles in registers; no pixels x vertices array, no atomics.

Vertices are ordered by part and pixels by label, so a part's pixels meet only that part's vertices. The
gradient that a pixel sends to its nearest vertex is gathered by the vertex, which looks for the pixels whose
winner it is: sums keep one order and the result is deterministic.

Run so far under Triton's interpreter only (TRITON_INTERPRET=1, on a CPU) and compiled for sm_90; it has not
yet been executed on a GPU.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from kinestream.kernels.alignment.problem import Problem

_TILE = 64  # queries a program holds, and points it reads at a time
_SPLIT = 8  # programs that share the queries of one part


def alignment_terms(problem: Problem) -> Tensor:
    """Terms (B, 2 P + 1) as the reference backend gives them, differentiable in vertices and camera."""
    device = problem.vertices.device
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        terms: Tensor = _AlignmentTerms.apply(  # type: ignore[no-untyped-call]
            problem.vertices, problem.map_camera, problem
        )
    return terms


class _AlignmentTerms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, map_camera: Tensor | None, problem: Problem) -> Tensor:
        vertices = vertices.detach().contiguous()
        camera = vertices if map_camera is None else map_camera.detach().contiguous()
        batch, count, axes = vertices.shape
        parts = problem.num_parts
        height, width = problem.labels.shape[1:]
        size = height * width
        order = problem.part_ids.argsort(stable=True).int()
        part_start = _starts(problem.part_ids[None], parts)[0]
        flat_labels = problem.labels.flatten(1).int()
        pixels = flat_labels.argsort(dim=1, stable=True).int()
        pixel_start = _starts(flat_labels, parts + 1)
        sigma = problem.sigma_px.contiguous()
        visibility, confidence = problem.visibility.contiguous(), problem.confidence.contiguous()
        huber = problem.robustifier == "huber"

        points = vertices.new_empty(batch, count, 2)
        blocks = triton.cdiv(count, _TILE)
        _project[(batch, blocks)](
            vertices, camera, order, points, problem.near_m, count, AXES=axes, TILE=_TILE
        )
        winner = torch.full((batch, size), -1, dtype=torch.int32, device=vertices.device)
        factor = vertices.new_zeros(batch, size)
        sums = vertices.new_zeros(2, batch, parts, _SPLIT, 2)  # penalty and weight of both directions
        outside = vertices.new_zeros(batch, blocks, 2)
        slopes = vertices.new_zeros(batch, count, 3, 2)
        by_part = (batch * parts, _SPLIT)
        shape = (parts, count, size, width)
        _pixels_to_vertices[by_part](
            points, pixels, part_start, pixel_start, confidence, sigma, winner, factor, sums[0], *shape,
            HUBER=huber, SPLIT=_SPLIT, TILE=_TILE,
        )  # fmt: skip
        _vertices_to_pixels[by_part](
            points, order, pixels, part_start, pixel_start, visibility, sigma, winner, factor, slopes,
            sums[1], *shape, HUBER=huber, SPLIT=_SPLIT, TILE=_TILE,
        )  # fmt: skip
        _vertices_to_silhouette[(batch, blocks)](
            points, order, pixels, pixel_start, flat_labels, visibility, sigma, slopes, outside,
            *shape, height, blocks, HUBER=huber, TILE=_TILE,
        )  # fmt: skip

        totals = torch.cat([sums.sum(3).permute(1, 0, 2, 3).flatten(1, 2), outside.sum(1, keepdim=True)], 1)
        weights = totals[..., 1]
        share = torch.where(weights > 0, 1 / torch.where(weights > 0, weights, 1), 0)
        ctx.save_for_backward(vertices, camera, problem.part_ids.int(), slopes, share)
        ctx.near_m, ctx.has_camera = problem.near_m, map_camera is not None
        return totals[..., 0] * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_terms: Tensor) -> tuple[Tensor, Tensor | None, None]:
        vertices, camera, part_ids, slopes, share = ctx.saved_tensors
        batch, count, axes = vertices.shape
        blocks = triton.cdiv(count, _TILE)
        grad_vertices = torch.zeros_like(vertices)
        grad_camera = vertices.new_zeros(batch, blocks, 2, 3)
        with torch.cuda.device(vertices.device) if vertices.is_cuda else nullcontext():
            _backward[(batch, blocks)](
                (grad_terms * share).contiguous(), vertices, camera, part_ids, slopes, grad_vertices,
                grad_camera, ctx.near_m, count, (share.shape[1] - 1) // 2, blocks, AXES=axes, TILE=_TILE,
            )  # fmt: skip
        return grad_vertices, grad_camera.sum(1) if ctx.has_camera else None, None


def _starts(groups: Tensor, number: int) -> Tensor:
    """First position of every group (N,number + 1) in the sorted rows of `groups` (N,M), int32."""
    ids = torch.arange(number, device=groups.device, dtype=groups.dtype)
    counts = torch.stack([(groups == i).sum(1) for i in ids], 1)
    return torch.nn.functional.pad(counts.cumsum(1), (1, 0)).int()


@triton.jit
def _project(vertices, camera, order, points, near, count, AXES: tl.constexpr, TILE: tl.constexpr):
    b = tl.program_id(0)
    i = tl.program_id(1) * TILE + tl.arange(0, TILE)
    mask = i < count
    v = tl.load(order + i, mask, 0)
    source = vertices + (b * count + v) * AXES
    x = tl.load(source, mask, 0.0)
    y = tl.load(source + 1, mask, 0.0)
    if AXES == 3:
        z = tl.load(source + 2, mask, 1.0)
        k = camera + b * 6
        depth = tl.where(z > near, z, 1.0)
        u = (tl.load(k) * x + tl.load(k + 1) * y + tl.load(k + 2) * depth) / depth
        y = (tl.load(k + 3) * x + tl.load(k + 4) * y + tl.load(k + 5) * depth) / depth
        x = tl.where(z > near, u, float("nan"))
    finite = (tl.abs(x) < float("inf")) & (tl.abs(y) < float("inf"))
    tl.store(points + (b * count + i) * 2, tl.where(finite, x, float("nan")), mask)
    tl.store(points + (b * count + i) * 2 + 1, tl.where(finite, y, float("nan")), mask)


@triton.jit
def _penalty(dx, dy, sigma, HUBER: tl.constexpr):
    t = (dx * dx + dy * dy) / (sigma * sigma)
    if HUBER:
        root = tl.sqrt(tl.where(t > 1, t, 1.0))
        rho = tl.where(t > 1, root - 0.5, 0.5 * t)
        factor = 1 / (root * sigma * sigma)
    else:
        rho = t / (1 + t)
        factor = 2 / ((1 + t) * (1 + t) * sigma * sigma)
    return rho, factor


@triton.jit
def _pixels_to_vertices(
    points, pixels, part_start, pixel_start, confidence, sigma, winner, factors, sums,
    parts, count, size, width, HUBER: tl.constexpr, SPLIT: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0) // parts
    part = tl.program_id(0) % parts
    first_vertex, end_vertex = tl.load(part_start + part), tl.load(part_start + part + 1)
    first_pixel = tl.load(pixel_start + b * (parts + 2) + part + 1)
    end_pixel = tl.load(pixel_start + b * (parts + 2) + part + 2)
    s = tl.load(sigma + b)
    penalty_sum = s * 0
    weight_sum = s * 0
    for block in range(first_pixel + tl.program_id(1) * TILE, end_pixel, SPLIT * TILE):
        at = block + tl.arange(0, TILE)
        mask = at < end_pixel
        pixel = tl.load(pixels + b * size + at, mask, 0)
        px, py = pixel % width, pixel // width
        best = tl.full([TILE], float("inf"), s.dtype)
        best_at = tl.full([TILE], -1, tl.int32)
        for start in range(first_vertex, end_vertex, TILE):
            i = start + tl.arange(0, TILE)
            x = tl.load(points + (b * count + i) * 2, i < end_vertex, float("nan"))
            y = tl.load(points + (b * count + i) * 2 + 1, i < end_vertex, float("nan"))
            dx, dy = x[None, :] - px[:, None], y[None, :] - py[:, None]
            d2 = dx * dx + dy * dy
            d2 = tl.where(d2 == d2, d2, float("inf"))
            nearest, index = tl.min(d2, 1, return_indices=True, return_indices_tie_break_left=True)
            best_at = tl.where(nearest < best, start + index, best_at)
            best = tl.minimum(nearest, best)
        found = mask & (best_at >= 0)
        dx = tl.load(points + (b * count + best_at) * 2, found, 0.0) - px
        dy = tl.load(points + (b * count + best_at) * 2 + 1, found, 0.0) - py
        weight = tl.load(confidence + b * size + pixel, found, 0.0)
        rho, factor = _penalty(dx, dy, s, HUBER)
        tl.store(winner + b * size + at, best_at, found)
        tl.store(factors + b * size + at, weight * factor, found)
        penalty_sum += tl.sum(tl.where(found, weight * rho, 0.0))
        weight_sum += tl.sum(weight)
    out = sums + (tl.program_id(0) * SPLIT + tl.program_id(1)) * 2
    tl.store(out, penalty_sum)
    tl.store(out + 1, weight_sum)


@triton.jit
def _vertices_to_pixels(
    points, order, pixels, part_start, pixel_start, visibility, sigma, winner, factors, slopes, sums,
    parts, count, size, width, HUBER: tl.constexpr, SPLIT: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0) // parts
    part = tl.program_id(0) % parts
    first_vertex, end_vertex = tl.load(part_start + part), tl.load(part_start + part + 1)
    first_pixel = tl.load(pixel_start + b * (parts + 2) + part + 1)
    end_pixel = tl.load(pixel_start + b * (parts + 2) + part + 2)
    s = tl.load(sigma + b)
    penalty_sum = s * 0
    weight_sum = s * 0
    for block in range(first_vertex + tl.program_id(1) * TILE, end_vertex, SPLIT * TILE):
        i = block + tl.arange(0, TILE)
        x = tl.load(points + (b * count + i) * 2, i < end_vertex, float("nan"))
        y = tl.load(points + (b * count + i) * 2 + 1, i < end_vertex, float("nan"))
        counts = x == x
        v = tl.load(order + i, i < end_vertex, 0)
        best = tl.full([TILE], float("inf"), s.dtype)
        best_at = tl.full([TILE], -1, tl.int32)
        pulled_x = tl.full([TILE], 0.0, s.dtype)
        pulled_y = tl.full([TILE], 0.0, s.dtype)
        for start in range(first_pixel, end_pixel, TILE):
            at = start + tl.arange(0, TILE)
            valid = at < end_pixel
            pixel = tl.load(pixels + b * size + at, valid, 0)
            dx, dy = x[:, None] - (pixel % width)[None, :], y[:, None] - (pixel // width)[None, :]
            d2 = tl.where(valid[None, :] & counts[:, None], dx * dx + dy * dy, float("inf"))
            nearest, index = tl.min(d2, 1, return_indices=True, return_indices_tie_break_left=True)
            best_at = tl.where(nearest < best, start + index, best_at)
            best = tl.minimum(nearest, best)
            won = tl.load(winner + b * size + at, valid, -1)[None, :] == i[:, None]
            factor = tl.load(factors + b * size + at, valid, 0.0)[None, :]
            pulled_x += tl.sum(tl.where(won, factor * dx, 0.0), 1)
            pulled_y += tl.sum(tl.where(won, factor * dy, 0.0), 1)
        found = counts & (best_at >= 0)
        pixel = tl.load(pixels + b * size + best_at, found, 0)
        dx, dy = tl.where(found, x - pixel % width, 0.0), tl.where(found, y - pixel // width, 0.0)
        weight = tl.load(visibility + b * count + v, counts, 0.0)
        rho, factor = _penalty(dx, dy, s, HUBER)
        out = slopes + (b * count + v) * 6
        tl.store(out, pulled_x, found)
        tl.store(out + 1, pulled_y, found)
        tl.store(out + 2, weight * factor * dx, found)
        tl.store(out + 3, weight * factor * dy, found)
        penalty_sum += tl.sum(weight * rho)
        weight_sum += tl.sum(weight)
    out = sums + (tl.program_id(0) * SPLIT + tl.program_id(1)) * 2
    tl.store(out, penalty_sum)
    tl.store(out + 1, weight_sum)


@triton.jit
def _vertices_to_silhouette(
    points, order, pixels, pixel_start, labels, visibility, sigma, slopes, sums,
    parts, count, size, width, height, blocks, HUBER: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0)
    i = tl.program_id(1) * TILE + tl.arange(0, TILE)
    x = tl.load(points + (b * count + i) * 2, i < count, float("nan"))
    y = tl.load(points + (b * count + i) * 2 + 1, i < count, float("nan"))
    counts = x == x
    v = tl.load(order + i, i < count, 0)
    weight = tl.load(visibility + b * count + v, counts, 0.0)
    column, row = tl.ceil(x - 0.5), tl.ceil(y - 0.5)
    on_map = counts & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    own = tl.where(on_map, row, 0.0).to(tl.int32) * width + tl.where(on_map, column, 0.0).to(tl.int32)
    outside = counts & (tl.load(labels + b * size + own, on_map, 0) == 0)
    first_pixel = tl.load(pixel_start + b * (parts + 2) + 1)
    end_pixel = tl.where(tl.max(outside.to(tl.int32), 0) > 0, size, first_pixel)
    s = tl.load(sigma + b)
    best = tl.full([TILE], float("inf"), s.dtype)
    best_pixel = tl.full([TILE], -1, tl.int32)
    for start in range(first_pixel, end_pixel, TILE):
        at = start + tl.arange(0, TILE)
        pixel = tl.load(pixels + b * size + at, at < size, 0)
        dx, dy = x[:, None] - (pixel % width)[None, :], y[:, None] - (pixel // width)[None, :]
        d2 = tl.where((at < size)[None, :] & outside[:, None], dx * dx + dy * dy, float("inf"))
        nearest = tl.min(d2, 1)
        lowest = tl.min(tl.where(d2 == nearest[:, None], pixel[None, :], size), 1)
        better = (nearest < best) | ((nearest == best) & (lowest < best_pixel))
        best_pixel = tl.where(better, lowest, best_pixel)
        best = tl.minimum(nearest, best)
    found = outside & (best_pixel >= 0)
    dx, dy = tl.where(found, x - best_pixel % width, 0.0), tl.where(found, y - best_pixel // width, 0.0)
    rho, factor = _penalty(dx, dy, s, HUBER)
    out = slopes + (b * count + v) * 6 + 4
    tl.store(out, weight * factor * dx, found)
    tl.store(out + 1, weight * factor * dy, found)
    total = sums + (b * blocks + tl.program_id(1)) * 2
    tl.store(total, tl.sum(weight * rho))
    tl.store(total + 1, tl.sum(weight))


@triton.jit
def _backward(
    grad_terms, vertices, camera, part_ids, slopes, grad_vertices, grad_camera, near, count, parts, blocks,
    AXES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0)
    v = tl.program_id(1) * TILE + tl.arange(0, TILE)
    mask = v < count
    part = tl.load(part_ids + v, mask, 0)
    terms = grad_terms + b * (2 * parts + 1)
    to_vertex, to_pixel = tl.load(terms + part), tl.load(terms + parts + part)
    outside = tl.load(terms + 2 * parts)
    slope = slopes + (b * count + v) * 6
    gu = to_vertex * tl.load(slope, mask, 0.0) + to_pixel * tl.load(slope + 2, mask, 0.0)
    gv = to_vertex * tl.load(slope + 1, mask, 0.0) + to_pixel * tl.load(slope + 3, mask, 0.0)
    gu += outside * tl.load(slope + 4, mask, 0.0)
    gv += outside * tl.load(slope + 5, mask, 0.0)
    out = grad_vertices + (b * count + v) * AXES
    if AXES == 2:
        tl.store(out, gu, mask)
        tl.store(out + 1, gv, mask)
    else:
        source = vertices + (b * count + v) * 3
        z = tl.load(source + 2, mask, 1.0)
        moves = mask & (z > near) & ((gu != 0) | (gv != 0))
        z = tl.where(moves, z, 1.0)
        x, y = tl.load(source, moves, 0.0), tl.load(source + 1, moves, 0.0)
        gu, gv = tl.where(moves, gu, 0.0), tl.where(moves, gv, 0.0)
        k = camera + b * 6
        k00, k01, k10, k11 = tl.load(k), tl.load(k + 1), tl.load(k + 3), tl.load(k + 4)
        tl.store(out, (gu * k00 + gv * k10) / z, mask)
        tl.store(out + 1, (gu * k01 + gv * k11) / z, mask)
        tl.store(out + 2, -(gu * (k00 * x + k01 * y) + gv * (k10 * x + k11 * y)) / (z * z), mask)
        total = grad_camera + (b * blocks + tl.program_id(1)) * 6
        tl.store(total, tl.sum(gu * x / z))
        tl.store(total + 1, tl.sum(gu * y / z))
        tl.store(total + 2, tl.sum(gu))
        tl.store(total + 3, tl.sum(gv * x / z))
        tl.store(total + 4, tl.sum(gv * y / z))
        tl.store(total + 5, tl.sum(gv))
