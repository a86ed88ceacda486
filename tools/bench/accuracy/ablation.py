"""What each regime and loss of the regressor's training is worth: short trainings of equal budget.

    python -m kinestream.tools.bench.accuracy.ablation --data DATA --pool POOL --labels LABELS
        --out FOLDER [-- MORE]

Five trainings, each with one thing more than the one before: rendered people alone; photos with keypoints;
the part alignment; the latent prior; self-supervision on the clips. All start from the same weights, make the
same number of steps with the same batch size and seed, and are measured by the protocols of
:mod:`kinestream.tools.bench.accuracy.sets`; MORE are options of :mod:`kinestream.trainer.train_regressor`
that all have. A training that is already there is not repeated, one that was interrupted goes on. Writes
``ablation.json`` and ``ablation.md``.
"""

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console

from kinestream.body.model import BodyModel
from kinestream.latent.flow import PoseFlow
from kinestream.regress.regressor import Regressor, load_network
from kinestream.tools import options
from kinestream.tools.bench.accuracy import sets
from kinestream.tools.bench.report import Grid
from kinestream.tools.bench.report import as_markdown as as_page
from kinestream.tools.bench.timing import write_report

_logger = logging.getLogger(__name__)

SETTINGS: Final[dict[str, dict[str, float]]] = {
    "full": {"full": 0.95, "weak": 0.0, "alignment": 0.0, "prior": 0.0, "self": 0.0, "temporal": 0.0},
    "+ weak keypoints": {"full": 0.6, "weak": 0.35},
    "+ alignment": {"alignment": 0.2},
    "+ latent prior": {"prior": 0.002},
    "+ self": {"self": 0.15, "temporal": 0.01},
}
"""What each training changes of `kinestream.trainer.train_regressor`; it keeps the options before it."""

COLUMNS: Final = (
    ("rendered", "mpjpe_mm"),
    ("rendered", "pa_mpjpe_mm"),
    ("rendered", "pck_0.2_percent"),
    ("rendered", "part_iou"),
    ("lspet", "pck_0.2_all_percent"),
    ("lspet", "pck_0.2_without_presence_percent"),
    ("bodypose3d", "pa_mpjpe_mm"),
)


def options_of(name: str) -> dict[str, float]:
    """All options of a setting, those of the settings before it included; ``KeyError`` for another name."""
    merged: dict[str, float] = {}
    for step, changes in SETTINGS.items():
        merged |= changes
        if step == name:
            return merged
    raise KeyError(name)


def command_of(
    name: str, *, data: Path, pool: Path, labels: Path, run: Path, more: Sequence[str]
) -> list[str]:
    """The training command of a setting."""
    chosen = options_of(name)
    command = [sys.executable, "-m", "kinestream.trainer.train_regressor"]
    for option, value in {"run": run, "data": data, "pool": pool, **chosen}.items():
        command += [f"--{option}", str(value)]
    command += more
    if chosen["self"] > 0:
        command += ["--labels", str(labels)]
        for clip in labelled_clips(data / "clips", labels):
            command += ["--unlabelled", str(clip)]
    return command


def labelled_clips(folder: Path, labels: Path) -> list[Path]:
    """The videos of ``folder`` that have a label file; ``FileNotFoundError`` when there is none."""
    found = sorted(clip for clip in folder.glob("*.mp4") if (labels / f"{clip.stem}.npz").exists())
    if not found:
        raise FileNotFoundError(
            f"no video of {folder} has a label file in {labels}; make some with tools/teacher/pseudo_label.py"
        )
    return found


def measure(weights: Path, data: Path, pool: Path, *, limit: int | None) -> dict[str, dict[str, Any]]:
    """Metrics of trained weights by set."""
    flow, body = PoseFlow.load().eval().requires_grad_(False), BodyModel.load()
    regressor = Regressor.load(weights)
    return {
        "rendered": sets.rendered(load_network(weights), pool / "val", data, flow, body, limit=limit),
        "lspet": sets.lspet(regressor, data / "images" / "lspet", limit=limit),
        "bodypose3d": sets.bodypose3d(regressor, data / "bench" / "bodypose3d", flow, body, limit=limit),
    }


def as_markdown(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The table, one training a row."""
    rows = [
        [name, *(f"{groups[group][metric]:.3g}" for group, metric in COLUMNS)]
        for name, groups in results.items()
    ]
    return as_page([Grid(["training", *map(" ".join, COLUMNS)], rows)]).partition("\n\n")[2]


def main(
    data: options.Data,
    pool: Annotated[Path, typer.Option(help="Crop pool with train/ and val/.")],
    labels: Annotated[Path, typer.Option(help="Label files of DATA/clips.")],
    shared: Annotated[
        list[str] | None,
        typer.Argument(help="Further options of kinestream.trainer.train_regressor, for all."),
    ] = None,
    *,
    out: options.OutFolder,
    steps: Annotated[int, typer.Option(help="Of each training.")] = 3000,
    batch_size: Annotated[int, typer.Option(help="Of each training.")] = 32,
    crop_px: Annotated[int, typer.Option(help="Side of the crops.")] = 128,
    seed: options.Seed = 0,
    threads: options.Threads = 1,
    device: Annotated[str, typer.Option(help="Where to train.")] = "cpu",
    init: Annotated[Path | None, typer.Option(help="Weights from which all start.")] = None,
    lifter: Annotated[Path | None, typer.Option(help="Lifter from which all start.")] = None,
    limit: options.Limit = None,
) -> None:
    """Train and measure all settings."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    budget = {"steps": steps, "batch-size": batch_size, "crop-px": crop_px, "seed": seed, "threads": threads}
    more = [text for key, value in budget.items() for text in (f"--{key}", str(value))] + ["--device", device]
    for option, path in (("--init", init), ("--lifter", lifter)):
        more += [] if path is None else [option, str(path)]
    more += shared or []
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for number, name in enumerate(SETTINGS):
        run = out / f"{number}"
        weights = run / "regressor.safetensors"
        if not weights.exists():
            command = command_of(name, data=data, pool=pool, labels=labels, run=run, more=more)
            _logger.info("%s", " ".join(command))
            subprocess.run(command, check=True)
        results[name] = measure(weights, data, pool, limit=limit)
        content = {
            "budget": budget,
            "shared": shared or [],
            "settings": {key: options_of(key) for key in results},
            "results": results,
        }
        write_report(out / "ablation.json", "ablation", content)
        (out / "ablation.md").write_text(as_markdown(results), encoding="utf-8")
    Console().print(as_markdown(results), markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
