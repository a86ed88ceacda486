"""``kinestream doctor``: what this computer can do, and what to install for more."""

import importlib.metadata
import io
import platform
import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from kinestream.defaults import ASSETS, DEFAULT_ENDPOINT
from kinestream.regress.shipped import MODELS
from kinestream.tools.process import cores

PACKAGES = ("av", "numba", "numpy", "opencv-python-headless", "pyzmq", "torch")
WEIGHTS = (
    "body.npz",
    "flow.safetensors",
    "dynamics.safetensors",
    *(path.name for path in MODELS.values()),
    "detector.safetensors",
)
PORT = int(DEFAULT_ENDPOINT.rpartition(":")[2])


class Check(NamedTuple):
    """One line of the report: ``ok`` is None where nothing is wrong but more is possible."""

    ok: bool | None
    topic: str
    found: str
    advice: str = ""


def doctor() -> None:
    """Check this computer: versions, models, video, cameras, GPU, port.

    Exit code 1 when something that tracking needs is missing.
    """
    console = Console(highlight=False)
    table = Table(box=None, show_header=False)
    failed = False
    for check in checks():
        mark = {True: "[green]ok[/]", False: "[bold red]missing[/]", None: "[yellow]note[/]"}[check.ok]
        table.add_row(mark, check.topic, check.found + (f"\n[dim]{check.advice}[/]" if check.advice else ""))
        failed |= check.ok is False
    console.print(table)
    if failed:
        raise typer.Exit(1)
    console.print("\nReady. Try: kinestream demo")


def checks() -> Iterator[Check]:
    """All lines of the report."""
    yield Check(
        True, "system", f"{platform.platform()}, Python {sys.version.split()[0]}, {cores()} CPU cores"
    )
    yield _packages()
    yield _models()
    yield _video()
    yield _cameras()
    yield _gpu()
    yield _engines()
    yield _port()
    yield from _caches()


def _packages() -> Check:
    missing, found = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    advice = f"pip install {' '.join(missing)}" if missing else ""
    return Check(not missing, "packages", ", ".join(found), advice)


def _models() -> Check:
    missing = [name for name in WEIGHTS if not (ASSETS / name).is_file()]
    size = sum((ASSETS / name).stat().st_size for name in WEIGHTS if name not in missing)
    advice = f"not in {ASSETS}: {', '.join(missing)}; reinstall the package" if missing else ""
    return Check(not missing, "models", f"{len(WEIGHTS) - len(missing)} files, {size / 1e6:.1f} MB", advice)


def _video() -> Check:
    import av

    formats = [name for name in ("rtsp", "hls", "mp4", "matroska") if _has_format(av.formats_available, name)]
    available = {str(name) for name in av.codecs_available}
    codecs = sorted({"h264", "hevc", "av1", "vp9", "mjpeg"} & available)
    writes = _writes_video()
    advice = "" if writes else "no H.264 encoder: --save-video does not work; pip install a stock wheel of av"
    return Check(True if writes else None, "video", f"reads {', '.join(formats + codecs)}", advice)


def _writes_video() -> bool:
    """Whether a picture can be written as --save-video does, tried in memory."""
    import av

    try:
        with av.open(io.BytesIO(), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width = stream.height = 64
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _has_format(formats: set[str], name: str) -> bool:
    return any(name in entry.split(",") for entry in formats)


def _cameras() -> Check:
    from kinestream.capture import list_cameras

    cameras = list_cameras()
    if cameras:
        return Check(True, "cameras", ", ".join(f"{c.source} ({c.description})" for c in cameras))
    return Check(None, "cameras", "none", "files and network streams work all the same")


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check(True, "GPU", torch.cuda.get_device_name(0))
    if torch.backends.mps.is_available():
        return Check(None, "GPU", "Apple GPU, not used", "tracking runs on the CPU")
    return Check(None, "GPU", "none", "tracking runs on the CPU")


def _engines() -> Check:
    """Which engines can run the networks, best first."""
    from kinestream.engines.engine import ENGINES, why_not

    reasons = {name: why_not(name) or _why_not_tried(name) for name in ENGINES[1:]}
    found = ", ".join(name for name, reason in reasons.items() if reason is None)
    missing: dict[str, list[str]] = {}  # by what is lacking, since engines may lack the same
    for name, reason in reasons.items():
        if reason is not None:
            missing.setdefault(reason.removeprefix(f"engine {name}: "), []).append(name)
    advice = "\n".join(f"{', '.join(names)}: {reason}" for reason, names in missing.items())
    return Check(None if missing else True, "engines", found, advice)


def _why_not_tried(name: str) -> str | None:
    """Why a small network does not run; None where it does, and for engines that take minutes."""
    import torch

    from kinestream.engines.engine import EngineError, Network, NetworkInput, compile_network

    if name in ("tensorrt", "cuda"):
        return None
    module = torch.nn.Linear(4, 2).eval()
    for weights in module.parameters():
        torch.nn.init.ones_(weights)
    network = Network(lambda: module, [NetworkInput(np.ones((1, 4), np.float32))], "sums", "doctor")
    try:
        compile_network(network, engine=name)
    except EngineError as error:
        return str(error)
    return None


def _port() -> Check:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            advice = "a tracker may be running (kinestream listen); or choose another address with --bind"
            return Check(None, "port", f"{PORT} is in use", advice)
    return Check(True, "port", f"{PORT} is free")


def _caches() -> Iterator[Check]:
    """Where engines and compiled code are kept, tried by writing there and by compiling a function."""
    import numpy as np

    from kinestream.geometry.compiled_rotation import quat_from_matrix
    from kinestream.kernels.caching import cache_folder

    folder = cache_folder()
    advice = "" if folder else "every start builds its engine anew; set KINESTREAM_CACHE to a folder"
    yield Check(True if folder else None, "engine cache", str(folder or "none"), advice)
    quat_from_matrix(np.eye(3)[None])
    kept = quat_from_matrix.stats.cache_path
    advice = "" if kept else "every start compiles anew, for half a minute; set NUMBA_CACHE_DIR to a folder"
    yield Check(True if kept else None, "compile cache", str(kept or "none"), advice)
