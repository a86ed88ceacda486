"""What is read for an export, and its frame rate."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinestream.tools.export import ExportError, read_tracks
from kinestream.tools.export.motion import takes_of
from kinestream.tools.export.rates import frame_rate
from kinestream.trainer.data.motion.bvh import load_bvh

Written = Callable[..., list[Path]]


@pytest.mark.parametrize("source_name", ["archive", "recording"])
def test_both_inputs_give_the_same_tracks(
    rows: np.ndarray, source_name: str, request: pytest.FixtureRequest
) -> None:
    tracks = read_tracks(request.getfixturevalue(source_name))
    assert [track.track_id for track in tracks] == [0, 5]
    for track in tracks:
        np.testing.assert_array_equal(track.rows, rows[rows["track_id"] == track.track_id])
        if source_name == "recording":
            assert track.coasting is not None
            assert (track.coasting == (track.rows["frame_index"] == 15)).all()


def test_the_frame_rate_is_that_of_the_times(written: Written, archive: Path, tmp_path: Path) -> None:
    tracks = read_tracks(archive)
    assert frame_rate(tracks, 0.5) == pytest.approx(25)
    rng = np.random.default_rng(2)
    live = tracks[0].rows.copy()
    live["t_capture_ns"] = np.cumsum(rng.normal(1e9 / 29.97, 2e6, len(live)).astype(int))
    assert frame_rate([replace(tracks[0], rows=live)], 0.5) == pytest.approx(29.97, rel=0.02)
    path = written(archive, tmp_path, "bvh", fps=50)[0]
    motion = load_bvh(path)
    assert motion.fps == pytest.approx(50) and len(motion.root_translation_m) == 179
    single = replace(tracks[0], rows=live[:1])
    with pytest.raises(ExportError, match="give the frame rate with --fps"):
        frame_rate([single], 0.5)
    assert [len(take.rows) for take in takes_of(tracks[1], 0.5)] == [10, 10]
    assert [len(take.rows) for take in takes_of(tracks[1], 3.0)] == [20]
