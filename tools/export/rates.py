"""Frame rates: from the times of tracks and what the file says of itself to what other programs expect."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kinestream.tools.export.tracks import ExportError, Track

COMMON_FPS: Final = (
    24000 / 1001,
    24.0,
    25.0,
    30000 / 1001,
    30.0,
    50.0,
    60000 / 1001,
    60.0,
    120000 / 1001,
    120.0,
)
SNAP: Final = 0.003
"""Rates as near as this, as a share, are meant to be the same: stamps in milliseconds make 30 fps 30.03."""
AGREES: Final = 0.02
"""A file whose times are further from its nominal rate than this is believed in its times."""


def frame_rate(tracks: Sequence[Track], max_gap_s: float) -> float:
    """Frames per second: the nominal rate of the file where its times agree, else that of the times.

    Raises ``ExportError`` where there are no two frames of anybody.
    """
    steps = [_steps(track.rows, max_gap_s) for track in tracks]
    duration_s, frames = sum(step[0] for step in steps), sum(step[1] for step in steps)
    if not frames:
        raise ExportError("nobody is there for two frames in a row; give the frame rate with --fps")
    measured, nominal = frames / duration_s, tracks[0].fps
    return snapped(nominal if nominal and abs(measured / nominal - 1) < AGREES else measured)


def snapped(fps: float) -> float:
    """The common rate, or else the whole number, that is meant: 59.9999988 is 60, 59.94 is 60000 / 1001."""
    for known in (min(COMMON_FPS, key=lambda rate: abs(rate - fps)), float(round(fps))):
        if abs(fps - known) <= SNAP * fps:
            return known
    return fps


def frame_numbers(rows: npt.NDArray[Any], fps: float) -> npt.NDArray[np.int64] | None:
    """(T,) whole frames at ``fps`` since the first row, None where rows do not lie within half of one."""
    numbers: npt.NDArray[np.int64] = rows["frame_index"] - rows["frame_index"][0]
    at = (rows["t_capture_ns"] - rows["t_capture_ns"][0]) / 1e9 * fps
    if (np.diff(numbers) <= 0).any() or np.abs(at - numbers).max() >= 0.5:
        return None
    return numbers


def _steps(rows: npt.NDArray[Any], max_gap_s: float) -> tuple[float, int]:
    """Seconds and frames from row to row, by the numbers of the frames where those count on."""
    steps_s, frames = np.diff(rows["t_capture_ns"]) / 1e9, np.diff(rows["frame_index"])
    near = steps_s <= max_gap_s
    steps_s, frames = steps_s[near], frames[near]
    if (frames <= 0).any():  # several poses of one frame, as --rate publishes them
        usual = steps_s <= 1.5 * np.median(steps_s)
        steps_s, frames = steps_s[usual], np.ones(int(usual.sum()), int)
    return float(steps_s.sum()), int(frames.sum())
