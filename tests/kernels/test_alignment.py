"""Every backend of the alignment loss against the plain reference, and what the loss promises."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.kernels.alignment import alignment_loss, probe_backends

PYTHONPATH = os.pathsep.join(str(folder) for folder in (Path(__file__).parents[2], Path(__file__).parent))


def scene(seed: int, batch: int, count: int, height: int, width: int, parts: int, dtype: torch.dtype) -> Any:
    """Vertices partly off the screen and behind the camera, blobs of parts with holes, some maps empty."""
    g = torch.Generator().manual_seed(seed)
    vertices = torch.randn(batch, count, 3, generator=g, dtype=torch.float64)
    vertices[..., 2] = 2.0 + vertices[..., 2]  # about one in forty behind the camera
    part_ids = torch.randint(0, parts, (count,), generator=g)
    blobs = torch.randint(0, parts + 1, (batch, -(-height // 4), -(-width // 4)), generator=g)
    part_map = blobs.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :height, :width].clone()
    part_map[torch.rand(part_map.shape, generator=g) < 0.3] = 0
    part_map[batch // 2] = 0
    part_map[0, height // 2, width // 2] = parts  # one pixel of this part at least
    camera = torch.eye(3, dtype=torch.float64).repeat(batch, 1, 1)
    camera[:, 0, 0], camera[:, 1, 1] = width * 0.9, width * 0.8
    camera[:, 0, 1], camera[:, 0, 2], camera[:, 1, 2] = 0.3, width / 2, height / 2
    visibility = torch.rand(batch, count, generator=g, dtype=torch.float64).round(decimals=1)
    confidence = torch.rand(batch, height, width, generator=g, dtype=torch.float64)
    floats = (tensor.to(dtype) for tensor in (vertices, camera, visibility, confidence))
    return part_ids, part_map, *floats


def loss_and_gradients(
    seed: int, backend: str, dtype: torch.dtype, size: tuple[int, ...], **options: Any
) -> list:
    part_ids, part_map, vertices, camera, visibility, confidence = scene(seed, *size, dtype)
    vertices.requires_grad_(True)
    camera.requires_grad_(True)
    out = alignment_loss(
        vertices, part_ids, part_map, camera=camera, visibility=visibility, confidence=confidence,
        num_parts=size[-1], backend=backend, **options,
    )  # fmt: skip
    terms = torch.cat([out.pixel_to_vertex, out.vertex_to_pixel, out.background[:, None]], 1)
    weights = torch.linspace(0.5, 1.5, terms.numel(), dtype=dtype).reshape(terms.shape)
    gradients = torch.autograd.grad((terms * weights).sum() + out.total.sum(), (vertices, camera))
    return [out.total.detach(), terms.detach(), *gradients]


def assert_equal_loss(
    seed: int, backend: str, dtype: torch.dtype, size: tuple[int, ...], **options: Any
) -> None:
    expected = loss_and_gradients(seed, "reference", dtype, size, **options)
    found = loss_and_gradients(seed, backend, dtype, size, **options)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for want, have in zip(expected, found, strict=True):
        assert have.isfinite().all()
        assert torch.linalg.norm(have - want) <= tolerance * torch.linalg.norm(want)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    batch=st.sampled_from([1, 2, 3, 8, 64]),
    count=st.integers(1, 90),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    parts=st.integers(1, 15),
    robustifier=st.sampled_from(["geman_mcclure", "huber"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_cpu_equals_reference(seed, batch, count, height, width, parts, robustifier, dtype):
    size = (batch, count, height, width, parts)
    assert_equal_loss(seed, "cpu", dtype, size, robustifier=robustifier, sigma_px=5.0, image_from_map=2.0)


@pytest.mark.parametrize(
    ("robustifier", "dtype"), [("geman_mcclure", torch.float32), ("huber", torch.float64)]
)
def test_gpu_equals_reference(robustifier, dtype):
    """On a CPU in Triton's interpreter, in a process of its own since Triton reads the setting at import."""
    pytest.importorskip("triton", reason="triton is not installed (extra gpu)")
    code = (
        "import test_alignment as t, torch\n"
        "for seed, size in ((0, (1, 70, 9, 70, 3)), (1, (3, 200, 16, 12, 4)), (2, (1, 1, 1, 1, 1))):\n"
        f"    t.assert_equal_loss(seed, 'gpu', {dtype}, size, robustifier='{robustifier}', sigma_px=4.0)\n"
        f"t.check_ties('gpu')\nt.check_points('gpu', {dtype})"
    )
    environment = dict(os.environ, TRITON_INTERPRET="1", PYTHONPATH=PYTHONPATH)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gpu_on_a_device_equals_reference(dtype):
    part_ids, part_map, vertices, camera, visibility, _ = scene(3, 4, 500, 32, 32, 15, dtype)
    results = []
    for device, backend in (("cpu", "reference"), ("cuda", "gpu")):
        moved = [t.to(device) for t in (vertices, part_ids, part_map, camera, visibility)]
        moved[0].requires_grad_(True)
        out = alignment_loss(*moved[:3], camera=moved[3], visibility=moved[4], backend=backend)
        (gradient,) = torch.autograd.grad(out.total.sum(), moved[0])
        results.append((out.total.detach().cpu(), gradient.cpu()))
    for want, have in zip(*results, strict=True):
        assert torch.linalg.norm(have - want) <= 1e-4 * torch.linalg.norm(want)


