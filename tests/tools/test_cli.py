"""The commands as a user meets them: output, files, exit codes. The models are stand-ins."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from kinestream import __version__
from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from kinestream.capture.webcam import CameraDevice
from kinestream.models import Models
from kinestream.stream import Publisher, StreamTimeoutError, Subscriber
from kinestream.tools.commands import doctor

Video = Callable[..., Path]
Command = Callable[..., tuple[int, str, str]]
Started = Callable[..., "subprocess.Popen[str]"]
WALK = [{0: (40 + 2 * i, 60, 50, 120), 1: (200, 40, 40, 100)} for i in range(15)]
pytestmark = pytest.mark.usefixtures("stand_ins")


def test_help_names_every_command(kinestream: Command) -> None:
    code, out, _ = kinestream("--help")
    assert code == 0
    for command in ("run", "listen", "cameras", "doctor"):
        assert command in out
        assert kinestream(command, "--help")[0] == 0


def test_version(kinestream: Command) -> None:
    assert kinestream("--version") == (0, f"{__version__}\n", "")


def test_run_a_file_to_all_sinks(kinestream: Command, block_video: Video, tmp_path: Path) -> None:
    path = block_video(WALK)
    npz, video, lines = tmp_path / "poses.npz", tmp_path / "overlay.mp4", tmp_path / "poses.jsonl"
    code, out, err = kinestream(
        "run", path, "--bind", "tcp://127.0.0.1:0", "--npz", npz, "--save-video", video, "--json", lines
    )
    assert (code, out) == (0, "")
    assert "320x240 px at 30 fps, 15 frames" in err and "publishing on tcp://127.0.0.1:" in err
    assert "15 frames," in err and "2 people 0 dropped" in err

    rows = np.load(npz)
    assert rows["frame_index"].tolist() == [i for i in range(15) for _ in range(2)]
    assert sorted(set(rows["track_id"].tolist())) == [0, 1]
    shapes = {
        "t_capture_ns": (30,),
        "score": (30,),
        "joints_cam_m": (30, 24, 3),
        "joint_std_m": (30, 24),
        "keypoints_cam_m": (30, 23, 3),
        "keypoints_px": (30, 23, 3),
        "translation_m": (30, 3),
        "root_quat_wxyz": (30, 4),
        "joint_quats_wxyz": (30, 21, 4),
        "betas": (30, 10),
    }
    assert {name: rows[name].shape for name in shapes} == shapes
    assert rows["joint_names"].tolist() == list(JOINT_NAMES)
    assert rows["keypoint_names"].tolist() == list(KEYPOINT_NAMES)

    frames = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [frame["frame_index"] for frame in frames] == list(range(15))
    person = frames[3]["persons"][0]
    row = 6 + [p["track_id"] for p in frames[3]["persons"]].index(person["track_id"])
    np.testing.assert_allclose(person["joints_cam_m"], rows["joints_cam_m"][row], atol=1e-5)

    with av.open(str(video)) as container:
        pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert len(pictures) == 15 and pictures[0][1].shape == (240, 320, 3)
    assert pictures[14][0] == pytest.approx(14 / 30, abs=0.002)
    with av.open(str(path)) as container:
        plain = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(pictures[0][1].astype(int) - plain).mean() > 2, "bodies are drawn"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "blocks.mp4",
        "overlay.mp4",
        "poses.jsonl",
        "poses.npz",
    ]


def test_photos_are_each_tracked_and_drawn_alone(
    kinestream: Command, paint_blocks: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    photos, drawn = tmp_path / "photos", tmp_path / "drawn"
    photos.mkdir()
    for name in ("beach", "street", "room"):
        image = paint_blocks((320, 240), {0: (100, 60, 50, 120)})
        cv2.imwrite(str(photos / f"{name}.png"), image[..., ::-1])
    options = ("--no-publish", "--json", "-", "--snapshots", drawn)
    code, out, _ = kinestream("run", photos, "--stills", *options)
    ids = [[person["track_id"] for person in json.loads(line)["persons"]] for line in out.splitlines()]
    assert (code, ids) == (0, [[0], [1], [2]])
    assert len(list(drawn.iterdir())) == 3, "not one a second"
    code, _, err = kinestream("run", photos, "--stills", "--smooth-lag-ms", "300", *options)
    assert code == 1 and "--stills" in err


def test_json_on_standard_output_is_nothing_but_json(kinestream: Command, block_video: Video) -> None:
    code, out, _ = kinestream("run", block_video(WALK), "--no-publish", "--json", "-", "--max-frames", 4)
    assert code == 0
    assert [json.loads(line)["frame_index"] for line in out.splitlines()] == [0, 1, 2, 3]


def test_somebody_who_listens_gets_the_stream(kinestream: Command, block_video: Video) -> None:
    with Publisher("tcp://127.0.0.1:0") as probe:
        address = probe.endpoint
    received: list[int] = []

    def receive() -> None:
        with Subscriber(address) as subscriber, contextlib.suppress(StreamTimeoutError):
            while len(received) < 10:
                received.append(subscriber.receive(timeout_ms=20_000).frame.frame_index)

    thread = threading.Thread(target=receive)
    thread.start()
    code, _, _ = kinestream("run", block_video(WALK * 4), "--bind", address, "--policy", "paced")
    thread.join()
    assert code == 0 and len(received) == 10
    assert received == sorted(received)


def test_a_busy_address_does_not_stop_the_run(
    kinestream: Command, block_video: Video, tmp_path: Path
) -> None:
    lines = tmp_path / "poses.jsonl"
    with Publisher("tcp://127.0.0.1:0") as other:
        code, _, err = kinestream("run", block_video(WALK), "--bind", other.endpoint, "--json", lines)
    assert code == 0 and len(lines.read_text().splitlines()) == 15
    assert err.count("in use by another program") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_once_and_the_others_go_on(
    kinestream: Command, block_video: Video, tmp_path: Path
) -> None:
    lines = tmp_path / "poses.jsonl"
    full = tmp_path / "full.jsonl"
    full.symlink_to("/dev/full")
    code, _, err = kinestream(
        "run", block_video(WALK * 3), "--no-publish", "--json", full, "--npz", tmp_path / "p.npz"
    )
    assert code == 1, "something that was asked for is not there"
    assert err.count("No space left on device; tracking goes on without it") == 1, err
    assert len(np.load(tmp_path / "p.npz")["score"]) == 90
    assert not lines.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["run", "nothing.mp4"], 1, "nothing.mp4: no such file or folder"),
        (["run", "{file}", "--intrinsics", "nothing.yaml"], 1, "nothing.yaml"),
        (["run", "{file}", "--bind", "tcp://0.0.0.0:5556"], 1, "allow it with insecure=True (--insecure)"),
        (["run", "{file}", "--npz", "/nowhere/poses.npz"], 1, "No such file or directory"),
        (
            ["run", "{file}", "--save-video", "/nowhere/v.mp4"],
            1,
            "No such file or directory: '/nowhere/v.mp4'",
        ),
        (["run", "{file}", "--save-video", "{file}.nothing"], 1, "use a name ending in .mp4"),
        (["run"], 2, "Missing argument"),
        (["run", "{file}", "--policy", "all"], 2, "expected one of latest, every, paced, found 'all'"),
        (["run", "{file}", "--filter", "magic"], 2, "expected one of learned, kalman, one-euro"),
        (["run", "{file}", "--model", "huge"], 2, "expected medium, large or a file of weights"),
        (["run", "{file}", "--size", "big"], 2, "expected WIDTHxHEIGHT such as 1280x720, found 'big'"),
        (["run", "{file}", "--max-people", "0"], 2, "should be greater than or equal to 1"),
        (["listen", "nowhere"], 1, "'nowhere' is no address to connect to"),
        (["listen", "tcp://127.0.0.1:9", "--timeout", "0.1"], 1, "is `kinestream run` running"),
        (["fly"], 2, "No such command 'fly'"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(
    kinestream: Command, block_video: Video, arguments: list[str], code: int, complaint: str
) -> None:
    path = block_video(WALK[:2])
    found, _, err = kinestream(*[a.replace("{file}", str(path)) for a in arguments])
    assert found == code
    assert complaint in err and "Traceback" not in err


@pytest.mark.parametrize("command", [["run", "{file}", "--no-publish"], ["record", "{file}", "{file}.mcap"]])
def test_the_model_that_is_asked_for_is_loaded(
    kinestream: Command, block_video: Video, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    asked, stand_ins = [], Models.load

    def load(**options: Any) -> Models:
        asked.append(options["regressor"])
        return stand_ins(**options)

    monkeypatch.setattr(Models, "load", load)
    path = block_video(WALK[:2])
    arguments = [a.replace("{file}", str(path)) for a in command]
    assert kinestream(*arguments, "--model", "large")[0] == 0
    assert asked == ["large"]


def test_listen_prints_frames_and_a_summary(kinestream: Command, block_video: Video) -> None:
    stop = threading.Event()
    with Publisher("tcp://127.0.0.1:0", heartbeat_s=0.05) as publisher:
        from kinestream.pipeline import Tracker

        with Tracker(block_video(WALK), models=Models.load()) as tracker:
            frames = list(tracker)

        def publish() -> None:
            while not stop.wait(0.02):
                publisher.publish(frames[0], clock="media")

        thread = threading.Thread(target=publish)
        thread.start()
        code, out, err = kinestream(
            "listen", publisher.endpoint, "--json", "-", "--count", 8, "--timeout", 10
        )
        stop.set()
        thread.join()
    assert code == 0
    assert [len(json.loads(line)["persons"]) for line in out.splitlines()] == [2] * 8
    assert "8 frames" in err and "2 people" in err and "0 missed" in err


def test_cameras(kinestream: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "kinestream.capture.list_cameras", lambda: (CameraDevice("/dev/video2", "Desk camera"),)
    )
    code, out, _ = kinestream("cameras")
    assert code == 0 and "/dev/video2" in out and "Desk camera" in out and "kinestream run /dev/video2" in out
    monkeypatch.setattr("kinestream.capture.list_cameras", lambda: ())
    code, out, _ = kinestream("cameras")
    assert code == 1 and "No camera found" in out


def test_doctor_tells_what_is_missing(kinestream: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "WEIGHTS", ("body.npz",))
    code, out, _ = kinestream("doctor")
    assert code == 0 and "Ready" in out and "Python" in out
    monkeypatch.setattr(doctor, "WEIGHTS", ("body.npz", "absent.safetensors"))
    code, out, _ = kinestream("doctor")
    assert code == 1 and "absent.safetensors" in out and "missing" in out
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    assert "pip install no-such-package" in " ".join(kinestream("doctor")[1].split())


@pytest.mark.skipif(os.name == "nt", reason="pipes are different there")
def test_a_reader_that_has_had_enough_ends_the_run_quietly(
    start_kinestream: Started, block_video: Video
) -> None:
    process = start_kinestream("run", block_video(WALK * 20), "--no-publish", "--json", "-")
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())["frame_index"] == 0
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(60) == 0, err
    assert "Traceback" not in err and "error" not in err.lower()


@pytest.mark.skipif(os.name == "nt", reason="signals are different there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_completes_its_files(
    start_kinestream: Started, block_video: Video, tmp_path: Path, number: int
) -> None:
    npz, video = tmp_path / "poses.npz", tmp_path / "overlay.mp4"
    process = start_kinestream(
        "run",
        block_video(WALK * 40),
        "--no-publish",
        "--policy",
        "paced",
        "--npz",
        npz,
        "--save-video",
        video,
    )
    rows = npz.with_suffix(".rows.npy")
    deadline = time.monotonic() + 60
    while not (rows.exists() and rows.stat().st_size > 20_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopped" in err and "Traceback" not in err
    assert 0 < len(np.load(npz)["score"]) < 1200
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0
