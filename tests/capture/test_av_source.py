"""Files as they come: variable rate, rotation, damage, no video at all."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from kinestream.capture import SourceNotFoundError, UnreadableSourceError, open_source
from kinestream.capture.av_source import AvDecoder

Make = Callable[..., Path]
Number = Callable[[np.ndarray], int]


def decode_all(path: Path) -> tuple[list[int], list[np.ndarray], AvDecoder]:
    with AvDecoder(path, live=False) as decoder:
        decoder.open()
        pictures = list(iter(decoder.next_picture, None))
    return [p.t_capture_ns for p in pictures], [p.image_rgb for p in pictures], decoder


def test_a_file_gives_its_pictures_in_order_with_its_own_times(make_video: Make, read_number: Number) -> None:
    times, images, decoder = decode_all(make_video(count=20, fps=25))
    assert [read_number(image) for image in images] == list(range(20))
    assert times == [i * 40_000_000 for i in range(20)]
    assert decoder.corrupt == 0
    assert images[0].dtype == np.uint8 and images[0].flags.c_contiguous
    assert np.abs(images[3][-5, 5].astype(int) - [200, 0, 0]).max() < 12, "channels are RGB"


def test_variable_frame_rate_keeps_the_true_times(make_video: Make) -> None:
    times_ms = [0, 10, 90, 91, 400, 1000, 1033]
    times, _, _ = decode_all(make_video(count=7, times_ms=times_ms))
    assert times == [ms * 1_000_000 for ms in times_ms]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_phone_video_is_turned_upright(make_video: Make, make_picture: Callable, rotation: int) -> None:
    path = make_video(count=2, rotation=rotation)
    _, images, _ = decode_all(path)
    upright = np.rot90(make_picture(1), rotation // 90)
    assert images[1].shape == upright.shape and images[1].flags.c_contiguous
    assert np.abs(images[1].astype(int) - upright).mean() < 6
    with open_source(path) as source:
        assert (source.info.width_px, source.info.height_px) == (upright.shape[1], upright.shape[0])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"nothing\.mp4: no such file or folder"):
        open_source(tmp_path / "nothing.mp4")
    with pytest.raises(SourceNotFoundError, match=r"nothing\.mp4: no such file"):
        AvDecoder(tmp_path / "nothing.mp4").open()


def test_a_text_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video here" * 100)
    with pytest.raises(UnreadableSourceError, match=r"notes\.mp4: cannot be opened as video"):
        open_source(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(UnreadableSourceError, match="expected a video stream, found audio"):
        open_source(path)


def test_a_cut_off_file_gives_what_is_there(make_video: Make, read_number: Number) -> None:
    whole = make_video("clip.ts", count=40)
    cut = whole.with_name("cut.ts")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    _, images, _ = decode_all(cut)
    assert 5 < len(images) < 40
    assert [read_number(image) for image in images[:5]] == list(range(5))


def test_a_file_without_its_index_is_refused(make_video: Make) -> None:
    whole = make_video(count=40)
    cut = whole.with_name("cut.mp4")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnreadableSourceError, match="cut off, damaged"):
        open_source(cut)


def test_damaged_packets_are_counted_and_the_rest_is_decoded(make_video: Make) -> None:
    path = make_video(count=40)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 900
    data[start : start + 300] = bytes(300)
    path.write_bytes(data)
    _, images, decoder = decode_all(path)
    assert decoder.corrupt > 0
    assert 20 <= len(images) < 40
    assert len(images) + decoder.corrupt >= 36


@pytest.mark.parametrize("seed", range(25))
def test_mutated_files_neither_crash_nor_hang(make_video: Make, seed: int) -> None:
    path = make_video(count=30)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    rng = np.random.default_rng(seed)
    where = rng.integers(0, len(data), size=int(rng.choice([1, 8, 60])))
    data[where] = rng.integers(0, 256, size=len(where))
    if seed % 3 == 0:
        data = data[: rng.integers(1, len(data))]
    path.write_bytes(data.tobytes())
    try:
        with open_source(path) as source:
            indices = [frame.index for frame in source]
    except (UnreadableSourceError, SourceNotFoundError):
        return
    assert indices == sorted(set(indices)), "every frame is handed out once and in order"
    assert indices[-1] < len(indices) + source.corrupt, "gaps in the numbers are counted as corrupt"


def test_pictures_leave_nothing_to_the_garbage_collector(make_video: Make) -> None:
    path = make_video(count=50)
    gc.collect()
    gc.disable()
    try:
        with AvDecoder(path, live=False) as decoder:
            decoder.open()
            for _ in range(40):
                assert decoder.next_picture() is not None
            frames = sum(type(thing) is VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert frames < 10, "one that waits for the collector holds a whole picture"
