"""What a network sees of real people, kept for trainings of its state head.

    python -m kinestream.trainer.prepare.observe_people --data DATA --photos NAME --out PHOTOS.npz
    python -m kinestream.trainer.prepare.observe_people --video CLIP --labels LABELS --out VIDEO.npz

Photos come with their machine labels (``DATA/images/NAME``, ``DATA/pseudo/NAME.npz``); of a video only the
boxes are read (``LABELS/<name of the video>.npz``), and the keypoints of which the network is sure are its
labels. A file that is there is not made again.
"""

from pathlib import Path
from typing import Annotated

import cv2
import typer

from kinestream.regress.regressor import load_network
from kinestream.trainer import options
from kinestream.trainer.data.crops.crop_sample import MixedCrops
from kinestream.trainer.data.photos.photos import PhotoCrops
from kinestream.trainer.regressor.observed_people import observe_photos, observe_video
from kinestream.trainer.regressor.self_regime import unlabelled_views


def main(
    out: Annotated[Path, typer.Option(help="file (npz) to write")],
    model: Annotated[str, typer.Option(help="regressor: medium, large or a file of weights")] = "medium",
    data: Annotated[Path | None, typer.Option(help="data folder, for photos")] = None,
    photos: Annotated[list[str] | None, typer.Option(help="photo sets; repeatable")] = None,
    held_out: Annotated[bool, typer.Option(help="the photos that validate instead of the others")] = False,
    video: Annotated[list[Path] | None, typer.Option(help="videos; repeatable")] = None,
    labels: Annotated[Path | None, typer.Option(help="folder with the label files of the videos")] = None,
    count: Annotated[int, typer.Option(min=1, help="crops of photos, or runs of frames of video")] = 4000,
    frames: Annotated[int, typer.Option(min=2, help="of a run")] = 4,
    seed: int = 0,
    threads: int = 1,
    bfloat16: Annotated[bool, typer.Option(help="run the network in half precision")] = False,
) -> None:
    """Observe photos or videos once."""
    options.set_up(threads=threads, seed=seed)
    cv2.setNumThreads(threads)
    if bool(photos) == bool(video) or (photos and data is None):
        raise typer.BadParameter("give either --data and --photos, or --video and --labels")
    if out.exists():
        typer.echo(f"{out}: already there")
        return
    network = load_network(model)
    crop_px = network.config.crop_px
    if photos and data is not None:
        split = "val" if held_out else "train"
        sets = [PhotoCrops.load(data, name, crop_px=crop_px, split=split) for name in photos]
        mix = MixedCrops([(one, len(one)) for one in sets])
        seen = observe_photos(network, mix, count, seed=seed, bfloat16=bfloat16)
    else:
        views = unlabelled_views(video or [], labels, crop_px=crop_px, frames=frames)
        seen = observe_video(network, views, count, seed=seed, bfloat16=bfloat16)
    seen.save(out)
    typer.echo(f"{out}: {len(seen.log_extent)} crops")


if __name__ == "__main__":
    typer.run(main)
