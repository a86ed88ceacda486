"""Options about tracking, declared once for every command that tracks: `run`, `record`, `batch`, `demo`.

The names of filters and engines are looked up when one is given, so that help texts load no tracker.
"""

from pathlib import Path
from typing import Annotated

import typer

POLICIES = ("latest", "every", "paced")
SOURCE, CAMERA, TRACKING = "Source", "Camera", "Tracking"


def _policy(value: str | None) -> str | None:
    if value is not None and value not in POLICIES:
        raise typer.BadParameter(f"expected one of {', '.join(POLICIES)}, found {value!r}")
    return value


def _filter(value: str) -> str:
    from kinestream.filtering import FILTERS

    if value not in FILTERS:
        raise typer.BadParameter(f"expected one of {', '.join(FILTERS)}, found {value!r}")
    return value


def _model(value: str) -> str:
    from kinestream.regress.shipped import weights_of

    try:
        weights_of(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return value


def _engine(value: str) -> str:
    from kinestream.engines.engine import ENGINES

    if value not in ENGINES:
        raise typer.BadParameter(f"expected one of {', '.join(ENGINES)}, found {value!r}")
    return value


Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        callback=_policy,
        help="latest: newest frame, drops counted (cameras). every: all frames (files). paced: a file at "
        "its own speed, as if live.",
        rich_help_panel=SOURCE,
    ),
]
MaxFrames = Annotated[
    int | None,
    typer.Option("--max-frames", min=1, help="Stop after this many frames.", rich_help_panel=SOURCE),
]
FovDeg = Annotated[
    float,
    typer.Option(
        "--fov-deg",
        min=1,
        max=170,
        help="Diagonal field of view, if there is no calibration.",
        rich_help_panel=CAMERA,
    ),
]
Intrinsics = Annotated[
    Path | None,
    typer.Option("--intrinsics", help="Calibration file of OpenCV or ROS (YAML).", rich_help_panel=CAMERA),
]
MaxPeople = Annotated[
    int,
    typer.Option("--max-people", min=1, max=64, help="Follow no more than this.", rich_help_panel=TRACKING),
]
Filter = Annotated[
    str,
    typer.Option(
        "--filter",
        callback=_filter,
        help="Motion filter: learned, kalman, one-euro, interpolation, none.",
        rich_help_panel=TRACKING,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        callback=_engine,
        help="What runs the networks: tensorrt, cuda (NVIDIA), cpu, torch; auto takes the best that works.",
        rich_help_panel=TRACKING,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        callback=_model,
        help="What looks at people: medium; large, more accurate, four times the time; or a file of weights.",
        rich_help_panel=TRACKING,
    ),
]
Body = Annotated[
    Path | None,
    typer.Option("--body", help="Body model file (npz); default: the free body.", rich_help_panel=TRACKING),
]
