"""Pictures as a player shows them: turned, unsquashed, tone-mapped, deinterlaced, of the film itself."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.capture import Orientation, UnreadableSourceError, open_source
from kinestream.capture.av_source import AvDecoder

Make = Callable[..., Path]
IDENTITY_MATRIX = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))


def first_picture(path: Path, **options: object) -> np.ndarray:
    with open_source(path, **options) as source:  # type: ignore[arg-type]
        frame = source.read()
        assert frame is not None
        assert (source.info.width_px, source.info.height_px) == frame.image_rgb.shape[1::-1]
    return frame.image_rgb


def scene(width: int = 192, height: int = 128) -> np.ndarray:
    """A smooth picture without any symmetry."""
    y, x = np.mgrid[:height, :width]
    r = 40 + 150 * x / width
    g = 60 + 120 * y / height
    b = 200 - 100 * np.hypot(x - width / 3, y - height / 4) / width
    return np.stack([r, g, b], -1).astype(np.uint8)


def encode(
    path: Path,
    images: list[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    colours: tuple[int, int, int] | None = None,
) -> Path:
    """Write images; ``colours`` are transfer, primaries and matrix to declare."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if colours:
            context = stream.codec_context
            context.color_trc, context.color_primaries, context.colorspace = colours
        for number, image in enumerate(images):
            if image.dtype == np.uint16:
                frame = av.VideoFrame.from_ndarray(image, "rgb48le").reformat(
                    format=pixels, dst_colorspace=9, dst_color_range=1
                )
            else:
                frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
            if colours:
                frame.color_trc, frame.color_primaries, frame.colorspace = colours
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_all_eight_display_matrices(tmp_path: Path, turns: int, mirrored: bool) -> None:
    path = encode(tmp_path / "clip.mp4", [scene()] * 2)
    wanted = Orientation(turns, mirrored)
    (a, c), (b, d) = (wanted._matrix() << 16).tolist()
    matrix = b"".join((n & 0xFFFFFFFF).to_bytes(4, "big") for n in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    data = path.read_bytes()
    track = data.index(b"tkhd")
    place = data.index(IDENTITY_MATRIX, track)
    path.write_bytes(data[:place] + matrix + data[place + 36 :])
    image = first_picture(path)
    assert np.abs(image.astype(int) - wanted.image(scene())).mean() < 3
    with open_source(path) as source:
        assert source.info.geometry.stored == wanted


def test_a_slanted_matrix_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "clip.mp4", [scene()])
    data = path.read_bytes()
    slant = b"".join((n & 0xFFFFFFFF).to_bytes(4, "big") for n in (50000, 42000, 0, -42000, 50000))
    place = data.index(IDENTITY_MATRIX, data.index(b"tkhd"))
    path.write_bytes(data[:place] + slant + data[place + 20 :])
    assert first_picture(path).shape == scene().shape
    assert "at a slant" in caplog.text


