"""Train the pose flow, on one process or under torchrun.

    python -m kinestream.trainer.train_flow --run FOLDER --mocap CACHE

Writes ``flow.safetensors``, and ``flow.json`` with the figures, into the run's folder.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kinestream.latent.flow import FlowConfig
from kinestream.trainer import options
from kinestream.trainer.flow.training import TrainConfig, load_training_poses, new_run, train
from kinestream.trainer.processes import Processes


def main(
    run: options.Run,
    mocap: Annotated[
        Path, typer.Option(help="mocap cache of kinestream.trainer.prepare.mocap, or a mocap folder")
    ],
    kind: Annotated[str, typer.Option(help="realnvp or light")] = "realnvp",
    depth: Annotated[int, typer.Option(help="couplings, or PReLU layers")] = 8,
    hidden: Annotated[int, typer.Option(help="width of the couplings' networks")] = 128,
    init: Annotated[Path | None, typer.Option(help="flow to start from; its latent space stays near")] = None,
    steps: int = 6000,
    batch_size: Annotated[int, typer.Option(help="poses a step, over all processes")] = 512,
    peak_rate: options.PeakRate = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="AdamW's, on network weights")] = 1e-4,
    noise_rad: Annotated[float, typer.Option(help="noise on the poses")] = 0.04,
    step_rad: Annotated[float, typer.Option(help="arc length between training poses")] = 0.05,
    swap: Annotated[float, typer.Option(help="probability of a limb to come from another pose")] = 0.25,
    spread: Annotated[float, typer.Option(help="correlated noise in standard deviations")] = 0.3,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Train a pose flow. Started again, it goes on from its checkpoint."""
    options.set_up(threads=threads, seed=seed)
    flow_config = FlowConfig(kind=kind, depth=depth, hidden=hidden)  # type: ignore[arg-type]
    config = TrainConfig(
        flow=flow_config, noise_rad=noise_rad, step_rad=step_rad, swap=swap, spread=spread, steps=steps,
        batch=batch_size, learning_rate=peak_rate, weight_decay=weight_decay, seed=seed,
    )  # fmt: skip
    processes = Processes.join()
    run.mkdir(parents=True, exist_ok=True)
    with processes.one_first():  # the first builds the cache
        poses, val_poses = load_training_poses(mocap, config, run)
    training = new_run(poses, config, run, init=init, processes=processes)
    flow = train(training, config, poses, val_poses)
    if processes.first:
        figures = {
            "config": asdict(config), "processes": processes.world, "train_poses": len(poses),
            "val_poses": len(val_poses), "history": training.history("nll"),
        }  # fmt: skip
        (run / "flow.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        flow.set_reference(val_poses)
        flow.save(run / "flow.safetensors", half=True)
    processes.leave()


if __name__ == "__main__":
    typer.run(main)
