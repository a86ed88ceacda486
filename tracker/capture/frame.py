"""One picture with its time, and what is known of the source it came from."""

from dataclasses import dataclass

from kinestream.capture.orientation import AS_STORED, PictureGeometry
from kinestream.kernels.array_types import RgbImage
from kinestream.pose import Clock as Clock


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One picture of a source.

    Attributes:
        index: number of the frame in its source, counting dropped and corrupt ones, from 0.
        t_capture_ns: when the picture was taken, on the source's clock (`SourceInfo.clock`).
        t_ready_ns: when the decoded picture was at hand here, on the monotonic clock.
        image_rgb: (H, W, 3) uint8, as a player shows it.
    """

    index: int
    t_capture_ns: int
    t_ready_ns: int
    image_rgb: RgbImage

    def __repr__(self) -> str:
        """Index, time and size."""
        height, width = self.image_rgb.shape[:2]
        return f"Frame({self.index}, t_capture_ns={self.t_capture_ns}, {width}x{height} px)"


@dataclass(frozen=True)
class SourceInfo:
    """What a source says of itself once it is open.

    Attributes:
        name: for messages, such as ``camera /dev/video0``.
        width_px, height_px: of the upright picture; a stream may change it later.
        fps: nominal rate, None where unknown.
        frame_count: frames in a file or folder, None where unknown or endless.
        live: pictures come at their own pace and cannot be asked for again.
        clock: what `Frame.t_capture_ns` counts.
        detail: codec or camera mode, for the log.
        geometry: how the pictures were turned and stretched, which a calibration must follow.
        single_picture: the source is a file with a picture, no film.
    """

    name: str
    width_px: int
    height_px: int
    fps: float | None
    frame_count: int | None
    live: bool
    clock: Clock
    detail: str = ""
    geometry: PictureGeometry = AS_STORED
    single_picture: bool = False

    def __str__(self) -> str:
        rate = f" at {self.fps:.4g} fps" if self.fps else ""
        count = f", {self.frame_count} frames" if self.frame_count else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name}: {self.width_px}x{self.height_px} px{rate}{count}{detail}"
