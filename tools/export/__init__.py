"""Tracks for other programs: BVH, AMASS, GMR, TRC, C3D, CSV, JSON lines, glTF (docs/recording.md)."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kinestream.body.model import BodyModel
from kinestream.geometry.level import level_from_camera
from kinestream.tools.export.amass import write_amass
from kinestream.tools.export.bvh import write_bvh
from kinestream.tools.export.c3d import write_c3d
from kinestream.tools.export.gltf import write_glb
from kinestream.tools.export.gmr import write_gmr
from kinestream.tools.export.motion import (
    grounded,
    joint_error_m,
    level_of,
    mean_betas,
    resample,
    rest_joints,
    takes_of,
)
from kinestream.tools.export.rates import frame_rate
from kinestream.tools.export.tables import write_csv, write_json_lines
from kinestream.tools.export.tracks import ExportError, Track, read_tracks
from kinestream.tools.export.trc import write_trc
from kinestream.tools.sinks.base import naming

SUFFIXES = {
    "bvh": ".bvh", "amass": ".npz", "gmr": ".gmr.npz", "trc": ".trc", "c3d": ".c3d", "csv": ".csv",
    "jsonl": ".jsonl", "glb": ".glb",
}  # fmt: skip
"""The formats, and how their files end."""
PER_TAKE = ("bvh", "amass", "gmr", "trc", "c3d")
"""Formats that hold one person at a fixed frame rate: a file for each take of each track."""


@dataclass(frozen=True)
class Options:
    """How to export.

    Attributes:
        fps: frame rate of the formats that have one; None takes that of the input.
        max_gap_s: longer stretches without a pose are left open, shorter ones bridged.
        ground: level the world and put everybody on the floor.
        tilt_deg: with it, how far the camera looks down; None takes the people's word, roll included.
    """

    fps: float | None = None
    max_gap_s: float = 0.5
    ground: bool = False
    tilt_deg: float | None = None


def export(
    source: Path, folder: Path, format_name: str, tracks: Sequence[Track], body: BodyModel, options: Options
) -> list[Path]:
    """Write tracks of the file ``source`` into ``folder``; returns the files, named after the source.

    Raises ``ExportError``, ``OSError``, and ``ImportError`` naming the extra where a library is missing.
    """
    suffix = SUFFIXES[format_name]
    start_ns = min(int(track.t_ns[0]) for track in tracks)
    if options.ground:
        tilt_deg = options.tilt_deg
        level = level_of(tracks) if tilt_deg is None else level_from_camera(math.radians(tilt_deg))
        tracks = [grounded(track, level) for track in tracks]
    if format_name not in PER_TAKE:
        path = folder / f"{_stem(source)}{suffix}"
        with _written(path):
            if format_name == "csv":
                write_csv(path, tracks)
            elif format_name == "jsonl":
                write_json_lines(path, source, tracks, as_recorded=not options.ground)
            else:
                write_glb(path, tracks, body, start_ns=start_ns, max_gap_s=options.max_gap_s)
        return [path]
    fps = options.fps or frame_rate(tracks, options.max_gap_s)
    paths = []
    for track in tracks:
        rest_joints_m = rest_joints(body, mean_betas(track))
        for take in takes_of(track, options.max_gap_s):
            path = folder / f"{_stem(source)}.{take.name}{suffix}"
            motion = resample(take, fps, start_ns)
            with _written(path):
                if format_name == "bvh":
                    write_bvh(path, motion, rest_joints_m)
                elif format_name == "amass":
                    write_amass(path, motion, rest_joints_m)
                elif format_name == "gmr":
                    write_gmr(path, motion)
                elif format_name == "c3d":
                    write_c3d(path, motion)
                else:
                    write_trc(path, motion)
            paths.append(path)
    return paths


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """A file that is being written: where that fails, it is named, and no half of it stays."""
    try:
        with naming(path):
            yield
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _stem(source: Path) -> str:
    return source.name.removesuffix(".npy").removesuffix(".rows") if source.suffix == ".npy" else source.stem


__all__ = ["SUFFIXES", "ExportError", "Options", "Track", "export", "joint_error_m", "read_tracks"]
