"""People in pictures that stand alone, as the tracker fits them from a given box on."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kinestream.detect.detector import Detections
from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import RgbImage
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame
from kinestream.regress.observation import Observations
from kinestream.regress.upright import Observer


class StillPeople:
    """Runs the tracker on single pictures of which the first box is given; presence is left out."""

    def __init__(self, models: Models) -> None:
        self._box = np.zeros((1, 4), np.float32)
        observer = _Present(models.regressor)
        self._tracker = Tracker(models=replace(models, detector=self._given, regressor=observer), stills=True)

    def __call__(self, image_rgb: RgbImage, box_xyxy_px: npt.ArrayLike) -> PoseFrame:
        """The person in a box (4,) of a picture (H, W, 3); nobody where no usable numbers were observed."""
        self._box = np.array([box_xyxy_px], np.float32)
        return self._tracker.process(image_rgb, 0)

    def _given(self, image_rgb: RgbImage) -> Detections:
        return Detections(self._box, np.ones(1, np.float32))


class _Present:
    """An observer that sees for sure whomever it is shown."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __call__(
        self,
        image_rgb: RgbImage,
        boxes_xyxy_px: npt.ArrayLike,
        camera: Camera,
        quarter_turns: npt.ArrayLike | None = None,
    ) -> Observations:
        seen = self._observer(image_rgb, boxes_xyxy_px, camera, quarter_turns)
        return replace(seen, presence=np.ones_like(seen.presence))
