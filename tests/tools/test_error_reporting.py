"""How errors are told."""

import gc
from collections.abc import Callable
from pathlib import Path


def test_a_long_path_stays_in_one_piece(
    kinestream: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    absent = tmp_path / ("a" * 90) / ("b" * 90 + ".mcap")
    code, _, err = kinestream("replay", absent)
    assert code == 1 and str(absent) in err


def test_a_command_that_fails_leaves_the_garbage_collector_on(
    kinestream: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, _ = kinestream("run", tmp_path / "absent.mp4", "--no-publish")
    assert code == 1 and gc.isenabled()
