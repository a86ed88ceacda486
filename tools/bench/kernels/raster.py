"""Speed of the rasteriser, of the overlay and, with data, of the synthetic scenes.

    python -m kinestream.tools.bench.kernels.raster [--data DATA --mocap CACHE]
        [--out docs/benchmarks/raster.json]

One thread, one process: a scene's time is that of one core. The compiled face is timed beside the plain one
on a picture so small that the plain one ends.
"""

import argparse
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from kinestream.body.model import BodyModel
from kinestream.geometry.camera import Camera
from kinestream.kernels.raster import Mesh, Target, cpu, gpu, plain_mesh, reference
from kinestream.kernels.raster.normals import vertex_normals
from kinestream.kernels.raster.overlay import overlay_meshes
from kinestream.tools.bench.timing import Latency, measure, measure_paired, write_report

DEFAULT_OUT: Final = Path("docs/benchmarks/raster.json")
_SCENES_LEFT_OUT: Final = "run with --data and --mocap to time the scenes"


def body_mesh(model: BodyModel, depth_m: float) -> Mesh:
    """The default body upright before the camera."""
    rotations = torch.eye(3).repeat(1, 24, 1, 1)
    rotations[0, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    with torch.no_grad():
        body = model(torch.zeros(1, 10), rotations, torch.tensor([[0.0, 0.0, depth_m]]))
    vertices = body.vertices_m[0].numpy().astype(np.float32)
    return plain_mesh(vertices, model.faces.numpy().astype(np.int32))


def faces_of_a_body() -> dict[str, Latency]:
    """Both faces drawing and resolving the same body at 48 x 48 pixels."""
    mesh, camera = body_mesh(BodyModel.load(), 3.0), Camera.from_fov(48, 48, fov_deg=40)
    background = np.zeros((48, 48, 3), np.uint8)

    def picture(face: Any) -> Callable[[], None]:
        target = Target(48, 48)

        def call() -> None:
            target.clear()
            face.draw(target, mesh, camera.K)
            face.resolve(target, background)

        return call

    calls = {"reference_body_48px": picture(reference), "cpu_body_48px": picture(cpu)}
    return measure_paired(calls, repeats=3, warmup=1)


def compiled_face() -> dict[str, Latency]:
    """The compiled face at the sizes that are used."""
    model = BodyModel.load()
    mesh = body_mesh(model, 3.0)
    results = {}
    for side, samples in ((256, 1), (256, 2), (512, 2)):
        target, camera = Target(side, side, samples=samples), Camera.from_fov(side, side, fov_deg=45)
        background = np.zeros((side, side, 3), np.uint8)

        def call(
            target: Target = target, K: npt.NDArray[Any] = camera.K, below: npt.NDArray[Any] = background
        ) -> None:
            target.clear()
            cpu.draw(target, mesh, K)
            cpu.resolve(target, below)

        results[f"cpu_body_{side}px_{samples}x{samples}"] = measure(call, repeats=100)
    vertices, faces = mesh.vertices_m, mesh.faces
    results["vertex_normals"] = measure(lambda: vertex_normals(vertices, faces))
    for width, height in ((640, 480), (1280, 720)):
        image, camera = np.zeros((height, width, 3), np.uint8), Camera.from_fov(width, height)

        def overlay(image: npt.NDArray[Any] = image, K: npt.NDArray[Any] = camera.K) -> None:
            overlay_meshes(image, [vertices], faces, K)

        results[f"overlay_{width}x{height}_1_person"] = measure(overlay, repeats=60, warmup=5)
    return results


def scenes(data: Path, mocap: Path, crops: int) -> dict[str, Latency]:
    """Labelled crops with everything on, one person, and as many as the config' default crowd has."""
    from kinestream.trainer.scenes.config import SceneConfig
    from kinestream.trainer.scenes.generator import SceneGenerator
    from kinestream.trainer.scenes.poses import ClipPoses
    from kinestream.trainer.scenes.stage import SceneAssets

    assets, poses = SceneAssets.load(data), ClipPoses.load(mocap)
    calls: dict[str, Callable[[], object]] = {}
    for name, config in (("one_person", SceneConfig(crowd_share=0.0)), ("default", SceneConfig())):
        generator, seeds = SceneGenerator(assets, poses, config), itertools.count()
        calls[f"crop_256px_{name}"] = lambda g=generator, s=seeds: g.crop(next(s))  # type: ignore[misc]
    return measure_paired(calls, repeats=crops, warmup=20)


def main() -> None:
    """Entry point of `python -m kinestream.tools.bench.kernels.raster`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="data folder")
    parser.add_argument(
        "--mocap", type=Path, default=None, help="cache of `python -m kinestream.trainer.prepare.mocap`"
    )
    parser.add_argument("--crops", type=int, default=300)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results = {**faces_of_a_body(), **compiled_face()}
    throughput: dict[str, Any] = {"note": _SCENES_LEFT_OUT}
    if arguments.data is not None and arguments.mocap is not None:
        timed = scenes(arguments.data, arguments.mocap, arguments.crops)
        results.update(timed)
        throughput = {
            name: {
                "per_second_wall": round(1000 / value.mean_ms, 1),
                "per_second_cpu": round(1000 / value.cpu_p50_ms, 1),
            }
            for name, value in timed.items()
        }
    console, table = Console(), Table("what", "p50 ms", "p95 ms", "p99 ms", "cpu p50 ms")
    for name, value in results.items():
        numbers = (value.p50_ms, value.p95_ms, value.p99_ms, value.cpu_p50_ms)
        table.add_row(name, *(f"{number:.3f}" for number in numbers))
    console.print(table)
    console.print(throughput)
    write_report(
        arguments.out,
        "raster",
        {
            "gpu": gpu.unavailable() or "available",
            "load_average_1min": round(os.getloadavg()[0], 2),
            "results": results,
            "crops": throughput,
        },
    )


if __name__ == "__main__":
    main()
