"""From a folder of motion files to a cache, and the poses drawn from it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.mocap_folder import load_folder, skeleton_of
from kinestream.trainer.data.motion.poses import load_poses, mean_rotations, thin_by_arc_length, with_mirrored
from kinestream.trainer.data.motion.source import MocapError
from kinestream.trainer.prepare.mocap import summarise

UNIT = [1.0, 0.0, 0.0, 0.0]


def deepmimic(path: Path, *, frames: int = 40, elbow: float = 1.0, step: float = 0.02) -> None:
    rows = []
    for index in range(frames):
        leg, arm = [*UNIT, -0.3 - step * index, *UNIT], [*UNIT, elbow]
        rows.append([0.05, 0.0, 0.9, 0.0, *UNIT, *UNIT, *UNIT, *leg, *arm, *leg, *arm])
    path.write_text(json.dumps({"Frames": rows}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mocap"
    root.mkdir()
    deepmimic(root / "01_01.json")
    deepmimic(root / "02_01.json", frames=30)
    return root


def test_clips_are_split_by_index_and_patterns(folder: Path) -> None:
    records = [{"file": "01_01.json", "split": "val", "bad": [[10, 12], [38, 40]]}]
    (folder / "index.json").write_text(json.dumps(records))
    report = load_folder(folder, val=["02_*"])
    assert [(clip.name, len(clip), clip.split) for clip in report.clips] == [
        ("01_01.json#0", 10, "val"),
        ("01_01.json#12", 26, "val"),
        ("02_01.json", 30, "val"),
    ]
    assert report.dropped[0][1].startswith("4 of 40 frames")


def test_reversed_elbows_drop_the_clip(folder: Path) -> None:
    deepmimic(folder / "03_01.json", elbow=-1.0)
    report = load_folder(folder)
    assert len(report.clips) == 2
    assert "elbow bends the wrong way" in report.dropped[0][1]


def test_a_broken_file_stops_or_is_reported(folder: Path) -> None:
    (folder / "00_bad.bvh").write_text("HIERARCHY\nROOT\n")
    with pytest.raises(MocapError, match=r"00_bad\.bvh, line 2"):
        load_folder(folder)
    report = load_folder(folder, skip_broken=True)
    assert len(report.clips) == 2
    ((path, reason),) = report.broken
    assert path.name == "00_bad.bvh"
    assert "line 2" in reason


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no mocap folder"):
        load_folder(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"no \.bvh"):
        load_folder(tmp_path)


def test_an_amc_without_its_skeleton(tmp_path: Path) -> None:
    (tmp_path / "05_01.amc").write_text("1\nroot 0 0 0 0 0 0\n")
    with pytest.raises(MocapError, match=r"expected 05_01\.asf or 05\.asf"):
        load_folder(tmp_path)


def test_the_skeleton_with_the_longest_matching_name_is_taken(tmp_path: Path) -> None:
    motion = tmp_path / "HDM_bd_squat_001.amc"
    for name in ("HDM", "HDM_bd", "HDM_b"):
        (tmp_path / f"{name}.asf").write_text("")
    assert skeleton_of(motion).name == "HDM_bd.asf"
    (tmp_path / "HDM_bd_squat_001.asf").write_text("")
    assert skeleton_of(motion).name == "HDM_bd_squat_001.asf"


def test_folders_can_be_left_out(folder: Path) -> None:
    (folder / "share_alike").mkdir()
    deepmimic(folder / "share_alike" / "03_01.json")
    assert len(load_folder(folder).clips) == 3
    left = load_folder(folder, leave_out=["share_alike"]).clips
    assert [clip.name for clip in left] == ["01_01.json", "02_01.json"]


def test_folders_for_tests_alone_are_read_by_themselves_only(folder: Path) -> None:
    (folder / "hdm05").mkdir()
    deepmimic(folder / "hdm05" / "03_01.json")
    assert [clip.name for clip in load_folder(folder).clips] == ["01_01.json", "02_01.json"]
    assert [clip.name for clip in load_folder(folder / "hdm05").clips] == ["03_01.json"]


def test_the_cache_keeps_clips_to_quantisation(folder: Path, tmp_path: Path) -> None:
    clips = load_folder(folder, val=["02_*"]).clips
    path = tmp_path / "cache.npz"
    MocapCache.from_clips(clips).save(path)
    cache = MocapCache.load(path)
    assert (len(cache), cache.num_frames) == (2, 70)
    assert [clip.name for clip in cache.clips("val")] == ["02_01.json"]
    for clip, again in zip(clips, cache.clips(), strict=True):
        np.testing.assert_allclose(again.rotations, clip.rotations, atol=2e-4)
        np.testing.assert_allclose(again.root_translation_m, clip.root_translation_m, atol=1e-6)
        assert (again.fps, again.split, again.source) == (clip.fps, clip.split, clip.source)


def test_cache_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="prepare.mocap"):
        MocapCache.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="quat_wxyz"):
        MocapCache.load(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="at least one"):
        MocapCache.from_clips([])


def test_the_command_writes_cache_and_report(folder: Path, tmp_path: Path) -> None:
    import typer

    from kinestream.trainer.prepare.mocap import main

    app = typer.Typer()
    app.command()(main)
    (folder / "bad.bvh").write_text("nothing")
    arguments = [str(folder), "--out", str(tmp_path / "c.npz")]
    failed = CliRunner().invoke(app, arguments)
    assert failed.exit_code == 1
    assert "line 1" in failed.output
    result = CliRunner().invoke(app, [*arguments, "--skip-broken", "--report", str(tmp_path / "r.json")])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["broken"][0][0] == "bad.bvh"
    assert report["groups"]["mocap json train"]["frames"] == 70


def test_summary_counts_by_source(folder: Path) -> None:
    rows = summarise(load_folder(folder))["groups"]
    assert rows["mocap json train"]["clips"] == 2
    assert rows["mocap json train"]["minutes"] == pytest.approx(70 / 20 / 60, abs=0.01)


def test_thinning_is_by_motion_not_by_time(folder: Path, tmp_path: Path) -> None:
    deepmimic(folder / "04_01.json", step=0.0)
    report = load_folder(folder)
    counts = {clip.name: len(thin_by_arc_length(clip, 0.02)) for clip in report.clips}
    assert counts["04_01.json"] == 1
    assert counts["01_01.json"] > 5
    MocapCache.from_clips(report.clips).save(tmp_path / "c.npz")
    poses = load_poses(tmp_path / "c.npz", "train", step_rad=0.02)
    assert len(poses) == sum(counts.values())
    assert len(load_poses(tmp_path / "c.npz", "train", step_rad=None)) == 110
    with pytest.raises(ValueError, match="no clip of split 'val'"):
        load_poses(tmp_path / "c.npz", "val", step_rad=None)


def test_mirrored_poses_have_a_symmetric_mean(folder: Path, tmp_path: Path) -> None:
    MocapCache.from_clips(load_folder(folder).clips).save(tmp_path / "c.npz")
    mean = mean_rotations(with_mirrored(load_poses(tmp_path / "c.npz", "train", step_rad=None)))
    knee_left, knee_right = mean[3].numpy(), mean[4].numpy()
    flip = np.diag([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(flip @ knee_left @ flip, knee_right, atol=1e-5)


def test_parts_keep_their_frames() -> None:
    clip = MotionClip(
        "a", np.broadcast_to(np.eye(3), (9, 22, 3, 3)).copy(), np.arange(27.0).reshape(9, 3), 30.0
    )
    part = clip.part(2, 5)
    assert part.name == "a#2"
    np.testing.assert_array_equal(part.root_translation_m, clip.root_translation_m[2:5])
    assert part.duration_s == pytest.approx(0.1)
