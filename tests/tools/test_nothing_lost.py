"""Full disks, closed terminals: what is lost is said, what was written is whole, videos are not blamed."""

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.capture import SourceNotFoundError, UnreadableSourceError
from kinestream.tools.batch.events import Broken, Event, Finished, Halted, Unavailable
from kinestream.tools.batch.results import ResultFolder
from kinestream.tools.batch.videos import Settings, Video, find_videos
from kinestream.tools.batch.work import process
from kinestream.tools.sinks.base import SinkError, WholeFile, naming

Start = Callable[..., "subprocess.Popen[str]"]
MakeVideo = Callable[..., Path]
WALK = [{0: (40 + i % 200, 60, 50, 120), 1: (220, 60, 50, 120)} for i in range(90)]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits on files and signals are different there")


def test_every_file_that_does_not_fit_is_named(
    start_kinestream: Start, block_video: MakeVideo, tmp_path: Path
) -> None:
    """A limit on the size of files stands for a full disk. FFmpeg itself says nothing of it."""
    files = {"--json": "a.jsonl", "--npz": "b.npz", "--save-video": "c.mp4", "--record": "d.mcap"}
    options = [word for option, name in files.items() for word in (option, tmp_path / name)]
    run = start_kinestream("run", block_video(WALK), "--no-publish", *options, file_limit=12_000)
    err = " ".join(run.communicate(timeout=300)[1].split())
    assert run.returncode == 1 and "Traceback" not in err
    said = err.rpartition("error:")[2].replace(" ", "")
    for name in files.values():
        assert name.removesuffix(".npz") in said, name
    assert said.count("Filetoolarge") == len(files)


def test_a_video_that_is_cut_at_its_very_end(
    start_kinestream: Start, block_video: MakeVideo, tmp_path: Path
) -> None:
    """Nothing is written before the last picture is encoded: only closing the file can tell."""
    short = block_video(WALK[:4])
    run = start_kinestream("run", short, "--no-publish", "--save-video", tmp_path / "o.mp4", file_limit=800)
    err = " ".join(run.communicate(timeout=300)[1].split())
    assert run.returncode == 1 and "o.mp4: File too large" in err.replace("\n", "")


def test_a_file_object_keeps_its_first_fault(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    file = WholeFile("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        file.write(b"x")
    with pytest.raises(OSError, match="No space left"):
        file.close()
    with pytest.raises(SinkError, match="a name: No space left"), naming("a name"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(BrokenPipeError), naming("a name"):
        raise BrokenPipeError


@pytest.mark.parametrize("numbers", [[signal.SIGHUP, signal.SIGHUP, signal.SIGTERM], [signal.SIGTERM]])
def test_a_closed_terminal_completes_the_files(
    start_kinestream: Start, block_video: MakeVideo, tmp_path: Path, numbers: list[int]
) -> None:
    npz, video, rows = tmp_path / "a.npz", tmp_path / "a.mp4", tmp_path / "a.rows.npy"
    clip = block_video(WALK * 20)
    run = start_kinestream(
        "run", clip, "--no-publish", "--policy", "paced", "--npz", npz, "--save-video", video
    )
    deadline = time.monotonic() + 120
    while not (rows.exists() and rows.stat().st_size > 20_000):
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.02)
    for number in numbers:
        run.send_signal(number)
        time.sleep(0.03)
    err = run.communicate(timeout=120)[1]
    assert run.returncode == 0 and "stopped" in err and "Traceback" not in err
    assert len(np.load(npz)["track_id"]) > 5 and not rows.exists()
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5


def test_a_batch_stops_on_a_full_disk_and_goes_on(
    start_kinestream: Start, block_video: MakeVideo, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    for name in "ab":
        block_video(WALK).rename(tmp_path / "videos" / f"{name}.mp4")
    batch = (
        "batch",
        tmp_path / "videos",
        "--out",
        tmp_path / "results",
        "--workers",
        "1",
        "--json",
        "--no-npz",
    )
    full = start_kinestream(*batch, file_limit=6_000)
    said = " ".join(full.communicate(timeout=300)[1].split())
    assert full.returncode == 1 and "stopped:" in said and "File too large" in said, said
    assert "2 videos wait; mend that, and the same command goes on from here" in said
    rows = json.loads((tmp_path / "results" / "manifest.json").read_text())["videos"]
    assert [row["state"] for row in rows] == ["waiting", "waiting"], "good videos are not blamed"
    again = start_kinestream(*batch)
    assert "2 done" in again.communicate(timeout=300)[1] and again.returncode == 0


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), Halted),
        (ImportError("no such library"), Halted),
        (MemoryError(), Halted),
        (SourceNotFoundError("clip.mp4: no such file"), Broken),
        (UnreadableSourceError("clip.mp4: cannot be opened"), Broken),
        (ValueError("odd"), Broken),
        (errno.EACCES, Unavailable),
        (errno.EIO, Unavailable),
        (errno.EMFILE, Unavailable),
        ("gone", Unavailable),
    ],
)
def test_who_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: object, expected: type[Event]
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    (video,) = find_videos([clip], results=tmp_path / "results")

    def track(*_: object) -> None:
        if isinstance(fault, Exception):
            raise fault
        if fault == "gone":
            clip.unlink()
            raise SourceNotFoundError("clip.mp4: no such file")
        raise UnreadableSourceError("clip.mp4: cannot be opened") from OSError(fault, "so the system says")

    monkeypatch.setattr("kinestream.tools.batch.work._track", track)
    monkeypatch.setattr("kinestream.tools.batch.work._models", lambda body, model, flip_test: None)
    (event,) = process(video, Settings(), tmp_path / "results")
    assert type(event) is expected and event.reason
    assert not list((tmp_path / "results" / ".partial").iterdir()), "nothing is left lying about"


def test_models_that_do_not_load_halt_the_batch(tmp_path: Path) -> None:
    video = Video("clip.mp4", tmp_path / "clip.mp4", 1, 1)
    (event,) = process(video, Settings(body=str(tmp_path / "nobody.npz")), tmp_path / "results")
    assert isinstance(event, Halted) and "nobody.npz" in event.reason


def test_what_was_not_reached_is_tried_again(tmp_path: Path) -> None:
    from kinestream.tools.batch.coordinator import Batch

    videos = [Video(name, tmp_path / name, 1, 1) for name in ("a", "b", "c")]
    batch = Batch(videos, Settings(), ResultFolder(tmp_path))
    batch._take(Unavailable("a", "not allowed"))
    batch._take(Broken("b", "no video"))
    batch._take(Finished("c", {"frames": 1}))
    batch.write_manifest()
    rows = {row["video"]: row for row in json.loads((tmp_path / "manifest.json").read_text())["videos"]}
    assert [(row["state"], row.get("reason")) for row in rows.values()] == [
        ("waiting", "not allowed"), ("broken", "no video"), ("done", None),
    ]  # fmt: skip
    assert Batch(videos, Settings(), ResultFolder(tmp_path)).entries["a"].state == "waiting"
