"""Speed and memory of the part alignment loss, beside plain torch and a chamfer written with ``torch.cdist``.

    python -m kinestream.tools.bench.kernels.alignment

Forward and backward of the whole loss on rendered people against perturbed bodies: 20 degrees per joint and
10 cm. All contestants give the same numbers and are timed in turn. Beside the time on the clock stands the
processor time of one thread, which other work on the machine does not lengthen. Memory is the growth of the
peak of a fresh process over one step (Linux only).
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
import typer
from rich.console import Console
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.kernels.alignment import alignment_loss
from kinestream.tools import options
from kinestream.tools.bench.memory import peak_mb
from kinestream.tools.bench.timing import latency_table, measure_paired, processor_time_ms, write_report
from kinestream.tools.part_fitting.scenes import perturbed, place_people, render_parts, square_camera

TARGET_SPEEDUP: Final = 10.0
"""Over the reference backend at B = 8, 6,899 vertices and 64 x 64 maps."""

MEMORY_MAPS: Final = (64, 128, 256, 512)
MEMORY_COPIES: Final = (1, 4, 16)
"""Sides of the maps, and how often every vertex is repeated, at which memory is measured."""

_PARTS: Final = 15
_SIGMA_SHARE: Final = 1 / 16  # of the map's side


def scene(batch: int, size_px: int, *, copies: int = 1) -> dict[str, Tensor]:
    """Arguments of the loss: perturbed bodies before the part maps of the true ones."""
    generator = torch.Generator().manual_seed(0)
    body = BodyModel.load()
    camera = square_camera(size_px)
    poses = matrix_from_axis_angle(0.3 * torch.randn(batch, 21, 3, generator=generator))
    people = place_people(poses, generator)
    with torch.no_grad():
        part_map, _ = render_parts(body, people.posed(body).vertices_m, camera)
        start = perturbed(people, generator, angle_deg=20.0, shift_m=0.1).posed(body).vertices_m
    return {
        "vertices": start.repeat(1, copies, 1),
        "part_ids": body.part_labels.repeat(copies),
        "part_map": part_map.long(),
        "camera": torch.tensor(camera.K, dtype=torch.float32),
        "sigma_px": torch.tensor(size_px * _SIGMA_SHARE),
    }


def fused(given: dict[str, Tensor], backend: str) -> Tensor:
    """The loss (B,) by one of its backends."""
    return alignment_loss(
        given["vertices"],
        given["part_ids"],
        given["part_map"],
        camera=given["camera"],
        sigma_px=float(given["sigma_px"]),
        backend=backend,  # type: ignore[arg-type]
    ).total


def chamfer_cdist(given: dict[str, Tensor]) -> Tensor:
    """The same loss (B,) written with padded point sets and ``torch.cdist``, in the manner of PyTorch3D."""
    vertices, camera, labels = given["vertices"], given["camera"], given["part_map"]
    points = vertices @ camera.T
    points = points[..., :2] / points[..., 2:]
    batch, height, width = labels.shape
    sigma2 = given["sigma_px"].square()

    def penalty(distance: Tensor) -> Tensor:
        return distance.square() / (distance.square() + sigma2)

    total = points.new_zeros(batch)
    for part in range(_PARTS):
        own = points[:, given["part_ids"] == part]
        pixels, present = _padded_pixels(labels == part + 1, points.dtype)
        if pixels.shape[1] == 0:
            continue
        distance = torch.cdist(pixels, own, compute_mode="donot_use_mm_for_euclid_dist")
        to_vertex = (penalty(distance.amin(2)) * present).sum(1) / present.sum(1).clamp(min=1)
        far = distance.masked_fill(~present[:, :, None], torch.inf).amin(1)
        to_pixel = torch.where(present.any(1), penalty(far.nan_to_num(posinf=0.0)).mean(1), 0)
        total = total + (to_vertex + to_pixel) / _PARTS
    pixels, present = _padded_pixels(labels > 0, points.dtype)
    distance = torch.cdist(points, pixels, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.masked_fill(~present[:, None], torch.inf).amin(2)
    column, row = torch.ceil(points.detach() - 0.5).long().unbind(-1)
    on_map = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    own_pixel = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    inside = on_map & (labels.flatten(1).gather(1, own_pixel) > 0)
    return total + torch.where(inside, 0, penalty(nearest)).mean(1)


def _padded_pixels(mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Centres (B,N,2) of the pixels of masks (B,H,W), padded to the longest, and which are there (B,N)."""
    counts = mask.sum((1, 2))
    present = torch.arange(int(counts.max()), device=mask.device) < counts[:, None]
    pixels = torch.zeros(*present.shape, 2, dtype=dtype, device=mask.device)
    pixels[present] = mask.nonzero()[:, [2, 1]].to(dtype)
    return pixels, present


