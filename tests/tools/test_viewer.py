"""Looking at people without a screen: Rerun files and PNG snapshots."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.capture import Frame
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.tools.sinks import SinkError
from kinestream.tools.sinks.snapshots import SnapshotSink

WALK = [{0: (40 + 2 * i, 60, 50, 120)} for i in range(10)]
Command = Callable[..., tuple[int, str, str]]


@pytest.mark.usefixtures("stand_ins")
def test_run_writes_a_rerun_file_and_a_recording_opens_in_it(
    kinestream: Command, block_video: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("rerun", reason="the extra 'view' is not installed")
    clip, live, again = block_video(WALK), tmp_path / "live.rrd", tmp_path / "again.rrd"
    recording = tmp_path / "walk.mcap"
    run = (
        "run",
        clip,
        "--no-publish",
        "--rrd",
        live,
        "--record",
        recording,
        "--pictures",
        "--filter",
        "none",
    )
    assert kinestream(*run)[0] == 0
    code, _, err = kinestream("view", recording, "--rrd", again)
    assert code == 0 and "10 frames" in err
    for path in (live, again):
        data = path.read_bytes()
        assert data[:4] == b"RRF2" and len(data) > 10_000
        for entity in (
            b"/camera/image",
            b"/people/0/skeleton",
            b"/people/0/uncertainty",
            b"/plots/uncertainty_mm/0",
        ):
            assert entity in data, entity
    assert b"/people/0/mesh" in live.read_bytes() and b"/plots/latency_ms" in live.read_bytes()


def test_a_recording_without_poses_is_told(kinestream: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.mcap").write_bytes(b"no recording")
    code, _, err = kinestream("view", tmp_path / "empty.mcap", "--rrd", tmp_path / "x.rrd")
    assert code == 1 and "empty.mcap" in err


def test_snapshots_come_once_a_second_with_bodies_drawn(
    block_models: Models, paint_blocks: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    tracker = Tracker(models=block_models, vertices=True, filter="none")
    with SnapshotSink(tmp_path / "shots", tracker.faces) as sink:
        for i in range(25):
            image = paint_blocks((320, 240), {0: (100, 60, 50, 120)})
            sink.write(Frame(i, i * 100_000_000, 0, image), tracker.process(image, i * 100_000_000))
    shots = sorted((tmp_path / "shots").iterdir())
    assert [shot.name for shot in shots] == ["frame_000000.png", "frame_000010.png", "frame_000020.png"]
    drawn = cv2.imread(str(shots[2]))[..., ::-1].astype(int)
    assert drawn.shape == (240, 320, 3) and np.abs(drawn - image).max() > 60
    for shot in shots:
        shot.unlink()
    (tmp_path / "shots").rmdir()
    with pytest.raises(SinkError, match="No such file"):
        sink.write(Frame(40, 4_000_000_000, 0, image), tracker.process(image, 4_000_000_000))