def check_points(backend: str, dtype: torch.dtype) -> None:
    """Projected points in, NaN for what is behind the camera: the same as from 3-D vertices."""
    part_ids, part_map, vertices, camera, visibility, _ = scene(5, 2, 60, 12, 14, 4, dtype)
    vertices[0, :5, 2] = -1.0
    options = {"visibility": visibility, "num_parts": 4, "sigma_px": 6.0, "backend": backend}
    whole = alignment_loss(vertices, part_ids, part_map, camera=camera, **options)
    points = (vertices @ camera.transpose(1, 2))[..., :2] / vertices[..., 2:]
    points[vertices[..., 2] <= 0.01] = math.nan
    points.requires_grad_(True)
    projected = alignment_loss(points, part_ids, part_map, **options)
    torch.testing.assert_close(projected.total, whole.total)
    (gradient,) = torch.autograd.grad(projected.total.sum(), points)
    assert gradient.isfinite().all()
    assert (gradient[vertices[..., 2] <= 0.01] == 0).all()
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_points_and_vertices_agree(backend):
    check_points(backend, torch.float64)


def check_ties(backend: str) -> None:
    """Four pixels about one vertex, two vertices at one place: the first pixel and the first vertex win."""
    part_map = torch.zeros(1, 6, 6, dtype=torch.int64)
    part_map[0, 2:4, 2:4] = 1
    points = torch.tensor([[[2.5, 2.5], [7.0, 7.0]]], dtype=torch.float64, requires_grad=True)
    ids = torch.zeros(2, dtype=torch.int64)
    out = alignment_loss(
        points, ids, part_map, sigma_px=1.0, num_parts=1, backend=backend, robustifier="huber"
    )
    (gradient,) = torch.autograd.grad(out.vertex_to_pixel.sum(), points)
    torch.testing.assert_close(gradient[0, 0], torch.tensor([0.25, 0.25], dtype=torch.float64))

    part_map = torch.zeros(1, 6, 6, dtype=torch.int64)
    part_map[0, 2, 2] = 1
    points = torch.tensor([[[4, 2], [2, 4], [2, 0], [0, 2.0]]], dtype=torch.float64, requires_grad=True)
    ids = torch.zeros(4, dtype=torch.int64)
    out = alignment_loss(points, ids, part_map, sigma_px=9.0, num_parts=1, backend=backend)
    (gradient,) = torch.autograd.grad(out.pixel_to_vertex.sum(), points)
    assert gradient[0, 0, 0] > 0
    assert (gradient[0, 1:] == 0).all()

    part_map = torch.zeros(1, 5, 5, dtype=torch.int64)
    part_map[0, 0, 2], part_map[0, 2, 0], part_map[0, 2, 4], part_map[0, 4, 2] = 2, 1, 1, 2
    points = torch.tensor([[[2.0, 2.0]]], dtype=torch.float64, requires_grad=True)
    out = alignment_loss(points, ids[:1], part_map, sigma_px=9.0, num_parts=2, backend=backend)
    (gradient,) = torch.autograd.grad(out.background.sum(), points)
    assert gradient[0, 0, 0] == 0
    assert gradient[0, 0, 1] > 0  # the first pixel in reading order lies above


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_ties(backend):
    check_ties(backend)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("robustifier", ["geman_mcclure", "huber"])
