"""Where people are observed: somebody who is cut off by the picture is given room."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kinestream.detect.detector import Detections
from kinestream.filtering import filter_factory
from kinestream.geometry.camera import Camera
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.regress.observation import Observations
from kinestream.tracking.framing import CLOSER, CUT_OFF_ROOM, framed
from kinestream.tracking.people import People
from kinestream.tracking.poser import BodyPoser

Paint = Callable[..., np.ndarray]
CAMERA = Camera.from_fov(640, 480)


def first_box(models: Models, box_xyxy_px: tuple[float, float, float, float]) -> np.ndarray:
    people = People(BodyPoser(models.body, models.decoder), filter_factory("none"), max_people=2)
    people.update_detections(0, Detections(np.array([box_xyxy_px], np.float32), np.array([0.9], np.float32)))
    return people.boxes_at(0, CAMERA)[0]


def test_people_within_the_picture_are_observed_as_they_were_found(block_models: Models) -> None:
    box = (100.0, 50.0, 180.0, 250.0)
    np.testing.assert_allclose(first_box(block_models, box), box)


def test_a_close_up_is_given_room_on_all_sides(block_models: Models) -> None:
    x0, y0, x1, y1 = 150.0, 60.0, 500.0, 479.0
    room = CUT_OFF_ROOM * (y1 - y0)
    np.testing.assert_allclose(
        first_box(block_models, (x0, y0, x1, y1)), [x0 - room, y0 - room, x1 + room, y1 + room], rtol=1e-5
    )


@pytest.mark.parametrize("below", [30.0, 1000.0])
def test_what_is_below_the_picture_is_observed_in_part(block_models: Models, below: float) -> None:
    box = (300.0, 400.0, 340.0, 480.0 + below)
    found = first_box(block_models, box)
    visible = 479.5 - box[1]
    np.testing.assert_allclose(found[:3], box[:3])
    assert found[3] == pytest.approx(min(box[3], 479.5 + CUT_OFF_ROOM * visible))


def test_nobody_is_observed_nowhere(block_models: Models) -> None:
    people = People(BodyPoser(block_models.body, block_models.decoder), filter_factory("none"), max_people=2)
    assert people.boxes_at(0, CAMERA).shape == (0, 4)


def test_who_was_just_seen_is_shown_closer_unless_the_picture_cuts_somebody_off() -> None:
    boxes = np.array([[100, 50, 180, 250], [100, 50, 180, 250], [-20, 50, 180, 250]], np.float32)
    found = framed(boxes, np.array([False, True, False]), CAMERA)
    half = CLOSER * np.array([40, 100])
    np.testing.assert_allclose(found[0], [140 - half[0], 150 - half[1], 140 + half[0], 150 + half[1]])
    np.testing.assert_array_equal(found[1:], boxes[1:])
    (touching,) = framed(np.array([[-9, 50, 71, 250]], np.float32), np.zeros(1, np.bool_), CAMERA)
    np.testing.assert_allclose(
        touching, found[0] - [109, 0, 109, 0], rtol=1e-5, err_msg="its outline alone is outside"
    )
    assert framed(np.zeros((0, 4), np.float32), np.zeros(0, np.bool_), CAMERA).shape == (0, 4)


def test_people_are_shown_closer_once_they_were_seen_and_from_further_away_when_they_were_missed(
    block_models: Models, paint_blocks: Paint
) -> None:
    shown: list[float] = []

    def observer(image: np.ndarray, boxes: Any, camera: Camera, turns: Any = None) -> Observations:
        shown.append(float(np.ptp(boxes[0, 1::2])))
        return block_models.regressor(image, boxes, camera, turns)

    tracker = Tracker(models=replace(block_models, regressor=observer), filter="none")
    person, nobody = paint_blocks((640, 480), {0: (300, 100, 60, 240)}), paint_blocks((640, 480), {})
    pictures = [person, person, person, nobody]
    frames = [tracker.process(image, index * 33_333_333) for index, image in enumerate(pictures)]
    outlines = [float(np.ptp(frame.persons[0].box_xyxy_px[1::2])) for frame in frames[1:3]]
    assert shown[0] == pytest.approx(239), "where it was detected"
    assert shown[-2:] == pytest.approx([CLOSER * side for side in outlines], rel=1e-3)
    tracker.process(nobody, 4 * 33_333_333)
    assert shown[-1] > 1.05 * shown[-2], "all of it, as nobody was seen there"
