"""Dataset shards: tar files in the WebDataset layout, written in parallel and resumed where they stopped.

A shard `crops-000123.tar` holds samples one after another, each as three members with the sample's seed as
their common name: `SEED.jpg` or `SEED.png` (the picture, RGB), `SEED.part.png` (the part map) and `SEED.npz`
(all other arrays of `Sample.arrays`). Any WebDataset reader takes it. A shard is written under a temporary
name and renamed when it is complete, so every `*.tar` in the folder is whole; the same arguments give the
same bytes.
"""

import io
import json
import multiprocessing
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from trainer.scenes.sample import Sample

Arrays = dict[str, npt.NDArray[Any]]

_PICTURES: Final = ("image", "part_map")
_INDEX: Final = "index.json"


class ShardError(Exception):
    """A data set that is missing, damaged or not what was asked for; the message names the file."""


@dataclass(frozen=True)
class ShardPlan:
    """A data set of `samples` samples with the seeds from `first_seed` on, `per_shard` in each file.

    jpeg_quality: of the pictures; None stores them without loss (PNG).
    """

    samples: int
    per_shard: int = 1000
    first_seed: int = 0
    jpeg_quality: int | None = 95

    def __post_init__(self) -> None:
        if self.samples < 1 or self.per_shard < 1 or self.first_seed < 0:
            raise ValueError(
                f"a data set needs samples and samples per shard, and seeds from 0 on; found {self}"
            )
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must be 1..100 or None; found {self.jpeg_quality}")

    @property
    def num_shards(self) -> int:
        """Number of files."""
        return -(-self.samples // self.per_shard)

    def seeds(self, shard: int) -> range:
        """Seeds of the samples of a shard."""
        start = self.first_seed + shard * self.per_shard
        return range(start, min(start + self.per_shard, self.first_seed + self.samples))

    @staticmethod
    def name(shard: int) -> str:
        """File name of a shard."""
        return f"crops-{shard:06d}.tar"


def write_shards(
    folder: Path,
    plan: ShardPlan,
    make_sampler: Callable[[], Callable[[int], Sample]],
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write the shards of a plan that are not there yet; returns the paths of all of them.

    make_sampler: called once per worker; gives the function from seed to sample (for instance
    `SceneGenerator.crop`). With several workers it must be picklable. progress: called with each finished
    shard. Raises ShardError where the folder holds a data set of another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _keep_plan(folder, plan)
    for leftover in folder.glob("*.tar.part"):
        leftover.unlink()
    missing = [shard for shard in range(plan.num_shards) if not (folder / plan.name(shard)).exists()]
    if missing and (workers <= 1 or len(missing) == 1):
        sampler = make_sampler()
        for shard in missing:
            _write_shard(folder, plan, shard, sampler)
            if progress is not None:
                progress(shard)
    elif missing:
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(workers, len(missing)), _start_worker, (folder, plan, make_sampler)) as pool:
            for shard in pool.imap_unordered(_work, missing):
                if progress is not None:
                    progress(shard)
    return [folder / plan.name(shard) for shard in range(plan.num_shards)]


def list_shards(folder: Path) -> list[Path]:
    """The complete shards of a folder, in order; ShardError where there are none."""
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise ShardError(
            f"{folder} holds no shard (*.tar); write some with trainer.scenes.shards.write_shards"
        )
    return paths


def read_shards(paths: Sequence[Path]) -> Iterator[Arrays]:
    """Samples of shards, one after another, as `Sample.arrays` gives them.

    Raises ShardError naming the file and the member that is damaged.
    """
    for path in paths:
        try:
            with tarfile.open(path) as archive:
                yield from _grouped(path, archive)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise ShardError(
                f"{path} cannot be read ({error}); delete it and write the shards again"
            ) from error


def encode(sample: Sample, *, jpeg_quality: int | None) -> dict[str, bytes]:
    """Members of a sample by their file name endings."""
    arrays = sample.arrays()
    rest = io.BytesIO()
    np.savez(rest, **{key: value for key, value in arrays.items() if key not in _PICTURES})  # type: ignore[arg-type]
    bgr = cv2.cvtColor(arrays["image"], cv2.COLOR_RGB2BGR)
    if jpeg_quality is None:
        picture = {"png": _encoded(".png", bgr, [])}
    else:
        picture = {"jpg": _encoded(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])}
    return {**picture, "part.png": _encoded(".png", arrays["part_map"], []), "npz": rest.getvalue()}


def decode(members: dict[str, bytes]) -> Arrays:
    """Inverse of `encode`; ValueError or KeyError for members that are damaged or missing."""
    with np.load(io.BytesIO(members["npz"]), allow_pickle=False) as content:
        arrays = {key: content[key] for key in content.files}
    picture = members["jpg"] if "jpg" in members else members["png"]
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    parts = cv2.imdecode(np.frombuffer(members["part.png"], np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None or parts is None:
        raise ValueError("a picture cannot be decoded")
    return {
        "image": np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)),
        "part_map": np.asarray(parts),
        **arrays,
    }


_state: dict[str, Any] = {}  # of a worker process


def _start_worker(folder: Path, plan: ShardPlan, make_sampler: Callable[[], Callable[[int], Sample]]) -> None:
    cv2.setNumThreads(1)
    _state.update(folder=folder, plan=plan, sampler=make_sampler())


def _work(shard: int) -> int:
    _write_shard(_state["folder"], _state["plan"], shard, _state["sampler"])
    return shard


def _write_shard(folder: Path, plan: ShardPlan, shard: int, sampler: Callable[[int], Sample]) -> None:
    path = folder / plan.name(shard)
    unfinished = path.with_suffix(".tar.part")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as archive:
        for seed in plan.seeds(shard):
            for ending, data in encode(sampler(seed), jpeg_quality=plan.jpeg_quality).items():
                member = tarfile.TarInfo(f"{seed:09d}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    os.replace(unfinished, path)


def _keep_plan(folder: Path, plan: ShardPlan) -> None:
    """Write the plan beside the shards, or compare with the one that is there."""
    path = folder / _INDEX
    record = {"format": "kinestream crops 1", **vars(plan)}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        same = {**found, "samples": record["samples"]} == record
        grows = int(found.get("samples", 0)) % plan.per_shard == 0 or found.get("samples") == plan.samples
        if not same or not grows:
            raise ShardError(
                f"{path} says {found}, asked for {record}; use another folder, or the same settings "
                "(only `samples` may change, from a multiple of `per_shard`)"
            )
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _grouped(path: Path, archive: tarfile.TarFile) -> Iterator[Arrays]:
    members: dict[str, bytes] = {}
    current = ""
    for member in archive:
        name, _, ending = member.name.partition(".")
        if members and name != current:
            yield _decoded(path, current, members)
            members = {}
        current = name
        file = archive.extractfile(member)
        members[ending] = b"" if file is None else file.read()
    if members:
        yield _decoded(path, current, members)


def _decoded(path: Path, name: str, members: dict[str, bytes]) -> Arrays:
    try:
        return decode(members)
    except (KeyError, ValueError, OSError, cv2.error) as error:
        raise ShardError(
            f"sample {name} of {path} is damaged ({error!r}); delete the shard and write it again"
        ) from error


def _encoded(ending: str, picture: npt.NDArray[Any], options: list[int]) -> bytes:
    done, data = cv2.imencode(ending, picture, options)
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape} as {ending}")
    return data.tobytes()
