"""A picture with the bodies drawn over it, now and then. Needs no window and no graphics card."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.capture import Frame
from kinestream.pose import PoseFrame
from kinestream.tools.sinks.base import Sink, SinkError
from kinestream.tools.sinks.overlay_video import draw


class SnapshotSink(Sink):
    """Writes ``frame_000123.png`` into a folder. Needs frames with ``vertices_cam_m``."""

    def __init__(self, folder: Path, faces: npt.NDArray[np.int64], *, every_s: float = 1.0) -> None:
        """Make the folder.

        Args:
            folder: where the pictures go.
            faces: (F, 3) of the body.
            every_s: time between two pictures, by the times of the frames; the first frame is always one.

        Raises ``OSError``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.name = str(folder)
        self._folder, self._faces = folder, faces
        self._every_ns = round(every_s * 1e9)
        self._due_ns: int | None = None

    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Write a picture where one is due. Raises ``SinkError``."""
        if self._due_ns is not None and poses.t_capture_ns < self._due_ns:
            return
        self._due_ns = poses.t_capture_ns + self._every_ns
        image = draw(frame.image_rgb, poses, self._faces)
        _, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
        path = self._folder / f"frame_{frame.index:06d}.png"
        try:
            path.write_bytes(data.tobytes())
        except OSError as error:
            raise SinkError(f"{path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Nothing is open."""
