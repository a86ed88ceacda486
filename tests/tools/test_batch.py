"""Batches: real processes on real files; every video once, whoever dies."""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from kinestream.capture import SourceNotFoundError
from kinestream.tools.batch.coordinator import ATTEMPTS, Batch
from kinestream.tools.batch.events import Broken, Died, Event, Finished, Progress
from kinestream.tools.batch.local import LocalWorkers
from kinestream.tools.batch.results import LOCK, ResultFolder
from kinestream.tools.batch.videos import Settings, Video, find_videos
from kinestream.tools.batch.workers import Workers

MakeVideos = Callable[[Path], list[Video]]


@pytest.fixture
def make_videos(block_video: Callable[..., Path]) -> MakeVideos:
    """Two short videos, a long one and a damaged one, in folders."""

    def make(folder: Path) -> list[Video]:
        (folder / "day 2").mkdir(parents=True)
        for name, frames in (("a.mp4", 12), ("long.mp4", 90), ("day 2/a.mp4", 15)):
            block_video([{0: (40 + i, 60, 50, 120)} for i in range(frames)]).rename(folder / name)
        (folder / "damaged.mp4").write_bytes(b"no video at all")
        (folder / "notes.txt").write_text("no video either")
        return find_videos([folder], results=folder / "results")

    return make


class Killer:
    """Kills the first worker that reports progress on the long video."""

    def __init__(self) -> None:
        self.killed = 0
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Progress) and event.video == "long.mp4" and not self.killed:
            self.killed = event.pid
            os.kill(event.pid, signal.SIGKILL)


def check_all_done_once(batch: Batch, results: Path, killer: Killer) -> None:
    """The state after a batch of `make_videos` during which one worker was killed."""
    assert killer.killed and [e.video for e in killer.events if isinstance(e, Died)] == ["long.mp4"]
    finished = [event.video for event in killer.events if isinstance(event, Finished)]
    assert sorted(finished) == ["a.mp4", "day 2/a.mp4", "long.mp4"]
    rows = {row["video"]: row for row in json.loads((results / "manifest.json").read_text())["videos"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "a.mp4": "done",
        "damaged.mp4": "broken",
        "day 2/a.mp4": "done",
        "long.mp4": "done",
    }
    assert {name: row["frames"] for name, row in rows.items() if "frames" in row} == {
        "a.mp4": 12,
        "day 2/a.mp4": 15,
        "long.mp4": 90,
    }
    assert "damaged.mp4: cannot be opened as video" in rows["damaged.mp4"]["reason"]
    assert rows["long.mp4"]["deaths"] == 1 and rows["a.mp4"]["deaths"] == 0
    files = sorted(p.relative_to(results).as_posix() for p in results.rglob("*") if p.is_file())
    kinds = ("overlay.mp4", "poses.jsonl", "poses.npz", "result.json")
    expected = [f"{name}/{kind}" for name in ("a.mp4", "day 2/a.mp4", "long.mp4") for kind in kinds]
    assert [f for f in files if f != LOCK] == sorted([*expected, "manifest.json"])
    lines = (results / "long.mp4" / "poses.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame_index"] for line in lines] == list(range(90))
    assert "joints_cam_m" in np.load(results / "long.mp4" / "poses.npz")


def test_a_killed_worker_costs_nothing_and_a_second_run_does_nothing(
    make_videos: MakeVideos, tmp_path: Path
) -> None:
    videos, results = make_videos(tmp_path / "videos"), tmp_path / "results"
    settings = Settings(json=True, save_video=True)
    batch, killer = Batch(videos, settings, ResultFolder(results)), Killer()
    assert batch.left == 4
    with LocalWorkers(2, settings, results) as workers:
        batch.run(workers, killer)
    check_all_done_once(batch, results, killer)

    again = Batch(videos, settings, ResultFolder(results))
    assert again.left == 0 and all(entry.earlier for entry in again.entries.values())
    assert Batch(videos, settings, ResultFolder(results), retry_broken=True).left == 1
    assert Batch(videos, Settings(json=True), ResultFolder(results)).left == 3, "other settings, all anew"
    (tmp_path / "videos" / "damaged.mp4").write_bytes(b"another file")
    os.utime(tmp_path / "videos" / "a.mp4", ns=(1, 1))
    changed = find_videos([tmp_path / "videos"], results=results)
    left = Batch(changed, settings, ResultFolder(results)).entries
    assert [name for name, entry in left.items() if entry.state == "waiting"] == ["a.mp4", "damaged.mp4"]


