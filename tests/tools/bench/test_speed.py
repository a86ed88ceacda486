"""The speed benchmark's arithmetic and its runs of real processes; no timing is asserted."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from kinestream.capture import open_source
from kinestream.tools.bench.robustness import damage, soak
from kinestream.tools.bench.speed import clips, start
from kinestream.tools.bench.speed import pipeline as speed
from kinestream.tools.bench.speed.processes import Cost
from kinestream.tools.metrics.clip import CLIP


def test_medians_go_into_maps_and_leave_the_rest() -> None:
    rows = [
        {"fps": 10.0, "stage_ms": {"detect": {"p50": 3.0}}, "engine": "torch", "first_pose_s": None},
        {"fps": 30.0, "stage_ms": {"detect": {"p50": 1.0}}, "engine": "torch", "first_pose_s": 2.0},
        {"fps": 20.0, "stage_ms": {"detect": {"p50": 2.0}}, "engine": "torch", "first_pose_s": 4.0},
    ]
    assert speed.medians(rows) == {
        "fps": 20.0, "stage_ms": {"detect": {"p50": 2.0}}, "engine": "torch", "first_pose_s": None
    }  # fmt: skip


def test_a_tracked_clip_is_measured_and_its_stream_received() -> None:
    run = speed.track(CLIP, "--policy", "every")
    assert run["frames"] == run["published"] > 30 and run["dropped"] == run["corrupt"] == 0
    assert 0 < run["received"] <= run["published"]
    assert run["people_per_frame"] > 0.5 and run["first_pose_s"] > 0
    assert run["cpu_ms_per_frame"] == pytest.approx(
        run["tracking_thread_cpu_ms"] + run["other_threads_cpu_ms"], abs=2e-3
    )
    assert {"wait", "detect", "regress", "filter", "body", "publish"} <= run["stage_ms"].keys()
    json.dumps(run)


def test_any_command_can_be_a_peer() -> None:
    run = speed._peer_run(f"{sys.executable} -c 'import sys; open(sys.argv[1])' {{video}}", CLIP)
    assert run["cpu_ms_per_frame"] > 0 and run["frames"] > 30
    with pytest.raises(RuntimeError, match="exit code 3"):
        speed._peer_run(f"{sys.executable} -c 'raise SystemExit(3)' {{video}}", CLIP)
    with pytest.raises(typer.BadParameter, match="expected NAME=COMMAND"):
        speed._peer("no video in it")


def test_clips_have_as_many_people_as_asked_for(tmp_path: Path) -> None:
    path = clips.compose(tmp_path / "three.mp4", people=3, size_px=(360, 240), fps=25, frames=3)
    about = speed._about(path)
    assert (about["size_px"], about["fps"], about["frames"]) == ([360, 240], 25.0, 3)
    picture = open_source(path).read()
    assert picture is not None
    cells = [picture.image_rgb[y : y + 120, x : x + 120] for y in (0, 120) for x in (0, 120, 240)]
    reds = [((cell[..., 0] > 150) & (cell[..., 1] < 80)).sum() for cell in cells]  # of the shirt
    assert min(reds[:3]) > 50 and max(reds[3:]) == 0


def test_starts_are_summed_up_and_set_in_relation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter([{"first_pose_s": 1.0, "progress": ["preparing"]} for _ in range(20)])
    monkeypatch.setattr(start, "track", lambda *_, **__: next(runs))
    monkeypatch.setattr(start, "cost", lambda command: Cost(9.0, 3.0 if "run" in command[2] else 2.0))
    monkeypatch.setattr(start, "_seconds", lambda command: 0.8)
    found = start.measure(CLIP, runs=2, mediapipe_python=Path("python"))
    assert found["first_pose_warm_s"] == {"p50": 1.0, "least": 1.0, "most": 1.0, "runs": 7}
    assert found["first_pose_over_import_mediapipe"] == 1.25 and found["whole_run_over_mediapipe"] == 1.5
    assert found["progress_lines_cold"] == 1


def test_growth_compares_the_end_with_the_time_after_the_start() -> None:
    sizes = [100.0] * 5 + [400.0] * 5 + [410.0] * 35 + [440.0] * 5
    assert soak.growth_percent(sizes) == 10.0
    with pytest.raises(ValueError, match="at least 10"):
        soak.growth_percent([1.0] * 9)
    assert 1e6 < soak.resident_bytes() < 1e12


def test_a_clip_is_looped_with_times_that_run_on() -> None:
    decoder = soak.LoopDecoder(CLIP)
    info = decoder.open()
    assert info.frame_count is not None and info.fps is not None
    times = [picture.t_capture_ns for _ in range(info.frame_count + 5) if (picture := decoder.next_picture())]
    decoder.close()
    assert len(times) == info.frame_count + 5
    np.testing.assert_allclose(np.diff(times), 1e9 / info.fps, rtol=0.02)


def test_damage_is_seeded_and_every_file_is_accounted_for(tmp_path: Path) -> None:
    data = CLIP.read_bytes()
    one, other = (damage.mutated(data, np.random.default_rng(3)) for _ in range(2))
    assert one == other and one[1] != data
    report = damage.measure(CLIP, count=4, seed=1)
    assert sum(report["outcomes"].values()) == sum(report["damage"].values()) == 4
    assert not {"crash", "hang", "unaccounted"} & report["outcomes"].keys()
    assert report["frames_read"] > 0


def test_a_crash_is_traced_to_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{i}.mp4" for i in range(3)]
    reader = "import sys, os\nfor p in sys.argv[1:]:\n print('reading', p, flush=True)\n"
    reader += " os.abort() if '1' in p[-6:] else print('frames 2 0 True')"
    (tmp_path / "reader_that_crashes.py").write_text(reader)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(damage, "READER", "reader_that_crashes")
    outcomes = damage.read_all(files)
    assert [outcome["outcome"] for outcome in outcomes] == ["frames", "crash"]
