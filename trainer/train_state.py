"""Train the state head alone, on evidence that a network with trained keypoints gives.

    python -m kinestream.trainer.train_state --weights KEYPOINTS --pool POOL --mocap CACHE --data DATA
        --run RUN

The network looks once at crops of the pool; what it saw is kept, and lifter and image branch are trained on
that, which costs no convolution. Motion capture under random cameras is mixed in for the lifter. Writes
``regressor.safetensors`` with the trained head.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import cv2
import numpy as np
import torch
import typer
from torch import Tensor, nn

from kinestream.networks.weight_files import save_weights
from kinestream.regress.lifter import split_state
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT, load_network
from kinestream.regress.state_head import Evidence, StateHead
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool
from kinestream.trainer.data.crops.crop_sample import CropSource, MixedCrops, collate
from kinestream.trainer.data.crops.lift_samples import lift_samples
from kinestream.trainer.losses.body import BodyTarget
from kinestream.trainer.run_state import TrainingRun, learning_rate
from kinestream.trainer.train_lifter import load_lifter, rooted_poses
from kinestream.trainer.train_regressor import Teacher

_logger = logging.getLogger(__name__)
LIFT_SHARE = 0.5
"""Weight of the motion-capture samples beside the crops."""
_LOOK_BATCH = 64


class SeenBodies(NamedTuple):
    """N crops as the network saw them, with their exact bodies (virtual camera)."""

    evidence: Evidence
    to_virtual: Tensor
    log_extent: Tensor
    rotations: Tensor
    translation_m: Tensor
    betas: Tensor

    def rows(self, index: Tensor) -> SeenBodies:
        """Some of them."""
        return SeenBodies(Evidence(*[field[index] for field in self.evidence]), *[f[index] for f in self[1:]])


@torch.no_grad()
def see(
    network: RegressorNetwork, pool: CropSource, count: int, *, seed: int, bfloat16: bool = False
) -> SeenBodies:
    """Let the network look at ``count`` random crops; in bfloat16 three times as fast and less exact."""
    network.eval()
    rng = np.random.default_rng(seed)
    parts: list[list[Tensor]] = []
    for first in range(0, count, _LOOK_BATCH):
        batch = collate([pool.sample(rng) for _ in range(min(_LOOK_BATCH, count - first))])
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            evidence = Evidence(*[field.float() for field in network.encode(images)[3]])
        labels = (batch.to_virtual, batch.log_extent, batch.rotations, batch.translation_m, batch.betas)
        parts.append([*evidence, *labels])
    fields = [torch.cat(values) for values in zip(*parts, strict=True)]
    width = len(Evidence._fields)
    return SeenBodies(Evidence(*fields[:width]), *fields[width:])


def train(
    run: TrainingRun,
    teacher: Teacher,
    seen: SeenBodies,
    held_out: SeenBodies,
    poses: Tensor,
    *,
    steps: int,
    batch_size: int,
    peak_rate: float,
    warmup: int = 50,
    seed: int = 0,
    evaluate_every: int = 250,
) -> None:
    """Run until ``steps``; ``run.network`` is a :class:`StateHead`."""
    head = cast(StateHead, run.network)
    while run.step < steps:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + run.step)
        rows = torch.randint(len(seen.betas), (batch_size,), generator=generator)
        crops = seen.rows(rows)
        lifts = lift_samples(poses, teacher.body, batch_size, generator)
        head.train()
        state = head(crops.evidence, crops.to_virtual, crops.log_extent)
        loss, terms = teacher.loss(state, _target(teacher, crops))
        _, flat = head.lifter(lifts.points, lifts.confidence, lifts.log_extent)
        lift_loss, _ = teacher.loss(split_state(flat, head.latent_size), _target(teacher, lifts))
        rate = learning_rate(run.step, peak=peak_rate, steps=steps, warmup=warmup, decay_share=0.5)
        run.update(loss + LIFT_SHARE * lift_loss, learning_rate=rate)
        if run.step % 50 == 0:
            _logger.info("%s", run.log(loss=loss.detach(), lift=lift_loss.detach(), **terms))
        if run.step % evaluate_every == 0 or run.step == steps:
            _logger.info(
                "%s", run.log(validation="rendered", **evaluate(run.average.module, teacher, held_out))
            )
            run.save()


@torch.no_grad()
def evaluate(head: nn.Module, teacher: Teacher, held_out: SeenBodies) -> dict[str, float]:
    """Terms of the loss on crops of people who were not trained on."""
    head.eval()
    state = head(held_out.evidence, held_out.to_virtual, held_out.log_extent)
    _, terms = teacher.loss(state, _target(teacher, held_out))
    return {name: float(value) for name, value in terms.items()}


def _target(teacher: Teacher, bodies: object) -> BodyTarget:
    """Targets of seen bodies or of lift samples; both name their labels alike."""
    names = ("rotations", "translation_m", "betas", "log_extent")
    labels = {name: getattr(bodies, name) for name in names}
    return BodyTarget(teacher.flow, teacher.body, **labels)


def main(
    weights: Annotated[Path, typer.Option(help="network with trained keypoints")],
    run: Annotated[Path, typer.Option(help="folder of the run: checkpoint, log, weights")],
    data: Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="data folder")],
    pool: Annotated[list[Path], typer.Option(help="folder with crop pools train/ and val/; repeatable")],
    mocap: Annotated[Path, typer.Option(help="mocap cache (npz) of kinestream.trainer.prepare.mocap")],
    flow: Annotated[Path | None, typer.Option(help="pose flow; default: the shipped one")] = None,
    lifter: Annotated[Path | None, typer.Option(help="weights of a trained lifter to start from")] = None,
    crops: Annotated[int, typer.Option(help="looks at the training pools")] = 30000,
    steps: int = 3000,
    batch_size: int = 256,
    peak_rate: float = 1e-3,
    seed: int = 0,
    threads: int = 1,
    bfloat16: Annotated[bool, typer.Option(help="looks at the training pools in half precision")] = False,
) -> None:
    """Train the head, then write the whole network."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.manual_seed(seed)
    network = load_network(weights)
    backdrops = Backdrops.load(data / "backgrounds" / "hdri")
    crop_px = network.config.crop_px
    pools = [CropPool(folder / "train", backdrops, crop_px=crop_px) for folder in pool]
    mix = MixedCrops([(entry, len(entry)) for entry in pools])
    seen = see(network, mix, crops, seed=seed, bfloat16=bfloat16)
    held_out = see(network, CropPool(pool[0] / "val", backdrops, crop_px=crop_px), 512, seed=12345)
    _logger.info("looked at %d crops", crops)
    if lifter is not None:
        load_lifter(network.head, lifter)
    head = network.head.requires_grad_(True)
    state = TrainingRun(run, head, torch.optim.AdamW(head.parameters(), lr=peak_rate, weight_decay=0.05))
    state.resume()
    train(
        state,
        Teacher(flow),
        seen,
        held_out,
        rooted_poses(mocap, "train"),
        steps=steps,
        batch_size=batch_size,
        peak_rate=peak_rate,
        seed=seed,
    )
    head.load_state_dict(state.average.module.state_dict())
    save_weights(
        run / "regressor.safetensors",
        network,
        kind=REGRESSOR_FORMAT,
        config=network.config.to_dict(),
        notes={"steps": f"state head {state.step}"},
    )


if __name__ == "__main__":
    typer.run(main)
