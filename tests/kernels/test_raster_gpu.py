"""The GPU face against the compiled one: on a GPU where there is one, else in numba's CUDA simulator.

The simulator has to be chosen before numba is imported, so it runs in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinestream.kernels.raster import gpu

SCRIPT = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from kinestream.kernels.raster import Target, cpu, gpu
from test_raster import random_mesh
assert gpu.unavailable() is None, gpu.unavailable()
K = np.array([[14.0, 0, 6.8], [0, 14.0, 5.2], [0, 0, 1]])
for seed, samples in ((0, 1), (1, 2)):
    host, device = Target(11, 14, samples=samples), gpu.DeviceTarget(11, 14, samples=samples)
    for step in range(2):
        mesh = random_mesh(seed + 50 * step, faces=24)
        cpu.draw(host, mesh, K)
        gpu.draw(device, mesh, K)
    device.download()
    hit = host.triangle >= 0
    assert 0.2 < hit.mean() < 1 or seed, hit.mean()
    same = device.triangle == host.triangle
    assert same.mean() >= float(sys.argv[2]), same.mean()
    for name in ("part", "person", "depth_m"):
        np.testing.assert_allclose(getattr(device, name)[same], getattr(host, name)[same], rtol=1e-6)
    np.testing.assert_allclose(device.colour[hit & same], host.colour[hit & same], atol=1e-5)
    background = np.full((11, 14, 3), 90, np.uint8)
    images = cpu.resolve(host, background), gpu.resolve(device, background)
    assert (np.abs(images[0].astype(int) - images[1]) > 1).mean() <= 1 - float(sys.argv[2])
    points = mesh.vertices_m
    seen = [face.vertex_visibility(t, points, K) for face, t in ((cpu, host), (gpu, device))]
    assert (seen[0] == seen[1]).mean() >= float(sys.argv[2])
    device.clear()
    device.download()
    assert (device.triangle == -1).all() and np.isinf(device.depth_m).all()
print("equal")
"""


def run(*, least_same: float, **environment: str) -> str:
    """Compare the faces; `least_same` is the share of samples that must agree."""
    here = Path(__file__).parent
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(here), str(least_same)],
        env={**os.environ, **environment},
        cwd=here.parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_equals_the_cpu_face_in_the_simulator() -> None:
    assert run(least_same=1.0, NUMBA_ENABLE_CUDASIM="1").strip() == "equal"


@pytest.mark.skipif(gpu.unavailable() is not None, reason=str(gpu.unavailable()))
def test_equals_the_cpu_face_on_the_gpu() -> None:
    assert run(least_same=0.995, NUMBA_ENABLE_CUDASIM="0").strip() == "equal"


@pytest.mark.skipif(gpu.unavailable() is None, reason="a GPU is here")
def test_without_a_gpu_it_says_why_and_what_to_use() -> None:
    with pytest.raises(RuntimeError, match=r"needs an NVIDIA GPU.*kernels\.raster\.cpu"):
        gpu.DeviceTarget(4, 4)
