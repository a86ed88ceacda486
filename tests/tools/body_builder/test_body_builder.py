"""The steps of the body builder on small synthetic meshes; none of it needs `anny`."""

import logging
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from kinestream.body.skeleton import (
    MIRROR_JOINTS,
    PARENTS,
)
from kinestream.tools.body_builder import archive, population
from kinestream.tools.body_builder.build import EMBEDDED_BODY, main
from kinestream.tools.body_builder.correctives import influential_joints, pose_features
from kinestream.tools.body_builder.decimate import decimate
from kinestream.tools.body_builder.elastic import ElasticBody, nearest_rotations, nearest_unit_determinant
from kinestream.tools.body_builder.landmarks import LANDMARK_IDS, landmark_order
from kinestream.tools.body_builder.mesh import directed_edges, mirror_partners, neighbour_average, volumes
from kinestream.tools.body_builder.poses import mirrored_rotations, named_rotations, random_rotations
from kinestream.tools.body_builder.regressors import fit_regressor, symmetric_joint_rows
from kinestream.tools.body_builder.shape_space import fit_shape_space
from kinestream.tools.body_builder.skeleton import (
    JOINT_ID,
    chain_positions,
    frames,
    joint_of_bone,
    rotations_to_t_pose,
)
from kinestream.tools.body_builder.skinning import diffuse, keep_largest, merge_bones, skin, unpose

TEMPLATE_SHA256 = "db3db02deb0a4a1609656dacda1320f623d0226673e9fa315ac8f04a47364ff5"
"""The mesh to which the clothed characters are bound."""


