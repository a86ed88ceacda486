"""Accuracy of a shipped regressor (or of given weights) on rendered people, photos and calibrated video.

    python -m kinestream.tools.bench.accuracy --data DATA [--model large] [--pool POOL] [--labels LABELS]
        [--out JSON]

Protocols: modules `sets`, `clips` and `opencap` of :mod:`kinestream.tools.bench.accuracy`. Sets that are not
in the data folder are left out, with a warning. Clips (``DATA/clips``) need machine labels made with
``tools/teacher/pseudo_label.py``.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from kinestream.body.model import BodyModel, load_body
from kinestream.defaults import DEFAULT_MODEL
from kinestream.latent.flow import PoseFlow
from kinestream.models import Models
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import load_network
from kinestream.regress.upright import Observer
from kinestream.tools import options
from kinestream.tools.bench.accuracy import clips as videos
from kinestream.tools.bench.accuracy import datasets, opencap, peer, sets
from kinestream.tools.bench.timing import environment, figure, write_report
from kinestream.tools.metrics.clip import CLIP, TRUTH
from kinestream.trainer.data.annotated.emdb import load_emdb
from kinestream.trainer.data.annotated.human36m import load_human36m
from kinestream.trainer.data.annotated.threedpw import load_3dpw

_logger = logging.getLogger(__name__)


TRAINED_ON = {
    "rendered": "rendered people, other ones in other clothes and motions",
    "lspet": "nothing of it",
    "bodypose3d": "nothing of it",
    "rendered_clip": "rendered people",
    **dict.fromkeys(("opencap/STS", "opencap/walk", "3dpw", "emdb", "human36m"), "nothing of it"),
}
"""What of each set, or of its kind, the shipped weights were trained on."""


def run(
    network: RegressorNetwork,
    models: Models,
    data: Path,
    pool: Path | None,
    labels: Path | None,
    flow: PoseFlow,
    body: BodyModel,
    *,
    limit: int | None,
) -> dict[str, dict[str, Any]]:
    """Metrics by set, those of MediaPipe Pose beside ours where ``DATA/pseudo`` holds its answers."""
    results: dict[str, dict[str, Any]] = {}
    photos, video, answers = data / "images" / "lspet", data / "bench" / "bodypose3d", data / "pseudo"
    trials = data / "bench" / "opencap"
    if pool is not None and (pool / "val").is_dir():
        results["rendered"] = sets.rendered(network, models, pool / "val", data, flow, body, limit=limit)
    if photos.is_dir():
        results["lspet"] = sets.lspet(models, photos, limit=limit)
        if (answers / "lspet.npz").exists():
            results["mediapipe/lspet"] = peer.lspet(photos, answers / "lspet.npz")
    if video.is_dir():
        results["bodypose3d"] = sets.bodypose3d(models.regressor, video, flow, body, limit=limit)
        if (answers / "cam0.npz").exists():
            results["mediapipe/bodypose3d"] = peer.bodypose3d(video, answers / "cam0.npz")
    if trials.is_dir():
        results |= opencap.opencap(trials, models)
    results["rendered_clip"] = videos.rendered_clip(CLIP, TRUTH, models)
    if labels is not None:
        empty = data / "backgrounds" / "photos"
        results |= videos.clips(data / "clips", labels, empty, models, limit=limit)
    for there, what in (
        ("rendered" in results, "crop pool (--pool): rendered people are"),
        (labels is not None, "labels of the clips (--labels): clips are"),
        (photos.is_dir(), f"{photos}: photos are"),
        (video.is_dir(), f"{video}: calibrated video is"),
        (trials.is_dir(), f"{trials}: trials of OpenCap are"),
    ):
        if not there:
            _logger.warning("no %s left out", what)
    return results


def run_datasets(
    regressor: Observer,
    flow: PoseFlow,
    body: BodyModel,
    folders: dict[str, Path | None],
    reference: BodyModel | None,
    *,
    stride: int,
) -> dict[str, dict[str, Any]]:
    """Metrics on the data sets whose folders are given: ``3dpw``, ``emdb``, ``human36m``."""
    results: dict[str, dict[str, Any]] = {}
    for name, load in (("3dpw", lambda path: load_3dpw(path, "test")), ("emdb", load_emdb)):
        folder = folders.get(name)
        if folder is not None:
            videos = load(folder)
            results[name] = datasets.posed_videos(regressor, flow, body, videos, reference, stride=stride)
    folder = folders.get("human36m")
    if folder is not None:
        views = load_human36m(folder, datasets.TEST_SUBJECTS)
        results["human36m"] = datasets.human36m(
            regressor, flow, body, views, datasets.H36M_FOCAL_PX, stride=stride
        )
    return results


def main(
    data: options.Data,
    pool: Annotated[Path | None, typer.Option(help="Folder with a crop pool val/.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Folder with label files of DATA/clips.")] = None,
    model: options.Model = DEFAULT_MODEL,
    flow: options.Flow = None,
    threedpw: Annotated[Path | None, typer.Option("--3dpw", help="Folder of 3DPW.")] = None,
    emdb: Annotated[Path | None, typer.Option(help="Folder of EMDB.")] = None,
    human36m: Annotated[Path | None, typer.Option(help="Folder of Human3.6M.")] = None,
    reference_body: Annotated[Path | None, typer.Option(help="SMPL file for 3DPW and EMDB.")] = None,
    stride: Annotated[int, typer.Option(help="Of the frames of those sets.")] = 10,
    limit: options.Limit = None,
    threads: options.Threads = 1,
    out: options.Report = Path("docs/benchmarks/accuracy.json"),
) -> None:
    """Measure the accuracy of a regressor on all sets that are there."""
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(threads)
    models = Models.load(regressor=model)
    pose_flow, body = PoseFlow.load(flow).eval().requires_grad_(False), BodyModel.load()
    results = run(load_network(model), models, data, pool, labels, pose_flow, body, limit=limit)
    folders = {"3dpw": threedpw, "emdb": emdb, "human36m": human36m}
    reference = None if reference_body is None else load_body(reference_body)
    results |= run_datasets(models.regressor, pose_flow, body, folders, reference, stride=stride)
    hardware = environment()["cpu"]
    table = Table("metric", "value", title=f"{Path(model).stem}, float32, {threads} thread(s) of {hardware}")
    for name, metrics in results.items():
        table.add_section()
        table.add_row(f"[bold]{name}[/]", f"trained on {TRAINED_ON.get(name, 'see the model card')}")
        for metric, value in metrics.items():
            table.add_row(metric, figure(value))
    console = Console()
    console.print(table)
    console.print("Protocols:", sets.__doc__, videos.__doc__, opencap.__doc__, datasets.__doc__, markup=False)
    content = {"weights": Path(model).stem, "precision": "float32", "trained_on": TRAINED_ON}
    write_report(out, "accuracy", content | {"results": results})
