"""The shipped body file: what it holds, that it is a human, and that it bends better than plain skinning."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, PARENTS, PART_NAMES, PART_OF_JOINT
from kinestream.tools.body_builder import archive
from kinestream.tools.body_builder.build import EMBEDDED_BODY
from kinestream.tools.body_builder.landmarks import LANDMARK_IDS
from kinestream.tools.body_builder.mesh import volumes
from kinestream.tools.body_builder.poses import named_rotations
from kinestream.tools.body_builder.quality import (
    EXTREME_POSES,
    BendFigures,
    BodyFile,
    bend_figures,
    section_area,
)

VERTICES, TRIANGLES = 6899, 13752
TEMPLATE_SHA256 = "db3db02deb0a4a1609656dacda1320f623d0226673e9fa315ac8f04a47364ff5"
"""The mesh to which the clothed characters are bound."""

ARRAYS = {
    "v_template": (np.float32, (VERTICES, 3)),
    "shapedirs": (np.float16, (VERTICES, 3, 10)),
    "posedirs": (np.float16, (VERTICES, 3, 207)),
    "J_regressor": (np.float32, (24, VERTICES)),
    "weights": (np.float16, (VERTICES, 24)),
    "kintree_table": (np.uint32, (2, 24)),
    "f": (np.uint32, (TRIANGLES, 3)),
    "part_labels": (np.uint8, (VERTICES,)),
    "keypoint_regressor": (np.float32, (23, VERTICES)),
    "mirror_index": (np.int32, (VERTICES,)),
    "shape_variance": (np.float32, (10,)),
    "uv": (np.float32, (7539, 2)),
    "uv_faces": (np.uint32, (TRIANGLES, 3)),
    "hm08_vertex_index": (np.int32, (VERTICES,)),
}


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(EMBEDDED_BODY, allow_pickle=False) as data:
        return dict(data)


@pytest.fixture(scope="module")
def body() -> BodyFile:
    return BodyFile.load(EMBEDDED_BODY)


@pytest.fixture(scope="module")
def plain(body: BodyFile) -> BodyFile:
    """The same body without pose correctives."""
    return replace(body, pose_directions_m=np.zeros_like(body.pose_directions_m))


def test_file_is_small_and_complete(arrays: dict[str, np.ndarray]) -> None:
    assert EMBEDDED_BODY.stat().st_size < 1_200_000
    assert {name: (array.dtype, array.shape) for name, array in arrays.items() if name in ARRAYS} == ARRAYS
    assert str(arrays["format"]) == archive.FORMAT
    for key, names in (("joint", JOINT_NAMES), ("part", PART_NAMES), ("keypoint", KEYPOINT_NAMES)):
        assert tuple(arrays[f"{key}_names"]) == names
    for array in arrays.values():
        assert array.dtype.kind not in "f" or np.isfinite(array).all()
    assert EMBEDDED_BODY.with_name("NOTICE.body.md").is_file()


def test_mesh_is_the_one_assets_are_bound_to(arrays: dict[str, np.ndarray]) -> None:
    assert hashlib.sha256(arrays["v_template"].tobytes()).hexdigest() == TEMPLATE_SHA256


def test_kinematic_tree(arrays: dict[str, np.ndarray]) -> None:
    parents, joints = arrays["kintree_table"].astype(np.int64)
    assert np.array_equal(joints, np.arange(24))
    assert np.array_equal(np.where(parents == 2**32 - 1, -1, parents), PARENTS)


def test_surface_is_oriented_and_closed_but_for_the_eyes(arrays: dict[str, np.ndarray]) -> None:
    faces, points = arrays["f"].astype(np.int64), arrays["v_template"].astype(np.float64)
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed), "no edge is walked twice in one direction"
    uses = Counter(map(tuple, np.sort(directed, axis=1).tolist()))
    rims = np.array([edge for edge, count in uses.items() if count != 2])
    head = PART_NAMES.index("head")
    assert (arrays["part_labels"][rims] == head).all()
    assert np.ptp(points[rims].reshape(-1, 3), axis=0).max() < 0.12, "rims lie around the eyes only"
    assert np.array_equal(np.unique(faces), np.arange(VERTICES))
    assert 0.055 < volumes(points[None], faces)[0] < 0.085, "cubic metres of an adult, facing outwards"


def test_left_and_right_mirror(arrays: dict[str, np.ndarray]) -> None:
    points, partner = arrays["v_template"], arrays["mirror_index"]
    assert np.linalg.norm(points[partner] * [-1, 1, 1] - points, axis=1).max() < 3e-3
    joints = arrays["J_regressor"] @ points
    left = [JOINT_NAMES.index(name) for name in JOINT_NAMES if name.startswith("left_")]
    right = [JOINT_NAMES.index(JOINT_NAMES[j].replace("left_", "right_")) for j in left]
    assert np.abs(joints[left] * [-1, 1, 1] - joints[right]).max() < 3e-3
    assert (joints[left, 0] > 0).all()


@pytest.mark.parametrize("key", ["J_regressor", "keypoint_regressor", "weights"])
def test_rows_are_convex(arrays: dict[str, np.ndarray], key: str) -> None:
    rows = arrays[key].astype(np.float64)
    assert (rows >= 0).all()
    assert np.abs(rows.sum(1) - 1).max() < (2e-3 if key == "weights" else 1e-5)


def test_parts_follow_the_weights(arrays: dict[str, np.ndarray]) -> None:
    weights, labels = arrays["weights"].astype(np.float64), arrays["part_labels"]
    assert (weights > 0).sum(1).max() <= 4
    ranked = np.sort(weights, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-3  # float16 may swap two equal influences
    assert np.array_equal(np.array(PART_OF_JOINT)[weights.argmax(1)][clear], labels[clear])
    assert set(labels) == set(range(len(PART_NAMES)))
    assert (arrays["v_template"][labels == PART_NAMES.index("l_hand"), 0] > 0.5).all()


def test_stature_and_landmarks(arrays: dict[str, np.ndarray]) -> None:
    points = arrays["v_template"]
    assert np.ptp(points[:, 1]) == pytest.approx(1.71, abs=0.01)
    assert np.linalg.norm((arrays["J_regressor"] @ points)[0]) < 2e-3, "the pelvis is the origin"
    keypoints = dict(zip(KEYPOINT_NAMES, arrays["keypoint_regressor"] @ points, strict=True))
    landmarks = {"nose": "nose", "leye": "left_eye", "rear": "right_ear", "LHeel": "left_heel"}
    for vertex, keypoint in landmarks.items():
        assert np.linalg.norm(points[LANDMARK_IDS[vertex]] - keypoints[keypoint]) < 0.025
    taller = points + arrays["shapedirs"][..., 0].astype(np.float32)
    assert np.ptp(taller[:, 1]) > np.ptp(points[:, 1]) + 0.03


@pytest.mark.parametrize("pose", ["arms up", "arms down", "arms forward", "hands on head"])
def test_correctives_stretch_the_shoulders_less(body: BodyFile, plain: BodyFile, pose: str) -> None:
    corrected, skinned = (bend_figures(b, EXTREME_POSES[pose]) for b in (body, plain))
    assert corrected.stretched_edges < 0.95 * skinned.stretched_edges
    assert corrected.folded_faces <= skinned.folded_faces


@pytest.mark.parametrize("pose", ["elbows 140", "knees 120"])
def test_correctives_crush_bent_limbs_less(body: BodyFile, plain: BodyFile, pose: str) -> None:
    corrected, skinned = (bend_figures(b, EXTREME_POSES[pose]) for b in (body, plain))
    assert corrected.shrunk_edges > 1.3 * skinned.shrunk_edges
    assert corrected.folded_faces <= skinned.folded_faces


@pytest.mark.parametrize("pose", ["sitting", "squat", "bending forward", "knees 120"])
def test_correctives_restore_lost_volume(body: BodyFile, plain: BodyFile, pose: str) -> None:
    corrected, skinned = (bend_figures(b, EXTREME_POSES[pose]) for b in (body, plain))
    assert skinned.volume_change_percent < -1
    assert abs(corrected.volume_change_percent) < 0.65 * abs(skinned.volume_change_percent)


def test_figures_of_the_rest_pose(body: BodyFile) -> None:
    assert vars(bend_figures(body, named_rotations())) == pytest.approx(
        vars(BendFigures(0.0, 1.0, 1.0, 0, 1.0, 1.0)), abs=1e-9
    )


def test_section_of_a_square_tube() -> None:
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * 0.05
    tube = np.array([[x, y, z] for y in (-0.5, 0.5) for x, z in corners])
    after = [1, 2, 3, 0]
    sides = [[k, after[k], 4 + k] for k in range(4)] + [[after[k], 4 + after[k], 4 + k] for k in range(4)]
    joints = np.zeros((24, 3))
    elbow, wrist = JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("left_wrist")
    joints[PARENTS[elbow]], joints[wrist] = [0, -0.3, 0], [0, 0.3, 0]
    assert section_area(tube, joints, np.array(sides), elbow) == pytest.approx(0.01)
