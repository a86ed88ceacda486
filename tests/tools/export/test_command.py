"""The command `kinestream export`, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinestream.tools.commands.export import FORMATS
from kinestream.tools.export import SUFFIXES
from kinestream.tools.sinks.npz import ROW

Command = Callable[..., tuple[int, str, str]]


def test_the_command_knows_all_formats() -> None:
    assert tuple(SUFFIXES) == FORMATS


def test_the_command(archive: Path, kinestream: Command, tmp_path: Path) -> None:
    code, _, err = kinestream(
        "export", archive, "--to", "bvh", "--to", "csv", "--track", 5, "-o", tmp_path / "new"
    )
    assert code == 0 and "warning" not in err
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["walk.csv", "walk.track-5.take-1.bvh", "walk.track-5.take-2.bvh"]


def test_a_crashed_archive_is_exported(rows: np.ndarray, kinestream: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "walk.rows.npy", rows)
    assert kinestream("export", tmp_path / "walk.rows.npy", "--to", "csv")[0] == 0
    assert (tmp_path / "walk.csv").exists()


def test_another_body_is_noticed(rows: np.ndarray, kinestream: Command, tmp_path: Path) -> None:
    other = rows.copy()
    other["joints_cam_m"] *= 1.05
    np.save(tmp_path / "other.rows.npy", other)
    code, _, err = kinestream("export", tmp_path / "other.rows.npy", "--to", "csv")
    assert code == 0 and "was another one tracked? Give it with --body" in err


@pytest.mark.parametrize(
    ("name", "arguments", "code", "complaint"),
    [
        ("walk.npz", ["--to", "fbx"], 2, "expected bvh, amass, gmr, trc, c3d, csv, jsonl, glb"),
        ("walk.npz", ["--to", "csv", "--track", "3"], 1, "no such track; it has 0, 5"),
        ("empty.npz", ["--to", "csv"], 1, "nobody is in it"),
        ("other.npz", ["--to", "csv"], 1, "it lacks frame_index, t_capture_ns"),
        ("text.npz", ["--to", "csv"], 1, "not an archive of kinestream run --npz"),
        ("text.mcap", ["--to", "csv"], 1, "not a recording"),
        ("nothing.mcap", ["--to", "csv"], 1, "No such file"),
    ],
)
def test_what_cannot_be_exported_is_said(
    kinestream: Command,
    archive: Path,
    tmp_path: Path,
    name: str,
    arguments: list[str],
    code: int,
    complaint: str,
) -> None:
    (tmp_path / "walk.npz").write_bytes(archive.read_bytes())
    np.savez(tmp_path / "empty.npz", **{key: np.zeros(0, ROW)[key] for key in ROW.names or ()})
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    for suffix in ("npz", "mcap"):
        (tmp_path / f"text.{suffix}").write_text("this is no such file, whatever its name says")
    found, _, err = kinestream("export", tmp_path / name, *arguments)
    assert found == code and complaint in err
