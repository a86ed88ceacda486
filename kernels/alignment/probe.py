"""Which faces can run here, and why one cannot."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, NamedTuple

import torch

Face = Literal["reference", "cpu", "gpu"]


class FaceStatus(NamedTuple):
    """Whether a face can run, and the reason in words for either answer."""

    available: bool
    reason: str


def probe_faces(device: torch.device | str = "cpu") -> dict[Face, FaceStatus]:
    """Status of every face for tensors on `device`, without importing numba or Triton."""
    kind = torch.device(device).type
    return {
        "reference": FaceStatus(True, "plain torch runs on every device"),
        "cpu": _cpu_status(kind),
        "gpu": _gpu_status(kind),
    }


def choose_face(device: torch.device) -> tuple[Face, str]:
    """The fastest face for tensors on `device`, and why a faster one was passed over ('' if none was)."""
    wanted: Face = "cpu" if device.type == "cpu" else "gpu"
    status = probe_faces(device)[wanted]
    return (wanted, "") if status.available else ("reference", status.reason)


def _cpu_status(kind: str) -> FaceStatus:
    if kind != "cpu":
        return FaceStatus(False, f"the tensors are on {kind}; move them to the CPU or choose another face")
    if importlib.util.find_spec("numba") is None:
        return FaceStatus(False, "numba is not installed; pip install numba")
    return FaceStatus(True, "numba is installed")


def _gpu_status(kind: str) -> FaceStatus:
    if importlib.util.find_spec("triton") is None:
        return FaceStatus(False, "triton is not installed; pip install 'kinestream[gpu]'")
    if kind == "cuda":
        return FaceStatus(True, "triton is installed and the tensors are on a GPU")
    if kind == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return FaceStatus(
            True, "Triton's interpreter runs the kernels on the CPU, slowly (TRITON_INTERPRET=1)"
        )
    return FaceStatus(False, f"the tensors are on {kind}; move them to a CUDA device")
