"""MediaPipe Pose on the sets of `kinestream.tools.bench.accuracy.sets`, from label files of the teacher.

The protocol is the same where it can be: LSP-Extended counts a photo without a person as wrong; the error on
bodypose3d is that of the world landmarks after a similarity, on the frames in which somebody was found.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kinestream.tools.bench.accuracy.sets import PCK_SHARE, bodypose3d_reference
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS, load_lspet
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT
from kinestream.trainer.metrics import aligned_error


def lspet(folder: Path, labels: Path) -> dict[str, Any]:
    """PCK@0.2 of the landmarks in ``labels`` (npz) on the validation photos of ``folder``."""
    with np.load(labels, allow_pickle=False) as content:
        rows = {name: row for row, name in enumerate(content["files"].tolist())}
        detected, image = content["detected"], content["image"].astype(np.float64)
    columns = [LANDMARK_OF_KEYPOINT[name] for name in LIMB_JOINTS]
    hits, found = [], []
    for photo in load_lspet(folder):
        torso_px = photo.torso_px
        if torso_px is None:
            continue
        row = rows[photo.path.name]
        near = np.linalg.norm(image[row, columns, :2] - photo.joints_px, axis=1) < PCK_SHARE * torso_px
        hits.append((near & bool(detected[row]))[photo.labelled])
        found.append(bool(detected[row]))
    return {
        "photos": len(found),
        "found_percent": 100 * float(np.mean(found)),
        "pck_0.2_all_percent": 100 * float(np.concatenate(hits).mean()),
    }


def bodypose3d(folder: Path, labels: Path) -> dict[str, Any]:
    """Similarity-aligned error of the world landmarks in ``labels`` (npz) against the reference."""
    in_camera, names, _ = bodypose3d_reference(folder)
    columns = [LANDMARK_OF_KEYPOINT[name] for name in names]
    with np.load(labels, allow_pickle=False) as content:
        frames, detected = content["frame"], content["detected"]
        world = content["world"].astype(np.float64)
    errors = [
        1000 * aligned_error(in_camera[frame], world[row, columns])
        for row, frame in enumerate(frames.tolist())
        if detected[row] and frame < len(in_camera)
    ]
    return {
        "frames": len(errors),
        "found_percent": 100 * float(np.mean(detected)),
        "pa_mpjpe_mm": float(np.mean(errors)),
        "pa_mpjpe_median_mm": float(np.median(errors)),
    }
