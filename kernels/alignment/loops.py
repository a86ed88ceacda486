"""Loops of the CPU backend, compiled with numba: projection, exact searches, penalties and their slopes.

A part of the map is kept as its horizontal runs of pixels, so the nearest pixel of a vertex is a clamp per
run, and the rows are visited outwards until none can be nearer. Vertices are bucketed by the map row they
project to, and a pixel visits the buckets outwards likewise. Ties go to the first pixel in reading order and
to the lowest vertex. All of it stays in one file: numba's cache does not see changes in another one.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from kinestream.kernels.caching import compiled

Array = NDArray[Any]


@compiled(parallel=True, error_model="numpy")
def project(vertices, camera, near, order, points):
    """Points (B,V,2) in map pixels, in the order of the parts; NaN for vertices that do not count."""
    batch, count, axes = vertices.shape
    for b in prange(batch):
        for i in range(count):
            v = order[i]
            x, y = vertices[b, v, 0], vertices[b, v, 1]
            if axes == 3:
                z = vertices[b, v, 2]
                if z > near:
                    k = camera[b]
                    u = (k[0, 0] * x + k[0, 1] * y + k[0, 2] * z) / z
                    y = (k[1, 0] * x + k[1, 1] * y + k[1, 2] * z) / z
                    x = u
                else:
                    x = np.nan
            counts = np.isfinite(x) and np.isfinite(y)
            points[b, i, 0] = x if counts else np.nan
            points[b, i, 1] = y if counts else np.nan


def runs_of_parts(labels: Array, parts: int) -> tuple[Array, Array]:
    """Runs (B,R,2) [first, last column] of every part, then of the silhouette; row_start (B,P+1,H+1)."""
    row_start = np.zeros((len(labels), parts + 1, labels.shape[1] + 1), np.int32)
    _count_runs(labels, row_start)
    runs = np.empty((len(labels), int(row_start[:, -1, -1].max()), 2), np.int32)
    _fill_runs(labels, row_start, runs)
    return row_start, runs


@compiled(parallel=True, error_model="numpy")
def _count_runs(labels, row_start):
    batch, height, width = labels.shape
    groups = row_start.shape[1]
    for b in prange(batch):
        for row in range(height):
            before = 0
            for column in range(width):
                label = labels[b, row, column]
                if label != before:
                    if label > 0:
                        row_start[b, label - 1, row + 1] += 1
                        if before == 0:
                            row_start[b, groups - 1, row + 1] += 1
                    before = label
        total = 0
        for group in range(groups):
            row_start[b, group, 0] = total
            for row in range(height):
                total += row_start[b, group, row + 1]
                row_start[b, group, row + 1] = total


@compiled(parallel=True, error_model="numpy")
def _fill_runs(labels, row_start, runs):
    batch, height, width = labels.shape
    groups = row_start.shape[1]
    for b in prange(batch):
        cursor = np.empty(groups, np.int32)
        for row in range(height):
            for group in range(groups):
                cursor[group] = row_start[b, group, row]
            before = 0
            for column in range(width + 1):
                label = labels[b, row, column] if column < width else 0
                if label == before:
                    continue
                if before > 0:
                    runs[b, cursor[before - 1], 1] = column - 1
                    cursor[before - 1] += 1
                    if label == 0:
                        runs[b, cursor[groups - 1], 1] = column - 1
                        cursor[groups - 1] += 1
                if label > 0:
                    runs[b, cursor[label - 1], 0] = column
                    if before == 0:
                        runs[b, cursor[groups - 1], 0] = column
                before = label


@compiled(error_model="numpy")
def _row_range(row_start):
    """First and last row in which a group has a run; the group must not be empty."""
    first, last = 0, len(row_start) - 2
    while row_start[first + 1] == row_start[0]:
        first += 1
    while row_start[last] == row_start[-1]:
        last -= 1
    return first, last


@compiled(error_model="numpy")
def _nearest_pixel(x, y, width, row_start, runs, row_range, guess):
    """Row and column of the pixel of one group nearest to (x, y); `guess`, one of its pixels, only bounds."""
    dx, dy = x - guess[1], y - guess[0]
    best, nearest = dx * dx + dy * dy, guess
    column = int(min(max(np.ceil(x - 0.5), 0.0), width - 1.0))
    start = int(min(max(np.ceil(y - 0.5), float(row_range[0])), float(row_range[1])))
    for way in (-1, 1):
        row = start + (way > 0)
        while row_range[0] <= row <= row_range[1]:
            dy = y - row
            if dy * dy > best:
                break
            for i in range(row_start[row], row_start[row + 1]):
                closest = min(max(column, runs[i, 0]), runs[i, 1])
                dx = x - closest
                d2 = dx * dx + dy * dy
                if d2 < best or (d2 == best and (row, closest) < nearest):
                    best, nearest = d2, (row, closest)
            row += way
    return nearest


@compiled(error_model="numpy")
def _bucket_by_row(points, height):
    """Counting sort of finite points by their nearest map row: bucket_start (H+1,) into members."""
    bucket_start = np.zeros(height + 2, np.int32)
    rows = np.empty(len(points), np.int32)
    for i in range(len(points)):
        y = points[i, 1]
        rows[i] = -1
        if np.isfinite(y):
            rows[i] = int(min(max(np.ceil(y - 0.5), 0.0), height - 1.0))
            bucket_start[rows[i] + 2] += 1
    for row in range(height):
        bucket_start[row + 2] += bucket_start[row + 1]
    members = np.empty(bucket_start[height + 1], np.int32)
    for i in range(len(points)):
        if rows[i] >= 0:
            members[bucket_start[rows[i] + 1]] = i
            bucket_start[rows[i] + 1] += 1
    return bucket_start[: height + 1], members


@compiled(error_model="numpy")
def _nearest_vertex(row, column, sorted_points, members, bucket_start, guess):
    """Position in sorted_points of the vertex nearest to a pixel; `guess` only bounds the search."""
    height = len(bucket_start) - 1
    best, best_at = np.inf, guess
    if guess >= 0:
        dx, dy = sorted_points[guess, 0] - column, sorted_points[guess, 1] - row
        best = dx * dx + dy * dy
    step = 0
    while row - step >= 0 or row + step < height:
        gap = max(step - 0.5, 0.0)
        if gap * gap > best:
            break
        for side in range(2 if step else 1):
            bucket = row - step if side == 0 else row + step
            if bucket < 0 or bucket >= height:
                continue
            for at in range(bucket_start[bucket], bucket_start[bucket + 1]):
                dx, dy = sorted_points[at, 0] - column, sorted_points[at, 1] - row
                d2 = dx * dx + dy * dy
                if d2 < best or (d2 == best and members[at] < members[best_at]):
                    best, best_at = d2, at
        step += 1
    return best_at


@compiled(error_model="numpy")
def _rho(dx, dy, sigma, huber):
    """Penalty of an offset, and the factor that makes of the offset the penalty's gradient."""
    t = (dx * dx + dy * dy) / (sigma * sigma)
    if not huber:
        return t / (1.0 + t), 2.0 / ((1.0 + t) * (1.0 + t) * sigma * sigma)
    if t <= 1.0:
        return 0.5 * t, 1.0 / (sigma * sigma)
    root = np.sqrt(t)
    return root - 0.5, 1.0 / (root * sigma * sigma)


