"""Options, declared once for all commands and benchmarks: a name means the same everywhere.

Names of filters and engines are looked up when one is given, so that help texts load no tracker.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kinestream.defaults import DEFAULT_PAGE

POLICIES = ("latest", "every", "paced")

files, source, camera, tracking, stream, viewing, workers = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Files", "Source", "Camera", "Tracking", "Stream", "Viewing", "Workers")
)
"""`typer.Option` by the panel of the help text in which it stands."""


def one_of(names: Callable[[], Sequence[str]]) -> Callable[[str | None], str | None]:
    """A callback that takes one of these names, which are looked up when a value is given."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in (known := names()):
            raise typer.BadParameter(f"expected one of {', '.join(known)}, found {value!r}")
        return value

    return check


def _filters() -> Sequence[str]:
    from kinestream.filtering import FILTERS

    return tuple(FILTERS)


def _engines() -> Sequence[str]:
    from kinestream.engines.engine import ENGINES

    return ENGINES


def _model(value: str) -> str:
    from kinestream.regress.shipped import weights_of

    try:
        weights_of(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return value


def known_heights(height_m: float | None, heights: str | None) -> float | list[float] | None:
    """What `Tracker` takes for these two options. Raises ``ValueError`` for both, or what is no list."""
    if heights is None:
        return height_m
    if height_m is not None:
        raise ValueError("--height-m, --heights: the one is for everybody, the other for each; leave one out")
    try:
        return [float(part) for part in heights.split(",")]
    except ValueError:
        raise ValueError(f"--heights: expected metres such as 1.80,1.65, found {heights!r}") from None


# Tracking
Policy = Annotated[
    str | None,
    source(
        "--policy",
        callback=one_of(lambda: POLICIES),
        help="latest: newest frame, drops counted (cameras). every: all frames (files). paced: a file at "
        "its own speed, as if live.",
    ),
]
CameraFps = Annotated[
    float | None,
    source(
        "--fps",
        min=0.001,
        max=1000,
        help="Ask a camera for this rate; pictures a second of a folder or raw video. [default: 30]",
    ),
]
Rotate = Annotated[
    int,
    source("--rotate", help="Turn the pictures by 90, 180 or 270 degrees clockwise, for a turned camera."),
]
Flip = Annotated[bool, source("--flip", help="Mirror the pictures, after the turn, for a mirrored camera.")]
Start = Annotated[float, source("--start", min=0, help="Begin so many seconds into a file.")]
End = Annotated[float | None, source("--end", min=0, help="End so many seconds into a file.")]
Reconnect = Annotated[
    float,
    source("--reconnect", min=0, help="Look for a lost camera or address for so many seconds; 0 for ever."),
]
Wait = Annotated[
    float | None,
    source("--wait", min=0, help="Wait so many seconds for a camera or address to be there; 0 for ever."),
]
MaxFrames = Annotated[int | None, source("--max-frames", min=1, help="Stop after this many frames.")]
FovDeg = Annotated[
    float, camera("--fov-deg", min=1, max=170, help="Diagonal field of view, if there is no calibration.")
]
Intrinsics = Annotated[Path | None, camera("--intrinsics", help="Calibration file of OpenCV or ROS (YAML).")]
MaxPeople = Annotated[int, tracking("--max-people", min=1, max=64, help="Follow no more than this.")]
HeightM = Annotated[
    float | None,
    tracking("--height-m", help="How tall everybody is, in metres: fixes size and distance."),
]
Heights = Annotated[
    str | None,
    tracking("--heights", help="Of several: 1.80,1.65 in the order in which they come, from left to right."),
]
Filter = Annotated[
    str,
    tracking(
        "--filter",
        callback=one_of(_filters),
        help="Motion filter: learned, kalman, one-euro, interpolation, none.",
    ),
]
SmoothLagMs = Annotated[
    float,
    tracking(
        "--smooth-lag-ms",
        min=0,
        max=2000,
        help="Files: let what is seen up to so much later correct each pose; 250 to 500 is enough, 0 is off.",
    ),
]
Stills = Annotated[
    bool | None,
    tracking(
        "--stills/--no-stills",
        help="Pictures that do not belong together: nobody is followed from one to the next, and bodies are "
        "fitted to each alone. [default: for one picture]",
        show_default=False,
    ),
]
Engine = Annotated[
    str,
    tracking(
        "--engine",
        callback=one_of(_engines),
        help="What runs the networks: tensorrt, cuda (NVIDIA), openvino-bf16, openvino, cpu, torch; auto "
        "takes the best that works, but OpenVINO.",
    ),
]
Model = Annotated[
    str,
    tracking(
        "--model",
        callback=_model,
        help="Regressor: medium; large, more accurate at four times the time; or a file of weights.",
    ),
]
FlipTest = Annotated[
    bool,
    tracking(
        "--flip-test", help="Observe everybody in the mirror image as well: more accurate, at twice the time."
    ),
]
Body = Annotated[Path | None, tracking("--body", help="Body model file (npz); default: the free body.")]
Vertices = Annotated[bool, tracking("--vertices", help="Publish the mesh as well.")]

# Viewing
Web = Annotated[
    str | None,
    viewing(
        "--web",
        metavar="[[HOST:]PORT]",
        help=f"Show everything on a page in the browser; alone: {DEFAULT_PAGE}. With a host that other "
        "computers reach, such as 0.0.0.0:8080, its address holds a token.",
    ),
]

# Files
Json = Annotated[Path | None, files("--json", help="Write JSON lines; - is standard output.")]
Npz = Annotated[Path | None, files("--npz", help="Write a NumPy archive, one row per person and frame.")]
SaveVideo = Annotated[Path | None, files("--save-video", help="Write a video with the bodies drawn over it.")]
Pictures = Annotated[bool, files("--pictures", help="Record the pictures as well.")]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]

# Benchmarks and tools
Report = Annotated[Path, typer.Option("--out", "-o", help="Report to write (JSON).")]
Clip = Annotated[Path, typer.Argument(help="Video with one person.")]
Data = Annotated[Path, typer.Option("--data", envvar="KINESTREAM_DATA", help="Data folder.")]
Mocap = Annotated[
    Path, typer.Option("--mocap", help="Motions: a folder, or a cache of kinestream.trainer.prepare.mocap.")
]
Flow = Annotated[Path | None, typer.Option("--flow", help="Pose flow; default: the shipped one.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of the networks.")]
Repeats = Annotated[int, typer.Option("--repeats", min=1, help="Timed calls of each contestant.")]
Runs = Annotated[int, typer.Option("--runs", min=1, help="Runs of which the medians are reported.")]
Seed = Annotated[int, typer.Option("--seed", help="Of everything that is drawn at random.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many pictures of each set.")]
Crops = Annotated[Path | None, typer.Option("--crops", help="Folder of pictures of people; default: noise.")]
MediapipePython = Annotated[
    Path | None,
    typer.Option("--mediapipe-python", help="Interpreter that has MediaPipe, measured in the same run."),
]
