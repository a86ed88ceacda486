"""The body model against smplx.lbs, against itself, and against wrong input."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.body.arrays import BodyFileError, check_body_arrays
from kinestream.body.model import BodyModel, BodyOutput, load_body
from kinestream.body.skeleton import PARENTS
from kinestream.geometry.rotation import matrix_from_axis_angle, random_rotations

PARITY_M = 1e-5


def numbers(shape, limit):
    return hnp.arrays(np.float32, shape, elements=st.floats(-limit, limit, width=32))


BETAS = numbers((1, 10), 4.0)
POSES = numbers((1, 24, 3), 3.125)


@pytest.fixture(scope="module")
def body():
    return BodyModel.load()


@pytest.fixture(scope="module")
def body64():
    return BodyModel.load(dtype=torch.float64)


@pytest.fixture(scope="module")
def small(make_raw_body):
    return BodyModel(check_body_arrays(make_raw_body(), path="small"), dtype=torch.float64)


def random_input(body, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    betas = torch.randn(batch, body.num_betas, generator=generator, dtype=body.dtype)
    rotations = random_rotations((batch, 24), generator=generator, dtype=body.dtype)
    translation_m = 3.0 * torch.randn(batch, 3, generator=generator, dtype=body.dtype)
    return betas, rotations, translation_m


def peer(body, betas, rotations):
    """smplx.lbs on the arrays of ``body``; it leaves the pelvis where the regressor puts it."""
    lbs = pytest.importorskip("smplx.lbs", reason="the peer of this test is the smplx package").lbs
    posedirs = body.posedirs
    posedirs = torch.zeros(body.num_vertices, 3, 207, dtype=body.dtype) if posedirs is None else posedirs
    return lbs(
        betas,
        rotations,
        body.v_template,
        body.shapedirs,
        posedirs.reshape(-1, 207).T,
        body.joint_regressor,
        body.parents,
        body.skin_weights,
        pose2rot=False,
    )


@settings(max_examples=25, deadline=None)
@given(betas=BETAS, axis_angle=POSES)
def test_vertices_and_joints_are_those_of_smplx(body, betas, axis_angle):
    betas, rotations = torch.from_numpy(betas), matrix_from_axis_angle(torch.from_numpy(axis_angle))
    vertices, joints = peer(body, betas, rotations)
    out = body(betas, rotations, translation_m=joints[:, 0])
    assert (out.vertices_m - vertices).abs().max() <= PARITY_M
    assert (out.joints_m - joints).abs().max() <= PARITY_M


@settings(max_examples=10, deadline=None)
@given(betas=BETAS, axis_angle=POSES, seed=st.integers(0, 1000))
def test_gradients_are_those_of_smplx(body64, betas, axis_angle, seed):
    betas = torch.from_numpy(betas).double().requires_grad_()
    rotations = matrix_from_axis_angle(torch.from_numpy(axis_angle).double()).requires_grad_()
    pull = torch.randn(1, body64.num_vertices, 3, dtype=torch.float64) / body64.num_vertices
    pull_joints = torch.randn(1, 24, 3, dtype=torch.float64)
    gradients = []
    vertices, joints = peer(body64, betas, rotations)
    out = body64(betas, rotations, translation_m=joints[:, 0])
    for v, j in ((vertices, joints), (out.vertices_m, out.joints_m)):
        loss = (v * pull).sum() + (j * pull_joints).sum()
        gradients.append(torch.autograd.grad(loss, (betas, rotations), retain_graph=True))
    for theirs, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_float32_gradients_are_those_of_smplx(body):
    betas, rotations, _ = random_input(body, batch=3)
    betas.requires_grad_()
    rotations.requires_grad_()
    gradients = []
    vertices, joints = peer(body, betas, rotations)
    for v in (vertices, body(betas, rotations, joints[:, 0]).vertices_m):
        loss = (v - 1.0).square().sum(dim=2).mean()
        gradients.append(torch.autograd.grad(loss, (betas, rotations), retain_graph=True))
    for theirs, ours in zip(*gradients, strict=True):
        assert (ours - theirs).abs().max() <= PARITY_M


def test_autograd_agrees_with_finite_differences(make_raw_body):
    body = BodyModel(check_body_arrays(make_raw_body(vertices=8), path="small"), dtype=torch.float64)
    inputs = [value.requires_grad_() for value in random_input(body, batch=1)]

    def outputs(*args):
        out = body(*args)
        return out.vertices_m, out.joints_m, out.keypoints_m

    assert torch.autograd.gradcheck(outputs, inputs)
    assert torch.autograd.gradcheck(body.skeleton, inputs)


@pytest.mark.parametrize("correctives", [True, False])
def test_a_scattered_body_agrees_with_smplx(make_raw_body, correctives):
    raw = make_raw_body(betas=4, correctives=correctives)
    body = BodyModel(check_body_arrays(raw, path="small"), dtype=torch.float64)
    assert (body.posedirs is not None) == correctives
    betas, rotations, _ = random_input(body, batch=5)
    vertices, joints = peer(body, betas, rotations)
    out = body(betas, rotations, joints[:, 0])
    torch.testing.assert_close(out.vertices_m, vertices)
    torch.testing.assert_close(out.joints_m, joints)


def test_the_rest_pose_is_the_shaped_template(small):
    betas, _, _ = random_input(small, batch=3)
    rest = small(betas, torch.eye(3, dtype=torch.float64).expand(1, 24, 3, 3))
    shaped = small.v_template + torch.einsum("bs,vcs->bvc", betas, small.shapedirs)
    joints = small.joint_regressor @ shaped
    torch.testing.assert_close(rest.vertices_m, shaped - joints[:, :1])
    torch.testing.assert_close(rest.joints_m, joints - joints[:, :1])


def test_the_pelvis_is_at_the_translation_for_every_shape(small):
    betas, rotations, translation_m = random_input(small, batch=4)
    joints = small(betas, rotations, translation_m).joints_m
    torch.testing.assert_close(joints[:, 0], translation_m)


def test_bones_keep_their_length(small):
    betas, rotations, translation_m = random_input(small, batch=4)
    rest = small.joints(betas, torch.eye(3, dtype=torch.float64).expand(1, 24, 3, 3))
    posed = small.joints(betas, rotations, translation_m)
    for joint, parent in enumerate(PARENTS[1:], start=1):
        torch.testing.assert_close(
            (posed[:, joint] - posed[:, parent]).norm(dim=1), (rest[:, joint] - rest[:, parent]).norm(dim=1)
        )


def test_a_turn_of_the_root_turns_the_whole_body(small):
    betas, rotations, translation_m = random_input(small, batch=2)
    turn = random_rotations((), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    turned = rotations.clone()
    turned[:, 0] = turn @ rotations[:, 0]
    before = small(betas, rotations, translation_m)
    after = small(betas, turned, translation_m @ turn.T)
    for name in ("vertices_m", "joints_m", "keypoints_m"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name) @ turn.T)


@pytest.mark.parametrize("batch", [1, 6])
def test_the_skeleton_is_that_of_the_full_body(body, batch):
    inputs = random_input(body, batch)
    out = body(*inputs)
    joints, keypoints = body.skeleton(*inputs)
    torch.testing.assert_close(joints, out.joints_m)
    torch.testing.assert_close(keypoints, out.keypoints_m, rtol=0, atol=2e-6)
    torch.testing.assert_close(body.joints(*inputs), out.joints_m)
    torch.testing.assert_close(out.keypoints_m, body.keypoint_regressor @ out.vertices_m, rtol=0, atol=3e-6)


def test_a_batch_is_its_members(body):
    inputs = random_input(body, batch=4)
    together = body(*inputs).vertices_m
    for i in range(4):
        alone = body(*(value[i : i + 1] for value in inputs)).vertices_m
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=3e-6)


def test_batches_of_one_broadcast_and_missing_betas_are_zero(small):
    betas, rotations, translation_m = random_input(small, batch=3)
    few = small(betas[:1, :4], rotations, translation_m[:1]).vertices_m
    full_betas = torch.cat([betas[:1, :4], torch.zeros(1, 6, dtype=torch.float64)], dim=1)
    full = small(full_betas.expand(3, -1), rotations, translation_m[:1].expand(3, -1)).vertices_m
    torch.testing.assert_close(few, full)
    one = small(betas[:, :0], rotations[:1]).vertices_m
    assert one.shape == (3, 60, 3)
    torch.testing.assert_close(one[0], one[2])


def test_autocast_does_not_cost_precision(body):
    inputs = random_input(body, batch=2)
    expected = body(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = body(*inputs)
        joints, keypoints = body.skeleton(*inputs)
    assert torch.equal(found.vertices_m, expected.vertices_m)
    assert torch.equal(joints, expected.joints_m)
    torch.testing.assert_close(keypoints, expected.keypoints_m, rtol=0, atol=2e-6)


def test_an_empty_batch_gives_empty_results(small):
    out = small(*random_input(small, batch=0))
    assert out.vertices_m.shape == (0, 60, 3)
    assert out.keypoints_m.shape == (0, 23, 3)


@pytest.mark.parametrize(
    ("position", "change"),
    [
        (0, lambda x: x[0]),
        (0, lambda x: torch.cat([x, x], dim=1)),
        (0, lambda x: x[:2]),
        (1, lambda x: x[:, :23]),
        (1, lambda x: x.flatten(2)),
        (1, lambda x: x[:2]),
        (2, lambda x: x[:, :2]),
        (2, lambda x: x[0]),
        (2, lambda x: torch.tensor(0.0, dtype=torch.float64)),
    ],
)
def test_wrong_shapes_are_named(small, position, change):
    inputs = list(random_input(small, batch=3))
    inputs[position] = change(inputs[position])
    found = str(tuple(inputs[position].shape)).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=f"{found}.*expected betas"):
        small(*inputs)


@pytest.mark.parametrize(("position", "name"), [(0, "betas"), (1, "rotations"), (2, "translation_m")])
def test_wrong_dtypes_are_named(small, position, name):
    inputs = list(random_input(small, batch=3))
    inputs[position] = inputs[position].float()
    with pytest.raises(TypeError, match=f"{name} has dtype torch.float32.*torch.float64"):
        small(*inputs)


def test_half_precision_models_are_refused(make_raw_body):
    with pytest.raises(TypeError, match="torch.float16"):
        BodyModel(check_body_arrays(make_raw_body(), path="small"), dtype=torch.float16)


def test_arrays_are_exposed_in_their_documented_layout(make_raw_body, small):
    arrays = check_body_arrays(make_raw_body(), path="small")
    for name in ("v_template", "shapedirs", "posedirs", "joint_regressor", "skin_weights"):
        np.testing.assert_array_equal(getattr(small, name).numpy(), getattr(arrays, name))
    for name in ("faces", "part_labels", "keypoint_regressor"):
        np.testing.assert_array_equal(getattr(small, name).numpy(), getattr(arrays, name))
    assert tuple(small.parents.tolist()) == PARENTS
    assert (small.num_vertices, small.num_betas) == (60, 10)


def test_a_body_moves_with_to_but_is_no_part_of_checkpoints(make_raw_body):
    body = BodyModel(check_body_arrays(make_raw_body(), path="small"))
    assert body.state_dict() == {}
    double = body.to(torch.float64)
    assert double.dtype == torch.float64
    assert double(*random_input(double, batch=1)).vertices_m.dtype == torch.float64


def test_results_are_contiguous_and_show_their_shapes(small):
    out = small(*random_input(small, batch=2))
    assert isinstance(out, BodyOutput)
    assert out.vertices_m.is_contiguous()
    assert repr(out) == "BodyOutput(vertices_m=(2, 60, 3), joints_m=(2, 24, 3), keypoints_m=(2, 23, 3))"
    assert "60 vertices, 10 betas, with pose correctives" in repr(small)


@pytest.mark.parametrize("spec", [None, "default"])
def test_the_default_body_needs_no_file(spec, body):
    assert torch.equal(load_body(spec).v_template, body.v_template)


def test_a_path_loads_a_body_in_our_layout(tmp_path, make_raw_body):
    path = tmp_path / "body.npz"
    np.savez(path, **make_raw_body(vertices=30))
    assert load_body(path).num_vertices == load_body(str(path), dtype=torch.float64).num_vertices == 30
    assert BodyModel.load(path).num_vertices == 30


def test_pickles_are_refused_with_the_way_out(tmp_path):
    path = tmp_path / "basicModel_neutral.pkl"
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(
        BodyFileError, match=r"python -m kinestream\.tools\.convert_smpl .*basicModel_neutral\.pkl"
    ):
        load_body(path)


def test_a_file_of_neither_kind_says_what_is_missing(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, something=np.zeros(3))
    with pytest.raises(BodyFileError, match="found only the arrays something, expected also v_template"):
        load_body(path)
