"""Keep of pseudo-labels what a second network confirms.

    python -m kinestream.trainer.prepare.filter_pseudo_labels --model LARGE.safetensors --data DATA
        --photos gym_exercises --out FOLDER

The second network is one that starts from MoveNet thunder
(:mod:`kinestream.trainer.weights.import_movenet`). A keypoint on which both agree is moved to the middle
between them and confirmed; one that both claim to see in different places loses its weight; one that only the
second sees is taken from it. The label files keep their layout.
"""

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor

from kinestream.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS
from kinestream.geometry.crop import CropTransform
from kinestream.regress.heads import read_keypoints
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.preprocessing import to_pixels
from kinestream.regress.regressor import load_network
from kinestream.trainer import options
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT, MIN_VISIBILITY
from kinestream.trainer.weights.import_movenet import COCO_KEYPOINTS

AGREEMENT = 0.06
"""Largest distance that counts as agreement, as a share of the longer side of the person's box."""
SURE = 0.35
"""Height of a heat map's peak from which the second network counts as seeing the keypoint."""
CONFIRMED, SECOND_ONLY = 1.0, 0.6
"""Visibilities of what both see, and of what only the second sees."""


@torch.no_grad()
def confirming_keypoints(
    network: RegressorNetwork, image: npt.NDArray[np.uint8], box_xyxy_px: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """COCO keypoints (17, 3) in pixels with their peaks; mean of the picture and its mirror image."""
    crop = CropTransform.around_box(
        box_xyxy_px, crop_px=network.config.crop_px, margin=network.config.crop_margin
    )
    square = crop.extract(image)
    pair = np.stack([square, square[:, ::-1]])
    maps = network.encode(torch.from_numpy(pair).permute(0, 3, 1, 2)).heatmaps
    logits: Tensor = (maps[:1] + maps[1:].flip(-1)[:, list(MIRROR_KEYPOINTS)]) / 2
    points = to_pixels(read_keypoints(logits).points[0].double().numpy(), crop)
    peaks = torch.sigmoid(logits).flatten(2).amax(-1)[0].double().numpy()
    return np.concatenate([points, peaks[:, None]], 1)[:COCO_KEYPOINTS]


def merged(
    landmarks: npt.NDArray[np.floating[Any]], second: npt.NDArray[np.float64], extent_px: float
) -> npt.NDArray[np.float32]:
    """Landmarks (33, 4) compared with the second network's (17, 3), on a person of ``extent_px``."""
    result = landmarks.astype(np.float32)
    for row, name in enumerate(KEYPOINT_NAMES[:COCO_KEYPOINTS]):
        first = result[LANDMARK_OF_KEYPOINT[name]]
        seen, confirmed = first[3] >= MIN_VISIBILITY, second[row, 2] >= SURE
        if not confirmed:
            continue
        if np.linalg.norm(first[:2] - second[row, :2]) <= AGREEMENT * extent_px:
            first[:2] = (first[:2] + second[row, :2]) / 2
            first[3] = CONFIRMED
        elif seen:
            first[3] = 0.0
        else:
            first[:2], first[3] = second[row, :2], SECOND_ONLY
    return result


def main(
    model: Annotated[Path, typer.Option(help="weights of the second network")],
    out: Annotated[Path, typer.Option(help="folder for the new label files")],
    data: options.Data,
    photos: Annotated[list[str], typer.Option(help="photo sets; repeatable")],
) -> None:
    """Read DATA/images/NAME and DATA/pseudo/NAME.npz, write OUT/NAME.npz."""
    network = load_network(model)
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    for name in photos:
        with np.load(data / "pseudo" / f"{name}.npz", allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
        image = arrays["image"].astype(np.float32)
        for row in np.flatnonzero(arrays["detected"]):
            seen = image[row, image[row, :, 3] >= MIN_VISIBILITY, :2]
            if len(seen) < 2:
                continue
            box = np.concatenate([seen.min(0), seen.max(0)])
            picture = decode(packed_image(data / "images" / name / str(arrays["files"][row])))
            extent = float(max(box[2] - box[0], box[3] - box[1]))
            image[row] = merged(image[row], confirming_keypoints(network, picture, box), extent)
        arrays["image"] = image
        np.savez_compressed(out / f"{name}.npz", **arrays)
        typer.echo(f"{name}: {int(arrays['detected'].sum())} people")


if __name__ == "__main__":
    typer.run(main)
