"""Rendered people without and with the measurement update by keypoints, crop by crop.

    python -m kinestream.tools.bench.accuracy.rendered_update --pool POOL/val --data DATA [--model medium]

The crops of `kinestream.tools.bench.accuracy.sets.rendered`. The update works in the virtual camera of a
crop, as pixels of a picture as large as the crop. MPJPE (root-aligned) and PA-MPJPE over 24 joints.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console

from kinestream.body.arrays import read_body
from kinestream.body.model import load_body
from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.defaults import DEFAULT_MODEL
from kinestream.filtering import PersonState
from kinestream.filtering.base import KeypointEvidence
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.geometry.camera import Camera
from kinestream.geometry.compiled_rotation import matrix_from_sixd, quat_from_matrix
from kinestream.geometry.rotation import matrix_from_quat
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.regress.network import RegressorOutput
from kinestream.regress.regressor import load_network
from kinestream.regress.state_head import to_plane
from kinestream.tools.bench.timing import write_report
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool
from kinestream.trainer.data.crops.crop_sample import CropBatch, collate
from kinestream.trainer.losses.body import with_hands
from kinestream.trainer.metrics import aligned_error, root_error

SEED = 2024
BATCH = 64


def states(output: RegressorOutput, batch: CropBatch) -> list[PersonState]:
    """What the network says of each crop, in the crop's virtual camera."""
    state = [field.double().numpy() for field in output.state]
    z, sixd, pelvis, betas, z_std, root_std, pelvis_std, betas_std = state
    extent = batch.log_extent.double().exp().numpy()[:, None]
    depth = np.exp(pelvis[:, 2:]) / extent
    ray = np.concatenate([pelvis[:, :2] * extent, np.ones_like(depth)], 1)
    std = np.exp(pelvis_std) * depth * np.concatenate([extent, extent, np.ones_like(extent)], 1)
    quats = quat_from_matrix(matrix_from_sixd(sixd))
    rows = zip(z, z_std, quats, root_std, ray * depth, std, betas, betas_std, strict=True)
    single = np.float32
    return [
        PersonState(
            single(z), single(np.exp(zs)), single(q), float(np.exp(rs[0])), single(t), single(ts), single(b),
            single(np.exp(bs)),
        )
        for z, zs, q, rs, t, ts, b, bs in rows
    ]  # fmt: skip


def evidence(
    output: RegressorOutput, batch: CropBatch, side_px: int, margin: float
) -> list[KeypointEvidence]:
    """Keypoints of each crop as pixels of its virtual camera."""
    points = (to_plane(output.points, batch.to_virtual).double().numpy() + 1) * side_px / 2
    confidence = torch.sigmoid(output.confidence_logit).double().numpy()[..., None]
    covariances_px2 = output.covariance.double().numpy() * (side_px / 2) ** 2
    focal = side_px / 2 / batch.log_extent.double().exp().numpy()
    return [
        KeypointEvidence(
            found.reshape(NUM_KEYPOINTS, 3),
            Camera(side_px, side_px, (float(f), float(f)), (side_px / 2, side_px / 2)),
            side_px / margin,
            covariance,
        )
        for found, f, covariance in zip(
            np.concatenate([points, confidence], 2), focal, covariances_px2, strict=True
        )
    ]


@torch.no_grad()
def compare(model: str, pool: Path, data: Path, limit: int | None) -> dict[str, Any]:
    """Mean errors in millimetres, as observed and updated."""
    network, flow, body = load_network(model), PoseFlow.load(), load_body()
    config = network.config
    source = CropPool(pool, Backdrops.load(data / "backgrounds" / "hdri"), crop_px=config.crop_px)
    rng, update = np.random.default_rng(SEED), KeypointUpdate(read_body(), FlowMap.load())
    samples = [source.crop(row, rng) for row in range(min(len(source), limit or len(source)))]
    errors: dict[str, list[float]] = {}
    for first in range(0, len(samples), BATCH):
        batch = collate(samples[first : first + BATCH])
        output = network(batch.images, batch.to_virtual, batch.log_extent)
        true = body.skeleton(batch.betas, with_hands(batch.rotations), batch.translation_m)[0].numpy()
        before = states(output, batch)
        seen = evidence(output, batch, config.crop_px, config.crop_margin)
        after = [update(state, one).state for state, one in zip(before, seen, strict=True)]
        for name, people in (("as observed", before), ("updated", after)):
            quats = torch.from_numpy(np.stack([person.root_quat_wxyz for person in people]))
            z = torch.from_numpy(np.stack([person.z for person in people]))
            betas = torch.from_numpy(np.stack([person.betas for person in people]))
            place = torch.from_numpy(np.stack([person.translation_m for person in people]))
            rotations = torch.cat([matrix_from_quat(quats)[:, None], flow.decode(z)], 1)
            joints = body.skeleton(betas, with_hands(rotations), place)[0].numpy()
            errors.setdefault(f"{name}, mpjpe_mm", []).extend(1000 * root_error(joints, true))
            errors.setdefault(f"{name}, pa_mpjpe_mm", []).extend(1000 * aligned_error(joints, true))
    return {"crops": len(samples), **{name: float(np.mean(values)) for name, values in errors.items()}}


def main(
    pool: Annotated[Path, typer.Option(help="Crop pool of people who were not trained on.")],
    data: Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="Data folder.")],
    model: Annotated[str, typer.Option(help="medium, large, or a file of weights.")] = DEFAULT_MODEL,
    limit: Annotated[int | None, typer.Option(min=1, help="Crops at most.")] = None,
    out: Annotated[Path, typer.Option(help="Report to write.")] = Path(
        "docs/benchmarks/rendered_update.json"
    ),
) -> None:
    """Measure, print, write the report."""
    torch.set_num_threads(1)
    result = compare(model, pool, data, limit)
    Console().print_json(data=result)
    write_report(out, "rendered_update", {"model": Path(model).stem, **result})


if __name__ == "__main__":
    typer.run(main)
