"""The benchmark of damaged videos accounts for every frame, through capture alone and through the tracker."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from kinestream.capture import CaptureError, open_source
from kinestream.tools.bench.robustness.damage import mutated, read_all
from kinestream.tools.bench.robustness.damage_run import account, tracked

Video = Callable[..., Path]
WALK = [{0: (40 + 2 * i, 60, 50, 120)} for i in range(12)]


def test_a_whole_file_and_one_that_is_none(block_video: Video, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.mp4"
    rubbish.write_bytes(bytes(1000))
    whole, refused = read_all([block_video(WALK), rubbish])
    assert (whole["outcome"], whole["frames"], whole["corrupt"]) == ("frames", 12, 0)
    assert refused["outcome"] == "UnreadableSourceError"


@pytest.mark.usefixtures("stand_ins")
def test_the_tracker_accounts_for_the_same_frames(block_video: Video, tmp_path: Path) -> None:
    random, data = np.random.default_rng(0), block_video(WALK).read_bytes()
    damaged, counted = tmp_path / "damaged.mp4", 0
    with ExitStack() as stack:
        read = tracked(stack)
        for _ in range(12):
            damaged.write_bytes(mutated(data, random)[1])
            found = []
            for how in (iter, read):
                try:
                    with open_source(damaged, policy="every") as source:
                        found.append(account(source, how))
                except CaptureError as error:
                    found.append(type(error))
            assert found[0] == found[1]
            counted += isinstance(found[0], tuple) and found[0][2]
    assert counted, "not one damaged file gave frames"
