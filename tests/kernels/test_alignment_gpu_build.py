"""The Triton kernels of the alignment loss compile for an NVIDIA GPU, without one being there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kinestream.kernels.alignment import gpu

INTEGERS = ("part_start", "pixel_start", "order", "pixels", "winner", "labels", "part_ids")
COUNTS = ("parts", "count", "size", "width", "height", "blocks")


def kind(name, real):
    if name in COUNTS:
        return "i32"
    return "fp32" if name == "near" else "*i32" if name in INTEGERS else f"*{real}"


for function, constants in (
    (gpu._project, {"AXES": 3}),
    (gpu._pixels_to_vertices, {"HUBER": False, "SPLIT": 8}),
    (gpu._vertices_to_pixels, {"HUBER": True, "SPLIT": 8}),
    (gpu._vertices_to_silhouette, {"HUBER": False}),
    (gpu._backward, {"AXES": 3}),
):
    constants["TILE"] = 64
    names = function.arg_names
    signature = {name: "constexpr" if name in constants else kind(name, "fp32") for name in names}
    places = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(function, signature=signature, constexprs=places)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert built.asm["cubin"], function
"""


def test_kernels_compile_for_sm_90(tmp_path):
    pytest.importorskip("triton", reason="triton is not installed (extra gpu)")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", BUILD], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
