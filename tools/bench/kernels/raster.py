"""Speed of the rasteriser and of the overlay.

    python -m kinestream.tools.bench.kernels.raster [--out docs/benchmarks/raster.json]

One thread, one process. The compiled backend is timed beside the plain one on a picture so small that the
plain one ends.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from rich.console import Console

from kinestream.body.model import BodyModel
from kinestream.geometry.camera import Camera
from kinestream.kernels.raster import Mesh, Target, cpu, gpu, plain_mesh, reference
from kinestream.kernels.raster.normals import vertex_normals
from kinestream.kernels.raster.overlay import overlay_meshes
from kinestream.tools import options
from kinestream.tools.bench.timing import (
    Latency,
    latency_table,
    load_average,
    measure,
    measure_paired,
    write_report,
)
from kinestream.tools.process import use_threads


def body_mesh(model: BodyModel, depth_m: float) -> Mesh:
    """The default body upright before the camera."""
    rotations = torch.eye(3).repeat(1, 24, 1, 1)
    rotations[0, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    with torch.no_grad():
        body = model(torch.zeros(1, 10), rotations, torch.tensor([[0.0, 0.0, depth_m]]))
    vertices = body.vertices_m[0].numpy().astype(np.float32)
    return plain_mesh(vertices, model.faces.numpy().astype(np.int32))


def drawing(backend: Any, mesh: Mesh, side_px: int, *, samples: int = 1, fov_deg: float = 45) -> Any:
    """A call that draws and resolves a mesh with ``samples`` squared samples a pixel."""
    target, background = Target(side_px, side_px, samples=samples), np.zeros((side_px, side_px, 3), np.uint8)
    camera = Camera.from_fov(side_px, side_px, fov_deg=fov_deg)

    def call() -> None:
        target.clear()
        backend.draw(target, mesh, camera.K)
        backend.resolve(target, background)

    return call


def rasteriser() -> dict[str, Latency]:
    """Both backends at 48 x 48 pixels, then the compiled one and the overlay at the sizes that are used."""
    mesh = body_mesh(BodyModel.load(), 3.0)
    small = {
        f"{name}_body_48px": drawing(backend, mesh, 48, fov_deg=40)
        for name, backend in (("reference", reference), ("cpu", cpu))
    }
    results = measure_paired(small, repeats=3, warmup=1)
    for side, samples in ((256, 1), (256, 2), (512, 2)):
        call = drawing(cpu, mesh, side, samples=samples)
        results[f"cpu_body_{side}px_{samples}x{samples}"] = measure(call, repeats=100)
    results["vertex_normals"] = measure(partial(vertex_normals, mesh.vertices_m, mesh.faces))
    for width, height in ((640, 480), (1280, 720)):
        image, camera = np.zeros((height, width, 3), np.uint8), Camera.from_fov(width, height)
        call = partial(overlay_meshes, image, [mesh.vertices_m], mesh.faces, camera.K)
        results[f"overlay_{width}x{height}_1_person"] = measure(call, repeats=60, warmup=5)
    return results


def main(out: options.Report = Path("docs/benchmarks/raster.json")) -> None:
    """Time the rasteriser and the overlay on one thread."""
    use_threads(1)
    results = rasteriser()
    Console().print(latency_table(results))
    content = {"gpu": gpu.unavailable() or "available", "load_average_1min": load_average()}
    write_report(out, "raster", content | {"results": results})


if __name__ == "__main__":
    typer.run(main)
