"""CPU backend: numba loops behind an autograd function, parallel over images and parts.

Memory is linear in vertices + pixels. It uses as many threads as torch does (`torch.set_num_threads`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kinestream.kernels.alignment import loops
from kinestream.kernels.alignment.problem import Problem


def alignment_terms(problem: Problem) -> Tensor:
    """Terms (B, 2 P + 1) as the reference backend gives them, differentiable in vertices and camera."""
    terms: Tensor = _AlignmentTerms.apply(  # type: ignore[no-untyped-call]
        problem.vertices, problem.map_camera, problem
    )
    return terms


class _AlignmentTerms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, map_camera: Tensor | None, problem: Problem) -> Tensor:
        batch, count = vertices.shape[:2]
        parts = problem.num_parts
        dtype = _array(problem.visibility).dtype
        part_ids, labels = _array(problem.part_ids), _array(problem.labels)
        order = np.argsort(part_ids, kind="stable")
        part_start = np.searchsorted(part_ids[order], np.arange(parts + 1))
        points = np.empty((batch, count, 2), dtype)
        terms = np.empty((batch, 2 * parts + 1), dtype)
        slopes = np.zeros((batch, count, 3, 2), dtype)
        with _threads_of_torch():
            loops.project(_array(vertices), _camera(vertices, map_camera), problem.near_m, order, points)
            row_start, runs = loops.runs_of_parts(labels, parts)
            loops.alignment_terms(
                points, order, part_start, _array(problem.visibility), labels, _array(problem.confidence),
                row_start, runs, _array(problem.sigma_px), problem.robustifier == "huber", terms, slopes,
            )  # fmt: skip
        ctx.save_for_backward(vertices, map_camera, problem.part_ids, torch.from_numpy(slopes))
        ctx.near_m = problem.near_m
        return torch.from_numpy(terms)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_terms: Tensor) -> tuple[Tensor, Tensor | None, None]:
        vertices, map_camera, part_ids, slopes = ctx.saved_tensors
        grad_vertices = np.zeros_like(_array(vertices))
        grad_camera = np.zeros((len(vertices), 2, 3), grad_vertices.dtype)
        with _threads_of_torch():
            loops.backward(
                _array(grad_terms), _array(vertices), _camera(vertices, map_camera), ctx.near_m,
                _array(part_ids), _array(slopes), grad_vertices, grad_camera,
            )  # fmt: skip
        grad_map_camera = None if map_camera is None else torch.from_numpy(grad_camera)
        return torch.from_numpy(grad_vertices), grad_map_camera, None


@contextmanager
def _threads_of_torch() -> Iterator[None]:
    """Let numba use as many threads as torch, and leave both settings as they were.

    The first use of numba's threads sets OpenMP's thread count, which torch shares: it is put back.
    """
    threads = torch.get_num_threads()
    before = numba.get_num_threads()
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    config: Any = numba.config
    numba.set_num_threads(min(threads, config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _array(tensor: Tensor) -> loops.Array:
    return tensor.detach().contiguous().numpy()


def _camera(vertices: Tensor, map_camera: Tensor | None) -> loops.Array:
    """Intrinsics (B,2,3); an empty array of the same kind for 2-D points."""
    return _array(vertices.new_empty(0, 2, 3) if map_camera is None else map_camera)
