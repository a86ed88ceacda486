"""Motion files to one cache: `python -m kinestream.trainer.prepare.mocap MOCAP --out CACHE.npz`."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.mocap_folder import TEST_ONLY, FolderReport, load_folder
from kinestream.trainer.data.motion.sanity import foot_report, limit_report
from kinestream.trainer.data.motion.source import MocapError


def summarise(report: FolderReport) -> dict[str, Any]:
    """Clips, frames, minutes and sanity figures by source and split, and what was left out."""
    groups: dict[str, list[MotionClip]] = defaultdict(list)
    for clip in report.clips:
        groups[f"{clip.source} {Path(clip.name.split('#')[0]).suffix[1:]} {clip.split}"].append(clip)
    rows = {}
    for key, clips in sorted(groups.items()):
        weights = np.array([len(clip) for clip in clips], dtype=float)
        limits = [limit_report(clip) for clip in clips]
        rows[key] = {
            "clips": len(clips),
            "frames": int(weights.sum()),
            "minutes": round(sum(clip.duration_s for clip in clips) / 60, 2),
            "limit_violation_share": round(
                float(np.average([r.violation_share for r in limits], weights=weights)), 4
            ),
            "worst_joint": max(limits, key=lambda r: r.worst_share).worst_joint,
            "foot_slide_m_s": round(float(np.median([foot_report(clip).slide_m_s for clip in clips])), 3),
        }
    return {
        "groups": rows,
        "broken": [[path.name, reason] for path, reason in report.broken],
        "dropped": [[path.name, reason] for path, reason in report.dropped],
    }


def main(
    folder: Annotated[
        Path, typer.Argument(help="Folder with .bvh, .asf/.amc, AMASS .npz, DeepMimic .json files.")
    ],
    out: Annotated[Path, typer.Option(help="the cache file to write (.npz)")],
    val: Annotated[list[str] | None, typer.Option(help="Glob of file names to hold out; repeatable.")] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="Name of a folder below FOLDER that is not read; repeatable; default: hdm05."),
    ] = None,
    skip_broken: Annotated[bool, typer.Option(help="Go on after a broken file and report it.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON here.")] = None,
) -> None:
    """Read, retarget and clean all motion below FOLDER and write one cache."""
    console = Console()
    try:
        loaded = load_folder(folder, val=val or (), leave_out=leave_out or TEST_ONLY, skip_broken=skip_broken)
    except (MocapError, FileNotFoundError) as error:
        console.print(f"[red]{error}[/red]", soft_wrap=True)
        raise typer.Exit(1) from None
    if not loaded.clips:
        console.print(f"[red]no usable motion below {folder}[/red]")
        raise typer.Exit(1)
    MocapCache.from_clips(loaded.clips).save(out)
    summary = summarise(loaded)
    if report is not None:
        report.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    columns = list(next(iter(summary["groups"].values())))
    table = Table("source form split", *columns, title=str(out))
    for key, row in summary["groups"].items():
        table.add_row(key, *(str(row[column]) for column in columns))
    console.print(table)
    for kind in ("broken", "dropped"):
        for name, reason in summary[kind]:
            console.print(f"{kind}: {name}: {reason}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
