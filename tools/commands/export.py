"""``kinestream export FILE --to FORMAT``: recordings and archives for other programs.

kinestream export walk.mcap --to bvh
kinestream export poses.npz --to glb --to csv --out exported/
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kinestream.tools.commands.error_reporting import report_errors

FORMATS = ("bvh", "amass", "gmr", "trc", "c3d", "csv", "jsonl", "glb")
OTHER_BODY_M = 0.02
"""Joints that are further from those of the body than this belong to another one."""


def _formats(values: list[str]) -> list[str]:
    for value in values:
        if value not in FORMATS:
            raise typer.BadParameter(f"expected {', '.join(FORMATS)}, found {value!r}")
    return values


def export(
    file: Annotated[Path, typer.Argument(help="Recording (.mcap), or archive of kinestream run --npz.")],
    to: Annotated[
        list[str],
        typer.Option("--to", callback=_formats, help=f"{', '.join(FORMATS)}; may be given several times."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write to; default: beside the file.")
    ] = None,
    track: Annotated[
        list[int] | None, typer.Option(help="Only this track; may be given several times.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=1, max=1000, help="Frame rate of BVH, AMASS, GMR, TRC and C3D; default: the file's."
        ),
    ] = None,
    max_gap: Annotated[
        float,
        typer.Option(min=0.001, help="Bridge gaps in a track up to this many seconds; longer ones cut it."),
    ] = 0.5,
    ground: Annotated[
        bool,
        typer.Option(
            "--ground",
            help="Level the world by how people stand, and put their feet on the floor, at height 0.",
        ),
    ] = False,
    tilt: Annotated[
        float | None,
        typer.Option(
            min=-90, max=90, help="With --ground: how far the camera looks down, where it is known."
        ),
    ] = None,
    body: Annotated[
        Path | None, typer.Option(help="Body model with which the file was tracked; default: the free body.")
    ] = None,
) -> None:
    """Convert tracks to BVH, AMASS, GMR, TRC, C3D, CSV, JSON lines or glTF. Files that exist are replaced.

    docs/recording.md lists axes and units.
    """
    from kinestream.body.model import load_body
    from kinestream.tools.export import Options, joint_error_m, read_tracks
    from kinestream.tools.export import export as write

    console = Console(stderr=True, highlight=False)
    with report_errors():
        if tilt is not None and not ground:
            raise ValueError("--tilt: levels the world together with --ground; add that")
        found = read_tracks(file)
        chosen = [one for one in found if not track or one.track_id in track]
        if not chosen:
            known = ", ".join(str(one.track_id) for one in found)
            raise ValueError(f"{file}: no such track; it has {known}")
        model = load_body(body)
        worst_m = max(joint_error_m(model, one) for one in chosen)
        if worst_m > OTHER_BODY_M:
            console.print(
                f"[yellow]warning:[/] the joints in {escape(str(file))} are {1000 * worst_m:.0f} mm away "
                "from those of this body; was another one tracked? Give it with --body"
            )
        folder = out or file.parent
        folder.mkdir(parents=True, exist_ok=True)
        for format_name in to:
            for path in write(file, folder, format_name, chosen, model, Options(fps, max_gap, ground, tilt)):
                console.print(str(path), markup=False)
