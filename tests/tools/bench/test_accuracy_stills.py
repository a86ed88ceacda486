"""The bench of stills is the tracker, but for detector and presence."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.tools.bench.accuracy.stills import StillPeople


def test_a_given_box_is_looked_at_as_a_detected_one(
    block_models: Models, paint_blocks: Callable[..., np.ndarray]
) -> None:
    still, tracker = StillPeople(block_models), Tracker(models=block_models, stills=True)
    for place in ((100, 60, 50, 120), (180, 90, 40, 100)):
        image = paint_blocks((320, 240), {0: place})
        (expected,) = tracker.process(image, 0).persons
        (found,) = still(image, block_models.detector(image).boxes_xyxy_px[0]).persons
        np.testing.assert_array_equal(found.joints_cam_m, expected.joints_cam_m)
        np.testing.assert_array_equal(found.keypoints_px, expected.keypoints_px)


def test_presence_is_left_out_but_numbers_must_be_usable(
    block_models: Models, paint_blocks: Callable[..., np.ndarray]
) -> None:
    nobody = paint_blocks((320, 240), {})
    assert len(StillPeople(block_models)(nobody, [100, 60, 150, 180])) == 1

    def broken(*given: object) -> object:
        seen = block_models.regressor(*given)  # type: ignore[arg-type]
        return replace(seen, translation_m=np.full_like(seen.translation_m, np.nan))

    models = replace(block_models, regressor=broken)  # type: ignore[arg-type]
    assert len(StillPeople(models)(nobody, [100, 60, 150, 180])) == 0
