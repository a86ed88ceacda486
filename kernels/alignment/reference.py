"""Reference backend: the alignment terms in plain torch, one image and one part at a time."""

import torch
from torch import Tensor

from kinestream.kernels.alignment.problem import Problem
from kinestream.kernels.alignment.robust import robust_penalty


def alignment_terms(problem: Problem) -> Tensor:
    """Terms (B, 2 P + 1): P pixel-to-vertex means, P vertex-to-pixel means, the background mean."""
    points, in_front = project_to_map(problem)
    rows = []
    for b in range(points.shape[0]):
        labels, confidence = problem.labels[b], problem.confidence[b]
        pixel_to_vertex, vertex_to_pixel = [], []
        for part in range(problem.num_parts):
            member = (problem.part_ids == part) & in_front[b]
            part_points, part_visibility = points[b, member], problem.visibility[b, member]
            centres = pixel_centres(labels == part + 1, points.dtype)
            part_confidence = confidence[labels == part + 1]
            if len(centres) == 0 or len(part_points) == 0:
                pixel_to_vertex.append(points.new_zeros(()))
                vertex_to_pixel.append(points.new_zeros(()))
                continue
            nearest = squared_distances(centres, part_points.detach()).argmin(1)
            offset = centres - part_points[nearest]
            pixel_to_vertex.append(_mean(penalty(offset, b, problem), part_confidence))
            nearest = squared_distances(part_points.detach(), centres).argmin(1)
            offset = part_points - centres[nearest]
            vertex_to_pixel.append(_mean(penalty(offset, b, problem), part_visibility))
        background = _background_term(points[b], in_front[b], b, problem)
        rows.append(torch.stack([*pixel_to_vertex, *vertex_to_pixel, background]))
    return torch.stack(rows)


def project_to_map(problem: Problem) -> tuple[Tensor, Tensor]:
    """Points (B,V,2) in map pixels, and whether a vertex counts (B,V); those that do not have no gradient."""
    vertices = problem.vertices
    if problem.map_camera is None:
        counts = vertices.isfinite().all(-1)
        return torch.where(counts[..., None], vertices, 0), counts
    counts = vertices.isfinite().all(-1) & (vertices[..., 2] > problem.near_m)
    safe = torch.where(counts[..., None], vertices, 1)
    return safe @ problem.map_camera.transpose(1, 2) / safe[..., 2:], counts


def pixel_centres(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Centres (N,2) as (x, y) of the pixels set in a mask (H,W), in row-major order."""
    return mask.nonzero().flip(1).to(dtype)


def squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """(N,2) x (M,2) -> (N,M), by differences: cdist's matrix product would lose the digits ties need."""
    return (queries[:, None] - points[None]).square().sum(-1)


def penalty(offset: Tensor, image: int, problem: Problem) -> Tensor:
    """Robust penalty without unit of offsets (N,2) in map pixels."""
    return robust_penalty(offset.square().sum(-1) / problem.sigma_px[image] ** 2, problem.robustifier)


def _background_term(points: Tensor, in_front: Tensor, image: int, problem: Problem) -> Tensor:
    """Mean over the visible vertices of the penalty of those whose own pixel is not foreground."""
    labels = problem.labels[image]
    height, width = labels.shape
    centres = pixel_centres(labels > 0, points.dtype)
    if len(centres) == 0:
        return points.new_zeros(())
    own = torch.ceil(points.detach() - 0.5)
    on_map = ((own >= 0) & (own < own.new_tensor([width, height]))).all(-1)
    column, row = torch.where(on_map[:, None], own, 0).long().unbind(-1)
    outside = in_front & ~(on_map & (labels[row, column] > 0))
    moved = points[outside]
    chunks = [squared_distances(chunk, centres).argmin(1) for chunk in torch.split(moved.detach(), 1024)]
    penalties = penalty(moved - centres[torch.cat(chunks)], image, problem)
    total = (problem.visibility[image] * in_front).sum()
    return (penalties * problem.visibility[image, outside]).sum() / total.clamp(min=_tiny(total))


def _mean(penalties: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean; zero where no weight is left."""
    total = weights.sum()
    return (penalties * weights).sum() / total.clamp(min=_tiny(total))


def _tiny(weights: Tensor) -> float:
    return torch.finfo(weights.dtype).tiny
