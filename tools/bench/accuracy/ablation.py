"""What each learning regime of the state head is worth: short trainings of equal budget, several seeds.

    python -m kinestream.tools.bench.accuracy.ablation --data DATA --observations RENDERED.npz
        --held-out HELD_OUT.npz --people PHOTOS.npz --held-out-people PHOTOS_VAL.npz --video VIDEO.npz
        --mocap CACHE --out FOLDER

Five trainings a seed, each with one thing more than the one before: exact bodies of rendered people alone;
keypoints of photos; the alignment with their body parts; the latent prior; self-supervision (the bodies that
the measurement update by the network's own keypoints finds, agreement with the mirrored picture, and on video
the surprise of the dynamics, forwards and backwards). Beside them, what the update finds is learned alone.
All go on from the same weights, from evidence that the network gave once
(:mod:`kinestream.trainer.train_state`, :mod:`kinestream.trainer.prepare.observe_people`),
and are measured by :mod:`kinestream.tools.bench.accuracy.head` on people nobody trained on, without and with
the measurement update, on held-out rendered people, and by the reprojection on
held-out photos. A training that was measured is not repeated, one that was interrupted
goes on. Writes ``ablation.json`` and ``ablation.md``.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from rich.console import Console

from kinestream.body.arrays import read_body
from kinestream.body.model import BodyModel
from kinestream.defaults import DEFAULT_MODEL
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.geometry.rotation import matrix_from_sixd
from kinestream.latent.flow_map import FlowMap
from kinestream.networks.weight_files import save_weights
from kinestream.regress.regressor import REGRESSOR_FORMAT, load_network
from kinestream.regress.state_head import StateHead
from kinestream.tools import options
from kinestream.tools.bench.accuracy.head import HeadSets
from kinestream.tools.bench.report import Grid
from kinestream.tools.bench.report import as_markdown as as_page
from kinestream.tools.bench.timing import write_report
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.motion.variety import rooted_poses
from kinestream.trainer.losses.weak import WeakLossWeights, weak_body_loss
from kinestream.trainer.metrics import aligned_error
from kinestream.trainer.options import RecordedErrors
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.observed_people import ObservedPeople
from kinestream.trainer.regressor.real_people import RealPeople, RealPeopleWeights
from kinestream.trainer.regressor.self_regime import matching_dynamics
from kinestream.trainer.regressor.state_head import ObservedBodies, train
from kinestream.trainer.regressor.updated_people import UpdatedBodies, updated_bodies
from kinestream.trainer.run_state import TrainingRun

_logger = logging.getLogger(__name__)

SETTINGS: Final[dict[str, dict[str, float]]] = {
    "full": dict.fromkeys(("reprojection", "alignment", "prior", "mirror", "temporal", "updated"), 0.0),
    "+ weak keypoints": {"reprojection": 10.0},
    "+ alignment": {"alignment": 0.3},
    "+ latent prior": {"prior": 0.01},
    "+ self": {"mirror": 3.0, "temporal": 0.1, "updated": 3.0},
    "update alone": {"reprojection": 0.0, "alignment": 0.0, "prior": 0.0, "mirror": 0.0, "temporal": 0.0},
}
"""Weights that each training changes, see `kinestream.trainer.train_state`; it keeps those before it."""

FEATURE_DROPOUT: Final = 0.3
"""As in the last training of the shipped heads."""

COLUMNS: Final = (
    ("opencap", "pa_mpjpe_mm"),
    ("bodypose3d", "pa_mpjpe_mm"),
    ("lspet", "pck_0.2_body_percent"),
    ("lspet updated", "pck_0.2_body_percent"),
    ("clothing", "part_iou"),
    ("rendered", "mpjpe_mm"),
    ("rendered", "pa_mpjpe_mm"),
    ("photos", "reprojection_percent"),
)

Figures = dict[str, dict[str, float]]


def weights_of(name: str, settings: dict[str, dict[str, float]] = SETTINGS) -> dict[str, float]:
    """All weights of a setting, those of the settings before it included; ``KeyError`` for another name."""
    merged: dict[str, float] = {}
    for step, changes in settings.items():
        merged |= changes
        if step == name:
            return merged
    raise KeyError(name)


@dataclass(frozen=True, eq=False)
class Crowd:
    """The real people of all settings, and the bodies that the update finds of them."""

    photos: ObservedPeople
    video: ObservedPeople
    updated_photos: UpdatedBodies
    updated_video: UpdatedBodies

    def regime(self, name: str, teacher: BodyTeacher) -> RealPeople | None:
        """What a setting learns from beside rendered people; None for ``full``."""
        chosen = weights_of(name)
        if not any(chosen.values()):
            return None
        weak = WeakLossWeights(*[chosen[key] for key in ("reprojection", "alignment", "prior")])
        weights = RealPeopleWeights(weak, chosen["mirror"], chosen["temporal"], chosen["updated"])
        if not chosen["updated"]:
            return RealPeople(self.photos, weights=weights)
        dynamics = matching_dynamics(teacher.flow, torch.device("cpu"))
        updated = (self.updated_photos, self.updated_video)
        return RealPeople(self.photos, self.video, dynamics, weights, *updated)


@torch.no_grad()
def held_out_figures(
    head: StateHead, teacher: BodyTeacher, rendered: ObservedBodies, photos: ObservedPeople
) -> Figures:
    """Errors on held-out rendered people, and the reprojection on held-out photos in % of half the crop."""
    head.eval()
    target = teacher.targets(rendered)
    state = head(rendered.evidence, rendered.to_virtual, rendered.log_extent)
    _, terms = teacher.loss(state, target)
    joints, _, _ = teacher.loss.posed(state, matrix_from_sixd(state.root_sixd), rendered.log_extent)
    some = photos.runs(torch.arange(len(photos.times_s)))
    state = head(some.evidence, some.to_virtual, some.log_extent)
    given = {"keypoints": some.keypoints, "to_virtual": some.to_virtual, "log_extent": some.log_extent}
    _, weak = weak_body_loss(teacher.loss, state, **given)
    return {
        "rendered": {
            "mpjpe_mm": 1000 * float(terms["joints"]),
            "pa_mpjpe_mm": 1000 * float(aligned_error(joints.numpy(), target.joints_m.numpy()).mean()),
        },
        "photos": {"reprojection_percent": 100 * float(weak["reprojection"])},
    }


def summary(runs: dict[str, list[Figures]]) -> dict[str, Figures]:
    """Mean and standard deviation over the seeds, by training, set and metric."""
    return {
        name: {
            group: {
                key: value
                for metric in seeds[0][group]
                for values in [np.array([figures[group][metric] for figures in seeds])]
                for key, value in (
                    (metric, float(values.mean())),
                    (f"{metric}_std", float(values.std(ddof=1)) if len(values) > 1 else 0.0),
                )
            }
            for group in seeds[0]
        }
        for name, seeds in runs.items()
    }


def as_markdown(results: dict[str, Figures]) -> str:
    """The table, one training a row: mean ± deviation."""
    rows = [
        [
            name,
            *(
                f"{groups[group][metric]:.3g} ± {groups[group].get(f'{metric}_std', 0):.2g}"
                if group in groups
                else "–"
                for group, metric in COLUMNS
            ),
        ]
        for name, groups in results.items()
    ]
    return as_page([Grid(["training", *map(" ".join, COLUMNS)], rows)]).partition("\n\n")[2]


def main(
    data: options.Data,
    observations: Annotated[Path, typer.Option(help="Observed rendered people (npz).")],
    held_out: Annotated[Path, typer.Option(help="Observed rendered people who validate (npz).")],
    people: Annotated[Path, typer.Option(help="Observed photos (npz).")],
    held_out_people: Annotated[Path, typer.Option(help="Observed photos that validate (npz).")],
    video: Annotated[Path, typer.Option(help="Observed video (npz).")],
    mocap: Annotated[Path, typer.Option(help="Cache of kinestream.trainer.prepare.mocap.")],
    out: options.OutFolder,
    keypoint_errors: RecordedErrors = None,
    model: options.Model = DEFAULT_MODEL,
    steps: Annotated[int, typer.Option(help="Of each training.")] = 400,
    batch_size: Annotated[int, typer.Option(help="Rendered people of a step.")] = 128,
    peak_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
    threads: options.Threads = 1,
) -> None:
    """Train and measure all settings."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    network, teacher, poses = load_network(model), BodyTeacher(), rooted_poses(mocap, "train")
    sets = HeadSets(network, data, teacher.flow, BodyModel.load())
    rendered, unseen = ObservedBodies.load(observations), ObservedBodies.load(held_out)
    photos, other_photos = ObservedPeople.load(people), ObservedPeople.load(held_out_people)
    update, views = KeypointUpdate(read_body(), FlowMap(teacher.flow)), ObservedPeople.load(video)
    updated = [updated_bodies(network.head, teacher, update, one) for one in (photos, views)]
    crowd = Crowd(photos, views, *updated)
    errors = None if keypoint_errors is None else KeypointErrors.load(keypoint_errors)

    def measured(head: StateHead) -> Figures:
        after = {f"{name} updated": figures for name, figures in sets(head, update).items()}
        return sets(head) | after | held_out_figures(head, teacher, unseen, other_photos)

    budget = {"steps": steps, "batch_size": batch_size, "peak_rate": peak_rate, "seeds": seeds}
    runs: dict[str, list[Figures]] = {"before": [measured(network.head)]}
    for seed in range(seeds):
        for number, name in enumerate(SETTINGS):
            folder = out / f"{number}-{seed}"
            figures = folder / "figures.json"
            if not figures.exists():
                head = load_network(model).head.requires_grad_(True)
                optimizer = torch.optim.AdamW(head.parameters(), lr=peak_rate, weight_decay=0.05)
                run = TrainingRun(folder, head, optimizer, settings=budget | weights_of(name))
                run.resume()
                train(
                    run,
                    teacher,
                    rendered,
                    unseen,
                    poses,
                    steps=steps,
                    batch_size=batch_size,
                    peak_rate=peak_rate,
                    seed=seed,
                    errors=errors,
                    feature_dropout=FEATURE_DROPOUT,
                    real=crowd.regime(name, teacher),
                )
                network.head.load_state_dict(run.averaged().state_dict())
                notes = {"steps": f"ablation: {name}, {run.step} steps"}
                path = folder / "regressor.safetensors"
                save_weights(
                    path, network, kind=REGRESSOR_FORMAT, config=network.config.to_dict(), notes=notes
                )
                figures.write_text(json.dumps(measured(run.averaged())), encoding="utf-8")
            runs.setdefault(name, []).append(json.loads(figures.read_text(encoding="utf-8")))
            _logger.info("%s, seed %d: %s", name, seed, runs[name][-1])
            content: dict[str, Any] = {
                "weights": Path(model).stem,
                "budget": budget,
                "settings": {key: weights_of(key) for key in SETTINGS},
                "results": summary(runs),
                "runs": runs,
            }
            write_report(out / "ablation.json", "ablation", content)
            (out / "ablation.md").write_text(as_markdown(content["results"]), encoding="utf-8")
    Console().print(as_markdown(summary(runs)), markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
