"""What a start loads: with engines from the cache neither torch nor scipy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinestream.defaults import ASSETS
from kinestream.engines.engine import why_not

CODE = """
import sys
from kinestream.tools.cli import app
app(["run", sys.argv[1], "--no-publish", "--max-frames", "2", "--engine", "cpu"], standalone_mode=False)
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.skipif(why_not("cpu") is not None, reason="ONNX Runtime is not installed")
def test_a_start_with_engines_from_the_cache_loads_neither_torch_nor_scipy(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(ASSETS / "demo.mp4")]
    environment = os.environ | {"KINESTREAM_CACHE": str(tmp_path)}
    for _ in range(2):  # the first one may have to build
        second = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    loaded = set(second.stdout.split())
    assert {"kinestream", "onnxruntime", "numba", "av"} <= loaded
    assert not {"torch", "scipy", "smplx", "onnx", "matplotlib"} & loaded
    assert "1 person" in second.stderr and "preparing" not in second.stderr