@compiled(parallel=True, error_model="numpy")
def alignment_terms(
    points, order, part_start, visibility, labels, confidence, row_start, runs, sigma, huber, terms, slopes
):
    """Terms (B,2P+1) and the slopes (B,V,3,2) of each vertex' own three terms by its point on the map."""
    batch, parts = len(points), len(part_start) - 1
    background = np.zeros((batch, parts, 2))  # sum and weight, by part
    for task in prange(batch * parts):
        b, part = task // parts, task % parts
        lo, hi = part_start[part], part_start[part + 1]
        own_points, ids = points[b, lo:hi], order[lo:hi]
        rows = row_start[b, part]
        terms[b, part] = terms[b, parts + part] = 0.0
        weight = 0.0
        for i in range(hi - lo):
            if np.isfinite(own_points[i, 0]):
                weight += visibility[b, ids[i]]
        background[b, part, 1] = weight
        if rows[-1] > rows[0]:
            terms[b, part] = _pixels_to_vertices(
                own_points, ids, confidence[b], rows, runs[b], sigma[b], huber, slopes[b]
            )
        silhouette = row_start[b, parts]
        if weight > 0.0 and silhouette[-1] > silhouette[0]:
            terms[b, parts + part], background[b, part, 0] = _vertices_to_pixels(
                own_points, ids, weight, visibility[b], part + 1, labels[b], rows, silhouette, runs[b],
                sigma[b], huber, slopes[b],
            )  # fmt: skip
    for b in prange(batch):
        weight = background[b, :, 1].sum()
        terms[b, 2 * parts] = background[b, :, 0].sum() / weight if weight > 0.0 else 0.0
        for v in range(slopes.shape[1]):
            if slopes[b, v, 2, 0] != 0.0 or slopes[b, v, 2, 1] != 0.0:
                slopes[b, v, 2, 0] /= weight
                slopes[b, v, 2, 1] /= weight