def globe(rings: int = 16, meridians: int = 24) -> dict[str, np.ndarray]:
    """A bumpy ellipsoid, mirror-symmetric in x, with a texture seam down its back."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rings + 2)[1:-1, None]
    longitude = (2 * np.arange(meridians) / meridians - 1)[None] * np.pi
    radius = 0.3 * (1 + 0.1 * np.cos(3 * latitude) * np.cos(2 * longitude))
    ring = radius * np.cos(latitude)
    x, z = 0.7 * ring * np.sin(longitude), ring * np.cos(longitude)
    body = np.stack([x, radius * np.sin(latitude), z], -1)
    poles = np.array([[0, -0.3, 0], [0, 0.3, 0]])
    points = np.concatenate([body.reshape(-1, 3), poles])
    south, north = rings * meridians, rings * meridians + 1
    faces, corners = [], []
    columns = meridians + 1  # the texture has one column more than the mesh: the seam

    def vertex(r: int, c: int) -> int:
        return r * meridians + c % meridians

    def corner(r: int, c: int) -> int:
        return r * columns + c

    for c in range(meridians):
        top, tip = rings - 1, rings * columns + c
        faces += [[south, vertex(0, c + 1), vertex(0, c)], [north, vertex(top, c), vertex(top, c + 1)]]
        corners += [[tip, corner(0, c + 1), corner(0, c)]]
        corners += [[tip + meridians, corner(top, c), corner(top, c + 1)]]
        for r in range(rings - 1):
            low, high = [(r, c), (r, c + 1)], [(r + 1, c), (r + 1, c + 1)]
            split = [[low[0], low[1], high[1]], [low[0], high[1], high[0]]]
            if c < meridians // 2:  # the diagonals are mirrored too
                split = [[low[0], low[1], high[0]], [low[1], high[1], high[0]]]
            faces += [[vertex(*p) for p in triangle] for triangle in split]
            corners += [[corner(*p) for p in triangle] for triangle in split]
    grid = [[c / meridians, (r + 1) / (rings + 1)] for r in range(rings) for c in range(columns)]
    tips = [[(c + 0.5) / meridians, v] for v in (0.0, 1.0) for c in range(meridians)]
    return {
        "points": points,
        "faces": np.array(faces),
        "uv": np.array(grid + tips),
        "uv_faces": np.array(corners),
    }


def random_weights(generator: np.random.Generator, count: int, joints: int = 24) -> np.ndarray:
    return generator.dirichlet(np.full(joints, 0.1), count)


def edge_uses(faces: np.ndarray) -> Counter[tuple[int, int]]:
    return Counter(tuple(sorted((t[k], t[(k + 1) % 3]))) for t in faces.tolist() for k in range(3))


# ------------------------------------------------------------ steps


@pytest.mark.parametrize("target", [250, 150, 80])
def test_decimation_keeps_manifold_symmetry_and_seams(target: int) -> None:
    mesh = globe()
    points, faces = mesh["points"], mesh["faces"]
    assert volumes(points[None], faces)[0] > 0
    partner = mirror_partners(points)
    small = decimate(
        points, faces, uv=mesh["uv"], uv_faces=mesh["uv_faces"], partner=partner,
        weights=np.ones((len(points), 1)), target=target,
    )  # fmt: skip

    assert target - 1 <= len(small.kept) <= target
    uses = edge_uses(small.faces)
    assert set(uses.values()) == {2}, "every edge joins two triangles"
    assert len(small.kept) - len(uses) + len(small.faces) == 2, "still a sphere"
    assert len(directed_edges(small.faces)) == 2 * len(uses)
    mirrored = np.isin(partner[small.kept], small.kept)
    assert mirrored.mean() > 0.9, "left and right are thinned alike"
    before, after = (volumes(p[None], f)[0] for p, f in ((points, faces), (points[small.kept], small.faces)))
    assert after == pytest.approx(before, rel=0.12)
    vertex_of_corner = np.full(len(mesh["uv"]), -1)
    vertex_of_corner[mesh["uv_faces"]] = faces
    assert np.array_equal(vertex_of_corner[small.uv_faces], small.kept[small.faces]), (
        "corners stay on vertices"
    )
    across = mesh["uv"][small.uv_faces][..., 0]
    assert np.ptp(across, axis=1).max() < 0.7, "no texture triangle jumps over the seam"


def test_decimation_refuses_unpaired_texture() -> None:
    mesh = globe()
    with pytest.raises(ValueError, match="same shape"):
        decimate(
            mesh["points"], mesh["faces"], uv=mesh["uv"], uv_faces=mesh["uv_faces"][:-1],
            partner=np.arange(len(mesh["points"])), weights=np.ones((len(mesh["points"]), 1)), target=50,
        )  # fmt: skip


def test_regressors_reproduce_convex_targets() -> None:
    generator = np.random.default_rng(0)
    mean = globe(8, 10)["points"]
    stretch = 1 + 0.1 * generator.normal(size=(200, 1, 3))
    bodies = mean * stretch + generator.normal(0, 0.01, (200, len(mean), 3))
    truth = np.zeros((3, len(mean)))
    for row, members in zip(truth, ([1, 5, 9], [20, 21], [60, 70]), strict=True):
        row[members] = generator.dirichlet(np.ones(len(members)))
    targets = np.einsum("kv,nvd->nkd", truth, bodies)
    rows = fit_regressor(bodies, targets)
    assert (rows >= 0).all()
    assert rows.sum(1) == pytest.approx(np.ones(3), abs=1e-12)
    error = np.linalg.norm(np.einsum("kv,nvd->nkd", rows, bodies) - targets, axis=-1)
    assert error.max() < 2e-3


def test_symmetric_rows_treat_both_sides_alike() -> None:
    points = globe(8, 10)["points"]
    partner = mirror_partners(points)
    rows = symmetric_joint_rows(random_weights(np.random.default_rng(1), 24, len(points)), partner)
    assert rows.sum(1) == pytest.approx(np.ones(24))
    joints = rows @ points
    assert joints == pytest.approx(joints[list(MIRROR_JOINTS)] * [-1, 1, 1], abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_unposing_inverts_skinning(seed: int) -> None:
    generator = np.random.default_rng(seed)
    bodies, count = 2, 40
    rest = generator.uniform(-1, 1, (bodies, count, 3))
    joints_rest, joints_source = generator.uniform(-1, 1, (2, bodies, 24, 3))
    rotations = (
        Rotation.from_rotvec(generator.normal(0, 0.3, (bodies * 24, 3))).as_matrix().reshape(bodies, 24, 3, 3)
    )
    weights = random_weights(generator, count)
    source = np.empty_like(rest)
    for n in range(bodies):
        back = rotations[n].transpose(0, 2, 1)
        shift = joints_source[n] - np.einsum("kij,kj->ki", back, joints_rest[n])
        source[n] = skin(rest[n], weights, back, shift)
    found = unpose(source, weights, rotations, joints_source, joints_rest)
    assert np.abs(found - rest).max() < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_frames_are_rotations(seed: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, 30, 3))
    found = frames(first, second)
    assert found @ found.transpose(0, 2, 1) == pytest.approx(np.tile(np.eye(3), (30, 1, 1)), abs=1e-9)
    assert np.linalg.det(found) == pytest.approx(np.ones(30))
    assert np.einsum("ni,ni->n", found[:, :, 1], second).min() > 0, "y leans towards the second vector"


def test_t_pose_straightens_arms_and_keeps_bone_lengths() -> None:
    generator = np.random.default_rng(2)
    joints = generator.normal(0, 0.3, (5, 24, 3))
    knuckles = {side: generator.normal(size=(5, 3)) for side in ("left", "right")}
    rotations = rotations_to_t_pose(joints, knuckles)
    assert np.linalg.det(rotations) == pytest.approx(np.ones((5, 24)))
    rest = chain_positions(rotations, joints)
    parents = list(PARENTS[1:])
    lengths = [np.linalg.norm(p[:, 1:] - p[:, parents], axis=-1) for p in (joints, rest)]
    assert lengths[1] == pytest.approx(lengths[0])
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, wrist = rest[:, JOINT_ID[f"{side}_shoulder"]], rest[:, JOINT_ID[f"{side}_wrist"]]
        arm = (wrist - shoulder) * sign
        assert arm == pytest.approx(np.linalg.norm(arm, axis=1)[:, None] * [1, 0, 0], abs=1e-9)


def test_weights_are_merged_diffused_and_cut_to_four() -> None:
    generator = np.random.default_rng(3)
    mesh = globe(8, 10)
    bones = ["root", "spine03", "upperleg01.L", "upperleg02.L", "finger2-3.R", "eye.L", "breast.R"]
    merged = merge_bones(random_weights(generator, len(mesh["points"]), len(bones)), bones)
    assert set(np.flatnonzero(merged.any(0))) == {JOINT_ID[n] for n in (
        "pelvis", "spine1", "left_hip", "right_hand", "head", "spine3")}  # fmt: skip
    smooth = diffuse(merged, mesh["faces"], rounds=5)
    kept = keep_largest(smooth, 4)
    for weights in (merged, smooth, kept):
        assert weights.sum(1) == pytest.approx(np.ones(len(weights)))
    assert (kept > 0).sum(1).max() <= 4
    assert np.array_equal(kept.argmax(1), smooth.argmax(1))
    average = neighbour_average(mesh["faces"], len(kept))
    assert np.abs(average @ smooth - smooth).mean() < np.abs(average @ merged - merged).mean()


def test_unknown_bone_is_named() -> None:
    with pytest.raises(ValueError, match="antenna"):
        joint_of_bone("antenna.L")


def test_shape_space_recovers_known_variation() -> None:
    generator = np.random.default_rng(4)
    mesh = globe(8, 10)
    points, faces = mesh["points"], mesh["faces"]
    taller, wider = 0.05 * points * [0, 1, 0], 0.03 * points * [1, 0, 1]
    truth = generator.normal(size=(300, 2))
    bodies = points + np.einsum("nc,cvd->nvd", truth, np.stack([taller, wider]))
    shape = fit_shape_space(bodies.astype(np.float32), faces, 2)
    assert shape.variance.sum() == pytest.approx(1, abs=1e-4)
    assert np.cov(shape.coefficients.T) == pytest.approx(np.eye(2), abs=0.05)
    rebuilt = shape.mean_m + np.einsum("vdc,nc->nvd", shape.directions_m, shape.coefficients)
    assert np.abs(rebuilt - bodies).max() < 1e-4
    grown = shape.mean_m + shape.directions_m[..., 0]
    assert np.ptp(grown[:, 1]) > np.ptp(shape.mean_m[:, 1]), "the first component makes taller"
    with pytest.raises(ValueError, match="more than 300 bodies"):
        fit_shape_space(bodies, faces, 300)


def test_landmarks_move_to_their_ids() -> None:
    count = max(LANDMARK_IDS.values()) + 20
    picks = {name: 3 * number for number, name in enumerate(LANDMARK_IDS)}
    order = landmark_order(count, picks)
    assert np.array_equal(np.sort(order), np.arange(count))
    assert {name: order[index] for name, index in LANDMARK_IDS.items()} == picks


def test_mirrored_poses() -> None:
    rotations = random_rotations(np.random.default_rng(5))
    assert mirrored_rotations(mirrored_rotations(rotations)) == pytest.approx(rotations)
    both = named_rotations(shoulder=(10, 20, 80))
    assert mirrored_rotations(both) == pytest.approx(both)
    assert not pose_features(named_rotations()).any()
    with pytest.raises(ValueError, match="no joint 'tail'"):
        named_rotations(tail=(0, 0, 0))


# ------------------------------------------------------------ flesh


def bent_column(angle_deg: float) -> tuple[np.ndarray, ...]:
    """A capsule with two bones: points, faces, weights, joints, and maps that bend the upper bone."""
    mesh = globe(24, 20)
    points = mesh["points"] * [0.7, 1.5, 0.5]
    upper = 1 / (1 + np.exp(-points[:, 1] / 0.03))
    weights = np.stack([1 - upper, upper, 0 * upper], 1)
    joints = np.array([[0, -0.4, 0], [0, 0, 0], [0, 0.4, 0.0]])
    turn = Rotation.from_euler("x", angle_deg, degrees=True).as_matrix()
    rotations = np.stack([np.eye(3), turn, turn])
    return points, mesh["faces"], weights, joints, rotations, np.zeros((3, 3))


def test_elastic_body_moves_rigidly_with_its_bones() -> None:
    points, faces, weights, joints, _, _ = bent_column(0)
    body = ElasticBody(points, faces, weights, joints, bones=((0, 1), (1, 2)), bony_joints=[0])
    turn = Rotation.from_rotvec([0.4, -1.1, 0.3]).as_matrix()
    shift = np.array([0.1, 0.2, -0.3])
    moved = body.relax(np.tile(turn, (3, 1, 1)), np.tile(shift, (3, 1)))
    assert np.abs(moved - (points @ turn.T + shift)).max() < 1e-9


def test_elastic_body_does_not_depend_on_rounding() -> None:
    points, faces, weights, joints, rotations, shift = bent_column(70)
    noise = np.random.default_rng(7).uniform(-1e-9, 1e-9, points.shape)
    first, second = (
        ElasticBody(p, faces, weights, joints, bones=((0, 1), (1, 2)), bony_joints=[0]).relax(
            rotations, shift
        )
        for p in (points, points + noise)
    )
    assert np.abs(first - second).max() < 1e-6


def test_elastic_body_keeps_volume_where_skinning_loses_it() -> None:
    points, faces, weights, joints, rotations, shift = bent_column(100)
    body = ElasticBody(points, faces, weights, joints, bones=((0, 1), (1, 2)), bony_joints=[0])
    bent = skin(points, weights, rotations, shift), body.relax(rotations, shift, iterations=30)
    rest, skinned, soft = volumes(np.stack([points, *bent]), faces)
    assert rest - skinned > 0.01 * rest
    assert abs(rest - soft) < 0.6 * (rest - skinned)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nearest_rotation_and_unit_determinant(seed: int) -> None:
    generator = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(generator.normal(size=(20, 3))).as_matrix()
    stretched = turns @ (np.eye(3) * generator.uniform(0.6, 1.5, (20, 1, 3)))
    assert nearest_rotations(stretched) == pytest.approx(turns, abs=1e-9)
    mirrored = nearest_rotations(stretched * [-1, 1, 1])
    assert np.linalg.det(mirrored) == pytest.approx(np.ones(20)), "no reflections"
    assert np.linalg.det(nearest_unit_determinant(stretched, steps=8)) == pytest.approx(np.ones(20), abs=1e-6)


def test_only_nearby_joints_correct_a_vertex() -> None:
    mesh = globe(24, 20)
    height = mesh["points"][:, 1]
    weights = np.zeros((len(height), 24))
    elbow, wrist = JOINT_ID["left_elbow"], JOINT_ID["left_wrist"]
    weights[:, wrist] = height > 0
    weights[:, elbow] = height <= 0
    mixed = np.abs(height) < 0.03
    weights[np.ix_(mixed, [elbow, wrist])] = 0.5
    active = influential_joints(weights, mesh["faces"], reach=2)
    assert set(np.flatnonzero(active.any(0)) + 1) == {wrist}, "the elbow carries all of it alike"
    assert active[mixed][:, wrist - 1].all()
    assert not active[np.abs(height) > 0.2].any()


# ------------------------------------------------------------ files and errors


def test_missing_anny_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "anny", None)
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "body.npz")])
    assert result.exit_code == 1
    assert "pip install kinestream[body-build]" in " ".join(result.output.split())
    assert not (tmp_path / "body.npz").exists()


def test_untested_anny_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "anny", ModuleType("anny"))
    monkeypatch.setattr(population.importlib.metadata, "version", lambda name: "9.9")
    with caplog.at_level(logging.WARNING):
        population.load_anny()
    assert "anny 9.9" in caplog.text
    assert population.TESTED_ANNY in caplog.text


def test_population_file_lacking_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "population.npz"
    np.savez(path, vertices_m=np.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match="bone_names"):
        population.Population.load(path)


def test_rebuilt_body_settles_on_its_mesh_or_is_refused() -> None:
    mesh = archive.BoundMesh.load(EMBEDDED_BODY)
    noise = np.random.default_rng(6).uniform(-1, 1, mesh.template_m.shape)
    directions = mesh.shape_directions_m.astype(np.float64)
    template, _ = mesh.settle(mesh.template_m + 2e-8 * noise, directions)
    assert archive.template_sha256(template) == TEMPLATE_SHA256
    with pytest.raises(ValueError, match="mean body .* --new-mesh"):
        mesh.settle(mesh.template_m + 1e-5 * noise, directions)
    with pytest.raises(ValueError, match="shape space"):
        mesh.settle(mesh.template_m, directions + 1e-3)
