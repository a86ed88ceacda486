"""Shards and streams of samples."""

import hashlib
import itertools
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tracker.body.camera import Camera
from tracker.body.crop import CropTransform
from trainer.data.clip import MotionClip
from trainer.data.mocap_cache import MocapCache
from trainer.scenes.knobs import SceneKnobs
from trainer.scenes.recipe import SceneRecipe
from trainer.scenes.sample import PersonLabels, Sample
from trainer.scenes.shards import ShardError, ShardPlan, list_shards, read_shards, write_shards
from trainer.scenes.stream import SceneStream, ShardStream, scene_loader


def make_sample(seed: int) -> Sample:
    """A sample of noise; nothing is rendered here."""
    rng = np.random.default_rng(seed)
    person = PersonLabels(
        rotations=rng.normal(size=(24, 3, 3)).astype(np.float32),
        betas=rng.normal(size=10).astype(np.float32),
        translation_m=rng.normal(size=3).astype(np.float32),
        joints_cam_m=rng.normal(size=(24, 3)).astype(np.float32),
        keypoints_cam_m=rng.normal(size=(23, 3)).astype(np.float32),
        keypoints_px=rng.normal(size=(23, 2)).astype(np.float32),
        visibility=rng.integers(0, 3, 23).astype(np.uint8),
        box_xyxy_px=rng.normal(size=4).astype(np.float32),
    )
    image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    parts = rng.integers(0, 16, (32, 32)).astype(np.uint8)
    crop = CropTransform((5.0, 6.0), 40.0, 32)
    return Sample(image, parts, person, Camera.from_fov(64, 48), crop, seed)


@dataclass(frozen=True)
class Recipe:
    """Makes samplers and counts, in a file, how many samples they made."""

    log: Path | None = None

    def __call__(self) -> Callable[[int], Sample]:
        def sampler(seed: int) -> Sample:
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{seed}\n")
            return make_sample(seed)

        return sampler


@pytest.fixture(scope="module")
def small_recipe(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> SceneRecipe:
    """Crops of 64 pixels of people who stand still, from the small assets."""
    still = np.tile(np.eye(3), (4, 22, 1, 1))
    clip = MotionClip("still", still, np.tile([0, 0.93, 0], (4, 1)), 30.0, "train", "test")
    cache = tmp_path_factory.mktemp("mocap") / "cache.npz"
    MocapCache.from_clips([clip]).save(cache)
    return SceneRecipe(data_folder, cache, knobs=SceneKnobs(crop_px=64))


LOSSLESS = ShardPlan(samples=10, per_shard=4, first_seed=100, jpeg_quality=None)


def digests(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, LOSSLESS, Recipe())
    assert [p.name for p in paths] == ["crops-000000.tar", "crops-000001.tar", "crops-000002.tar"]
    found = list(read_shards(list_shards(tmp_path)))
    assert [int(sample["seed"]) for sample in found] == list(range(100, 110))
    for sample in found:
        expected = make_sample(int(sample["seed"])).arrays()
        assert sample.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(sample[key], value, err_msg=key)


def test_layout_is_webdataset(tmp_path: Path) -> None:
    path = write_shards(tmp_path, ShardPlan(samples=2), Recipe())[0]
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert names == [f"{seed:09d}.{end}" for seed in (0, 1) for end in ("jpg", "part.png", "npz")]


def test_jpeg_keeps_labels_and_nearly_the_picture(tmp_path: Path) -> None:
    smooth = np.full((32, 32, 3), (200, 90, 30), np.uint8)

    def sampler(seed: int) -> Sample:
        return Sample(**{**vars(make_sample(seed)), "image": smooth})

    write_shards(tmp_path, ShardPlan(samples=1, jpeg_quality=95), lambda: sampler)
    found = next(read_shards(list_shards(tmp_path)))
    assert np.abs(found["image"].astype(int) - smooth).max() <= 3  # and red is still red
    np.testing.assert_array_equal(found["part_map"], make_sample(0).part_map)


def test_resumes_where_it_stopped_with_the_same_bytes(tmp_path: Path) -> None:
    whole = write_shards(tmp_path / "whole", LOSSLESS, Recipe())
    log = tmp_path / "log"
    paths = write_shards(tmp_path / "cut", LOSSLESS, Recipe())
    paths[1].unlink()
    (tmp_path / "cut/crops-000002.tar.part").write_bytes(b"half")
    again = write_shards(tmp_path / "cut", LOSSLESS, Recipe(log))
    assert digests(again) == digests(whole)
    assert log.read_text().split() == ["104", "105", "106", "107"]
    assert not list((tmp_path / "cut").glob("*.part"))


def test_a_set_may_grow_but_not_change(tmp_path: Path) -> None:
    plan = ShardPlan(samples=8, per_shard=4)
    write_shards(tmp_path, plan, Recipe())
    assert len(write_shards(tmp_path, ShardPlan(samples=12, per_shard=4), Recipe())) == 3
    for other in (
        ShardPlan(samples=12, per_shard=5),
        ShardPlan(samples=12, per_shard=4, first_seed=1),
        ShardPlan(samples=12, per_shard=4, jpeg_quality=50),
    ):
        with pytest.raises(ShardError, match="use another folder"):
            write_shards(tmp_path, other, Recipe())
    assert json.loads((tmp_path / "index.json").read_text())["samples"] == 12


def test_an_interrupted_shard_leaves_no_tar(tmp_path: Path) -> None:
    def sampler(seed: int) -> Sample:
        if seed == 2:
            raise RuntimeError("power cut")
        return make_sample(seed)

    with pytest.raises(RuntimeError, match="power cut"):
        write_shards(tmp_path, ShardPlan(samples=4), lambda: sampler)
    with pytest.raises(ShardError, match="holds no shard"):
        list_shards(tmp_path)


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    path = write_shards(tmp_path, ShardPlan(samples=3), Recipe())[0]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ShardError, match=r"crops-000000\.tar"):
        list(read_shards([path]))
    path.write_bytes(data.replace(b"PK\x03\x04", b"XX\x03\x04", 1))
    with pytest.raises(ShardError, match=r"sample 000000000 of .*crops-000000\.tar is damaged"):
        list(read_shards([path]))


