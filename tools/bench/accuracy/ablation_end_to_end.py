"""What each learning regime is worth to the whole regressor: short trainings of equal budget, several seeds.

    python -m kinestream.tools.bench.accuracy.ablation_end_to_end --data DATA --pool POOL --labels LABELS
        --unlabelled CLIP --out FOLDER

Five trainings a seed of `kinestream.trainer.train_regressor`, each with one thing more than the one before:
rendered people alone; photos with keypoints; the alignment of their body parts; the latent prior;
self-supervision on video. All go on from the same weights. Measured by
:mod:`kinestream.tools.bench.accuracy.head` on people nobody trained on, without and with the measurement
update. A training that was measured is not repeated, one that was interrupted goes on. Writes
``ablation_end_to_end.json`` and ``ablation_end_to_end.md``.
"""

import json
import logging
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console

from kinestream.body.arrays import read_body
from kinestream.body.model import BodyModel
from kinestream.defaults import DEFAULT_MODEL
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.regress.regressor import load_network
from kinestream.regress.shipped import weights_of
from kinestream.tools import options
from kinestream.tools.bench.accuracy import ablation
from kinestream.tools.bench.accuracy.ablation import Figures, as_markdown, summary
from kinestream.tools.bench.accuracy.head import HeadSets
from kinestream.tools.bench.timing import write_report
from kinestream.trainer import train_regressor

_logger = logging.getLogger(__name__)

SETTINGS: Final[dict[str, dict[str, float]]] = {
    "full": {
        "full": 0.95,
        "weak": 0.0,
        "reprojection": 0.0,
        "alignment": 0.0,
        "prior": 0.0,
        "self_share": 0.0,
    },
    "+ weak keypoints": {"full": 0.6, "weak": 0.35, "reprojection": 1.0},
    "+ alignment": {"alignment": 0.03},
    "+ latent prior": {"prior": 0.002},
    "+ self": {"self_share": 0.25, "temporal": 0.1},
}
"""Options of `kinestream.trainer.train_regressor` that each training changes; it keeps those before it."""
INIT_RATE: Final = 0.3
"""What was trained before learns at this share of the rate."""


def options_of(name: str) -> dict[str, float]:
    """All options of a setting, those of the settings before it included; ``KeyError`` for another name."""
    return ablation.weights_of(name, SETTINGS)


def main(
    data: options.Data,
    pool: Annotated[list[Path], typer.Option(help="Crop pool; repeatable.")],
    labels: Annotated[Path, typer.Option(help="Label files with boxes of the videos.")],
    unlabelled: Annotated[list[Path], typer.Option(help="Video to learn from without labels; repeatable.")],
    out: options.OutFolder,
    training_data: Annotated[
        Path | None, typer.Option(help="Folder with photos and their labels, if it is not --data.")
    ] = None,
    model: options.Model = DEFAULT_MODEL,
    steps: Annotated[int, typer.Option(help="Of each training.")] = 120,
    batch_size: Annotated[int, typer.Option(help="Crops of a step.")] = 32,
    peak_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
    threads: options.Threads = 1,
) -> None:
    """Train and measure all settings."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    start = weights_of(model)
    network, flow = load_network(start), PoseFlow.load()
    update, body = KeypointUpdate(read_body(), FlowMap(flow)), BodyModel.load()

    def measured(weights: Path) -> Figures:
        found = load_network(weights)
        sets = HeadSets(found, data, flow, body)
        return sets(found.head) | {f"{name} updated": row for name, row in sets(found.head, update).items()}

    budget = {"steps": steps, "batch_size": batch_size, "peak_rate": peak_rate, "seeds": seeds}
    runs: dict[str, list[Figures]] = {"before": [measured(start)]}
    for seed in range(seeds):
        for number, name in enumerate(SETTINGS):
            folder = out / f"{number}-{seed}"
            figures = folder / "figures.json"
            if not figures.exists():
                train_regressor.main(
                    run=folder,
                    data=training_data or data,
                    pool=pool,
                    backbone=network.config.backbone,
                    crop_px=network.config.crop_px,
                    latent_size=network.config.latent_size,
                    init=start,
                    init_rate=INIT_RATE,
                    empty=0.05,
                    unlabelled=unlabelled,
                    labels=labels,
                    steps=steps,
                    batch_size=batch_size,
                    peak_rate=peak_rate,
                    seed=seed,
                    threads=threads,
                    **options_of(name),  # type: ignore[arg-type]
                )
                figures.write_text(json.dumps(measured(folder / "regressor.safetensors")), encoding="utf-8")
            runs.setdefault(name, []).append(json.loads(figures.read_text(encoding="utf-8")))
            _logger.info("%s, seed %d: %s", name, seed, runs[name][-1])
            content: dict[str, Any] = {
                "weights": start.stem,
                "budget": budget,
                "settings": {key: options_of(key) for key in SETTINGS},
                "results": summary(runs),
                "runs": runs,
            }
            write_report(out / "ablation_end_to_end.json", "ablation end to end", content)
            (out / "ablation_end_to_end.md").write_text(as_markdown(content["results"]), encoding="utf-8")
    Console().print(as_markdown(summary(runs)), markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
