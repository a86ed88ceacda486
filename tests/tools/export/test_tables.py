"""Tables and lines: TRC, CSV, JSON lines."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES

Written = Callable[..., list[Path]]
FLIP = np.array([1, -1, -1])
"""Camera frame to y up."""


def test_trc(written: Written, archive: Path, walk: Any, tmp_path: Path) -> None:
    paths = written(archive, tmp_path, "trc")
    for path, (track_id, first, last) in zip(paths, walk.takes.values(), strict=True):
        lines = path.read_text().splitlines()
        head = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
        count = last - first + 1
        assert (head["NumFrames"], head["NumMarkers"], head["Units"]) == (str(count), "47", "m")
        assert float(head["DataRate"]) == pytest.approx(25)
        names = [name for name in lines[3].split("\t")[2:] if name]
        assert names == [*JOINT_NAMES, *(f"skin_{name}" for name in KEYPOINT_NAMES)]
        assert len(lines[4].split("\t")) == 2 + 3 * 47 and lines[5] == ""
        table = np.array([[float(value) for value in line.split("\t")] for line in lines[6:]])
        assert table[:, 0].tolist() == list(range(1, count + 1))
        np.testing.assert_allclose(table[:, 1], (first + np.arange(count)) / 25, atol=1e-6)
        points = table[:, 2:].reshape(count, 47, 3)
        expected = walk.seen(track_id, first, last)
        at = expected["frame_index"] - first
        np.testing.assert_allclose(points[at][:, :24], expected["joints_cam_m"] * FLIP, atol=2e-6)
        np.testing.assert_allclose(points[at][:, 24:], expected["keypoints_cam_m"] * FLIP, atol=2e-6)


def test_csv(written: Written, recording: Path, rows: np.ndarray, tmp_path: Path) -> None:
    (path,) = written(recording, tmp_path, "csv")
    with open(path, newline="") as file:
        table = list(csv.DictReader(file))
    expected = rows[np.lexsort((rows["track_id"], rows["t_capture_ns"]))]
    assert [int(row["frame_index"]) for row in table] == expected["frame_index"].tolist()
    assert [int(row["track_id"]) for row in table] == expected["track_id"].tolist()
    assert {int(row["frame_index"]) for row in table if row["state"] == "coasting"} == {15}
    for j, name in enumerate(JOINT_NAMES):
        found = [[float(row[f"joints_cam_m.{name}.{axis}"]) for axis in "xyz"] for row in table]
        np.testing.assert_allclose(found, expected["joints_cam_m"][:, j], atol=1e-6)
    found = [[float(row[f"root_quat_wxyz.{axis}"]) for axis in "wxyz"] for row in table]
    np.testing.assert_allclose(found, expected["root_quat_wxyz"], atol=1e-6)
    assert float(table[3]["betas.9"]) == pytest.approx(expected["betas"][3, 9], abs=1e-6)


def test_json_lines(written: Written, archive: Path, recording: Path, walk: Any, tmp_path: Path) -> None:
    for source in (recording, archive):
        (path,) = written(source, tmp_path, "jsonl")
        frames = [json.loads(line) for line in path.read_text().splitlines()]
        indices = [frame["frame_index"] for frame in frames]
        missing = {90} if source is archive else set()
        assert indices == [i for i in range(91) if i not in missing | ({7} if source is archive else set())]
        assert {person["track_id"] for person in frames[indices.index(12)]["persons"]} == {0, 5}
        person = frames[indices.index(12)]["persons"][1]
        expected = walk.seen(5, 12, 12)[0]
        np.testing.assert_allclose(person["joints_cam_m"], expected["joints_cam_m"], atol=1e-5)
        if source is recording:
            assert frames[7]["persons"] == [] and frames[7]["camera"]["width_px"] == 640
