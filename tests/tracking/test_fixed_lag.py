"""Poses of files are corrected by what was seen afterwards; pictures, people and order stay."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinestream.filtering.base import PersonState
from kinestream.geometry.camera import Camera
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame
from kinestream.stream import Publisher
from kinestream.tracking.fixed_lag import MAX_LAG_MS, combined

Block = tuple[int, int, int, int]
Video = Callable[..., Path]
SIZE = (320, 240)


def walk_to_and_fro(frames: int, *, noise_px: float, seed: int) -> tuple[list[dict[int, Block]], np.ndarray]:
    """Pictures of one person who turns round twice, drawn a little beside where he is, and where he is."""
    left = 130 + 60 * np.sin(np.arange(frames) * 4 * np.pi / frames)
    drawn = np.round(left + noise_px * np.random.default_rng(seed).standard_normal(frames)).astype(int)
    return [{0: (int(x), 60, 50, 120)} for x in drawn], left


def tracked(models: Models, path: Path, **options: Any) -> list[PoseFrame]:
    with Tracker(path, models=models, filter="kalman", **options) as tracker:
        return list(tracker)


def error_m(frames: list[PoseFrame], left_px: np.ndarray, which: slice) -> float:
    """Mean distance of the person from where he is, sideways."""
    camera = Camera.from_fov(*SIZE)
    depth_m = camera.focal_px[1] * 1.7 / 119
    true = camera.unproject(np.stack([left_px + 24.5, np.full(len(left_px), 119.5)], 1), depth_m)[:, 0]
    found = np.array([frame.persons[0].translation_m[0] for frame in frames])
    return float(np.abs(found - true[-len(found) :])[which].mean())


def test_pictures_and_people_stay_and_come_nearer(block_models: Models, block_video: Video) -> None:
    pictures, left = walk_to_and_fro(90, noise_px=4, seed=0)
    path = block_video(pictures)
    causal, smooth = (tracked(block_models, path, smooth_lag_ms=lag_ms) for lag_ms in (0, 300))
    assert [frame.frame_index for frame in smooth] == list(range(90))
    for before, after in zip(causal, smooth, strict=True):
        assert [p.track_id for p in after] == [p.track_id for p in before]
        assert [p.state for p in after] == [p.state for p in before]
        assert after.t_capture_ns == before.t_capture_ns
    shown = [frame for frame in causal if frame.persons]
    seen = slice(5, None)
    later = [frame for frame in smooth if frame.persons]
    assert error_m(later, left, seen) < 0.8 * error_m(shown, left, seen)


def test_a_gap_is_bridged_from_both_ends(block_models: Models, block_video: Video) -> None:
    pictures, left = walk_to_and_fro(60, noise_px=0, seed=1)
    gap = slice(30, 40)  # the person turns round meanwhile
    pictures[gap] = [{} for _ in range(10)]
    path = block_video(pictures)
    causal, smooth = (tracked(block_models, path, smooth_lag_ms=lag_ms) for lag_ms in (0, 500))
    assert all(frame.persons[0].state == "coasting" for frame in causal[gap])
    offset = 60 - len([frame for frame in causal if frame.persons])
    hidden = slice(gap.start - offset, gap.stop - offset)
    causal, smooth = ([frame for frame in frames if frame.persons] for frames in (causal, smooth))
    assert error_m(smooth, left, hidden) < 0.5 * error_m(causal, left, hidden)
    for frame in smooth[hidden]:
        person = frame.persons[0]
        projected = frame.camera.project(person.keypoints_cam_m.astype(np.float64))
        np.testing.assert_allclose(person.keypoints_px[:, :2], projected, atol=0.05)


@pytest.mark.parametrize("lag_ms", [33, 1000, 2000])
def test_a_file_shorter_than_the_lag_is_complete(
    block_models: Models, block_video: Video, lag_ms: float
) -> None:
    path = block_video(walk_to_and_fro(12, noise_px=0, seed=0)[0])
    frames = tracked(block_models, path, smooth_lag_ms=lag_ms)
    assert [frame.frame_index for frame in frames] == list(range(12))


def test_what_is_published_is_smoothed(
    block_models: Models, block_video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = block_video(walk_to_and_fro(20, noise_px=4, seed=2)[0])
    smooth = tracked(block_models, path, smooth_lag_ms=200)
    with Publisher("tcp://127.0.0.1:0") as publisher:
        sent: list[PoseFrame] = []
        monkeypatch.setattr(publisher, "publish", lambda frame, **_: sent.append(frame))
        tracked(block_models, path, smooth_lag_ms=200, publisher=publisher)
    assert sent == smooth != tracked(block_models, path)


@pytest.mark.parametrize("lag_ms", [-1.0, MAX_LAG_MS + 1, float("nan")])
def test_lags_that_make_no_sense_are_refused(block_models: Models, block_video: Video, lag_ms: float) -> None:
    path = block_video(walk_to_and_fro(3, noise_px=0, seed=0)[0])
    with pytest.raises(ValueError, match="smooth_lag_ms: expected 0 to 2000"):
        Tracker(path, models=block_models, smooth_lag_ms=lag_ms)


@pytest.mark.parametrize("options", [{"policy": "paced"}, {"lead_ms": 50.0}])
def test_nothing_live_is_held_back(block_models: Models, block_video: Video, options: dict[str, Any]) -> None:
    path = block_video(walk_to_and_fro(3, noise_px=0, seed=0)[0])
    with pytest.raises(ValueError, match="smooth_lag_ms .* files at their own pace, without lead_ms"):
        Tracker(path, models=block_models, smooth_lag_ms=100, **options)


def state(seed: int, *, std: float) -> PersonState:
    rng = np.random.default_rng(seed)
    quat = rng.standard_normal(4).astype(np.float32)
    return PersonState(
        z=rng.standard_normal(63).astype(np.float32),
        z_std=np.full(63, std, np.float32),
        root_quat_wxyz=quat / np.linalg.norm(quat),
        root_std_rad=std,
        translation_m=rng.standard_normal(3).astype(np.float32),
        translation_std_m=np.full(3, std, np.float32),
        betas=rng.standard_normal(10).astype(np.float32),
        betas_std=np.full(10, std, np.float32),
    )


def assert_same(found: PersonState, expected: PersonState, atol: float) -> None:
    for name in ("z", "translation_m", "betas"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=atol)
    assert abs(float(found.root_quat_wxyz @ expected.root_quat_wxyz)) == pytest.approx(1, abs=atol)


def test_equal_estimates_stay_and_the_surer_one_wins() -> None:
    one, other = state(0, std=0.3), state(1, std=0.3)
    assert_same(combined(one, one), one, 1e-6)
    assert combined(one, one).root_std_rad == pytest.approx(0.3)
    assert_same(combined(replace_std(one, 1e-4), other), one, 1e-3)
    assert_same(combined(replace_std(one, 1e3), other), other, 1e-3)


def test_neither_side_is_preferred() -> None:
    one, other = state(2, std=0.4), state(3, std=0.2)
    assert_same(combined(one, other), combined(other, one), 1e-5)


def replace_std(given: PersonState, std: float) -> PersonState:
    return replace(
        given,
        z_std=np.full(63, std, np.float32),
        root_std_rad=std,
        translation_std_m=np.full(3, std, np.float32),
        betas_std=np.full(10, std, np.float32),
    )
