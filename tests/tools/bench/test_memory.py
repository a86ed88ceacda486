"""The peak of a process is its own."""

import subprocess
import sys

import numpy as np

from kinestream.tools.bench.memory import peak_mb

CODE = "from kinestream.tools.bench.memory import peak_mb; print(peak_mb())"


def test_what_was_held_counts_and_stays() -> None:
    before = peak_mb()
    held = np.ones(2**25 + int(before) * 2**17)  # more than was ever in use
    after = peak_mb()
    assert after > before + 200
    del held
    assert peak_mb() > after - 10  # the kernel counts in batches


def test_a_child_does_not_begin_with_its_parents_peak() -> None:
    held = np.ones(2**26)  # 512 MB
    child = float(subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True).stdout)
    assert held.nbytes / 2**20 > 2 * child
    assert peak_mb() > child + 256