@compiled(error_model="numpy")
def _pixels_to_vertices(points, ids, confidence, rows, runs, sigma, huber, slopes):
    """Mean penalty from the pixels of a part to their nearest vertices."""
    bucket_start, members = _bucket_by_row(points, len(rows) - 1)
    if len(members) == 0:
        return 0.0
    weight = 0.0
    for row in range(len(rows) - 1):
        for i in range(rows[row], rows[row + 1]):
            for column in range(runs[i, 0], runs[i, 1] + 1):
                weight += confidence[row, column]
    if not weight > 0.0:
        return 0.0
    sorted_points = points[members]
    total, nearest = 0.0, -1
    for row in range(len(rows) - 1):
        for i in range(rows[row], rows[row + 1]):
            for column in range(runs[i, 0], runs[i, 1] + 1):
                nearest = _nearest_vertex(row, column, sorted_points, members, bucket_start, nearest)
                dx, dy = sorted_points[nearest, 0] - column, sorted_points[nearest, 1] - row
                rho, factor = _rho(dx, dy, sigma, huber)
                share = confidence[row, column] / weight
                total += share * rho
                slopes[ids[members[nearest]], 0, 0] += share * factor * dx
                slopes[ids[members[nearest]], 0, 1] += share * factor * dy
    return total


@compiled(error_model="numpy")
def _vertices_to_pixels(
    points, ids, weight, visibility, label, labels, rows, silhouette, runs, sigma, huber, slopes
):
    """Mean penalty from the vertices of a part to its pixels, and their summed penalty to the silhouette."""
    height, width = labels.shape
    total, outside = 0.0, 0.0
    has_pixels = rows[-1] > rows[0]
    if has_pixels:
        row_range = _row_range(rows)
        nearest = (row_range[0], int(runs[rows[row_range[0]], 0]))
    foreground_range = _row_range(silhouette)
    foreground = (foreground_range[0], int(runs[silhouette[foreground_range[0]], 0]))
    for i in range(len(ids)):
        x, y = points[i, 0], points[i, 1]
        share = visibility[ids[i]]
        if not np.isfinite(x) or share == 0.0:
            continue
        own_row, own_column = np.ceil(y - 0.5), np.ceil(x - 0.5)
        own_label = 0
        if 0.0 <= own_row < height and 0.0 <= own_column < width:
            own_label = labels[int(own_row), int(own_column)]
        if has_pixels:
            if own_label == label:
                nearest = (int(own_row), int(own_column))
            else:
                nearest = _nearest_pixel(x, y, width, rows, runs, row_range, nearest)
            dx, dy = x - nearest[1], y - nearest[0]
            rho, factor = _rho(dx, dy, sigma, huber)
            total += share / weight * rho
            slopes[ids[i], 1, 0] = share / weight * factor * dx
            slopes[ids[i], 1, 1] = share / weight * factor * dy
        if own_label == 0:
            foreground = _nearest_pixel(x, y, width, silhouette, runs, foreground_range, foreground)
            dx, dy = x - foreground[1], y - foreground[0]
            rho, factor = _rho(dx, dy, sigma, huber)
            outside += share * rho
            slopes[ids[i], 2, 0] = share * factor * dx
            slopes[ids[i], 2, 1] = share * factor * dy
    return total, outside


@compiled(parallel=True, error_model="numpy")
def backward(grad_terms, vertices, camera, near, part_ids, slopes, grad_vertices, grad_camera):
    """Pull the terms' gradients (B,2P+1) through the slopes and the projection."""
    batch, count, axes = vertices.shape
    parts = (grad_terms.shape[1] - 1) // 2
    for b in prange(batch):
        for v in range(count):
            part = part_ids[v]
            to_vertex, to_pixel = grad_terms[b, part], grad_terms[b, parts + part]
            outside = grad_terms[b, 2 * parts]
            s = slopes[b, v]
            gu = to_vertex * s[0, 0] + to_pixel * s[1, 0] + outside * s[2, 0]
            gv = to_vertex * s[0, 1] + to_pixel * s[1, 1] + outside * s[2, 1]
            if axes == 2:
                grad_vertices[b, v, 0], grad_vertices[b, v, 1] = gu, gv
                continue
            x, y, z = vertices[b, v, 0], vertices[b, v, 1], vertices[b, v, 2]
            if not (z > near) or (gu == 0.0 and gv == 0.0):
                continue
            k = camera[b]
            grad_vertices[b, v, 0] = (gu * k[0, 0] + gv * k[1, 0]) / z
            grad_vertices[b, v, 1] = (gu * k[0, 1] + gv * k[1, 1]) / z
            along_u, along_v = k[0, 0] * x + k[0, 1] * y, k[1, 0] * x + k[1, 1] * y
            grad_vertices[b, v, 2] = -(gu * along_u + gv * along_v) / (z * z)
            for axis in range(3):
                ratio = vertices[b, v, axis] / z
                grad_camera[b, 0, axis] += gu * ratio
                grad_camera[b, 1, axis] += gv * ratio
