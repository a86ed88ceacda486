"""Inputs that do not fit are refused before any backend is entered."""

from __future__ import annotations

import pytest
import torch

import kinestream.kernels.alignment.api as api
from kinestream.kernels.alignment import alignment_loss


@pytest.fixture
def arguments() -> dict:
    return {
        "vertices": torch.rand(2, 6, 3) + 1,
        "part_ids": torch.arange(6),
        "part_map": torch.randint(0, 16, (2, 8, 9)),
        "camera": torch.eye(3),
    }


BAD = {
    "vertices as an array": ("vertices", lambda t: t.numpy(), TypeError, "torch.Tensor"),
    "half vertices": ("vertices", lambda t: t.half(), TypeError, "float32 or float64"),
    "no batch": ("vertices", lambda t: t[0], ValueError, "non-empty"),
    "no vertices": ("vertices", lambda t: t[:, :0], ValueError, "non-empty"),
    "four axes": ("vertices", lambda t: torch.rand(2, 6, 4), ValueError, r"\(B,V,3\)"),
    "float part ids": ("part_ids", lambda t: t.float(), TypeError, "integer"),
    "boolean part ids": ("part_ids", lambda t: t > 0, TypeError, "integer"),
    "part ids of another length": ("part_ids", lambda t: t[:5], ValueError, "one for every vertex"),
    "part id too high": ("part_ids", lambda t: t + 10, ValueError, r"0\.\.14.*found 10\.\.15"),
    "part id negative": ("part_ids", lambda t: t - 1, ValueError, r"found -1\.\.4"),
    "part ids elsewhere": ("part_ids", lambda t: t.to("meta"), ValueError, "meta"),
    "map label too high": ("part_map", lambda t: t + 16, ValueError, "part_map must lie"),
    "map label negative": ("part_map", lambda t: t - 16, ValueError, "part_map must lie"),
    "map of another batch": ("part_map", lambda t: t[:1], ValueError, r"\(2,H,W\)"),
    "empty map": ("part_map", lambda t: t[:, :0], ValueError, "empty"),
    "half logits": ("part_map", lambda t: torch.rand(2, 16, 8, 9).half(), TypeError, "logits"),
    "logits of fewer parts": ("part_map", lambda t: torch.rand(2, 15, 8, 9), ValueError, r"\(2,16,H,W\)"),
    "map elsewhere": ("part_map", lambda t: t.to("meta"), ValueError, "meta"),
    "no camera": ("camera", lambda t: None, ValueError, "intrinsics"),
    "camera of doubles": ("camera", lambda t: t.double(), TypeError, "float64"),
    "camera of another batch": ("camera", lambda t: t.repeat(3, 1, 1), ValueError, r"\(2,3,3\)"),
    "camera elsewhere": ("camera", lambda t: t.to("meta"), ValueError, "meta"),
    "visibility of another shape": ("visibility", lambda t: torch.ones(2, 5), ValueError, r"\(2, 6\)"),
    "integer visibility": ("visibility", lambda t: torch.ones(2, 6, dtype=torch.long), TypeError, "bool"),
    "negative visibility": ("visibility", lambda t: -torch.ones(2, 6), ValueError, ">= 0"),
    "NaN confidence": ("confidence", lambda t: torch.full((2, 8, 9), torch.nan), ValueError, ">= 0"),
    "map without size": ("image_from_map", lambda t: 0.0, ValueError, "positive scale"),
    "map grid of another shape": ("image_from_map", lambda t: torch.ones(4), ValueError, r"\(2,3\)"),
    "sigma zero": ("sigma_px", lambda t: 0.0, ValueError, "positive"),
    "no such robustifier": ("robustifier", lambda t: "l2", ValueError, "geman_mcclure"),
    "no such backend": ("backend", lambda t: "fpga", ValueError, "reference"),
    "part weights of another length": ("part_weights", lambda t: torch.ones(3), ValueError, r"\(15,\)"),
    "part weights of doubles": ("part_weights", lambda t: torch.ones(15).double(), TypeError, "float32"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_before_any_kernel(case, arguments, monkeypatch):
    def entered(backend: str, problem: object) -> torch.Tensor:
        pytest.fail("a backend was entered with inputs that do not fit")

    monkeypatch.setattr(api, "_run", entered)
    name, change, error, words = BAD[case]
    arguments[name] = change(arguments.get(name))
    with pytest.raises(error, match=words):
        alignment_loss(**arguments)


def test_camera_with_projected_points_is_refused(arguments):
    arguments["vertices"] = arguments["vertices"][..., :2]
    with pytest.raises(ValueError, match="already projected"):
        alignment_loss(**arguments)


def test_confidence_with_logits_is_refused(arguments):
    arguments["part_map"] = torch.rand(2, 16, 8, 9)
    with pytest.raises(ValueError, match="hard ids only"):
        alignment_loss(**arguments, confidence=torch.ones(2, 8, 9))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_every_integer_kind_is_taken(dtype, arguments):
    plain = alignment_loss(**arguments).total
    arguments["part_ids"], arguments["part_map"] = (
        arguments["part_ids"].to(dtype),
        arguments["part_map"].to(dtype),
    )
    torch.testing.assert_close(alignment_loss(**arguments).total, plain)


def test_strided_inputs_are_taken(arguments):
    plain = alignment_loss(**arguments).total
    arguments["vertices"] = arguments["vertices"].transpose(1, 2).contiguous().transpose(1, 2)
    arguments["part_map"] = arguments["part_map"].transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(alignment_loss(**arguments).total, plain)
