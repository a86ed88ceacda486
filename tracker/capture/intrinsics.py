"""The intrinsics of a source's pictures, whatever their size."""

import logging

from kinestream.capture.orientation import AS_STORED, PictureGeometry
from kinestream.geometry.camera import Camera

log = logging.getLogger(__name__)


class Intrinsics:
    """A calibration fitted to pictures of any size, or an assumed field of view."""

    def __init__(
        self, calibrated: Camera | None, fov_deg: float, geometry: PictureGeometry = AS_STORED
    ) -> None:
        """``fov_deg``, diagonal, counts without a calibration, or where that is of another shape."""
        self._calibrated, self._fov_deg, self._geometry = calibrated, fov_deg, geometry
        self._camera: Camera | None = None

    def of(self, width_px: int, height_px: int) -> Camera:
        """For pictures of this size; a change of size to another shape is logged."""
        if self._camera and (self._camera.width_px, self._camera.height_px) == (width_px, height_px):
            return self._camera
        given = self._calibrated
        self._camera = self._geometry.fit(given, width_px, height_px) if given else None
        if self._camera is None:
            if given is not None:
                log.warning(
                    "the camera was calibrated at %dx%d px, which does not scale to %dx%d px; assuming a "
                    "field of view of %.0f degrees instead",
                    given.width_px, given.height_px, width_px, height_px, self._fov_deg,
                )  # fmt: skip
            self._camera = Camera.from_fov(width_px, height_px, fov_deg=self._fov_deg)
        return self._camera