def test_on_ray_two_workers_one_killed(
    make_videos: MakeVideos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else a busy machine starves the workers
    from kinestream.tools.batch.cluster import RayWorkers

    videos, results = make_videos(tmp_path / "videos"), tmp_path / "results"
    settings = Settings(json=True, save_video=True)
    batch, killer = Batch(videos, settings, ResultFolder(results)), Killer()
    with RayWorkers(2, settings, results) as workers:
        assert workers.free == 2
        batch.run(workers, killer)
    check_all_done_once(batch, results, killer)


class ScriptedWorkers(Workers):
    """One worker that answers every video with the next event of a list."""

    def __init__(self, answers: list[Callable[[str], Event]]) -> None:
        self.answers, self.taken = answers, []

    @property
    def free(self) -> int:
        return 1 if len(self.taken) == 0 else 0

    def submit(self, video: Video) -> None:
        self.taken.append(video)

    def wait(self, timeout_s: float) -> list[Event]:
        return [self.answers.pop(0)(self.taken.pop().name)]

    def close(self) -> None:
        pass


def test_a_video_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    videos = [Video(name, tmp_path / name, 1, 1) for name in ("poison.mp4", "good.mp4")]
    batch = Batch(videos, Settings(), ResultFolder(tmp_path))

    def dies(name: str) -> Event:
        return Died(name, "its worker ended with signal 9 (SIGKILL)")

    def fine(name: str) -> Event:
        return Finished(name, {"frames": 3})

    batch.run(ScriptedWorkers([dies, fine, dies, dies]))
    assert ATTEMPTS == 3
    assert batch.entries["good.mp4"].state == "done"
    poison = batch.entries["poison.mp4"]
    assert (poison.state, poison.deaths) == ("broken", 3)
    assert poison.reason == "its worker ended with signal 9 (SIGKILL); given up after 3 attempts"


def test_an_interrupted_batch_says_where_it_stood(tmp_path: Path) -> None:
    def interrupted(name: str) -> Event:
        raise KeyboardInterrupt

    videos = [Video(name, tmp_path / name, 1, 1) for name in ("a.mp4", "b.mp4", "c.mp4")]
    batch = Batch(videos, Settings(), ResultFolder(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        batch.run(ScriptedWorkers([lambda name: Broken(name, "bad"), interrupted]))
    rows = json.loads((tmp_path / "manifest.json").read_text())["videos"]
    assert [row["state"] for row in rows] == ["broken", "waiting", "waiting"]


def test_of_many_workers_on_one_video_one_wins(tmp_path: Path) -> None:
    video, settings = Video("x/a.mp4", tmp_path / "a.mp4", 1, 1), Settings()
    barrier, told = threading.Barrier(8), []

    def publish(number: int) -> None:
        folder = ResultFolder(tmp_path / "results")
        work = folder.begin()
        (work / "poses.npz").write_text(str(number))
        barrier.wait()
        told.append(folder.publish(work, video, settings, {"frames": number}))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = ResultFolder(tmp_path / "results")
    winner = folder.summary(video)
    assert winner is not None and told == [winner] * 8
    assert (folder.place_of(video) / "poses.npz").read_text() == str(winner["frames"])
    assert list((tmp_path / "results" / ".partial").iterdir()) == []


def test_a_changed_video_replaces_its_old_result(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "results")
    for changed_ns in (1, 2):
        video = Video("a.mp4", tmp_path / "a.mp4", 1, changed_ns)
        work = folder.begin()
        (work / f"{changed_ns}.npz").touch()
        folder.publish(work, video, Settings(), {})
        assert folder.is_done(video, Settings())
    assert sorted(p.name for p in folder.place_of(video).iterdir()) == ["2.npz", "result.json"]


def test_which_videos_are_found(tmp_path: Path) -> None:
    for name in ("one/a.MP4", "one/sub/b.mkv", "two/a.mp4", "one/out/c.mp4", "one/text.txt", "odd.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    one, two, results = tmp_path / "one", tmp_path / "two", tmp_path / "one" / "out"
    assert [v.name for v in find_videos([one], results=results)] == ["a.MP4", "sub/b.mkv"]
    both = find_videos([one, two, tmp_path / "odd.dat"], results=results)
    assert [v.name for v in both] == ["odd.dat", "one/a.MP4", "one/sub/b.mkv", "two/a.mp4"]
    (tmp_path / "other" / "two").mkdir(parents=True)
    (tmp_path / "other" / "two" / "a.mp4").write_text("another")
    with pytest.raises(ValueError, match=r"would both be called two/a.mp4"):
        find_videos([two, tmp_path / "other" / "two"], results=results)
    with pytest.raises(SourceNotFoundError, match="no such file or folder"):
        find_videos([tmp_path / "missing"], results=results)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFoundError, match=r"no video in .*empty; looked for \.3gp, "):
        find_videos([tmp_path / "empty"], results=results)


def test_the_command_reports_a_broken_video_and_its_lock(
    kinestream: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "damaged.mp4").write_bytes(b"no video at all")
    results = tmp_path / "results"
    command = ("batch", tmp_path / "videos", "--out", results, "--workers", 1)
    code, _, err = kinestream(*command)
    assert code == 1 and "1 videos, 1 to do" in err and "broken: damaged.mp4:" in err
    code, _, err = kinestream(*command)
    assert code == 1 and "0 to do, 1 settled before" in err and "broken: damaged.mp4:" in err
    with FileLock(results / LOCK):
        code, _, err = kinestream(*command)
    assert code == 1 and "another batch is at work here" in err
    code, _, err = kinestream(*command, "--filter", "magic")
    assert code == 2 and "found 'magic'" in err
