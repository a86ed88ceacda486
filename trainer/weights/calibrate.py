"""Scale the deviations of a state head so that they say how far off it is.

    python -m kinestream.trainer.weights.calibrate WEIGHTS --observations OBSERVATIONS.npz --out OUT

Every dimension of pose, root, pelvis and shape gets one factor, that of the errors on observations (a file of
`kinestream.trainer.train_state --observations`) that no training saw; means stay. Averaged weights need it.
With ``--keypoint-noise`` the weights also keep how far off their keypoints are, as
`kinestream.trainer.prepare.keypoint_noise` found.
"""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from torch import Tensor

from kinestream.geometry.rotation import geodesic_distance, matrix_from_sixd
from kinestream.networks.weight_files import save_weights
from kinestream.regress.lifter import LOG_STD_RANGE
from kinestream.regress.regressor import REGRESSOR_FORMAT, load_network
from kinestream.regress.state_head import StateHead
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.state_head import ObservedBodies

_MAX_SQUARE = 30.0
"""Squared normalised errors count at most so much, so that single failures do not widen everything."""
_MIN_SLOPE = 0.3


@torch.no_grad()
def errors_and_deviations(
    head: StateHead, teacher: BodyTeacher, seen: ObservedBodies
) -> tuple[Tensor, Tensor]:
    """Errors (B, D + 14) of latents, root angle, pelvis and betas, and the logarithms of their deviations."""
    state, target = head(seen.evidence, seen.to_virtual, seen.log_extent), teacher.targets(seen)
    angle = geodesic_distance(matrix_from_sixd(state.root_sixd), target.rotations[:, 0])[:, None]
    errors = (state.z - target.z, angle, state.pelvis - target.pelvis, state.betas - target.betas)
    return torch.cat(errors, 1), torch.cat(list(state[4:]), 1)


@torch.no_grad()
def calibrate(head: StateHead, teacher: BodyTeacher, seen: ObservedBodies) -> None:
    """Shift the biases of the head's log-deviations, each by the logarithm of its factor."""
    head.eval()
    errors, log_std = errors_and_deviations(head, teacher, seen)
    factor = (errors / log_std.exp()).square().clamp_max(_MAX_SQUARE).mean(0).sqrt()
    low, high = LOG_STD_RANGE
    slope = 1 - ((log_std - (low + high) / 2) / ((high - low) / 2)).square().mean(0)  # of the soft limit
    head.lifter.state.bias[-log_std.shape[1] :] += factor.log() / slope.clamp_min(_MIN_SLOPE)


def main(
    weights: Annotated[Path, typer.Argument(help="regressor whose deviations are to be scaled")],
    observations: Annotated[Path, typer.Option(help="observations of people who were not trained on")],
    out: Annotated[Path, typer.Option(help="file to write")],
    keypoint_noise: Annotated[Path | None, typer.Option(help="result of prepare.keypoint_noise")] = None,
) -> None:
    """Calibrate, and say what it changed."""
    network, teacher, seen = load_network(weights), BodyTeacher(), ObservedBodies.load(observations)
    before = errors_and_deviations(network.head, teacher, seen)
    calibrate(network.head, teacher, seen)
    after = errors_and_deviations(network.head, teacher, seen)
    for name, (errors, log_std) in (("before", before), ("after", after)):
        nll = float((0.5 * (errors / log_std.exp()).square() + log_std).mean())
        Console().print(f"{name}: negative log-likelihood {nll:.3f} a dimension")
    config = network.config.to_dict()
    if keypoint_noise is not None:
        found = json.loads(keypoint_noise.read_text(encoding="utf-8"))
        config |= {f"keypoint_{name}": found[name] for name in ("std", "slope")}
    notes = {"steps": "deviations calibrated"}
    save_weights(out, network, kind=REGRESSOR_FORMAT, config=config, notes=notes)


if __name__ == "__main__":
    typer.run(main)
