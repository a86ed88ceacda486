"""MoveNet's weights: read in TensorFlow.js' layout, placed layer by layer, refused when they do not fit."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.detect.network import DetectorNetwork
from kinestream.networks.interface import DetectorConfig, RegressorConfig
from kinestream.regress.network import RegressorNetwork
from kinestream.trainer.weights.import_movenet import (
    CENTER_HEAD,
    KEYPOINT_HEAD,
    GraphModelError,
    import_detector,
    import_movenet,
    layer_names,
    read_graph_model,
)
from kinestream.trainer.weights.import_movenet import _entries as entries

CONFIG = RegressorConfig(latent_size=6, backbone="tiny", crop_px=64)


@pytest.fixture(scope="module")
def donor() -> RegressorNetwork:
    torch.manual_seed(3)
    network = RegressorNetwork(CONFIG).eval()
    network.load_state_dict({name: value.half().float() for name, value in network.state_dict().items()})
    return network


def write_movenet(
    folder: Path,
    donor: torch.nn.Module,
    *,
    head: Mapping[str, tuple[str, str]] = KEYPOINT_HEAD,
    drop: str = "",
    cut: int = 0,
) -> Path:
    """A graph model whose layers hold the donor's weights, half of them as float16, split over two files."""
    state, data, listed = donor.state_dict(), [], []
    for index, (ours, (theirs, kind)) in enumerate(sorted(layer_names(head).items())):
        for suffix, name in zip(("weight", "bias"), entries(theirs, kind), strict=True):
            if name is None:
                continue
            value = state[f"{ours}.{suffix}"].numpy()
            if ours == "dense.keypoints.1":
                value = value[:17]
            if suffix == "weight":
                depthwise = value.shape[1] == 1 and value.shape[2] == 3
                value = value.transpose(2, 3, 0, 1) if depthwise else value.transpose(2, 3, 1, 0)
            prefix = "StatefulPartitionedCall/" + (
                "extractor/model_1/" if not name.startswith(("kpt", "center")) else ""
            )
            entry = {"name": prefix + name, "shape": list(value.shape), "dtype": "float32"}
            if index % 2:
                value = value.astype(np.float16)
                entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            if drop and drop in name:
                continue
            listed.append(entry)
            data.append(np.ascontiguousarray(value).tobytes())
    content = b"".join(data)
    content = content[: len(content) - cut]
    (folder / "one.bin").write_bytes(content[: len(content) // 2])
    (folder / "two.bin").write_bytes(content[len(content) // 2 :])
    path = folder / "model.json"
    path.write_text(json.dumps({"weightsManifest": [{"paths": ["one.bin", "two.bin"], "weights": listed}]}))
    return path


@torch.no_grad()
def test_the_import_sees_what_the_donor_sees(tmp_path: Path, donor: RegressorNetwork) -> None:
    network = import_movenet(write_movenet(tmp_path, donor), CONFIG).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    ours, theirs = network.encode(images).heatmaps, donor.encode(images).heatmaps
    torch.testing.assert_close(ours[:, :17], theirs[:, :17], atol=1e-4, rtol=1e-4)
    assert (theirs[:, :17].amax((2, 3)) - theirs[:, :17].amin((2, 3))).min() > 0.1


def test_toes_and_heels_start_as_the_ankle_of_their_side(tmp_path: Path, donor: RegressorNetwork) -> None:
    rows = import_movenet(write_movenet(tmp_path, donor), CONFIG).state_dict()["dense.keypoints.1.weight"]
    for side in ("left", "right"):
        ankle = rows[KEYPOINT_NAMES.index(f"{side}_ankle")]
        for part in ("big_toe", "small_toe", "heel"):
            assert torch.equal(rows[KEYPOINT_NAMES.index(f"{side}_{part}")], ankle)


@torch.no_grad()
def test_the_detector_takes_the_map_of_centres(tmp_path: Path) -> None:
    torch.manual_seed(4)
    config = DetectorConfig(backbone="tiny", frame_px=64)
    donor = DetectorNetwork(config).eval()
    torch.nn.init.normal_(donor.center[1].weight, std=0.1)
    donor.load_state_dict({name: value.half().float() for name, value in donor.state_dict().items()})
    made = import_detector(write_movenet(tmp_path, donor, head=CENTER_HEAD), config).eval()
    frames = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    found, expected = made(frames), donor(frames)
    torch.testing.assert_close(found.center_logit, expected.center_logit, atol=1e-4, rtol=1e-4)
    assert expected.center_logit.std() > 1e-3


def test_what_does_not_fit_is_named(tmp_path: Path, donor: RegressorNetwork) -> None:
    path = write_movenet(tmp_path, donor)
    with pytest.raises(GraphModelError, match="network needs"):
        import_movenet(path, RegressorConfig(latent_size=6, backbone="medium", crop_px=64))
    with pytest.raises(GraphModelError, match="block_7_expand"):
        import_movenet(write_movenet(tmp_path, donor, drop="block_7_expand/Conv2D_weights"), CONFIG)
    with pytest.raises(GraphModelError, match="ends within"):
        read_graph_model(write_movenet(tmp_path, donor, cut=10))
    other = tmp_path / "other.json"
    other.write_text('{"format": "layers-model"}')
    with pytest.raises(GraphModelError, match=r"other\.json: not a graph model"):
        read_graph_model(other)
    with pytest.raises(FileNotFoundError):
        read_graph_model(tmp_path / "absent.json")
