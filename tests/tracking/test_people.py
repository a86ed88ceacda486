"""Where people are observed: somebody who is cut off by the picture is given room."""

import numpy as np
import pytest

from kinestream.detect.detector import Detections
from kinestream.filtering import filter_factory
from kinestream.geometry.camera import Camera
from kinestream.models import Models
from kinestream.tracking.people import CUT_OFF_ROOM, People
from kinestream.tracking.poser import BodyPoser

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