def step(given: dict[str, Tensor], loss: Callable[[dict[str, Tensor]], Tensor], threads: int) -> Tensor:
    """One forward and backward on so many threads; gives the gradient of the vertices."""
    torch.set_num_threads(threads)
    vertices = given["vertices"].detach().requires_grad_(True)
    loss(given | {"vertices": vertices}).sum().backward()  # type: ignore[no-untyped-call]
    if vertices.grad is None:
        raise RuntimeError("the loss sent no gradient to the vertices")
    return vertices.grad


def latencies(batch: int, size_px: int, repeats: int, *, chamfer: bool) -> dict[str, Any]:
    """Time all contestants on one and on two threads, and their processor time on one."""
    given = scene(batch, size_px)
    losses: dict[str, Callable[[dict[str, Tensor]], Tensor]] = {
        "reference": partial(fused, backend="reference"),
        "cpu": partial(fused, backend="cpu"),
    }
    if chamfer:
        losses["torch.cdist chamfer"] = chamfer_cdist
    calls = {
        f"{name}, {threads} thread{'s' * (threads > 1)}": partial(step, given, loss, threads)
        for threads in (1, 2)
        for name, loss in losses.items()
    }
    clock = measure_paired(calls, repeats=repeats, warmup=2)
    processor_ms = {
        name: processor_time_ms(partial(step, given, loss, 1), repeats=repeats)
        for name, loss in losses.items()
    }
    speedup: dict[str, float] = {}
    for peer in [name for name in losses if name != "cpu"]:
        for threads in ("1 thread", "2 threads"):
            ratio = clock[f"{peer}, {threads}"].p50_ms / clock[f"cpu, {threads}"].p50_ms
            speedup[f"over {peer}, {threads}"] = round(ratio, 1)
        speedup[f"over {peer}, processor time"] = round(processor_ms[peer] / processor_ms["cpu"], 1)
    return {"latency": clock, "processor_ms": processor_ms, "speedup": speedup}


def gpu_latencies(batch: int, size_px: int, repeats: int) -> dict[str, Any]:
    """Time the Triton backend on a CUDA device, and the rate at which it compares pixels with vertices."""
    given = {name: value.cuda() for name, value in scene(batch, size_px).items()}
    calls = {
        "reference": partial(step, given, partial(fused, backend="reference"), 1),
        "torch.cdist chamfer": partial(step, given, chamfer_cdist, 1),
        "gpu": partial(step, given, partial(fused, backend="gpu"), 1),
    }
    results = measure_paired(calls, repeats=repeats, warmup=5, synchronize=torch.cuda.synchronize)
    pixels = torch.stack([(given["part_map"] == part + 1).sum() for part in range(_PARTS)])
    vertices = given["part_ids"].bincount(minlength=_PARTS)
    pairs = 2 * int((pixels * vertices).sum())
    return {"latency": results, "pairs_per_second": pairs / (results["gpu"].p50_ms / 1e3)}