def test_gradcheck(backend, robustifier):
    part_ids, part_map, vertices, camera, visibility, confidence = scene(11, 2, 25, 9, 8, 3, torch.float64)
    part_map[1] = part_map[0].flip(0)
    vertices.requires_grad_(True)
    camera = camera[:, :2].requires_grad_(True)
    last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(2, 1, 3)

    def terms(vertices: torch.Tensor, upper: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(
            alignment_loss(
                vertices, part_ids, part_map, camera=torch.cat([upper, last], 1), visibility=visibility,
                confidence=confidence, sigma_px=3.0, robustifier=robustifier, num_parts=3, backend=backend,
            )
        )  # fmt: skip

    assert torch.autograd.gradcheck(terms, (vertices, camera), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_values_by_hand(backend):
    """One part of two pixels, two vertices; every number worked out on paper."""
    part_map = torch.tensor([[[0, 0, 0, 0, 0], [0, 1, 1, 0, 0]]])
    points = torch.tensor([[[1.0, 1.0], [4.0, 1.0]]])
    out = alignment_loss(
        points, torch.tensor([0, 0]), part_map, sigma_px=2.0, num_parts=2, backend=backend,
        visibility=torch.tensor([[1.0, 0.5]]), confidence=torch.full((1, 2, 5), 0.25),
        pixel_weight=2.0, vertex_weight=3.0, background_weight=4.0,
    )  # fmt: skip
    # pixels (1,1) and (2,1): distances 0 and 1, rho(1) = 1 / (1 + 4) = 0.2; vertices 0 and 2, rho(2) = 0.5
    pixel, vertex = 0.1, 0.5 * 0.5 / 1.5
    torch.testing.assert_close(out.pixel_to_vertex, torch.tensor([[pixel, 0.0]]))
    torch.testing.assert_close(out.vertex_to_pixel, torch.tensor([[vertex, 0.0]]))
    torch.testing.assert_close(out.background, torch.tensor([vertex]))
    torch.testing.assert_close(out.total, torch.tensor([(2 * pixel + 3 * vertex) / 2 + 4 * vertex]))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("factor", [2, 3])
def test_map_scale_leaves_the_loss_of_a_coarser_unit(backend, factor):
    """The same scene with image pixels of another size gives the same loss: rho is free of units."""
    part_ids, part_map, vertices, camera, _, _ = scene(7, 2, 40, 10, 12, 3, torch.float64)
    plain = alignment_loss(
        vertices, part_ids, part_map, camera=camera, sigma_px=4.0, num_parts=3, backend=backend
    )
    image = torch.tensor([factor, 0, (factor - 1) / 2], dtype=torch.float64).expand(2, 3)
    offset = (factor - 1) / 2
    finer = camera.clone()
    finer[:, :2] *= factor
    finer[:, :2, 2] += offset
    scaled = alignment_loss(
        vertices, part_ids, part_map, camera=finer, sigma_px=4.0 * factor, num_parts=3, backend=backend,
        image_from_map=float(factor),
    )  # fmt: skip
    torch.testing.assert_close(scaled.total, plain.total)
    finer[:, 0, 2] -= offset  # the same grid told as scale and origin, x0 = 0
    told = alignment_loss(
        vertices, part_ids, part_map, camera=finer, sigma_px=4.0 * factor, num_parts=3, backend=backend,
        image_from_map=image,
    )  # fmt: skip
    torch.testing.assert_close(told.total, plain.total)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_order_of_vertices_does_not_matter(backend):
    part_ids, part_map, vertices, camera, visibility, _ = scene(9, 3, 80, 16, 16, 5, torch.float64)
    options = {"camera": camera, "sigma_px": 5.0, "num_parts": 5, "backend": backend}
    plain = alignment_loss(vertices, part_ids, part_map, visibility=visibility, **options)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    moved = alignment_loss(
        vertices[:, order], part_ids[order], part_map, visibility=visibility[:, order], **options
    )
    torch.testing.assert_close(moved.total, plain.total)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_nothing_to_align_is_zero_with_zero_gradient(backend):
    part_ids, part_map, vertices, camera, _, _ = scene(13, 2, 30, 8, 8, 4, torch.float32)
    vertices[1, :, 2] = -1.0  # this person is behind the camera
    part_map = torch.stack([torch.zeros(8, 8, dtype=torch.int64), part_map[0]])  # and the other map is empty
    vertices.requires_grad_(True)
    camera.requires_grad_(True)
    out = alignment_loss(vertices, part_ids, part_map, camera=camera, num_parts=4, backend=backend)
    for term in out:
        assert (term == 0).all()
    gradients = torch.autograd.grad(out.total.sum(), (vertices, camera))
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_logits_are_their_best_label_weighted_by_its_probability(backend):
    part_ids, part_map, vertices, camera, _, _ = scene(17, 2, 50, 10, 10, 3, torch.float64)
    logits = torch.nn.functional.one_hot(part_map, 4).permute(0, 3, 1, 2) * 3.0
    logits = logits + torch.rand(logits.shape, generator=torch.Generator().manual_seed(1))
    options = {"camera": camera, "num_parts": 3, "backend": backend}
    soft = alignment_loss(vertices, part_ids, logits.double(), **options)
    confidence = logits.double().softmax(1).amax(1)
    hard = alignment_loss(vertices, part_ids, part_map, confidence=confidence, **options)
    torch.testing.assert_close(soft.total, hard.total)


def test_cpu_is_deterministic_and_independent_of_threads():
    results = []
    for threads in (2, 1, 1):
        torch.set_num_threads(threads)
        results.append(loss_and_gradients(3, "cpu", torch.float32, (4, 300, 24, 24, 15)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_first_use_leaves_the_threads_of_torch_alone():
    """numba and torch may share OpenMP's thread count; in a fresh process, since it happens once."""
    code = (
        "import torch\ntorch.set_num_threads(1)\nimport test_alignment as t\n"
        "t.loss_and_gradients(0, 'cpu', torch.float32, (1, 5, 4, 4, 2))\n"
        "assert torch.get_num_threads() == 1, torch.get_num_threads()"
    )
    environment = dict(os.environ, NUMBA_NUM_THREADS="2", PYTHONPATH=PYTHONPATH)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_descent_brings_a_shifted_shape_home():
    """Without any other term, gradient steps on the translation undo a shift of the projected shape."""
    g = torch.Generator().manual_seed(2)
    part_ids = torch.arange(600) % 2
    body = torch.rand(600, 2, generator=g, dtype=torch.float64) * 10 + part_ids[:, None] * 11
    part_map = torch.zeros(1, 40, 40, dtype=torch.int64)
    part_map[0, 8:18, 8:18], part_map[0, 19:29, 19:29] = 1, 2
    shift = torch.tensor([14.0, 2.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.3)
    for _ in range(120):
        optimiser.zero_grad()
        alignment_loss(
            (body + shift)[None], part_ids, part_map, num_parts=2, sigma_px=8.0
        ).total.sum().backward()
        optimiser.step()
    assert torch.linalg.norm(shift.detach() - 7.5) < 0.5


def test_backends_say_why_they_cannot_run(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    backends = probe_backends("cpu")
    assert backends["reference"].available and backends["cpu"].available and not backends["gpu"].available
    assert "triton" in backends["gpu"].reason or "CUDA" in backends["gpu"].reason
    assert "move them to the CPU" in probe_backends("cuda")["cpu"].reason
    part_ids, part_map, vertices, camera, _, _ = scene(0, 1, 5, 4, 4, 2, torch.float32)
    with pytest.raises(RuntimeError, match="gpu backend .* cannot run"):
        alignment_loss(vertices, part_ids, part_map, camera=camera, num_parts=2, backend="gpu")


@pytest.mark.parametrize(
    ("installed", "device", "interpreter", "available", "reason"),
    [
        (False, "cuda", False, False, "pip install 'kinestream[gpu]'"),
        (True, "cuda", False, True, "tensors are on a GPU"),
        (True, "cpu", True, True, "Triton's interpreter"),
        (True, "cpu", False, False, "move them to a CUDA device"),
    ],
)
def test_the_gpu_face_says_why_it_can_run_or_cannot(
    monkeypatch, installed, device, interpreter, available, reason
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setenv("TRITON_INTERPRET", "1" if interpreter else "0")
    status = probe_backends(device)["gpu"]
    assert status.available == available and reason in status.reason
