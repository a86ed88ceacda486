"""Speed of the body model and of the hot path, paired with ``smplx.lbs`` on the same arrays.

    python -m kinestream.tools.bench.kernels.body

One thread, float32, the embedded body, shapes and poses that differ from call to call. The peer sweeps
megabytes between two calls of ours, so the hot path is timed once like this, with cold caches as in a busy
tracker, and once by itself. The report holds the median over the runs of each percentile, and by how much
the results differ.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor

from kinestream.body.arrays import read_body
from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.tools import options
from kinestream.tools.bench.timing import Latency, latency_table, measure_paired, median_latency, write_report

TARGETS_MS: Final = {"vertices, B=1": 2.5, "joints and keypoints, hot path": 0.15}
"""Upper limits of the median."""

_VARIANTS: Final = 16
"""Different inputs that the calls go through in turn."""

Input = tuple[Tensor, Tensor, Tensor]
Call = Callable[..., Any]


def peer(body: BodyModel) -> Call:
    """Return ``smplx.lbs`` on the arrays of ``body``: (betas, rotations, _) -> vertices and joints."""
    from smplx.lbs import lbs

    if body.posedirs is None:
        raise ValueError("the benchmark needs a body with pose correctives; the embedded body has them")
    correctives = body.posedirs.reshape(-1, body.posedirs.shape[2]).T.contiguous()
    arrays = (body.v_template.contiguous(), body.shapedirs.contiguous(), correctives)
    skin = (body.joint_regressor, body.parents, body.skin_weights.contiguous())

    def run(betas: Tensor, rotations: Tensor, _: Tensor) -> Any:
        return lbs(betas, rotations, *arrays, *skin, pose2rot=False)

    return run


def make_inputs(batch: int) -> list[Input]:
    """Return random betas, rotations of up to about a radian, and translations."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(_VARIANTS, batch, *shape, generator=generator)

    return list(zip(normal(10), matrix_from_axis_angle(0.5 * normal(24, 3)), normal(3), strict=True))


def contests(body: BodyModel) -> dict[str, dict[str, Callable[[], object]]]:
    """Return the calls to compare, per kind of work; each goes through the same inputs in turn."""
    smplx = peer(body)
    hot = CompiledKinematics.of(read_body())
    ones, batches = make_inputs(batch=1), make_inputs(batch=16)
    frames = [tuple(value[0].numpy() for value in given) for given in ones]

    def hot_path(betas: Any, rotations: Any, translation_m: Any) -> Any:
        hot.set_shape(betas)
        return hot.pose(rotations, translation_m)

    def full_body(inputs: list[Input], wrap: Callable[[Call], Call]) -> dict[str, Callable[[], object]]:
        return {
            "kinestream": _in_turn(wrap(lambda *given: body(*given).vertices_m), inputs),
            "smplx.lbs": _in_turn(wrap(lambda *given: smplx(*given)[0]), inputs),
        }

    return {
        "vertices, B=1": full_body(ones, lambda call: call),
        "vertices, B=16": full_body(batches, lambda call: call),
        "vertices and gradient, B=16": full_body(batches, _with_gradient),
        "joints and keypoints, torch, B=1": {
            "kinestream": _in_turn(body.skeleton, ones),
            "smplx.lbs": _in_turn(smplx, ones),
        },
        "joints and keypoints, hot path": {
            "kinestream": _in_turn(hot_path, frames),
            "smplx.lbs": _in_turn(smplx, ones),
        },
        "joints and keypoints, hot path, caches warm": {"kinestream": _in_turn(hot_path, frames)},
    }


def _in_turn(call: Call, inputs: Sequence[tuple[Any, ...]]) -> Callable[[], object]:
    turn = itertools.cycle(inputs)
    return lambda: call(*next(turn))


def _with_gradient(vertices: Call) -> Call:
    def run(betas: Tensor, rotations: Tensor, translation_m: Tensor) -> None:
        with torch.enable_grad():
            leaves = betas.clone().requires_grad_(), rotations.clone().requires_grad_()
            vertices(*leaves, translation_m).square().mean().backward()

    return run


def differences_m(body: BodyModel) -> dict[str, float]:
    """Return the largest differences in metres: our vertices to the peer's, the hot path to our model."""
    hot, smplx = CompiledKinematics.of(read_body()), peer(body)
    to_peer, to_model = 0.0, 0.0
    for betas, rotations, translation_m in make_inputs(batch=1):
        vertices, joints = smplx(betas, rotations, translation_m)
        ours = body(betas, rotations, joints[:, 0])
        to_peer = max(to_peer, float((ours.vertices_m - vertices).abs().max()))
        hot.set_shape(betas[0].numpy())
        found = hot.pose(rotations[0].numpy(), translation_m[0].numpy())
        posed = body(betas, rotations, translation_m)
        for hot_points, points in zip(found, (posed.joints_m, posed.keypoints_m), strict=True):
            to_model = max(to_model, float(np.abs(hot_points - points[0].numpy()).max()))
    return {"vertices to smplx.lbs": to_peer, "hot path to the body model": to_model}


def main(
    runs: options.Runs = 5,
    repeats: options.Repeats = 200,
    out: options.Report = Path("docs/benchmarks/body.json"),
) -> None:
    """Time the body model against smplx on one thread."""
    torch.set_num_threads(1)
    body = BodyModel.load()
    results: dict[str, dict[str, Latency]] = {}
    with torch.no_grad():
        for title, calls in contests(body).items():
            timed = [measure_paired(calls, repeats=repeats) for _ in range(runs)]
            results[title] = {name: median_latency([run[name] for run in timed]) for name in calls}
        accuracy = differences_m(body)
    content = {"runs": runs, "targets_p50_ms": TARGETS_MS, "latency": results}
    write_report(out, "body", content | {"largest_difference_m": accuracy})
    Console().print(latency_table(results, title="Body model, one thread"), accuracy, f"report: {out}")


if __name__ == "__main__":
    typer.run(main)
