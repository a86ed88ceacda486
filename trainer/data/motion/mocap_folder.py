"""All motions below a folder, retargeted, cleaned and cut into continuous clips."""

import fnmatch
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinestream.trainer.data.motion.amass import load_amass
from kinestream.trainer.data.motion.asf_amc import load_amc
from kinestream.trainer.data.motion.bvh import load_bvh
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.deepmimic import load_deepmimic
from kinestream.trainer.data.motion.low_pass import low_pass_root
from kinestream.trainer.data.motion.retarget import find_map, retarget, to_floor
from kinestream.trainer.data.motion.sanity import limit_excess
from kinestream.trainer.data.motion.source import FloatArray, MocapError

_logger = logging.getLogger(__name__)

AMC_FPS = 60.0
"""Rate of .amc files that no index.json describes (the form does not say it)."""

TEST_ONLY = ("hdm05",)
"""Folders that no training reads unless it is told to: their licence is share-alike (docs/licences.md)."""

MIN_CLIP_FRAMES = 8
BVH_ROOT_CUTOFF_HZ = 10.0
GROSS_EXCESS_RAD = np.radians(25.0)
REVERSED_SHARE = 0.5


@dataclass
class FolderReport:
    """What became of the files of a folder: clips in their order, and with the reason what is missing."""

    clips: list[MotionClip] = field(default_factory=list)
    broken: list[tuple[Path, str]] = field(default_factory=list)  # unreadable files
    dropped: list[tuple[Path, str]] = field(default_factory=list)  # left out on purpose


def load_folder(
    folder: Path,
    *,
    val: Iterable[str] = (),
    leave_out: Iterable[str] = TEST_ONLY,
    skip_broken: bool = False,
) -> FolderReport:
    """Read every .bvh, .amc (with its .asf), AMASS .npz and DeepMimic .json below a folder.

    An `index.json` beside the files (a list of records with `file`, `fps`, `bad` half-open frame ranges and
    `split`) is obeyed. Frames with joints grossly outside of their limits are left out, and so are whole
    clips in which an elbow or a knee bends the wrong way most of the time (a failed conversion).

    Args:
        folder: searched recursively.
        val: glob patterns of file names that belong to the validation split.
        leave_out: names of folders below ``folder`` that are not read; ``folder`` itself is read by any name.
        skip_broken: go on after a broken file and list it in the report, instead of raising.

    Raises:
        FileNotFoundError: when the folder does not exist or holds no motion file.
        MocapError: with file and line or key, for a broken file unless skip_broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no mocap folder at {folder}; unpack the motion files there or name another one"
        )
    patterns = tuple(val)
    report = FolderReport()
    indices: dict[Path, dict[str, dict[str, Any]]] = {}
    left_out = frozenset(leave_out)
    for path in _motion_files(folder):
        if left_out & set(path.relative_to(folder).parts[:-1]):
            continue
        if path.parent not in indices:
            indices[path.parent] = _read_index(path.parent / "index.json")
        record = indices[path.parent].get(path.name, {})
        try:
            clip = _load(path, record, str(path.relative_to(folder)))
        except MocapError as error:
            if not skip_broken:
                raise
            _logger.warning("left out: %s", error)
            report.broken.append((path, str(error)))
            continue
        held_out = any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
        split = "val" if held_out else str(record.get("split", "train"))
        source = path.parent.name if path.parent != folder else folder.name
        _clean(replace(clip, split=split, source=source), record, path, report)
    if not report.clips and not report.broken:
        raise FileNotFoundError(f"no .bvh, .amc, .npz or .json motion below {folder}")
    return report


def _motion_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        is_data = path.name != "index.json" and "skeleton" not in path.name
        if path.suffix in (".bvh", ".amc", ".npz", ".json") and is_data:
            yield path


def _read_index(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return {str(record["file"]): record for record in records}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise MocapError(f"{path}: expected a JSON list of records with the key 'file' ({error!r})") from None


def _load(path: Path, record: dict[str, Any], name: str) -> MotionClip:
    if path.suffix == ".npz":
        return to_floor(load_amass(path, name=name))
    if path.suffix == ".json":
        return to_floor(retarget(load_deepmimic(path), name=name))
    if path.suffix == ".amc":
        source = load_amc(path, skeleton_of(path), fps=float(record.get("fps", AMC_FPS)))
        return to_floor(retarget(source, name=name))
    source = load_bvh(path)
    return to_floor(retarget(source, find_map(source), name=name))


def skeleton_of(path: Path) -> Path:
    """The .asf beside a motion whose name is the longest beginning of the motion's, cut at underscores."""
    words = path.stem.split("_")
    candidates = [path.with_name("_".join(words[:count]) + ".asf") for count in range(len(words), 0, -1)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    expected = " or ".join(candidate.name for candidate in candidates)
    raise MocapError(f"{path}: its skeleton is missing; expected {expected} beside it")


def _clean(clip: MotionClip, record: dict[str, Any], path: Path, report: FolderReport) -> None:
    """Append the sane, continuous parts of a clip to the report."""
    reversed_joint = _reversed_joint(clip)
    if reversed_joint:
        report.dropped.append((path, f"{reversed_joint} bends the wrong way"))
        return
    good = np.ones(len(clip), dtype=bool)
    for first, stop in record.get("bad", ()):
        good[first:stop] = False
    gross = (limit_excess(clip.rotations[:, 1:]) > GROSS_EXCESS_RAD).any(axis=1)
    good &= ~gross
    if not good.all():
        report.dropped.append((path, f"{int((~good).sum())} of {len(clip)} frames with flips or jumps"))
    for first, stop in _runs(good):
        if stop - first < MIN_CLIP_FRAMES:
            continue
        part = clip if stop - first == len(clip) else clip.part(first, stop)
        if path.suffix == ".bvh":
            part = low_pass_root(part, BVH_ROOT_CUTOFF_HZ)
        report.clips.append(part)


def _reversed_joint(clip: MotionClip) -> str:
    """Name of an elbow that is hyperextended in most frames, or an empty string."""
    excess: FloatArray = limit_excess(clip.rotations[:, 1:])
    for index, name in ((17, "left elbow"), (18, "right elbow")):
        if (excess[:, index] > 0).mean() > REVERSED_SHARE:
            return name
    return ""


def _runs(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Half-open ranges of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in zip(edges[::2], edges[1::2], strict=True)]
