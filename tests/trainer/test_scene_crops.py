"""Rendered scenes as training crops: keypoints, parts, camera and body keep describing the same person."""

import numpy as np
import torch

from tracker.body.camera import Camera
from tracker.body.crop import CropTransform
from tracker.body.model import BodyModel
from tracker.body.skeleton import NUM_KEYPOINTS
from tracker.regress.state_head import to_plane
from trainer.data.crop_sample import PART_STRIDE, collate
from trainer.data.scene_crops import from_scene
from trainer.losses.body import in_half_extents, with_hands
from trainer.scenes.sample import HIDDEN, OUTSIDE, SEEN, PersonLabels, Sample

SIDE = 128
CAMERA = Camera.from_fov(640, 480, fov_deg=70.0)


def scene() -> Sample:
    """A body off the optical axis, without pixels."""
    rotations = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1))
    rotations[0] = np.diag([1, -1, -1])
    translation, betas = np.array([0.9, 0.3, 3.5], np.float32), np.linspace(-1, 1, 10, dtype=np.float32)
    output = BodyModel.load()(
        torch.from_numpy(betas)[None], torch.from_numpy(rotations)[None], torch.from_numpy(translation)[None]
    )
    keypoints = output.keypoints_m[0].numpy()
    pixels = CAMERA.project(keypoints).astype(np.float32)
    visibility = np.full(NUM_KEYPOINTS, SEEN, np.uint8)
    visibility[3], visibility[4] = HIDDEN, OUTSIDE
    pixels[4] = np.nan
    box = np.array([*np.nanmin(pixels, 0), *np.nanmax(pixels, 0)], np.float32)
    part_map = np.zeros((SIDE, SIDE), np.uint8)
    part_map[40:80, 20:60] = 5
    person = PersonLabels(
        rotations=rotations,
        betas=betas,
        translation_m=translation,
        joints_cam_m=output.joints_m[0].numpy(),
        keypoints_cam_m=keypoints,
        keypoints_px=pixels,
        visibility=visibility,
        box_xyxy_px=box,
    )
    crop = CropTransform.around_box(box, crop_px=SIDE, margin=1.25)
    return Sample(np.zeros((SIDE, SIDE, 3), np.uint8), part_map, person, CAMERA, crop, seed=0)


def test_body_keypoints_and_parts_agree() -> None:
    sample = from_scene(scene())
    assert sample.known.all()
    assert sample.keypoints[3, 2] == 1  # hidden by the body itself, yet labelled
    assert sample.keypoints[4, 2] == 0
    assert np.isfinite(sample.keypoints).all()
    assert sample.parts[60 // PART_STRIDE, 40 // PART_STRIDE] == 5
    assert sample.parts[0, 0] == 0
    batch = collate([sample])
    _, keypoints = BodyModel.load().skeleton(batch.betas, with_hands(batch.rotations), batch.translation_m)
    seen = batch.keypoints[0, :, 2] > 0
    expected = to_plane(batch.keypoints[..., :2], batch.to_virtual)
    found = in_half_extents(keypoints, batch.log_extent)
    torch.testing.assert_close(found[0, seen], expected[0, seen], atol=1e-4, rtol=0)
