"""Files that survive: rows readable at any time, video readable when cut short, faults kept apart."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinestream.capture import Frame, open_source
from kinestream.kernels.raster.overlay import PALETTE
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame
from kinestream.tools.sinks import JsonLinesSink, NpzSink, Sink, SinkError, SinkGroup
from kinestream.tools.sinks.npz import ROW
from kinestream.tools.sinks.overlay_video import OverlayVideoSink, draw

Pairs = list[tuple[Frame, PoseFrame]]


@pytest.fixture
def pairs(block_models: Models, paint_blocks: Callable[..., np.ndarray]) -> Pairs:
    """Ten frames with two people."""
    tracker = Tracker(models=block_models, vertices=True, filter="none")
    found = []
    for i in range(10):
        image = paint_blocks((320, 240), {0: (40 + i, 60, 50, 120), 1: (200, 60, 50, 120)})
        found.append((Frame(i, i * 40_000_000, 0, image), tracker.process(image, i * 40_000_000)))
    return found


def test_rows_can_be_read_while_recording(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinestream.tools.sinks.npz._SYNC_S", 0.0)
    sink = NpzSink(tmp_path / "poses.npz")
    for pair in pairs:
        sink.write(*pair)
    copy = shutil.copy(tmp_path / "poses.rows.npy", tmp_path / "after_a_crash.npy")
    rows = np.load(copy)
    assert rows.dtype == ROW and rows["frame_index"].tolist() == [i for i in range(10) for _ in range(2)]
    np.testing.assert_array_equal(rows["joints_cam_m"][7], pairs[3][1].persons[1].joints_cam_m)
    sink.close()
    sink.close()
    archive = np.load(tmp_path / "poses.npz")
    assert set(archive.files) == {*(ROW.names or ()), "joint_names", "keypoint_names"}
    np.testing.assert_array_equal(archive["betas"], rows["betas"])
    assert not (tmp_path / "poses.rows.npy").exists()


def test_nobody_makes_an_empty_archive(tmp_path: Path) -> None:
    with NpzSink(tmp_path / "poses.npz"):
        pass
    assert np.load(tmp_path / "poses.npz")["joints_cam_m"].shape == (0, 24, 3)


def test_when_the_archive_cannot_be_written_the_rows_stay(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    sink = NpzSink(tmp_path / "poses.npz")
    sink.write(*pairs[0])
    monkeypatch.setattr("kinestream.tools.sinks.npz.np.savez", full)
    with pytest.raises(SinkError, match=r"No space left on device; its 2 rows are in .*poses.rows.npy"):
        sink.close()
    assert (tmp_path / "poses.rows.npy").stat().st_size == 1024 + 2 * ROW.itemsize


def test_a_video_cut_short_plays(pairs: Pairs, tmp_path: Path, block_models: Models) -> None:
    path = tmp_path / "overlay.mp4"
    with OverlayVideoSink(path, block_models.body.faces, fps=25) as sink:
        for pair in pairs:
            sink.write(*pair)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:-200])
    with open_source(cut) as source:
        assert sum(1 for _ in source) >= 8


def test_bodies_are_coloured_by_track(pairs: Pairs, block_models: Models) -> None:
    frame, poses = pairs[0]
    plain = np.full_like(frame.image_rgb, 128)
    drawn = draw(plain, poses, block_models.body.faces)
    assert (plain == 128).all(), "the picture itself is left alone"
    for person in poses:
        x, y = (int(v) for v in poses.camera.project(person.joints_cam_m[6]))
        colour = drawn[y, x].astype(float)
        expected = np.array(PALETTE[person.track_id], float)
        assert np.corrcoef(colour, expected)[0, 1] > 0.9
    assert (
        draw(plain, PoseFrame(frame_index=0, t_capture_ns=0, camera=poses.camera), np.zeros((0, 3), int))
        is plain
    )


def test_one_faulty_sink_does_not_stop_the_others(
    pairs: Pairs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Sink):
        name = "faulty.bin"
        written = closed = 0

        def write(self, frame: Frame, poses: PoseFrame) -> None:
            self.written += 1
            if self.written == 3:
                raise OSError(28, "No space left on device")

        def close(self) -> None:
            self.closed += 1

    faulty = Faulty()
    with SinkGroup([faulty, JsonLinesSink(tmp_path / "poses.jsonl")]) as group:
        for pair in pairs:
            group.write(*pair)
    assert faulty.written == 3 and faulty.closed == 1
    assert group.failures == ["faulty.bin: No space left on device"]
    assert caplog.text.count("faulty.bin") == 1
    lines = [json.loads(line) for line in (tmp_path / "poses.jsonl").read_text().splitlines()]
    assert [len(line["persons"]) for line in lines] == [2] * 10
    np.testing.assert_allclose(
        lines[4]["persons"][0]["keypoints_px"], pairs[4][1].persons[0].keypoints_px, atol=1e-4
    )
