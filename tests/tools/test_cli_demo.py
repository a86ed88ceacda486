"""The demo: it measures what it says it measures, and shows the stream at work."""

import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.stream import DEFAULT_ENDPOINT, BindError, Publisher
from kinestream.tools.commands import demo


@pytest.fixture
def run_demo(
    kinestream: Callable[..., tuple[int, str, str]],
    stand_ins: None,
    block_models: Models,
    block_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Path], str]:
    """Runs the demo on a clip of 12 frames whose truth lies 50 mm beside what the tracker says."""
    clip = block_video([{0: (100 + i, 60, 50, 120)} for i in range(12)])
    with Tracker(clip, models=block_models, filter="none") as tracker:
        people = [frame.persons[0] for frame in tracker]
        camera = tracker.predict(10**12).camera
    truth = tmp_path / "truth.npz"
    np.savez(
        truth,
        joints_cam_m=np.stack([person.joints_cam_m for person in people]) + np.float32([0.03, 0.04, 0]),
        keypoints_px=np.stack([person.keypoints_px[:, :2] for person in people]) + np.float32([0, 2]),
        size_px=[320, 240],
        intrinsics=camera.K,
        t_ns=np.arange(12) * 33_333_333,
    )
    monkeypatch.setattr(demo, "CLIP", clip)
    monkeypatch.setattr(demo, "TRUTH", truth)

    def run(output: Path) -> str:
        code, out, err = kinestream("demo", "--out", output, "--filter", "none")
        assert code == 0, err
        return " ".join(out.split())

    return run


def test_the_demo_measures_tracks_publishes_and_draws(
    run_demo: Callable[[Path], str], tmp_path: Path
) -> None:
    output = tmp_path / "demo.mp4"
    text = run_demo(output)
    assert "tracked 12 of 12 frames" in text
    assert "0 mm MPJPE (pelvis aligned), 0 mm PA-MPJPE, 50 mm in the camera frame, 2.0 px keypoints" in text
    received = re.search(r"(\d+) messages received on tcp://127", text)
    assert received is not None and int(received.group(1)) == 12
    assert re.search(r"\d+ fps \([\d.]+ ms per frame", text)
    assert "kinestream run 0" in text
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_the_demo_runs_beside_another_tracker(run_demo: Callable[[Path], str], tmp_path: Path) -> None:
    try:
        other = Publisher(DEFAULT_ENDPOINT)
    except BindError:
        other = None
    text = run_demo(tmp_path / "demo.mp4")
    if other is not None:
        other.close()
    assert "tracked 12 of 12 frames" in text and DEFAULT_ENDPOINT not in text
