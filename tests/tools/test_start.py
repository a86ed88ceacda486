"""What a start loads: neither torch nor scipy, whether there is a cache or not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinestream.defaults import ASSETS
from kinestream.engines.engine import why_not
from kinestream.tools import process

CODE = """
import gc, sys
from kinestream.tools.cli import app
app(["run", sys.argv[1], "--no-publish", "--max-frames", "2", "--engine", "cpu"], standalone_mode=False)
print("garbage", gc.isenabled())
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.skipif(why_not("cpu") is not None, reason="ONNX Runtime is not installed")
def test_a_start_loads_neither_torch_nor_scipy_with_and_without_a_cache(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(ASSETS / "demo.mp4")]
    environment = os.environ | {"KINESTREAM_CACHE": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    for cached in (False, True):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        loaded = set(done.stdout.split())
        assert {"kinestream", "onnxruntime", "numba", "av"} <= loaded
        assert not {"torch", "scipy", "smplx", "matplotlib", "coverage"} & loaded
        assert ("onnx" in loaded) != cached and ("preparing" in done.stderr) != cached
        assert "1 person" in done.stderr and "garbage True" in done.stdout


KERNELS = """
from kinestream.tools import compile_kernels
compile_kernels.main()
from kinestream.body import kinematics
from kinestream.body.arrays import read_body
from kinestream.filtering import keypoint_kinematics, keypoint_solver as solver, keypoint_swaps
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.latent.flow_map import FlowMap
kernels = [solver._displace, solver._step, solver._forward_substitute, solver.turn, kinematics._pose]
kernels += [keypoint_kinematics.look, keypoint_kinematics._fill_jacobian, keypoint_swaps._believe]
print(*[len(kernel.signatures) for kernel in kernels])
KeypointUpdate(read_body(None), FlowMap.load(None))
print(*[len(kernel.signatures) for kernel in kernels])
"""


def test_what_is_compiled_beside_a_first_start_is_what_it_needs() -> None:
    done = subprocess.run([sys.executable, "-c", KERNELS], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 1 1 1 1 1 1 1"] * 2


@pytest.mark.parametrize(("kept", "cores", "started"), [(False, 2, 1), (True, 2, 0), (False, 1, 0)])
def test_kernels_are_compiled_beside_a_first_start_on_a_core_of_their_own(
    kept: bool, cores: int, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    class Helper:
        def __init__(self, command: list[str], **_: object) -> None:
            commands.append(command)

        def kill(self) -> None:
            pass

    monkeypatch.setattr(process.subprocess, "Popen", Helper)
    monkeypatch.setattr(process, "cores", lambda: cores)
    monkeypatch.setattr(process, "has_code", lambda source, function: kept and source.exists())
    process._compile_beside()
    assert commands == [[sys.executable, "-m", "kinestream.tools.compile_kernels"]] * started
