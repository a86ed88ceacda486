"""Synthetic scenes as training crops: lit and shadowed in place, at the price of rendering each anew."""

from __future__ import annotations

import cv2
import numpy as np

from tracker.body.skeleton import NUM_KEYPOINTS
from tracker.regress.preprocess import crop_intrinsics
from trainer.data.clip import NUM_BODY_JOINTS
from trainer.data.crop_sample import PART_STRIDE, BodyLabel, CropSample
from trainer.scenes.generator import SceneGenerator
from trainer.scenes.sample import OUTSIDE, Sample


class SceneCrops:
    """Draws crops of a scene generator; `knobs.crop_px` of the generator is the side of the crops."""

    def __init__(self, generator: SceneGenerator) -> None:
        self._generator = generator

    def sample(self, rng: np.random.Generator) -> CropSample:
        """Render one crop."""
        return from_scene(self._generator.crop(int(rng.integers(2**31))))


def from_scene(scene: Sample) -> CropSample:
    """A rendered crop in the form in which training takes it; hidden keypoints are labelled too."""
    side = scene.image.shape[0]
    person = scene.person
    inside = person.visibility != OUTSIDE
    keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    pixels = np.where(inside[:, None], scene.keypoints_crop_px, 0.0)
    keypoints[:, :2] = (pixels + 0.5) * (2.0 / side) - 1.0
    keypoints[:, 2] = inside
    small = (side // PART_STRIDE,) * 2
    parts = np.asarray(cv2.resize(scene.part_map, small, interpolation=cv2.INTER_NEAREST), np.uint8)
    body = BodyLabel(
        crop_intrinsics(scene.crop, scene.camera).astype(np.float32),
        person.rotations[:NUM_BODY_JOINTS],
        person.translation_m,
        person.betas,
    )
    return CropSample(scene.image, keypoints, np.ones(NUM_KEYPOINTS, np.bool_), parts, body=body)
