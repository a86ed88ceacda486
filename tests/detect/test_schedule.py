"""The detector runs before a picture is tracked, or beside it; then its answer counts for the next one."""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from kinestream.detect.detector import Detections
from kinestream.detect.schedule import REST_NS, SEARCH_NS, SURVEY_NS, DetectorSchedule
from kinestream.timing import StageTimes

STEP_NS = 33_000_000
IMAGE = np.zeros((8, 8, 3), np.uint8)


@dataclass
class Everybody:
    """Those who are followed, for whom all is well or not."""

    unsettled: bool = False
    is_calm: bool = False
    told_ns: list[int] = field(default_factory=list)

    def calm(self, t_ns: int) -> bool:
        return self.is_calm

    def update_detections(self, t_ns: int, found: Detections) -> None:
        self.told_ns.append(t_ns)


class Finder:
    """Finds nobody, and notes in which threads."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.busy = threading.Lock()

    def __call__(self, image_rgb: np.ndarray) -> Detections:
        assert self.busy.acquire(blocking=False), "two runs at a time"
        self.threads.append(threading.current_thread().name.partition("_")[0])
        self.busy.release()
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    ("people", "pause_ns"),
    [
        (Everybody(unsettled=True), SEARCH_NS),
        (Everybody(), SURVEY_NS),
        (Everybody(is_calm=True), REST_NS),
    ],
)
def test_it_runs_as_often_as_it_can_tell_something(beside: bool, people: Everybody, pause_ns: int) -> None:
    people.told_ns.clear()
    schedule, finder = DetectorSchedule(StageTimes(), beside=beside), Finder()
    for t_ns in range(0, 3_000_000_000, STEP_NS):
        schedule.update(t_ns, IMAGE, finder, people)
    schedule.close()
    gaps = np.diff(people.told_ns)
    assert (gaps >= pause_ns - 5_000_000).all() and (gaps < pause_ns + STEP_NS).all()
    late = STEP_NS if beside and not people.unsettled else 0
    assert people.told_ns[0] == late
    assert set(finder.threads) == {"detector" if late else threading.main_thread().name}


def test_who_is_lost_is_searched_for_at_once() -> None:
    schedule, finder, people = DetectorSchedule(StageTimes(), beside=True), Finder(), Everybody()
    schedule.update(0, IMAGE, finder, people)
    people.unsettled = True
    schedule.update(SEARCH_NS, IMAGE, finder, people)
    assert people.told_ns == [SEARCH_NS, SEARCH_NS], "the answer of before, and one of now"
    schedule.close()


def test_an_answer_from_before_a_cut_is_not_heard() -> None:
    schedule, finder, people = DetectorSchedule(StageTimes(), beside=True), Finder(), Everybody()
    schedule.update(0, IMAGE, finder, people)
    schedule.reset()
    people.unsettled = True
    schedule.update(1, IMAGE, finder, people)
    assert people.told_ns == [1] and len(finder.threads) == 2
    schedule.close()


def test_a_fault_of_the_detector_is_told() -> None:
    def broken(image_rgb: np.ndarray) -> Detections:
        raise ValueError("no picture")

    schedule, people = DetectorSchedule(StageTimes(), beside=True), Everybody()
    schedule.update(0, IMAGE, broken, people)
    with pytest.raises(ValueError, match="no picture"):
        schedule.update(1, IMAGE, broken, people)
    schedule.close()
