"""When the detector runs, and where: before a picture is tracked, or beside it."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from kinestream.detect.detector import Detections, Detector
from kinestream.kernels.array_types import RgbImage
from kinestream.timing import StageTimes

SEARCH_NS = 100_000_000
"""Time between detector runs while nobody is followed or somebody was lost."""
SURVEY_NS, REST_NS = 250_000_000, 400_000_000
"""The same while all is well, and once nobody is new and all are sure: the longest that a newcomer waits."""


class Followed(Protocol):
    """Those who are followed; see `kinestream.tracking.people.People`."""

    @property
    def unsettled(self) -> bool:
        """Whether somebody is to be searched for."""
        ...

    def calm(self, t_ns: int) -> bool:
        """Whether everybody has been followed for a while and is sure to be there."""
        ...

    def update_detections(self, t_ns: int, found: Detections) -> None:
        """Take in what the detector found at ``t_ns``."""
        ...


class DetectorSchedule:
    """Runs a detector on some of the pictures, and tells those who are followed what it found."""

    def __init__(self, stages: StageTimes, *, beside: bool) -> None:
        """With ``beside``, it runs in a thread of its own while all is well, for sources that do not wait.

        What it found then counts for the next picture, where it can only tell of newcomers.
        """
        self._stages = stages
        self._worker = ThreadPoolExecutor(1, "detector") if beside else None
        self._answer: Future[Detections] | None = None
        self._last_ns: int | None = None

    def update(self, t_ns: int, image_rgb: RgbImage, detector: Detector, people: Followed) -> None:
        """Tell ``people`` what was found since the last picture, and run on this one if it is time."""
        if self._answer is not None:
            found, self._answer = self._answer.result(), None
            people.update_detections(t_ns, found)
        pause_ns = SEARCH_NS if people.unsettled else REST_NS if people.calm(t_ns) else SURVEY_NS
        # Slightly early is as good as late, whatever the frame rate.
        if self._last_ns is not None and t_ns - self._last_ns < pause_ns - 5_000_000:
            return
        self._last_ns = t_ns
        if self._worker is not None and not people.unsettled:
            self._answer = self._worker.submit(self._run, detector, image_rgb)
        else:
            people.update_detections(t_ns, self._run(detector, image_rgb))

    def reset(self) -> None:
        """Begin anew with the next picture; an answer that is still to come is not heard."""
        if self._answer is not None:
            self._answer.exception()  # waits: the detector is not to run twice at a time
        self._answer = self._last_ns = None

    def close(self) -> None:
        """End the thread."""
        if self._worker is not None:
            self._worker.shutdown()

    def _run(self, detector: Detector, image_rgb: RgbImage) -> Detections:
        with self._stages.measure("detect"):
            return detector(image_rgb)