def test_plan_is_checked() -> None:
    for bad in ({"samples": 0}, {"samples": 1, "per_shard": 0}, {"samples": 1, "jpeg_quality": 0}):
        with pytest.raises(ValueError, match="found"):
            ShardPlan(**bad)


def test_stream_makes_every_seed_once_in_order() -> None:
    stream = SceneStream(Recipe(), first_seed=7, samples=5)
    assert [int(sample["seed"]) for sample in stream] == [7, 8, 9, 10, 11]
    endless = SceneStream(Recipe(), first_seed=3)
    assert [int(s["seed"]) for s in itertools.islice(endless, 4)] == [3, 4, 5, 6]


def test_loader_batches_and_workers_share_the_seeds(small_recipe: SceneRecipe) -> None:
    loader = scene_loader(SceneStream(small_recipe, samples=6), batch_size=2, workers=2)
    batches = list(loader)
    assert sorted(int(seed) for batch in batches for seed in batch["seed"]) == list(range(6))
    first = batches[0]
    assert first["image"].shape == (2, 3, 64, 64) and first["rotations"].shape == (2, 24, 3, 3)
    expected = small_recipe()(int(first["seed"][0])).image
    np.testing.assert_array_equal(first["image"][0].permute(1, 2, 0).numpy(), expected)


def test_shard_stream_shuffles_by_seed_and_keeps_all(tmp_path: Path) -> None:
    write_shards(tmp_path, ShardPlan(samples=24, per_shard=6, jpeg_quality=None), Recipe())

    def order(**options: object) -> list[int]:
        return [int(sample["seed"]) for sample in ShardStream(tmp_path, **options)]

    assert order() == list(range(24))
    mixed = order(shuffle_seed=1, window=8)
    assert sorted(mixed) == list(range(24)) and mixed != list(range(24))
    assert mixed == order(shuffle_seed=1, window=8) != order(shuffle_seed=2, window=8)
    twice = order(shuffle_seed=1, window=8, epochs=2)
    assert twice[:24] == mixed and sorted(twice[24:]) == list(range(24)) and twice[24:] != mixed
    loader = scene_loader(ShardStream(tmp_path, shuffle_seed=1), batch_size=4, workers=2)
    assert sorted(int(s) for batch in loader for s in batch["seed"]) == list(range(24))


def test_parallel_writing_gives_the_same_bytes(tmp_path: Path, small_recipe: SceneRecipe) -> None:
    """Two processes render real scenes of the small assets; the files equal those of one process."""
    plan = ShardPlan(samples=4, per_shard=2)
    done: list[int] = []
    one = write_shards(tmp_path / "one", plan, small_recipe)
    two = write_shards(tmp_path / "two", plan, small_recipe, workers=2, progress=done.append)
    assert digests(one) == digests(two) and sorted(done) == [0, 1]
