"""The models that a tracker runs, loaded once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kinestream.body.arrays import BodyArrays, read_body
from kinestream.defaults import DEFAULT_ENGINE, DEFAULT_MODEL
from kinestream.detect.detector import Detector, PersonDetector
from kinestream.filtering.keypoint_noise import KeypointNoise
from kinestream.filtering.temporal_lifter import LifterWeights
from kinestream.latent.dynamics_weights import DynamicsWeights
from kinestream.latent.flow_map import FlowMap
from kinestream.latent.forecast_weights import ForecasterWeights
from kinestream.regress.flip_test import FlipTest
from kinestream.regress.regressor import Regressor
from kinestream.regress.upright import Observer
from kinestream.tracking.poser import LatentDecoder

CANDIDATE_SCORE = 0.2
"""Detections from this score on are candidates; the regressor's presence decides."""


@dataclass(frozen=True)
class Models:
    """What finds people, infers their state, knows how they move and what they are made of.

    Attributes:
        detector: picture to boxes.
        regressor: picture and boxes to latent observations.
        decoder: latent poses to joint rotations, by the flow that the regressor was trained with.
        body: joint rotations and shape to joints, keypoints and mesh.
        dynamics: how latents of that flow move; only the filter ``learned`` needs them.
        engine: what runs the networks, for the statistics.
        keypoint_noise: how far off the regressor's keypoints are, as stored with its weights.
        temporal_lifter: corrects latents of that flow by keypoints over time; None for single frames.
        forecaster: carries on what the filter ``learned`` estimates; None for the filter's own forecast.

    Raises ``ValueError`` for dynamics, a temporal lifter or a forecaster of another flow.
    """

    detector: Detector
    regressor: Observer
    decoder: LatentDecoder
    body: BodyArrays
    dynamics: DynamicsWeights | None = None
    engine: str = "torch"
    keypoint_noise: KeypointNoise = KeypointNoise()
    temporal_lifter: LifterWeights | None = None
    forecaster: ForecasterWeights | None = None

    def __post_init__(self) -> None:
        if self.dynamics is not None:
            self.check_dynamics(self.dynamics)
        if self.temporal_lifter is not None and self.temporal_lifter.flow_id != self.decoder.flow_id:
            raise ValueError(
                f"the temporal lifter belongs to flow {self.temporal_lifter.flow_id or 'unknown'}, but poses "
                f"are decoded by flow {self.decoder.flow_id}; train one for that flow "
                "(kinestream.trainer.train_temporal_lifter), or go without: temporal_lifter=None"
            )
        if self.forecaster is not None and self.forecaster.flow_id != self.decoder.flow_id:
            raise ValueError(
                f"the forecaster belongs to flow {self.forecaster.flow_id or 'unknown'}, but poses are "
                f"decoded by flow {self.decoder.flow_id}; train one for that flow "
                "(kinestream.trainer.train_forecaster), or go without: forecaster=None"
            )

    def check_dynamics(self, dynamics: DynamicsWeights) -> None:
        """Raise ``ValueError`` where ``dynamics`` were trained with another flow than the decoder's."""
        if dynamics.flow_id != self.decoder.flow_id:
            raise ValueError(
                f"the dynamics belong to flow {dynamics.flow_id or 'unknown'}, but poses are decoded by flow "
                f"{self.decoder.flow_id}; train dynamics for that flow (kinestream.trainer.train_dynamics), "
                "or take another filter than 'learned'"
            )

    @classmethod
    def load(
        cls,
        *,
        regressor: str | Path = DEFAULT_MODEL,
        detector: str | Path | None = None,
        flow: str | Path | None = None,
        dynamics: str | Path | None = None,
        body: str | Path | None = None,
        engine: str = DEFAULT_ENGINE,
        flip_test: bool = False,
    ) -> "Models":
        """The shipped models, and own ones where a file is named.

        Args:
            regressor: a name in `kinestream.regress.shipped.MODELS`, or a file of weights.
            detector: file of weights.
            flow: file of weights.
            dynamics: file of weights, made for this flow.
            body: file of another body model (see `kinestream.load_body`).
            engine: what runs the networks (see `kinestream.engines.engine`).
            flip_test: observe people in the mirror image as well: more accurate, at twice the time.

        Raises ``FileNotFoundError`` where weights are missing, ``ValueError`` for a model or engine that
        there is not, that cannot run here, or for dynamics of another flow.
        """
        # What is read from files, and numba's first call, go on beside the engines: it shortens the start.
        with ThreadPoolExecutor(2, "load") as beside:
            decoder = beside.submit(FlowMap.load, flow)
            arrays = beside.submit(read_body, body)
            # these two know the shipped flow's latents alone
            lifter = beside.submit(LifterWeights.load) if flow is None else None
            forecaster = beside.submit(ForecasterWeights.load) if flow is None else None
            motion = beside.submit(DynamicsWeights.load, dynamics)
            observer = Regressor.load(regressor, engine=engine)
            finder = PersonDetector.load(detector, score_threshold=CANDIDATE_SCORE, engine=engine)
        flow_map = decoder.result()
        assert isinstance(flow_map, FlowMap)
        return cls(
            detector=finder,
            regressor=FlipTest(observer, flow_map) if flip_test else observer,
            decoder=flow_map,
            body=arrays.result(),
            dynamics=motion.result(),
            engine=observer.engine,
            keypoint_noise=KeypointNoise(
                std=observer.config.keypoint_std, slope=observer.config.keypoint_slope
            ),
            temporal_lifter=lifter.result() if lifter is not None else None,
            forecaster=forecaster.result() if forecaster is not None else None,
        )
