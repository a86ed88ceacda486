"""Which backends can run here, and why one cannot."""

import importlib.util
import os
from typing import Literal, NamedTuple

import torch

Backend = Literal["reference", "cpu", "gpu"]


class BackendStatus(NamedTuple):
    """Whether a backend can run, and the reason in words for either answer."""

    available: bool
    reason: str


def probe_backends(device: torch.device | str = "cpu") -> dict[Backend, BackendStatus]:
    """Status of every backend for tensors on `device`, without importing numba or Triton."""
    kind = torch.device(device).type
    return {
        "reference": BackendStatus(True, "plain torch runs on every device"),
        "cpu": _cpu_status(kind),
        "gpu": _gpu_status(kind),
    }


def choose_backend(device: torch.device) -> tuple[Backend, str]:
    """The fastest backend for tensors on `device`, and why a faster one was passed over ('' if none was)."""
    wanted: Backend = "cpu" if device.type == "cpu" else "gpu"
    status = probe_backends(device)[wanted]
    return (wanted, "") if status.available else ("reference", status.reason)


def _cpu_status(kind: str) -> BackendStatus:
    if kind != "cpu":
        return BackendStatus(
            False, f"the tensors are on {kind}; move them to the CPU or choose another backend"
        )
    if importlib.util.find_spec("numba") is None:
        return BackendStatus(False, "numba is not installed; pip install numba")
    return BackendStatus(True, "numba is installed")


def _gpu_status(kind: str) -> BackendStatus:
    if importlib.util.find_spec("triton") is None:
        return BackendStatus(False, "triton is not installed; pip install 'kinestream[gpu]'")
    if kind == "cuda":
        return BackendStatus(True, "triton is installed and the tensors are on a GPU")
    if kind == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return BackendStatus(
            True, "Triton's interpreter runs the kernels on the CPU, slowly (TRITON_INTERPRET=1)"
        )
    return BackendStatus(False, f"the tensors are on {kind}; move them to a CUDA device")
