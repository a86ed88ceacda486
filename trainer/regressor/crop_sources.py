"""The regressor's training mix, and its validation crops."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool, EmptyCrops
from kinestream.trainer.data.crops.crop_sample import CropSample, CropSource, MixedCrops
from kinestream.trainer.data.photos.photos import FREE_PHOTO_SETS, PhotoCrops
from kinestream.trainer.data.photos.teacher_maps import TeacherMaps

VALIDATION_CROPS = 256
TURNED_SHARE = 0.35
"""Share of rendered crops whose picture is turned by any angle: upside down, strangers are missed most."""


def crop_sources(
    data: Path,
    pools: list[Path],
    *,
    crop_px: int,
    full: float,
    weak: float,
    empty: float,
    photos: Sequence[str] = FREE_PHOTO_SETS,
    teacher: TeacherMaps | None = None,
) -> tuple[CropSource, dict[str, list[CropSample]]]:
    """The training mix, and fixed validation crops by name. Pools hold ``train`` and maybe ``val``."""
    backdrops = Backdrops.load(data / "backgrounds" / "hdri")
    validation: dict[str, list[CropSample]] = {}
    rendered = [CropPool(pool / "train", backdrops, crop_px=crop_px, any_turn=TURNED_SHARE) for pool in pools]
    nobody = EmptyCrops(backdrops, crop_px=crop_px, people=rendered[0] if rendered else None)
    mix: list[tuple[CropSource, float]] = [(nobody, empty)]
    people = sum(len(pool) for pool in rendered)
    mix += [(pool, full * len(pool) / people) for pool in rendered]
    for pool in pools:
        if (pool / "val").exists():
            validation["rendered"] = _fixed(CropPool(pool / "val", backdrops, crop_px=crop_px))
    sets = [
        PhotoCrops.load(data, name, crop_px=crop_px, backdrops=backdrops, teacher=teacher) for name in photos
    ]
    total = sum(len(entry) for entry in sets)
    mix += [(entry, weak * len(entry) / total) for entry in sets]
    held_out = [PhotoCrops.load(data, name, crop_px=crop_px, split="val") for name in photos]
    validation["photos"] = _fixed(MixedCrops([(entry, len(entry)) for entry in held_out]))
    return MixedCrops(mix), validation


def _fixed(source: CropSource) -> list[CropSample]:
    rng = np.random.default_rng(12345)
    return [source.sample(rng) for _ in range(VALIDATION_CROPS)]
