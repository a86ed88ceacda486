r"""A larger network's heat maps of photos, from which `train_regressor --teacher-maps` learns.

    python -m kinestream.trainer.prepare.teach_keypoints --data DATA --photos NAME --out MAPS.npz

The teacher sees each labelled person upright, in full and undamaged, and in the mirror; the mean of both
is kept. A smaller network sees the same people turned, cut and damaged, and is asked for the same answer.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor

from kinestream.body.skeleton import MIRROR_KEYPOINTS
from kinestream.geometry.crop import CropTransform
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import load_network
from kinestream.trainer import options
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.photos import FREE_PHOTO_SETS
from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.data.photos.teacher_maps import TeacherMaps

_BATCH = 16


@torch.no_grad()
def teach(network: RegressorNetwork, images: Tensor, *, bfloat16: bool) -> tuple[Tensor, Tensor]:
    """Shares of the cells (B, K, h, w), confidences (B, K): means over crops (B, 3, S, S) and the mirror."""
    both = torch.cat([images, images.flip(-1)]).contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        seen = network.encode(both)
    shares = seen.heatmaps.float().flatten(2).softmax(-1).view_as(seen.heatmaps)
    confidence = seen.evidence.confidence_logit.float().sigmoid()
    there, mirrored = shares.chunk(2)
    sure, sure_mirrored = confidence.chunk(2)
    swap = list(MIRROR_KEYPOINTS)
    return (there + mirrored.flip(-1)[:, swap]) / 2, (sure + sure_mirrored[:, swap]) / 2


def main(
    data: options.Data,
    out: Annotated[Path, typer.Option(help="file (npz) to write")],
    photos: options.Photos = None,
    model: Annotated[str, typer.Option(help="the teacher: large or a file of weights")] = "large",
    threads: int = 1,
    bfloat16: Annotated[bool, typer.Option(help="run the network in half precision")] = True,
) -> None:
    """Let the teacher see every labelled photo of the sets."""
    options.set_up(threads=threads, seed=0)
    network = load_network(model)
    crop_px = network.config.crop_px
    files: list[str] = []
    matrices: list[npt.NDArray[np.float64]] = []
    crops: list[npt.NDArray[np.uint8]] = []
    for name in photos or FREE_PHOTO_SETS:
        labels = PseudoLabels.load(data / "pseudo" / f"{name}.npz")
        for file, keypoints in zip(labels.files, labels.keypoints, strict=True):
            points = keypoints[keypoints[:, 2] > 0, :2]
            if len(points) > 1:
                view = CropTransform.around_box([*points.min(0), *points.max(0)], crop_px=crop_px)
                files.append(f"{name}/{file}")
                matrices.append(view.matrix)
                crops.append(view.extract(decode(packed_image(data / "images" / name / file))))
    maps, weights = [], []
    with typer.progressbar(range(0, len(crops), _BATCH), label="photos") as bar:
        for first in bar:
            images = torch.from_numpy(np.stack(crops[first : first + _BATCH])).permute(0, 3, 1, 2)
            shares, weight = teach(network, images, bfloat16=bfloat16)
            scaled = 255 * shares / shares.amax((2, 3), keepdim=True)
            maps.append(scaled.round().to(torch.uint8).numpy())
            weights.append(weight.numpy())
    TeacherMaps(
        tuple(files), np.array(matrices), crop_px, np.concatenate(maps), np.concatenate(weights)
    ).save(out)
    typer.echo(f"{out}: {len(files)} people")


if __name__ == "__main__":
    typer.run(main)
