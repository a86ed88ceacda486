"""Does fusing the keypoint losses pay? Plain torch against the same losses in numba, forward and backward.

    python -m tools.bench.keypoints

The numba versions live here only: they are what was measured and not taken.
"""

from __future__ import annotations

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numba import njit
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.keypoints import reprojection_loss, soft_argmax
from tools.bench.timing import measure_paired, write_report

_SIGMA_PX = 16.0


@njit(cache=True, error_model="numpy", fastmath=True)
def _expectation(logits, points, peaks):
    for n in range(len(logits)):
        peak = logits[n].max()
        total = along_x = along_y = np.float32(0)
        for row in range(logits.shape[1]):
            in_row = np.float32(0)
            for column in range(logits.shape[2]):
                share = np.exp(logits[n, row, column] - peak)
                in_row += share
                along_x += share * np.float32(column)
            total += in_row
            along_y += in_row * np.float32(row)
        points[n, 0], points[n, 1] = along_x / total, along_y / total
        peaks[n, 0], peaks[n, 1] = peak, total


@njit(cache=True, error_model="numpy", fastmath=True)
def _expectation_backward(logits, points, peaks, grad_points, grad_logits):
    for n in range(len(logits)):
        scale = np.float32(1) / peaks[n, 1]
        for row in range(logits.shape[1]):
            for column in range(logits.shape[2]):
                pull = grad_points[n, 0] * (np.float32(column) - points[n, 0])
                pull += grad_points[n, 1] * (np.float32(row) - points[n, 1])
                grad_logits[n, row, column] = np.exp(logits[n, row, column] - peaks[n, 0]) * scale * pull


class FusedSoftArgmax(torch.autograd.Function):
    """Points (N,2) of heatmaps (N,H,W), one pass over the logits each way."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        """Expectation of every map."""
        points, peaks = logits.new_empty(len(logits), 2), logits.new_empty(len(logits), 2)
        _expectation(logits.detach().numpy(), points.numpy(), peaks.numpy())
        ctx.save_for_backward(logits, points, peaks)
        return points

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_points: Tensor) -> Tensor:
        """Gradient of the logits."""
        logits, points, peaks = ctx.saved_tensors
        grad_logits = torch.empty_like(logits)
        arrays = (logits.detach(), points, peaks, grad_points.contiguous(), grad_logits)
        backward: Callable[..., None] = _expectation_backward
        backward(*(tensor.numpy() for tensor in arrays))
        return grad_logits


@njit(cache=True, error_model="numpy")
def _reprojection(keypoints, target, confidence, camera, sigma, losses, slopes):
    for b in range(len(keypoints)):
        total = max(confidence[b].sum(), 1e-30)
        losses[b] = 0.0
        for i in range(keypoints.shape[1]):
            x, y, z = keypoints[b, i]
            k = camera[b]
            u, v = (k[0, 0] * x + k[0, 1] * y) / z, k[1, 1] * y / z
            dx, dy = u + k[0, 2] - target[b, i, 0], v + k[1, 2] - target[b, i, 1]
            t = (dx * dx + dy * dy) / (sigma * sigma)
            share = confidence[b, i] / total
            losses[b] += share * t / (1 + t)
            factor = share * 2 / ((1 + t) * (1 + t) * sigma * sigma)
            gu, gv = factor * dx / z, factor * dy / z
            slopes[b, i, 0] = gu * k[0, 0]
            slopes[b, i, 1] = gu * k[0, 1] + gv * k[1, 1]
            slopes[b, i, 2] = -(gu * u + gv * v)


class FusedReprojection(torch.autograd.Function):
    """The Geman-McClure reprojection loss (B,) with its gradient found on the way."""

    @staticmethod
    def forward(ctx: Any, keypoints: Tensor, target: Tensor, confidence: Tensor, camera: Tensor) -> Tensor:
        """Loss of every image."""
        losses, slopes = keypoints.new_empty(len(keypoints)), torch.empty_like(keypoints)
        tensors = (keypoints, target, confidence, camera)
        forward: Callable[..., None] = _reprojection
        forward(*(tensor.detach().numpy() for tensor in tensors), _SIGMA_PX, losses.numpy(), slopes.numpy())
        ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_losses: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient of the keypoints."""
        (slopes,) = ctx.saved_tensors
        return slopes * grad_losses[:, None, None], None, None, None


def stepped(loss: Callable[[Tensor], Tensor], leaf: Tensor) -> Callable[[], Tensor]:
    """One forward and backward; gives the gradient of the leaf."""

    def step() -> Tensor:
        value = loss(leaf)
        weights = torch.linspace(0.5, 1.5, value.numel()).view_as(value)
        return torch.autograd.grad((value * weights).sum(), leaf)[0]

    return step


def soft_argmax_contest(batch: int, size: int) -> dict[str, Callable[[], Tensor]]:
    """Decoding of 23 heatmaps per image; torch finds the variance as well."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, 23, size, size, generator=generator).requires_grad_(True)
    return {
        "torch": stepped(lambda x: soft_argmax(x).points_px, logits),
        "numba": stepped(lambda x: FusedSoftArgmax.apply(x.flatten(0, 1)).view(batch, 23, 2), logits),
    }


def reprojection_contest(batch: int) -> dict[str, Callable[[], Tensor]]:
    """Reprojection of 23 keypoints per image."""
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.randn(batch, 23, 3, generator=generator) + torch.tensor([0.0, 0.0, 5.0])
    keypoints = keypoints.clamp(min=-2.0).requires_grad_(True)
    target, confidence = (torch.rand(batch, 23, *shape, generator=generator) for shape in ((2,), ()))
    camera = torch.tensor([[100.0, 0, 0], [0, 100, 0], [0, 0, 1]]).repeat(batch, 1, 1)
    return {
        "torch": stepped(lambda x: reprojection_loss(x, target, confidence, camera=camera), keypoints),
        "numba": stepped(lambda x: FusedReprojection.apply(x, target, confidence, camera), keypoints),
    }


def main(
    repeats: Annotated[int, typer.Option(help="Timed steps of each contestant.", min=1)] = 100,
    output: Annotated[Path, typer.Option(help="Report to write.")] = Path("docs/benchmarks/keypoints.json"),
) -> None:
    """Time plain and fused keypoint losses on one thread."""
    torch.set_num_threads(1)
    contests = {
        "soft-argmax, B=8, 64 x 64": soft_argmax_contest(8, 64),
        "soft-argmax, B=32, 64 x 64": soft_argmax_contest(32, 64),
        "reprojection, B=8": reprojection_contest(8),
        "reprojection, B=64": reprojection_contest(64),
    }
    results = Table("work", "by", "p50 ms", "p95 ms", "p99 ms")
    content: dict[str, dict[str, Any]] = {}
    for title, calls in contests.items():
        difference = float((calls["torch"]() - calls["numba"]()).abs().max())
        latencies = measure_paired(calls, repeats=repeats)
        content[title] = {"latency": latencies, "largest_difference": difference}
        for name, latency in latencies.items():
            results.add_row(
                title, name, *(f"{x:.3f}" for x in (latency.p50_ms, latency.p95_ms, latency.p99_ms))
            )
    Console().print(results)
    write_report(output, "keypoints", {"latency": content})


if __name__ == "__main__":
    typer.run(main)
