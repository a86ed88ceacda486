"""Outputs never overwrite inputs, nor each other, whatever way they are written."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.tools.overwriting import refuse_overwriting

Video = Callable[..., Path]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.mp4").write_bytes(b"video")
    (tmp_path / "other").mkdir()
    return tmp_path


@pytest.mark.parametrize("way", ["in.mp4", "other/../in.mp4", "soft.mp4", "hard.mp4", "linked/in.mp4"])
def test_an_input_is_known_by_any_name(folder: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    (folder / "soft.mp4").symlink_to(folder / "in.mp4")
    os.link(folder / "in.mp4", folder / "hard.mp4")
    (folder / "linked").symlink_to(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=rf"--npz {way}: would overwrite the input in.mp4"):
        refuse_overwriting({"--json": None, "--npz": Path(way)}, [None, "in.mp4"])


def test_a_picture_of_a_folder_is_an_input(folder: Path) -> None:
    picture = folder / "in.mp4"
    for source in (folder, folder / "shot%03d.png"):
        with pytest.raises(ValueError, match="would overwrite"):
            refuse_overwriting({"--save-video": picture}, [source])
        refuse_overwriting({"--save-video": folder / "new.mp4"}, [source])
    with pytest.raises(ValueError, match="would overwrite"):
        refuse_overwriting({"--snapshots": folder}, [folder])


def test_two_outputs_are_two_files(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"--npz .*out: is written by --json already"):
        refuse_overwriting({"--json": folder / "out", "--npz": folder / "other" / ".." / "out"}, [])
    refuse_overwriting({"--json": Path("-"), "--npz": folder / "out"}, ["-", "rtsp://camera/x", "0"])


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("option", ["--save-video", "--npz", "--json", "--rrd", "--record", "--snapshots"])
def test_run_leaves_its_input_alone(kinestream: Command, block_video: Video, option: str) -> None:
    path = block_video([{0: (40, 60, 50, 120)}] * 3)
    link = path.with_name("link.mp4")
    link.symlink_to(path)
    before = path.read_bytes()
    code, _, err = kinestream("run", path, "--no-publish", option, link)
    assert code == 1 and option in err and ("would overwrite" in err or "never overwritten" in err)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("stand_ins")
def test_a_calibration_is_an_input(kinestream: Command, block_video: Video, tmp_path: Path) -> None:
    camera = tmp_path / "camera.yaml"
    camera.write_text("width: 320\nheight: 240\nk: [300, 0, 160, 0, 300, 120, 0, 0, 1]\n")
    path = block_video([{0: (40, 60, 50, 120)}] * 3)
    code, _, err = kinestream("run", path, "--no-publish", "--intrinsics", camera, "--json", camera)
    assert code == 1 and "would overwrite" in err


@pytest.mark.usefixtures("stand_ins")
def test_a_batch_leaves_videos_and_foreign_files_alone(
    kinestream: Command, block_video: Video, tmp_path: Path
) -> None:
    path = block_video([{0: (40, 60, 50, 120)}] * 3)
    before = path.read_bytes()
    code, _, err = kinestream("batch", path, "--out", path.parent, "--workers", 1)
    assert code == 1 and "would overwrite" in err
    assert path.read_bytes() == before
    foreign = tmp_path / "results" / path.name
    foreign.parent.mkdir()
    foreign.write_text("a diary")
    kinestream("batch", path, "--out", foreign.parent, "--workers", 1)
    assert foreign.read_text() == "a diary"


@pytest.mark.usefixtures("stand_ins")
def test_names_with_colons_and_brackets_work_for_inputs_and_outputs(
    kinestream: Command, block_video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = block_video([{0: (40, 60, 50, 120)}] * 3)
    monkeypatch.chdir(path.parent)
    shutil.move(path, "10:30 [bold]walk%d.mp4")
    code, _, err = kinestream(
        "run",
        "10:30 [bold]walk%d.mp4",
        "--no-publish",
        "--save-video",
        "11:30 out[x].mp4",
        "--npz",
        "a:b.npz",
    )
    assert code == 0, err
    assert "10:30 [bold]walk%d.mp4: 320x240 px" in err
    assert (path.parent / "11:30 out[x].mp4").stat().st_size > 1000 and (path.parent / "a:b.npz").exists()


@pytest.mark.usefixtures("stand_ins")
def test_the_options_of_a_source_reach_it(kinestream: Command, tmp_path: Path) -> None:
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"shot{i}.png"), np.full((240, 320, 3), 20, np.uint8))
    code, _, err = kinestream(
        "run", tmp_path, "--no-publish", "--fps", 5, "--rotate", 90, "--flip", "--start", 0.4, "--end", 1.0
    )
    assert code == 0, err
    assert "240x320 px at 5 fps, 4 frames" in err
    code, _, err = kinestream("run", tmp_path, "--no-publish", "--rotate", 45)
    assert code == 1 and "expected 0, 90, 180 or 270 degrees, found 45" in err
    code, _, err = kinestream("run", "http://127.0.0.1:9/x", "--no-publish", "--wait", 0.2)
    assert code == 1 and "connection refused" in err
    code, _, err = kinestream("run", tmp_path, "--no-publish", "--wait", 1)
    assert code == 1 and "for cameras and addresses" in err


def test_companions_of_macos_are_no_videos(tmp_path: Path) -> None:
    from kinestream.tools.batch.videos import find_videos

    for name in ("clip.mp4", "._clip.mp4"):
        (tmp_path / name).write_bytes(b"video")
    assert [video.name for video in find_videos([tmp_path], results=tmp_path / "out")] == ["clip.mp4"]
