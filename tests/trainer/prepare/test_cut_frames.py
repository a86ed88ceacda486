"""People cut out of a labelled video: pictures, landmarks and silhouettes keep describing the same person."""

from pathlib import Path

import av
import cv2
import numpy as np

from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.prepare.cut_frames import LONGER_PX, cut, frames_to_photos, main

SIZE = (320, 240)
BAR = slice(40, 200), slice(150, 180)


def landmarks() -> np.ndarray:
    points = np.zeros((33, 4), np.float16)
    points[:, 0], points[:, 1], points[:, 3] = 165, np.linspace(42, 198, 33), 1.0
    return points


def silhouette() -> np.ndarray:
    full = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    full[BAR] = 255
    cells = cv2.resize(full, (64, 64), interpolation=cv2.INTER_AREA)
    return np.packbits(cells > 127)


def test_labels_move_with_the_picture() -> None:
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    image[BAR] = 255
    picture, moved, bits = cut(image, landmarks(), silhouette())
    assert max(picture.shape[:2]) <= LONGER_PX
    columns = np.flatnonzero(picture[picture.shape[0] // 2, :, 0] > 127)
    np.testing.assert_allclose(moved[:, 0], columns.mean(), atol=1.0)
    mask = np.unpackbits(bits).reshape(64, 64)
    rows = np.flatnonzero(mask.any(1)) / 64 * picture.shape[0]
    np.testing.assert_allclose([rows[0], rows[-1]], [moved[0, 1], moved[-1, 1]], atol=6.0)


def test_a_video_becomes_a_photo_set(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for _ in range(6):
            image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
            image[BAR] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    frames = np.arange(6)
    arrays = {
        "frame": frames,
        "person": np.zeros(6, int),
        "detected": frames != 2,
        "image": np.tile(landmarks(), (6, 1, 1)),
        "mask": np.tile(silhouette(), (6, 1)),
        "flip_err": np.full(6, 0.02),
    }
    np.savez(tmp_path / "clip.npz", **arrays)
    found = frames_to_photos(video, arrays, tmp_path / "once", every=2)
    assert found["files"].tolist() == ["clip_00000_0.jpg", "clip_00004_0.jpg"]

    folder, labels = tmp_path / "images", tmp_path / "labels.npz"
    for _ in range(2):  # doing it again adds nothing
        main(video, tmp_path / "clip.npz", out=folder, labels=labels, every=1)
    assert len(PseudoLabels.load(labels)) == 5
    assert sorted(path.name for path in folder.iterdir()) == sorted(PseudoLabels.load(labels).files)
