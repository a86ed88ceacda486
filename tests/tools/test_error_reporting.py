"""How errors are told."""

from collections.abc import Callable
from pathlib import Path


def test_a_long_path_stays_in_one_piece(
    kinestream: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    absent = tmp_path / ("a" * 90) / ("b" * 90 + ".mcap")
    code, _, err = kinestream("replay", absent)
    assert code == 1 and str(absent) in err