@pytest.mark.parametrize(("stored", "aspect"), [((96, 128), Fraction(2)), ((192, 64), Fraction(1, 2))])
def test_pixels_are_unsquashed(tmp_path: Path, stored: tuple[int, int], aspect: Fraction) -> None:
    squashed = np.ascontiguousarray(scene()[:: 128 // stored[1], :: 192 // stored[0]])
    path = encode(tmp_path / "clip.mp4", [squashed], aspect=aspect)
    image = first_picture(path)
    assert image.shape == (128, 192, 3)
    assert np.abs(image.astype(int) - scene()).mean() < 4
    with open_source(path) as source:
        assert source.info.geometry.pixel_aspect == float(aspect)


def test_an_absurd_aspect_is_told_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "clip.mp4", [scene()], aspect=Fraction(99))
    assert first_picture(path).shape == (128, 192, 3)
    assert "taken for square" in caplog.text


def hdr(sdr: np.ndarray, transfer: str) -> np.ndarray:
    """The picture (H, W, 3) as BT.2100 codes it, 203 nits for white; uint16 full scale."""
    linear = (sdr / 255) ** 2.4  # as a screen shows it
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    nits = 203 * linear @ to_2020.T
    if transfer == "pq":
        y = (nits / 10_000) ** 0.1593017578125
        code = ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375
    else:
        luminance = nits @ np.array([0.2627, 0.678, 0.0593]) / 1000
        light = nits / 1000 * np.maximum(luminance, 1e-6)[..., None] ** (1 / 1.2 - 1)
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        code = np.where(light <= 1 / 12, np.sqrt(3 * light), a * np.log(np.maximum(12 * light - b, 1e-6)) + c)
    return np.round(np.clip(code, 0, 1) * 65535).astype(np.uint16)


@pytest.mark.parametrize(("transfer", "number"), [("hlg", 18), ("pq", 16)])
def test_high_dynamic_range_is_tone_mapped(tmp_path: Path, transfer: str, number: int) -> None:
    path = encode(
        tmp_path / "clip.mkv",
        [hdr(scene(), transfer)],
        codec="ffv1",
        pixels="yuv420p10le",
        colours=(number, 9, 9),
    )
    error = first_picture(path).astype(int) - scene()
    assert np.abs(error).mean() < 8, "as the same picture in standard dynamic range"


def test_hdr_that_cannot_be_mapped_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(
        tmp_path / "clip.mkv",
        [hdr(scene(), "pq")] * 2,
        codec="ffv1",
        pixels="yuv420p10le",
        colours=(16, 9, 9),
    )
    real = av.video.reformatter.VideoReformatter

    class Old:
        def reformat(self, frame: av.VideoFrame, **options: object) -> av.VideoFrame:
            if "dst_color_trc" in options:
                raise ValueError("no such conversion")
            return real().reformat(frame, **options)

    monkeypatch.setattr("kinestream.capture.picture_maker.VideoReformatter", Old)
    assert first_picture(path).shape == (128, 192, 3)
    assert caplog.text.count("cannot tone-map (no such conversion)") == 1


def test_interlaced_material_is_woven_without_combs(tmp_path: Path) -> None:
    """A bright bar that moves 8 px from field to field: woven as it is, every second line is off by that."""

    def field(number: int) -> np.ndarray:
        image = np.full((128, 192, 3), 30, np.uint8)
        image[:, 20 + 8 * number : 60 + 8 * number] = 220
        return image

    frames = []
    for i in range(6):
        frame = field(2 * i)
        frame[1::2] = field(2 * i + 1)[1::2]
        frames.append(frame)
    path = encode(
        tmp_path / "clip.mkv",
        frames,
        options={"flags": "+ildct+ilme", "x264-params": "interlaced=1:tff=1", "crf": "10"},
    )
    with open_source(path) as source:
        shown = list(source)
    assert len(shown) == 6, "the rate stays, and the last frame comes out"
    assert [frame.t_capture_ns for frame in shown] == [i * 40_000_000 for i in range(6)]
    for woven, frame in zip(frames[1:-1], shown[1:-1], strict=True):
        combs = np.abs(np.diff(frame.image_rgb.astype(int), axis=0)).mean()
        assert combs < 0.25 * np.abs(np.diff(woven.astype(int), axis=0)).mean()


def cover_jpeg() -> bytes:
    buffer = io.BytesIO()
    av.VideoFrame.from_ndarray(np.full((64, 64, 3), 200, np.uint8), "rgb24").to_image().save(buffer, "JPEG")
    return buffer.getvalue()


def with_cover(path: Path, film: bool) -> Path:
    """A file whose first video stream is a cover picture, beside a film or sound."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg")
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264" if film else "aac", rate=25 if film else 8000)
        if film:
            stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 200, np.uint8), "rgb24")
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        for i in range(5):
            if film:
                frame = av.VideoFrame.from_ndarray(scene(), "rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
            else:
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                frame.rate, frame.pts = 8000, i * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_cover_before_the_film_is_not_the_film(tmp_path: Path) -> None:
    path = with_cover(tmp_path / "clip.mp4", film=True)
    with open_source(path) as source:
        assert (source.info.width_px, source.info.height_px) == (192, 128)
        assert len(list(source)) == 5


def test_a_cover_alone_is_no_film(tmp_path: Path) -> None:
    path = with_cover(tmp_path / "song.mp4", film=False)
    with pytest.raises(UnreadableSourceError, match="expected a video stream, found audio, video .a cover"):
        open_source(path)


def test_of_several_videos_the_default_one_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, (width, height) in zip(streams, ((384, 256), (192, 128)), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for i in range(3):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(scene(stream.width, stream.height), "rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    assert first_picture(path).shape == (128, 192, 3)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_rotate_and_flip_hold_for_files_and_pictures(tmp_path: Path, rotate: int, flip: bool) -> None:
    wanted = np.rot90(scene(), -rotate // 90)
    wanted = wanted[:, ::-1] if flip else wanted
    picture = tmp_path / "one.png"
    av.VideoFrame.from_ndarray(scene(), "rgb24").to_image().save(picture)
    assert np.array_equal(first_picture(picture, rotate=rotate, flip=flip), wanted)
    video = encode(tmp_path / "clip.mp4", [scene()])
    image = first_picture(video, rotate=rotate, flip=flip)
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - wanted).mean() < 3


def test_an_interlaced_frame_that_the_filter_refuses_is_shown_as_it_is(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "clip.mkv", [scene()] * 3, options={"flags": "+ildct+ilme", "x264-params": "interlaced=1"}
    )
    with AvDecoder(path, live=False) as decoder, pytest.MonkeyPatch.context() as patch:

        def refuse(self: object, *_: object) -> None:
            raise ValueError("not this format")

        patch.setattr("kinestream.capture.picture_maker.Deinterlacer._build", refuse)
        decoder.open()
        assert len(list(iter(decoder.next_picture, None))) == 3
