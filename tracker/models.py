"""The four models that a tracker runs, loaded once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kinestream.body.model import BodyModel, load_body
from kinestream.defaults import DEFAULT_ENGINE, DEFAULT_MODEL
from kinestream.detect.detector import Detector, PersonDetector
from kinestream.geometry.camera import Camera
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import PoseFlow
from kinestream.regress.observation import Observations
from kinestream.regress.regressor import Regressor
from kinestream.tracking.poser import LatentDecoder

CANDIDATE_SCORE = 0.2
"""Detections from this score on are looked at; the regressor's presence decides."""


class Observer(Protocol):
    """Anything that looks at people in boxes can stand in for `Regressor`."""

    def __call__(
        self, image_rgb: npt.NDArray[np.uint8], boxes_xyxy_px: npt.ArrayLike, camera: Camera
    ) -> Observations:
        """Look into boxes (P, 4) of an image (H, W, 3)."""
        ...


@dataclass(frozen=True)
class Models:
    """What finds people, looks at them, knows how they move and what they are made of.

    Attributes:
        detector: picture to boxes.
        regressor: picture and boxes to latent observations.
        decoder: latent poses to joint rotations.
        body: joint rotations and shape to joints, keypoints and mesh.
        engine: what runs the networks, for the statistics.
    """

    detector: Detector
    regressor: Observer
    decoder: LatentDecoder
    body: BodyModel
    engine: str = "torch"

    @classmethod
    def load(
        cls,
        *,
        body: str | Path | None = None,
        engine: str = DEFAULT_ENGINE,
        model: str | Path = DEFAULT_MODEL,
    ) -> "Models":
        """The shipped models; ``body`` names another body (see `kinestream.load_body`).

        ``engine`` runs the networks (see `kinestream.engines.engine`). ``model`` is a regressor's name in
        `kinestream.regress.shipped.MODELS`, or a file of its weights. Raises ``FileNotFoundError`` where
        weights are missing, ``ValueError`` for a model or engine that there is not or that cannot run here.
        """
        regressor = Regressor.load(model, engine=engine)
        return cls(
            detector=PersonDetector.load(score_threshold=CANDIDATE_SCORE, engine=engine),
            regressor=regressor,
            decoder=FlowDecoder(PoseFlow.load()),
            body=load_body(body),
            engine=regressor.engine,
        )
