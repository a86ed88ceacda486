"""Options of the training commands: a name means the same in all of them."""

import logging
from pathlib import Path
from typing import Annotated, TypeAlias

import cv2
import torch
import typer

Run: TypeAlias = Annotated[Path, typer.Option(help="folder of the run: checkpoint, log, weights")]
Data: TypeAlias = Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="data folder")]
Mocap: TypeAlias = Annotated[Path, typer.Option(help="mocap cache of kinestream.trainer.prepare.mocap")]
Pools: TypeAlias = Annotated[list[Path], typer.Option(help="crop pool with train/ and val/; repeatable")]
Photos: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="photo sets (DATA/images, DATA/pseudo); repeatable")
]
Flow: TypeAlias = Annotated[Path | None, typer.Option(help="pose flow; default: the shipped one")]
Init: TypeAlias = Annotated[Path | None, typer.Option(help="weights to start from")]
InitRate: TypeAlias = Annotated[
    float, typer.Option(help="learning rate of what starts trained, as a share; 0: it keeps its weights")
]
FrozenStages: TypeAlias = Annotated[
    int, typer.Option(help="first stages of the backbone that keep their weights")
]
LifterWeights: TypeAlias = Annotated[
    Path | None, typer.Option(help="weights of a trained lifter to start from")
]
TrainedLifter: TypeAlias = Annotated[Path, typer.Option(help="lifter.safetensors of a run of train_lifter")]
RecordedErrors: TypeAlias = Annotated[
    Path | None,
    typer.Option("--keypoint-errors", help="recording of kinestream.trainer.prepare.record_keypoint_errors"),
]
Recorded: TypeAlias = Annotated[
    list[Path] | None, typer.Option(help="recording of prepare.update_observations to learn from as well")
]
RecordedValidation: TypeAlias = Annotated[
    list[Path] | None, typer.Option(help="recording of other people, to measure and calibrate on")
]
StopAfter: TypeAlias = Annotated[int | None, typer.Option(help="stop (and write weights) after this step")]
PeakRate: TypeAlias = Annotated[float, typer.Option(help="highest learning rate")]


def set_up(*, threads: int, seed: int) -> None:
    """Log to the terminal, and take so many threads and this seed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.manual_seed(seed)
