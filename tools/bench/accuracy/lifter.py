"""The lifter alone on motion that nobody trained on, with exact keypoints and with errors.

    python -m kinestream.tools.bench.accuracy.lifter --mocap CACHE [--mocap CACHE ...] [--model medium]
        [--model LIFTER] [--keypoint-errors ERRORS.npz] [--out JSON]

Bodies of the split "val" of each cache by source, thinned by arc length, under random cameras: "recombined"
as in training (upper bodies exchanged, joints shaken, a quarter turned at random), "any turn" with poses as
they were captured, "upright" without random turns as well. Exact keypoints have full confidence, also outside
of the crop; "simulated" errors are those of `kinestream.trainer.data.crops.lift_samples`, "recorded" ones
(with ``--keypoint-errors``) those of networks on rendered people.
MPJPE after moving the pelvis and PA-MPJPE after a similarity, over 24 joints, in millimetres.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kinestream.regress.lifter import Lifter
from kinestream.regress.regressor import load_network
from kinestream.tools import options
from kinestream.tools.bench.timing import figure, write_report
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.crops.lift_samples import CameraRange, LiftBatch, lift_samples
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.poses import thin_by_arc_length
from kinestream.trainer.losses.body import in_half_extents
from kinestream.trainer.options import RecordedErrors
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.lifter import evaluate, read_lifter

STEP_RAD = 0.05
SAMPLES = 2048
SEED = 777
KINDS = {
    "recombined": (CameraRange(), True),
    "any turn": (CameraRange(), False),
    "upright": (replace(CameraRange(), any_turn=0.0), False),
}
"""Cameras, and whether poses are recombined."""


def held_out_poses(cache: Path) -> dict[str, Tensor]:
    """Poses (N, 22, 3, 3) of the validation split by source."""
    parts: dict[str, list[Any]] = {}
    for clip in MocapCache.load(cache).clips("val"):
        frames = thin_by_arc_length(clip, STEP_RAD)
        parts.setdefault(clip.source, []).append(clip.rotations[frames].astype(np.float32))
    return {source: torch.from_numpy(np.concatenate(poses)) for source, poses in sorted(parts.items())}


def lifter_of(model: str, latent_size: int) -> Lifter:
    """A ``lifter.safetensors`` of `kinestream.trainer.train_lifter`, or the lifter of a regressor."""
    if Path(model).name != "lifter.safetensors":
        return load_network(model).head.lifter
    return read_lifter(Path(model), latent_size)


def contests(poses: Tensor, teacher: BodyTeacher, recorded: KeypointErrors | None) -> dict[str, LiftBatch]:
    """Samples of poses (N, 22, 3, 3) in every kind, with each kind of errors."""
    batches: dict[str, LiftBatch] = {}
    for kind, (cameras, recombine) in KINDS.items():
        generator = torch.Generator().manual_seed(SEED)
        simulated = lift_samples(poses, teacher.body, SAMPLES, generator, cameras, recombine=recombine)
        points = in_half_extents(teacher.targets(simulated).keypoints_m, simulated.log_extent)
        exact = simulated._replace(points=points, confidence=torch.ones(points.shape[:2]))
        batches |= {f"{kind}, simulated": simulated, f"{kind}, exact": exact}
        if recorded is not None:
            seen, confidence = recorded.repeated(points, generator)
            batches[f"{kind}, recorded"] = exact._replace(points=seen, confidence=confidence)
    return batches


def main(
    mocap: Annotated[list[Path], typer.Option(help="Cache of kinestream.trainer.prepare.mocap; repeatable.")],
    model: Annotated[
        list[str] | None, typer.Option(help="medium, large, a regressor or lifter.safetensors; repeatable.")
    ] = None,
    keypoint_errors: RecordedErrors = None,
    threads: options.Threads = 1,
    out: options.Report = Path("docs/benchmarks/lifter.json"),
) -> None:
    """Measure the lifters of all models, print a table, write the report."""
    torch.set_num_threads(threads)
    teacher = BodyTeacher()
    recorded = None if keypoint_errors is None else KeypointErrors.load(keypoint_errors)
    models = model or ["medium", "large"]
    lifters = {name: lifter_of(name, teacher.flow.dim) for name in models}
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for cache in mocap:
        for source, poses in held_out_poses(cache).items():
            for kind, batch in contests(poses, teacher, recorded).items():
                row = rows[f"{source}, {kind}"] = {}
                for name, lifter in lifters.items():
                    found = evaluate(lifter, batch, teacher)
                    row[name] = {key: found[key] for key in ("mpjpe_mm", "pa_mpjpe_mm")}
    table = Table("held-out motion", *models, title="MPJPE / PA-MPJPE, mm")
    for key, by_model in rows.items():
        table.add_row(key, *(" / ".join(map(figure, by_model[name].values())) for name in models))
    Console().print(table)
    write_report(out, "lifter", {"samples": SAMPLES, "results": rows})


if __name__ == "__main__":
    typer.run(main)
