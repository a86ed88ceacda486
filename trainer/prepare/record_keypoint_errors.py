"""Record how networks err on rendered people, for the training of the lifter.

    python -m kinestream.trainer.prepare.record_keypoint_errors --data DATA --pool POOL --model medium
        --model large --out ERRORS.npz

`kinestream.trainer.train_lifter` and `train_state` take the recording as ``--keypoint-errors``.
"""

import logging
from pathlib import Path
from typing import Annotated

import torch
import typer

from kinestream.body.model import BodyModel
from kinestream.regress.regressor import load_network
from kinestream.regress.state_head import to_plane
from kinestream.trainer import options
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool
from kinestream.trainer.data.crops.crop_sample import MixedCrops
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.losses.body import in_half_extents, with_hands
from kinestream.trainer.regressor.state_head import ObservedBodies, observe

_logger = logging.getLogger(__name__)


def errors_of(seen: ObservedBodies, body: BodyModel) -> KeypointErrors:
    """What was observed against the keypoints of the exact bodies."""
    _, keypoints = body.skeleton(seen.betas, with_hands(seen.rotations), seen.translation_m)
    points = to_plane(seen.evidence.points, seen.to_virtual)
    confidence = torch.sigmoid(seen.evidence.confidence_logit)
    return KeypointErrors.measured(points, confidence, in_half_extents(keypoints, seen.log_extent))


def main(
    data: options.Data,
    pool: options.Pools,
    model: Annotated[list[str], typer.Option(help="medium, large or a file of weights; repeatable")],
    out: Annotated[Path, typer.Option(help="recording to write (.npz)")],
    crops: Annotated[int, typer.Option(help="crops that each network sees")] = 6000,
    seed: int = 0,
    threads: int = 1,
    bfloat16: Annotated[bool, typer.Option(help="run the networks in half precision")] = False,
) -> None:
    """Run each network on random crops of the pools, and write the errors of all."""
    options.set_up(threads=threads, seed=seed)
    body = BodyModel.load()
    backdrops = Backdrops.load(data / "backgrounds" / "hdri")
    done: list[KeypointErrors] = []
    for name in model:
        network = load_network(name)
        crop_px = network.config.crop_px
        pools = [CropPool(folder / "train", backdrops, crop_px=crop_px) for folder in pool]
        mix = MixedCrops([(one, len(one)) for one in pools])
        done.append(errors_of(observe(network, mix, crops, seed=seed, bfloat16=bfloat16), body))
        _logger.info("%s: %d observations of whole people", name, len(done[-1].offset))
    KeypointErrors.joined(done).save(out)


if __name__ == "__main__":
    typer.run(main)