def differences(batch: int, size_px: int) -> dict[str, float]:
    """Largest relative distance of loss and gradient from the reference backend, by contestant."""
    given = scene(batch, size_px)
    expected = step(given, partial(fused, backend="reference"), 1)
    found = {
        "cpu": step(given, partial(fused, backend="cpu"), 1),
        "torch.cdist chamfer": step(given, chamfer_cdist, 1),
    }
    return {name: float((value - expected).norm() / expected.norm()) for name, value in found.items()}


def peak_growth_mib(contestant: str, size_px: int, copies: int) -> float:
    """Growth of the peak memory of this process over one step with one person."""
    loss = chamfer_cdist if contestant == "cdist" else partial(fused, backend=contestant)
    step(scene(1, 16), loss, 1)  # compile and load before
    given = scene(1, size_px, copies=copies)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use
    before = peak_mb()
    step(given, loss, 1)
    return peak_mb() - before


def memory() -> list[dict[str, Any]]:
    """Peak growth over maps and vertices, every case in a process of its own that returns what it frees."""
    sizes = [(size, 1) for size in MEMORY_MAPS] + [(MEMORY_MAPS[0], copies) for copies in MEMORY_COPIES[1:]]
    sizes.append((MEMORY_MAPS[-1], MEMORY_COPIES[-1]))
    rows = []
    for size_px, copies in sizes:
        row: dict[str, Any] = {"pixels": size_px**2, "vertices": 6899 * copies}
        for contestant in ("cpu", "cdist"):
            if contestant == "cdist" and row["pixels"] * row["vertices"] > 5e8:
                continue  # the distances would take gigabytes
            call = f"peak_growth_mib('{contestant}', {size_px}, {copies})"
            code = f"from kinestream.tools.bench.kernels.alignment import peak_growth_mib; print({call})"
            done = subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
                capture_output=True,
                text=True,
                check=True,
            )
            row[f"{contestant}_mib"] = round(float(done.stdout), 2)
        rows.append(row)
    return rows


def bytes_per_element(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Least-squares fit of the CPU backend's memory: bytes per vertex and pixel, and the largest misfit."""
    sizes = torch.tensor([[1.0, row["vertices"], row["pixels"]] for row in rows], dtype=torch.float64)
    found = torch.tensor([row["cpu_mib"] * 2**20 for row in rows], dtype=torch.float64)
    fit = torch.linalg.lstsq(sizes, found[:, None]).solution[:, 0]
    misfit = (sizes @ fit - found).abs().max() / 2**20
    return {
        "per_vertex": round(float(fit[1]), 1),
        "per_pixel": round(float(fit[2]), 1),
        "misfit_mib": float(misfit),
    }


def main(repeats: options.Repeats = 20, out: options.Report = Path("docs/benchmarks/alignment.json")) -> None:
    """Time the alignment loss and measure its memory."""
    console = Console()
    content: dict[str, Any] = {"target_speedup": TARGET_SPEEDUP, "relative_difference": differences(8, 64)}
    for batch, size_px, chamfer in ((8, 64, True), (8, 128, False), (1, 64, True)):
        title = f"B={batch}, 6899 vertices, {size_px} x {size_px}"
        found = content[title] = latencies(batch, size_px, repeats, chamfer=chamfer)
        console.print(latency_table(found["latency"], title=f"Forward and backward, {title}"))
        console.print(found["processor_ms"], found["speedup"])
    if torch.cuda.is_available():
        content["gpu, B=8, 64 x 64"] = gpu_latencies(8, 64, repeats)
    content["peak_memory_growth"] = memory()
    content["cpu_backend_bytes"] = bytes_per_element(content["peak_memory_growth"])
    keys = ("peak_memory_growth", "cpu_backend_bytes", "relative_difference")
    console.print({key: content[key] for key in keys}, f"report: {out}")
    write_report(out, "alignment", content)


if __name__ == "__main__":
    typer.run(main)
