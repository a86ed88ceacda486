"""SMPL-family files, made up in the official layout and sizes, pose as smplx poses them."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kinestream.body.arrays import BodyFileError, read_body
from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.model import BodyModel, load_body
from kinestream.body.skeleton import KEYPOINT_NAMES, PARENTS, PART_OF_JOINT
from kinestream.body.smplx_adapter import load_smpl_family
from kinestream.geometry.rotation import random_rotations

lbs = pytest.importorskip("smplx.lbs", reason="the peer of these tests is the smplx package").lbs


def fingers(wrist, first):
    """Five fingers of three joints each."""
    return [wrist if joint % 3 == 0 else first + joint - 1 for joint in range(15)]


PARENTS_OF = {
    "smpl": list(PARENTS),
    "smplh": [*PARENTS[:22], *fingers(20, 22), *fingers(21, 37)],
    "smplx": [*PARENTS[:22], 15, 15, 15, *fingers(20, 25), *fingers(21, 40)],
}
FAMILIES = [
    SimpleNamespace(name="smpl", vertices=6890, betas=10, hands=(22, 23), nose=332, left_heel=3387),
    SimpleNamespace(name="smplh", vertices=6890, betas=16, hands=(25, 40), nose=332, left_heel=3387),
    SimpleNamespace(name="smplx", vertices=10475, betas=20, hands=(28, 43), nose=9120, left_heel=8846),
]


def make_raw(family):
    rng = np.random.default_rng(5)
    joints, vertices = len(PARENTS_OF[family.name]), family.vertices
    weights = np.zeros((vertices, joints), np.float32)
    for row in weights:
        row[rng.choice(joints, 4, replace=False)] = rng.dirichlet(np.ones(4))
    regressor = np.zeros((joints, vertices), np.float32)
    for row in regressor:
        row[rng.choice(vertices, 20, replace=False)] = 0.05
    parents = np.array(PARENTS_OF[family.name])
    return {
        "v_template": rng.normal(0.0, 0.5, (vertices, 3)),
        "shapedirs": rng.normal(0.0, 0.02, (vertices, 3, family.betas)).astype(np.float32),
        "posedirs": rng.normal(0.0, 0.001, (vertices, 3, (joints - 1) * 9)).astype(np.float32),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.stack([parents, np.arange(joints)]).astype(np.uint32),
        "f": rng.integers(0, vertices, (200, 3)).astype(np.uint32),
        "bs_type": np.array("lrotmin"),
        "part2num": np.array([{"not": "read"}], dtype=object),
    }


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def made(request, tmp_path_factory):
    """One file per family: its facts, raw arrays and path."""
    raw = make_raw(request.param)
    path = tmp_path_factory.mktemp("family") / f"{request.param.name}_neutral.npz"
    np.savez(path, **raw)
    return request.param, raw, path


@pytest.fixture(scope="module")
def raw_smpl():
    return make_raw(FAMILIES[0])


def test_the_body_poses_as_in_smplx_with_hands_at_rest(made):
    family, raw, path = made
    body = load_body(path)
    generator = torch.Generator().manual_seed(1)
    betas = torch.randn(2, 10, generator=generator)
    rotations = random_rotations((2, 24), generator=generator)
    if family.name != "smpl":
        rotations[:, 22:] = torch.eye(3)
    full = torch.eye(3).repeat(2, len(PARENTS_OF[family.name]), 1, 1)
    full[:, : 24 if family.name == "smpl" else 22] = rotations[:, : 24 if family.name == "smpl" else 22]
    tensors = {key: torch.from_numpy(raw[key].astype(np.float32)) for key in ("v_template", "shapedirs")}
    vertices, joints = lbs(
        betas,
        full,
        tensors["v_template"],
        tensors["shapedirs"][:, :, :10],
        torch.from_numpy(raw["posedirs"]).flatten(0, 1).T,
        torch.from_numpy(raw["J_regressor"]),
        torch.tensor(PARENTS_OF[family.name]),
        torch.from_numpy(raw["weights"]),
        pose2rot=False,
    )
    out = body(betas, rotations, translation_m=joints[:, 0])
    assert (out.vertices_m - vertices).abs().max() <= 1e-5
    assert (out.joints_m[:, :22] - joints[:, :22]).abs().max() <= 1e-5
    assert (out.joints_m[:, 22:] - joints[:, family.hands]).abs().max() <= 1e-5
    keypoints = dict(zip(KEYPOINT_NAMES, out.keypoints_m[0], strict=True))
    torch.testing.assert_close(keypoints["nose"], out.vertices_m[0, family.nose])
    torch.testing.assert_close(keypoints["left_heel"], out.vertices_m[0, family.left_heel])
    knee = torch.from_numpy(raw["J_regressor"][4]) @ out.vertices_m[0]
    torch.testing.assert_close(keypoints["left_knee"], knee, rtol=0, atol=1e-5)


def test_the_hand_joint_moves_what_hangs_below_the_wrist(made):
    family, raw, path = made
    first = PARENTS_OF[family.name].index(20)
    below = slice(first, first + (1 if family.name == "smpl" else 15))
    moved = torch.from_numpy(raw["weights"][:, below].sum(axis=1))
    torch.testing.assert_close(load_body(path).skin_weights[:, 22], moved)


def test_every_vertex_belongs_to_the_part_that_moves_it_most(made):
    _, _, path = made
    arrays = load_smpl_family(path)
    share = np.stack(
        [arrays.skin_weights[:, np.array(PART_OF_JOINT) == part].sum(axis=1) for part in range(15)], axis=1
    )
    chosen = np.take_along_axis(share, arrays.part_labels[:, None], axis=1)[:, 0]
    assert (chosen >= share.max(axis=1) - 1e-6).all()


def test_the_hot_path_serves_these_bodies_too(made):
    _, _, path = made
    body = load_body(path, dtype=torch.float64)
    rotations = random_rotations((1, 24), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    joints, keypoints = body.skeleton(torch.zeros(1, 10, dtype=torch.float64), rotations)
    hot = CompiledKinematics.of(read_body(path))
    hot_joints, hot_keypoints = hot.pose(rotations[0].numpy(), np.zeros(3))
    np.testing.assert_allclose(hot_joints, joints[0].numpy(), atol=1e-10)
    np.testing.assert_allclose(hot_keypoints, keypoints[0].numpy(), atol=1e-10)


def test_correctives_may_be_missing(tmp_path, raw_smpl):
    path = tmp_path / "smpl.npz"
    np.savez(path, **{key: value for key, value in raw_smpl.items() if key != "posedirs"})
    body = load_body(path)
    assert isinstance(body, BodyModel)
    assert body.posedirs is None


def other_rows(raw, joints):
    return raw | {"J_regressor": np.zeros((joints, 6890), np.float32)}


CASES = {
    "mano": (lambda raw: other_rows(raw, 16), "J_regressor", "MANO, a hand"),
    "flame": (lambda raw: other_rows(raw, 5), "J_regressor", "FLAME, a head"),
    "unknown": (lambda raw: other_rows(raw, 33), "J_regressor", "24 .SMPL., 52"),
    "vector": (lambda raw: raw | {"J_regressor": np.zeros(24)}, "J_regressor", "24 .SMPL., 52"),
    "star": (lambda raw: raw | {"posedirs": np.zeros((6890, 3, 93))}, "posedirs", "STAR"),
    "vertices": (lambda raw: raw | {"v_template": np.zeros((6889, 3))}, "v_template", r"\(6890, 3\)"),
    "weights": (lambda raw: raw | {"weights": raw["weights"][:, :23]}, "weights", r"\(6890, 24\)"),
    "shape": (lambda raw: raw | {"shapedirs": np.zeros((6890, 30))}, "shapedirs", r"\(6890, 3, any\)"),
    "tree": (lambda raw: raw | {"kintree_table": np.zeros((2, 24))}, "kintree_table", "hang as in SMPL"),
    "text": (lambda raw: raw | {"weights": raw["weights"].astype("U2")}, "weights", "numbers"),
    "faces": (lambda raw: raw | {"f": raw["f"] + 6890}, "f", "indices from 0 to 6889"),
    "nan": (lambda raw: raw | {"v_template": np.full((6890, 3), np.nan)}, "v_template", "finite"),
    "missing": (lambda raw: {k: v for k, v in raw.items() if k != "f"}, "f", "also f"),
    "pickled": (lambda raw: raw | {"f": np.array([None], dtype=object)}, "f", "never loaded"),
}


@pytest.mark.parametrize("case", CASES)
def test_files_that_are_no_such_body_are_refused_by_name(tmp_path, raw_smpl, case):
    change, key, expected = CASES[case]
    path = tmp_path / "model.npz"
    np.savez(path, **change({k: v for k, v in raw_smpl.items() if k != "posedirs"}))
    with pytest.raises(BodyFileError, match=expected) as error:
        load_body(path)
    assert error.value.key == key


@pytest.mark.parametrize("parent", [4, 30, 31, 2**32 - 1])
def test_a_joint_that_hangs_elsewhere_is_refused(tmp_path, parent):
    raw = make_raw(FAMILIES[1])
    del raw["posedirs"]
    raw["kintree_table"][0, 30] = parent
    path = tmp_path / "smplh.npz"
    np.savez(path, **raw)
    with pytest.raises(BodyFileError, match=f"joint 30 below joint {parent}"):
        load_smpl_family(path)


def test_without_smplx_the_error_says_what_to_install(tmp_path, raw_smpl, monkeypatch):
    path = tmp_path / "smpl.npz"
    np.savez(path, **{key: value for key, value in raw_smpl.items() if key != "posedirs"})
    monkeypatch.setitem(sys.modules, "smplx.vertex_ids", None)
    with pytest.raises(ImportError, match="pip install smplx"):
        load_body(path)


def test_the_adapter_itself_does_not_import_smplx():
    code = (
        "import sys, tracker, kinestream.body.model, kinestream.body.smplx_adapter\n"
        "kinestream.load_body()\n"
        "sys.exit('smplx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
