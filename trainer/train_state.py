"""Train the state head alone, on evidence that a network with trained keypoints gives.

    python -m kinestream.trainer.train_state --run FOLDER --init KEYPOINTS --data DATA --pool POOL
        --mocap CACHE

The network runs once on crops of the pools; lifter and image branch are trained on what it gave, which costs
no convolution. Motion capture under random cameras is mixed in for the lifter; with ``--people`` and
``--video`` (files of `kinestream.trainer.prepare.observe_people`) so are real people. Writes
``regressor.safetensors`` with the trained head.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from kinestream.body.arrays import read_body
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.latent.flow_map import FlowMap
from kinestream.networks.weight_files import save_weights
from kinestream.regress.regressor import REGRESSOR_FORMAT, load_network
from kinestream.trainer import options
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool
from kinestream.trainer.data.crops.crop_sample import MixedCrops
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.motion.variety import rooted_poses
from kinestream.trainer.losses.weak import WeakLossWeights
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.lifter import load_lifter
from kinestream.trainer.regressor.observed_people import ObservedPeople
from kinestream.trainer.regressor.real_people import RealPeople, RealPeopleWeights
from kinestream.trainer.regressor.self_regime import matching_dynamics
from kinestream.trainer.regressor.state_head import REAL_SHARE, ObservedBodies, observe, train
from kinestream.trainer.regressor.updated_people import UpdatedBodies, updated_bodies
from kinestream.trainer.run_state import TrainingRun

VALIDATION_CROPS = 512


def main(
    run: options.Run,
    init: Annotated[Path, typer.Option(help="regressor with trained keypoints")],
    data: options.Data,
    pool: options.Pools,
    mocap: options.Mocap,
    held_out_pool: Annotated[
        Path | None, typer.Option(help="crop pool whose val/ validates; default: the first of --pool")
    ] = None,
    flow: options.Flow = None,
    lifter: options.LifterWeights = None,
    keep_image_branch: Annotated[
        bool, typer.Option(help="go on from the old image branch: --lifter is a relative of the old lifter")
    ] = False,
    keypoint_errors: options.RecordedErrors = None,
    feature_dropout: Annotated[
        float, typer.Option(help="share of the image features left out", min=0.0, max=0.99)
    ] = 0.0,
    observations: Annotated[
        Path | None, typer.Option(help="file (npz) of the training observations: read if there, else written")
    ] = None,
    crops: Annotated[int, typer.Option(help="training crops that the network sees")] = 30000,
    people: Annotated[Path | None, typer.Option(help="observed photos (npz): weak supervision")] = None,
    video: Annotated[Path | None, typer.Option(help="observed video (npz): self-supervision")] = None,
    reprojection: Annotated[float, typer.Option(help="weight of the photos' keypoints")] = 3.0,
    alignment: Annotated[float, typer.Option(help="weight of the alignment with their body parts")] = 0.0,
    prior: Annotated[float, typer.Option(help="weight of the latent prior on real people")] = 0.002,
    mirror: Annotated[float, typer.Option(help="weight of the agreement with the mirrored picture")] = 0.0,
    temporal: Annotated[float, typer.Option(help="weight of the dynamics' surprise over video")] = 0.0,
    updated: Annotated[float, typer.Option(help="weight of the bodies that the keypoint update finds")] = 0.0,
    real_share: Annotated[float, typer.Option(help="real people for each rendered one")] = REAL_SHARE,
    steps: int = 3000,
    batch_size: int = 256,
    peak_rate: options.PeakRate = 1e-3,
    seed: int = 0,
    threads: int = 1,
    bfloat16: Annotated[bool, typer.Option(help="run the network in half precision")] = False,
) -> None:
    """Train the head, then write the whole network."""
    options.set_up(threads=threads, seed=seed)
    network = load_network(init)
    backdrops = Backdrops.load(data / "backgrounds" / "hdri")
    crop_px = network.config.crop_px
    if observations is not None and observations.exists():
        seen = ObservedBodies.load(observations)
    else:
        pools = [CropPool(folder / "train", backdrops, crop_px=crop_px) for folder in pool]
        mix = MixedCrops([(one, len(one)) for one in pools])
        seen = observe(network, mix, crops, seed=seed, bfloat16=bfloat16)
        if observations is not None:
            seen.save(observations)
    validation = CropPool((held_out_pool or pool[0]) / "val", backdrops, crop_px=crop_px)
    held_out = observe(network, validation, VALIDATION_CROPS, seed=12345, bfloat16=bfloat16)
    if lifter is not None:
        load_lifter(network.head, lifter, keep_image_branch=keep_image_branch)
    teacher = BodyTeacher(flow)
    real = None
    if people is not None:
        photos, views = ObservedPeople.load(people), None if video is None else ObservedPeople.load(video)
        update = KeypointUpdate(read_body(), FlowMap(teacher.flow)) if updated > 0 else None

        def bodies(some: ObservedPeople | None) -> UpdatedBodies | None:
            return update and some and updated_bodies(network.head, teacher, update, some)

        real = RealPeople(
            photos,
            views,
            matching_dynamics(teacher.flow, torch.device("cpu")) if temporal > 0 else None,
            RealPeopleWeights(WeakLossWeights(reprojection, alignment, prior), mirror, temporal, updated),
            bodies(photos),
            bodies(views),
        )
    head = network.head.requires_grad_(True)
    training = TrainingRun(run, head, torch.optim.AdamW(head.parameters(), lr=peak_rate, weight_decay=0.05))
    training.resume()
    train(
        training,
        teacher,
        seen,
        held_out,
        rooted_poses(mocap, "train"),
        steps=steps,
        batch_size=batch_size,
        peak_rate=peak_rate,
        seed=seed,
        errors=None if keypoint_errors is None else KeypointErrors.load(keypoint_errors),
        feature_dropout=feature_dropout,
        real=real,
        real_share=real_share,
        validate_every=250,
    )
    head.load_state_dict(training.averaged().state_dict())
    save_weights(
        run / "regressor.safetensors",
        network,
        kind=REGRESSOR_FORMAT,
        config=network.config.to_dict(),
        notes={"steps": f"state head {training.step}"},
    )


if __name__ == "__main__":
    typer.run(main)
