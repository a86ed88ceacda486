"""Cameras: what is asked for, the fallback, and honest messages; drivers are played by fakes."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from kinestream.capture import (
    CameraMode,
    SourceInfo,
    SourceLostError,
    SourceNotFoundError,
    open_source,
    webcam,
)
from kinestream.capture.decoder import Decoder, Picture


class FakeCapture:
    """OpenCV's VideoCapture with a camera that knows one mode and stamps as told."""

    opens = True
    stamp_ms = 0.0
    pictures = 3

    def __init__(self, camera: int | str) -> None:
        self.camera = camera
        self.left = self.pictures
        self.released = False

    def isOpened(self) -> bool:
        return self.opens

    def set(self, prop: int, value: float) -> bool:
        return False

    def get(self, prop: int) -> float:
        values = {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0, cv2.CAP_PROP_FPS: 0.0}
        return values.get(prop, self.stamp_ms)

    def getBackendName(self) -> str:
        return "FAKE"

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.full((480, 640, 3), [10, 20, 30], np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    class Fake(FakeCapture):
        pass

    monkeypatch.setattr(webcam.cv2, "VideoCapture", Fake)
    return Fake


def test_opencv_is_the_fallback_and_the_true_mode_is_reported(fake: Any, caplog: Any) -> None:
    with caplog.at_level("INFO"):
        source = open_source(99, mode=CameraMode(1920, 1080, 60), reconnect_s=0)
    with source:
        assert (source.info.width_px, source.info.height_px, source.info.fps) == (640, 480, None)
        assert source.policy == "latest" and source.clock == "monotonic"
        assert "640x480 px (FAKE), asked for 1920x1080 at 60 fps" in caplog.text
        frame = source.read()
    assert frame is not None and frame.image_rgb[0, 0].tolist() == [30, 20, 10], "RGB"


@pytest.mark.parametrize("age_ms", [0.0, 40.0, 5_000.0])
def test_driver_stamps_are_used_where_they_are_on_our_clock(fake: Any, age_ms: float) -> None:
    fake.stamp_ms = time.monotonic_ns() / 1e6 - age_ms
    decoder = webcam.OpenCvDecoder(0, mode=CameraMode())
    decoder.open()
    asked = time.monotonic_ns()
    picture = decoder.next_picture()
    arrived = time.monotonic_ns()
    assert picture is not None
    if age_ms < 1000:
        assert picture.t_capture_ns == pytest.approx(fake.stamp_ms * 1e6, abs=1e3)
    else:
        assert asked <= picture.t_capture_ns <= arrived


def test_an_unplugged_camera_is_reported(fake: Any) -> None:
    fake.pictures = 2
    with open_source("0", policy="every", reconnect_s=0.01) as source:
        fake.opens = False
        assert source.read() is not None and source.read() is not None
        with pytest.raises(SourceLostError, match="not back within 0 s"):
            source.read()


def test_a_missing_camera_says_what_to_do(fake: Any) -> None:
    fake.opens = False
    with pytest.raises(SourceNotFoundError, match="camera 99: .*`kinestream cameras` lists .*OpenCV"):
        open_source(99)


def test_damage_seen_by_the_backend_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy(Decoder):
        def open(self) -> SourceInfo:
            return SourceInfo("lossy", 2, 2, 30.0, None, True, "monotonic")

        def next_picture(self) -> Picture | None:
            self.corrupt += 2
            return Picture(1, np.zeros((2, 2, 3), np.uint8))

        def close(self) -> None:
            pass

    monkeypatch.setattr(webcam, "_backends", lambda camera, mode: [Lossy("lossy")])
    decoder = webcam.WebcamDecoder(0)
    decoder.open()
    decoder.next_picture()
    decoder.next_picture()
    assert decoder.corrupt == 4


def test_linux_lists_one_entry_per_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for node, index, name in [("video0", 0, "Desk"), ("video1", 1, "Desk"), ("video10", 0, "Roof")]:
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(f"{index}\n")
        (tmp_path / node / "name").write_text(f"{name}\n")
    monkeypatch.setattr(webcam, "_SYSFS", tmp_path)
    monkeypatch.setattr(webcam.sys, "platform", "linux")
    assert [(c.source, c.description) for c in webcam.list_cameras()] == [
        ("/dev/video0", "Desk"),
        ("/dev/video10", "Roof"),
    ]


@pytest.mark.parametrize(
    ("platform", "device_format", "address"),
    [("darwin", "avfoundation", "1:none"), ("win32", "dshow", "video=Roof")],
)
def test_elsewhere_ffmpeg_lists_the_cameras_and_is_tried_before_opencv(
    monkeypatch: pytest.MonkeyPatch, platform: str, device_format: str, address: str
) -> None:
    """What FFmpeg calls the devices there is played; no Mac and no Windows was at hand."""
    asked: list[Any] = []

    def enumerate_devices(name: str) -> list[Any]:
        asked.append(name)
        return [SimpleNamespace(description=text, media_types=kinds) for text, kinds in devices]

    def decoder(url: str, **options: Any) -> Any:
        return SimpleNamespace(url=url, **options)

    devices = [("Desk", ["video"]), ("Microphone", ["audio"]), ("Roof", ["video", "audio"])]
    monkeypatch.setattr(webcam.sys, "platform", platform)
    monkeypatch.setattr(webcam.av, "enumerate_input_devices", enumerate_devices, raising=False)
    monkeypatch.setattr(webcam, "AvDecoder", decoder)
    assert [(c.source, c.description) for c in webcam.list_cameras()] == [("0", "Desk"), ("1", "Roof")]
    first, last = webcam._backends(1, CameraMode(1280, 720, 30.0))
    assert (first.url, first.container_format, first.live) == (address, device_format, True)
    assert first.options["video_size"] == "1280x720" and first.options["framerate"] == "30"
    assert isinstance(last, webcam.OpenCvDecoder)
    assert set(asked) == {device_format}


def test_a_system_whose_cameras_cannot_be_listed_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> list[Any]:
        raise ValueError(f"no input device format {name}")

    monkeypatch.setattr(webcam.sys, "platform", "win32")
    monkeypatch.setattr(webcam.av, "enumerate_input_devices", fails, raising=False)
    assert webcam.list_cameras() == ()
    (only,) = webcam._backends(0, CameraMode())
    assert isinstance(only, webcam.OpenCvDecoder)
