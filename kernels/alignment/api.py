"""The alignment loss: one signature, the backend chosen by device or by name."""

import logging
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from kinestream.kernels.alignment.probe import Backend, choose_backend, probe_backends
from kinestream.kernels.alignment.problem import Problem, make_problem
from kinestream.kernels.alignment.robust import Robustifier

logger = logging.getLogger(__name__)


class AlignmentLoss(NamedTuple):
    """The weighted loss and the terms it is made of; all without unit, all differentiable.

    A part seen in no pixel, or with no vertex in front of the camera, has zeros in both of its terms.
    """

    total: Tensor  # (B,)
    pixel_to_vertex: Tensor  # (B,P) mean over the pixels of a part
    vertex_to_pixel: Tensor  # (B,P) mean over the visible vertices of a part
    background: Tensor  # (B,) mean over all visible vertices


def alignment_loss(
    vertices: Tensor,
    part_ids: Tensor,
    part_map: Tensor,
    *,
    camera: Tensor | None = None,
    visibility: Tensor | None = None,
    confidence: Tensor | None = None,
    image_from_map: float | Tensor = 1.0,
    sigma_px: float = 16.0,
    robustifier: Robustifier = "geman_mcclure",
    pixel_weight: float = 1.0,
    vertex_weight: float = 1.0,
    background_weight: float = 1.0,
    part_weights: Tensor | None = None,
    num_parts: int = 15,
    near_m: float = 0.01,
    backend: Backend | Literal["auto"] = "auto",
) -> AlignmentLoss:
    """Distance between a body's projected vertices and a map of its semantic parts.

    With rho the robustifier of a distance over sigma, q the projected vertices, for every part p of an image:

    - pixel to vertex: mean over the pixels of p, weighted by confidence, of rho(distance to the nearest q
      of p);
    - vertex to pixel: mean over the vertices of p, weighted by visibility, of rho(distance to the nearest
      pixel of p);
    - background: mean over all vertices, weighted by visibility, of zero for a vertex whose own pixel is
      foreground and of rho(distance to the nearest foreground pixel) for any other.

    total = sum over p of part_weights[p] (pixel_weight first + vertex_weight second) + background_weight
    third.

    Nearest neighbours are exact; ties go to the lowest vertex and to the first pixel in reading order. The
    gradient holds the neighbours constant, which is exact wherever the loss has a gradient. Vertices at or
    behind the near plane, and points that are not finite, contribute nothing and get zero gradient.

    Args:
        vertices: (B,V,3) camera metres (x right, y down, z forward), or (B,V,2) points in image pixels;
            float32 or float64.
        part_ids: (V,) integers in 0 .. num_parts - 1.
        part_map: (B,H,W) integers, 0 background and p + 1 for part p; or logits (B,num_parts + 1,H,W), which
            become their best label with its softmax probability as confidence. No gradient goes to it.
        camera: intrinsics K of the image, (3,3) or (B,3,3), for 3-D vertices. Differentiable in its upper two
            rows; the last row is taken as 0 0 1.
        visibility: (B,V) weights >= 0 or booleans; all visible when None. Hidden vertices attract pixels too.
        confidence: (B,H,W) weights >= 0 or booleans of the pixels of hard ids; ones when None.
        image_from_map: image pixels per map pixel (the corners of both grids coincide), or (scale, x0, y0) as
            (3,) or (B,3) with image = scale * map + (x0, y0). Pixel centres lie at integers. No gradient.
        sigma_px: scale of the robustifier in image pixels.
        robustifier: "geman_mcclure", rho = t / (1 + t) with t the squared ratio, or "huber".
        pixel_weight: weight of the first term.
        vertex_weight: weight of the second term.
        background_weight: weight of the third term.
        part_weights: (P,); 1 / P each when None. An absent part does not enlarge the others.
        num_parts: P, the number of parts.
        near_m: depth in metres up to which a vertex does not count.
        backend: "reference" (plain torch), "cpu" (numba), "gpu" (Triton), or "auto", the fastest here.

    Raises:
        TypeError: a dtype or kind is wrong.
        ValueError: shapes, devices or values do not fit (part ids out of range among them); nothing has run.
        RuntimeError: the backend asked for cannot run here.
    """
    problem = make_problem(
        vertices,
        part_ids,
        part_map,
        camera=camera,
        visibility=visibility,
        confidence=confidence,
        image_from_map=image_from_map,
        sigma_px=sigma_px,
        robustifier=robustifier,
        num_parts=num_parts,
        near_m=near_m,
    )
    weights = _part_weights(part_weights, problem)
    terms = _run(_resolve(backend, vertices.device), problem)
    pixel_to_vertex, vertex_to_pixel = terms[:, :num_parts], terms[:, num_parts:-1]
    per_part = pixel_weight * pixel_to_vertex + vertex_weight * vertex_to_pixel
    total = (per_part * weights).sum(1) + background_weight * terms[:, -1]
    return AlignmentLoss(total, pixel_to_vertex, vertex_to_pixel, terms[:, -1])


def _part_weights(given: Tensor | None, problem: Problem) -> Tensor:
    vertices, parts = problem.vertices, problem.num_parts
    if given is None:
        return vertices.new_full((parts,), 1.0 / parts)
    if not isinstance(given, Tensor) or given.dtype != vertices.dtype:
        raise TypeError(
            f"part_weights must be a {vertices.dtype} tensor, found {getattr(given, 'dtype', given)}"
        )
    if tuple(given.shape) != (parts,) or given.device != vertices.device:
        found = f"{tuple(given.shape)} on {given.device}"
        raise ValueError(f"part_weights must be ({parts},) on {vertices.device}, found {found}")
    return given


def _resolve(backend: Backend | Literal["auto"], device: torch.device) -> Backend:
    if backend == "auto":
        chosen, passed_over = choose_backend(device)
        if passed_over:
            logger.warning("alignment loss falls back to its slow reference backend: %s", passed_over)
        return chosen
    backends = probe_backends(device)
    if backend not in backends:
        raise ValueError(f"backend must be 'auto' or one of {tuple(backends)}, found {backend!r}")
    if not backends[backend].available:
        raise RuntimeError(
            f"the {backend} backend of the alignment loss cannot run: {backends[backend].reason}"
        )
    return backend


def _run(backend: Backend, problem: Problem) -> Tensor:
    if backend == "reference":
        from kinestream.kernels.alignment import reference

        return reference.alignment_terms(problem)
    if backend == "cpu":
        from kinestream.kernels.alignment import cpu

        return cpu.alignment_terms(problem)
    from kinestream.kernels.alignment import gpu

    return gpu.alignment_terms(problem)
