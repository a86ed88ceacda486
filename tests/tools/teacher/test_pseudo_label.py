"""Label files of photos and videos, with a teacher that knows where it painted people, and with MediaPipe."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from kinestream.defaults import ASSETS
from kinestream.tools.teacher.labels import (
    LIMB_LANDMARKS,
    MIRROR_LANDMARKS,
    NOT_FOUND,
    Landmarks,
    flip_error,
    mirrored,
    person_box,
)
from kinestream.tools.teacher.pseudo_label import label, main
from kinestream.trainer.data.photos.pseudo import PseudoLabels

RED, GREEN = (220, 30, 30), (30, 220, 30)


class PaintedPeople:
    """Sees the largest saturated rectangle; its left is the right half of the rectangle, as of people who
    face the camera."""

    def __call__(self, image_rgb: np.ndarray) -> Landmarks | None:
        found = [self._of(image_rgb, channel) for channel in (0, 1)]
        best = max((f for f in found if f is not None), key=lambda f: f.mask.sum(), default=None)
        return best

    def _of(self, image: np.ndarray, channel: int) -> Landmarks | None:
        others = [c for c in range(3) if c != channel]
        mask = (image[..., channel] > 150) & (image[..., others].max(-1) < 100)
        rows, columns = np.nonzero(mask)
        if len(rows) < 200:
            return None
        left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
        points = np.zeros((33, 4), np.float32)
        points[:, 1] = np.linspace(top, bottom, 17)[(np.arange(33) + 1) // 2]
        middle, half = (left + right) / 2, (right - left) / 2
        points[:, 0] = middle
        for place in range(7, 33):
            points[place, 0] += (0.8 if place % 2 else -0.8) * half
        points[:, 3] = 0.9
        return Landmarks(points, points[:, :3] / 100, mask.astype(np.float32))


def street(*people: tuple[int, int, tuple[int, int, int]]) -> np.ndarray:
    """A gray picture 320 x 240 with people at (left, top): 30 x 120 px."""
    image = np.full((240, 320, 3), 128, np.uint8)
    for left, top, colour in people:
        image[top : top + 120, left : left + 30] = colour
    return image


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def test_photos_become_the_label_file_that_training_reads(tmp_path: Path) -> None:
    folder = tmp_path / "walks"
    folder.mkdir()
    for name, image in {"b.png": street((100, 60, RED)), "a.png": street()}.items():
        cv2.imwrite(str(folder / name), image[..., ::-1])
    path = label(PaintedPeople(), folder, tmp_path / "labels", persons=1, stride=1)
    with np.load(path, allow_pickle=False) as content:
        assert content["files"].tolist() == ["a.png", "b.png"]
        assert content["detected"].tolist() == [False, True]
        assert content["flip_err"][0] == NOT_FOUND and content["flip_err"][1] < 1e-3
        assert (content["image"][0] == 0).all()
        np.testing.assert_allclose(content["box"][1], [100, 60, 129, 179], atol=1)
        assert content["size"].tolist() == [[320, 240]] * 2
        mask = np.unpackbits(content["mask"][1]).reshape(64, 64)
    assert mask[16:48, 20:25].all() and mask.sum() == pytest.approx(6 * 32, rel=0.2)
    labels = PseudoLabels.load(path)
    assert labels.files == ("b.png",)
    assert labels.keypoints[0, 5, 0] > labels.keypoints[0, 6, 0]  # left shoulder right of the right one


def test_two_people_in_a_video_keep_their_numbers_while_they_pass(tmp_path: Path) -> None:
    frames = [street((40 + 4 * i, 60, RED), (250 - 3 * i, 50, GREEN)) for i in range(16)] + [street()]
    write_video(tmp_path / "pass.mp4", frames)
    path = label(PaintedPeople(), tmp_path / "pass.mp4", tmp_path, persons=2, stride=2)
    with np.load(path) as content:
        frame, person, box = content["frame"], content["person"], content["box"]
        assert content["files"].tolist() == ["pass.mp4"] * len(frame)
    assert frame.tolist() == sorted(list(range(0, 16, 2)) * 2 + [16])
    for index in range(0, 16, 2):
        by_number = {int(n): b for n, b in zip(person[frame == index], box[frame == index], strict=True)}
        assert len(by_number) == 2
        assert {round(b[0]) for b in by_number.values()} == {40 + 4 * index, 250 - 3 * index}
        if index == 0:
            red = next(n for n, b in by_number.items() if b[0] < 100)
        assert by_number[red][0] == pytest.approx(40 + 4 * index, abs=2)
    assert person[frame == 16].tolist() == [-1]


def test_mirroring_labels_twice_changes_nothing_and_left_becomes_right() -> None:
    seen = PaintedPeople()(street((100, 60, RED)))
    assert seen is not None
    assert sorted(MIRROR_LANDMARKS) == list(range(33))
    again = mirrored(mirrored(seen))
    np.testing.assert_allclose(again.image, seen.image, atol=1e-4)
    np.testing.assert_array_equal(again.mask, seen.mask)
    assert MIRROR_LANDMARKS[11] == 12 and MIRROR_LANDMARKS[31] == 32 and MIRROR_LANDMARKS[2] == 5


def test_flip_error_counts_torso_lengths() -> None:
    seen = PaintedPeople()(street((100, 60, RED)))
    assert seen is not None
    assert flip_error(seen, None) == NOT_FOUND
    assert flip_error(seen, mirrored(seen)) == pytest.approx(0, abs=1e-6)
    moved = mirrored(seen)
    moved.image[list(LIMB_LANDMARKS), 1] += 10
    torso = (
        np.hypot(*(seen.image[11] - seen.image[24])[:2]) + np.hypot(*(seen.image[12] - seen.image[23])[:2])
    ) / 2
    assert flip_error(seen, moved) == pytest.approx(10 / torso, rel=1e-5)


def test_a_silhouette_widens_the_box_but_not_without_limit() -> None:
    seen = PaintedPeople()(street((100, 60, RED)))
    assert seen is not None
    seen.mask[50:60, 100:130] = 1  # hair above the landmarks
    seen.mask[:, 300:] = 1  # somebody else
    np.testing.assert_allclose(person_box(seen), [100, 50, 129, 179], atol=1)


def test_errors_say_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no photo in it"):
        label(PaintedPeople(), tmp_path, tmp_path, persons=1, stride=1)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="broken.jpg: not a readable picture"):
        label(PaintedPeople(), tmp_path, tmp_path, persons=1, stride=1)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="no frame could be read"):
        label(PaintedPeople(), tmp_path / "broken.mp4", tmp_path, persons=1, stride=1)
    with pytest.raises(ValueError, match="neither a folder of photos nor a video"):
        label(PaintedPeople(), Path(__file__), tmp_path, persons=1, stride=1)
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(tmp_path / "nowhere"), "--out", str(tmp_path)])
    assert result.exit_code == 2 and "exist" in result.stderr
    assert not list(tmp_path.glob("*.npz*"))


def test_mediapipe_labels_what_it_finds(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="MediaPipe lives in an environment of its own (extra 'teacher')")
    from kinestream.tools.teacher.mediapipe_pose import MediaPipeTeacher

    teacher = MediaPipeTeacher()
    assert teacher(street()) is None
    frames = ASSETS / "demo.mp4"
    path = label(teacher, frames, tmp_path, persons=1, stride=40)
    with np.load(path) as content:
        assert content["detected"].any()
        assert (content["flip_err"][content["detected"]] < 1).any()
