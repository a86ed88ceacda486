"""The compiled measurement update beside its twin in plain torch: energy, gradient, minimum, posterior."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch
from torch import Tensor

from kinestream.body.arrays import DEFAULT_BODY_PATH, load_body_arrays
from kinestream.body.model import BodyModel
from kinestream.filtering import keypoint_solver as solver
from kinestream.filtering.keypoint_kinematics import KeypointKinematics, camera_array
from kinestream.geometry.camera import Camera
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.latent.robust import cauchy_loss

CAMERAS = (
    Camera.from_fov(640, 480),
    Camera(640, 480, (500.0, 520.0), (310.0, 250.0), (-0.2, 0.05, 1e-3, -2e-3)),
    Camera(640, 480, (500.0, 520.0), (310.0, 250.0), (0.1, 0.02, 1e-3, 2e-3, 0.01, 0.2, 0.05, 0.01)),
)
FACING = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def flow_map() -> FlowMap:
    return FlowMap(PoseFlow.load())


def body_of(*, correctives: bool) -> tuple[BodyModel, solver.Solver]:
    arrays = load_body_arrays(DEFAULT_BODY_PATH)
    if not correctives:
        arrays = dataclasses.replace(arrays, posedirs=None)
    model = BodyModel(arrays, dtype=torch.float64)
    return model, solver.Solver(KeypointKinematics.with_offsets(arrays))


def problem(flow_map: FlowMap, camera: Camera, *, seed: int = 0) -> tuple[solver.Prior, solver.Evidence]:
    """A standing person, and keypoints of nobody in particular around the middle of the picture."""
    rng = np.random.default_rng(seed)
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[0] = FACING
    rotations[1:22], tangents = flow_map.linearise(rng.normal(size=63))
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    std = np.sqrt(rng.uniform(0.01, 0.3, solver.STATE))
    place, betas = np.array([0.2, -0.1, 3.5]), rng.normal(size=10)
    prior = solver.Prior(rotations, tangents, place, np.ascontiguousarray(axes), betas, std)
    pixels = rng.normal([330.0, 240.0], 60.0, (23, 2))
    weights = (rng.random(23) > 0.2).astype(np.float64)
    whitening = rng.uniform([0.02, -0.1, 0.02], [0.3, 0.1, 0.3], (23, 3))
    return prior, solver.Evidence(pixels, whitening, weights, camera_array(camera), 2.0)


def twin_energy(
    body: BodyModel, prior: solver.Prior, evidence: solver.Evidence, camera: Camera, state: Tensor
) -> Tensor:
    """The energy of `keypoint_solver` in torch, to be differentiated."""
    given = {name: torch.from_numpy(getattr(prior, name)) for name in prior._fields}
    turns = torch.cat([state[63:66], given["tangents"] @ state[:63], state.new_zeros(6)]).view(24, 3)
    rotations = given["rotations"] @ matrix_from_axis_angle(turns)
    place = given["place"] + given["axes"] @ state[66:69]
    keypoints = body.skeleton((given["betas"] + state[69:])[None], rotations[None], place[None])[1][0]
    across, down = (camera.project(keypoints) - torch.from_numpy(evidence.pixels)).unbind(-1)
    xx, yx, yy = torch.from_numpy(evidence.whitening).unbind(-1)
    squares = (xx * across) ** 2 + (yx * across + yy * down) ** 2
    loss = cauchy_loss(squares, evidence.robust) * torch.from_numpy(evidence.weights)
    return loss.sum() + 0.5 * (state / given["std"]).square().sum()


@pytest.mark.parametrize("camera", CAMERAS, ids=["ideal", "plumb_bob", "rational"])
def test_the_energy_is_that_of_the_twin(flow_map: FlowMap, camera: Camera) -> None:
    body, work = body_of(correctives=True)
    prior, evidence = problem(flow_map, camera)
    for state in (np.zeros(solver.STATE), 0.2 * np.random.default_rng(2).normal(size=solver.STATE)):
        expected = twin_energy(body, prior, evidence, camera, torch.from_numpy(state))
        found = work.evaluate(prior, evidence, state)
        assert found == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("camera", CAMERAS, ids=["ideal", "plumb_bob", "rational"])
def test_the_jacobian_gives_the_gradient_of_the_twin(flow_map: FlowMap, camera: Camera) -> None:
    body, work = body_of(correctives=False)
    prior, evidence = problem(flow_map, camera)
    state = torch.from_numpy(0.2 * np.random.default_rng(3).normal(size=solver.STATE)).requires_grad_()
    (expected,) = torch.autograd.grad(twin_energy(body, prior, evidence, camera, state), [state])
    work.evaluate(prior, evidence, state.detach().numpy())
    residual, jacobian = work.linearise(prior)
    found = jacobian.T @ residual + state.detach().numpy() / prior.std**2
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_a_few_iterations_find_what_adam_finds(flow_map: FlowMap) -> None:
    body, work = body_of(correctives=True)
    camera = CAMERAS[0]
    prior, evidence = problem(flow_map, camera)
    # keypoints of another body of the prior, some of them far off
    rng = np.random.default_rng(4)
    work.evaluate(prior, evidence, 0.5 * rng.normal(size=solver.STATE) * prior.std)
    pixels = camera.project(work.place + work.body.keypoints_m) + rng.normal(size=(23, 2))
    pixels[9] += 150.0
    evidence = evidence._replace(pixels=pixels, whitening=np.tile([0.3, 0.0, 0.3], (23, 1)))
    state = torch.zeros(solver.STATE, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([state], lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        energy = twin_energy(body, prior, evidence, camera, state)
        energy.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    before = work.evaluate(prior, evidence, np.zeros(solver.STATE))
    found = work.solve(prior, evidence, 6)
    assert found <= float(energy) + 0.01 * (before - float(energy))


def test_the_derivatives_of_joints_are_those_of_the_twin(flow_map: FlowMap) -> None:
    body, work = body_of(correctives=True)
    prior, evidence = problem(flow_map, CAMERAS[0])
    state = 0.2 * np.random.default_rng(5).normal(size=solver.STATE)

    def distances(latent_and_root: Tensor) -> Tensor:
        given = {name: torch.from_numpy(getattr(prior, name)) for name in prior._fields}
        tangents = given["tangents"] @ latent_and_root[:63]
        turns = torch.cat([latent_and_root[63:], tangents, state_tensor.new_zeros(6)]).view(24, 3)
        rotations = given["rotations"] @ matrix_from_axis_angle(turns)
        betas = (given["betas"] + state_tensor[69:])[None]
        joints = body.skeleton(betas, rotations[None], given["place"][None])[0][0]
        return (joints - joints[0]) @ given["axes"][:, 2]

    state_tensor = torch.from_numpy(state)
    expected = torch.autograd.functional.jacobian(distances, state_tensor[:66]).numpy()
    work.evaluate(prior, evidence, state)
    np.testing.assert_allclose(work.joints(prior), expected, atol=1e-6)


def test_the_posterior_is_that_of_the_normal_equations(flow_map: FlowMap) -> None:
    _, work = body_of(correctives=True)
    prior, evidence = problem(flow_map, CAMERAS[1])
    work.evaluate(prior, evidence, np.zeros(solver.STATE))
    work.solve(prior, evidence, 3)
    jacobian = work.linearise(prior)[1].copy()
    variance = prior.std**2 * (1 - np.square(work.learned(prior, 1.0)).sum(0))
    expected = np.linalg.inv(jacobian.T @ jacobian + np.diag(1 / prior.std**2)).diagonal()
    np.testing.assert_allclose(variance, expected, rtol=1e-8)


def test_the_loop_allocates_no_arrays(flow_map: FlowMap) -> None:
    _, work = body_of(correctives=True)
    prior, evidence = problem(flow_map, CAMERAS[2])
    work.evaluate(prior, evidence, np.zeros(solver.STATE))
    work.solve(prior, evidence, 5)  # compiles
    work.evaluate(prior, evidence, np.zeros(solver.STATE))
    tracemalloc.start()  # NumPy reports its arrays to it
    held, _ = tracemalloc.get_traced_memory()
    work.solve(prior, evidence, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - held < 1000, f"{peak - held} bytes; one error state has {work.state.nbytes}"
