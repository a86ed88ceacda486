"""SMPL, SMPL-H and SMPL-X from the user's own npz files, behind the interface of the default body.

These models and the ``smplx`` package are for non-commercial use (docs/licences.md); nothing here is
imported or read unless such a file is asked for. From ``smplx`` come the published tables of joint
names and of vertices at landmarks; the arrays are read without pickles and posed by our own
:class:`kinestream.body.model.BodyModel`.

What is mapped:

* SMPL-H and SMPL-X: the hands are held flat (zero pose, exact) and follow joints 22 and 23, which sit at
  the first middle-finger joints; jaw and eyes follow the head.
* Shape: the first 10 components.
* Keypoints: nose, eyes, ears, toes and heels are the published vertices; shoulders, elbows, wrists, hips,
  knees and ankles are the joint regressor applied to the posed vertices.
* Parts: each vertex belongs to the part whose joints move it most.

STAR, MANO and FLAME files are recognised and refused: ``smplx`` has no STAR, whose correctives are of
another kind, and the other two are a hand and a head.
"""

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from kinestream.body.arrays import NUM_POSE_FEATURES, BodyArrays, check_body_arrays
from kinestream.body.npz import BodyFileError, read_npz, refuse_pickle
from kinestream.body.skeleton import (
    JOINT_NAMES,
    KEYPOINT_NAMES,
    NUM_BETAS,
    NUM_JOINTS,
    NUM_KEYPOINTS,
    NUM_PARTS,
    PARENTS,
    PART_OF_JOINT,
)
from kinestream.kernels.array_types import AnyArray

SMPL_KEYS: Final = ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")


@dataclass(frozen=True)
class _Family:
    name: str
    vertices: int
    landmarks: str  # the table of smplx.vertex_ids


_FAMILY_OF_JOINTS: Final = {
    24: _Family("SMPL", 6890, "smplh"),
    52: _Family("SMPL-H", 6890, "smplh"),
    55: _Family("SMPL-X", 10475, "smplx"),
}
_NO_BODY: Final = {5: "FLAME, a head", 16: "MANO, a hand"}
_STAR_POSE_FEATURES: Final = 93
_NUM_SHARED_JOINTS: Final = 22
"""The joints 0..21 are the same in all three models; hands and face come after them."""
_FOLLOWS: Final = {
    JOINT_NAMES.index("left_wrist"): JOINT_NAMES.index("left_hand"),
    JOINT_NAMES.index("right_wrist"): JOINT_NAMES.index("right_hand"),
    JOINT_NAMES.index("head"): JOINT_NAMES.index("head"),
}
"""Our joint that carries the extra joints below a shared one: fingers, jaw and eyes."""
_LANDMARK_OF_KEYPOINT: Final = {
    "nose": "nose", "left_eye": "leye", "right_eye": "reye", "left_ear": "lear", "right_ear": "rear",
    "left_big_toe": "LBigToe", "right_big_toe": "RBigToe", "left_small_toe": "LSmallToe",
    "right_small_toe": "RSmallToe", "left_heel": "LHeel", "right_heel": "RHeel",
}  # fmt: skip
_GET_FILE: Final = "Use the npz file of the official SMPL, SMPL-H or SMPL-X download."


def load_smpl_family(path: str | Path) -> BodyArrays:
    """Read the SMPL, SMPL-H or SMPL-X file ``path`` (npz) as a 24-joint body.

    Raises:
        BodyFileError: the file is no such model, or damaged; for pickles the message names the converter.

    """
    path = Path(path)
    refuse_pickle(path)
    raw = read_npz(path, required=SMPL_KEYS, optional=("posedirs",))
    family = _identify(raw, path)
    joint_regressor, weights = _fold(raw, path)
    check = {
        "v_template": raw["v_template"],
        "shapedirs": raw["shapedirs"][:, :, :NUM_BETAS],
        "J_regressor": joint_regressor,
        "weights": weights,
        "kintree_table": np.stack([PARENTS, range(NUM_JOINTS)]),
        "f": raw["f"],
        "part_labels": _part_labels(weights),
        "keypoint_regressor": _keypoint_regressor(joint_regressor, family),
    }
    if "posedirs" in raw:
        check["posedirs"] = _shared_correctives(raw["posedirs"])
    return check_body_arrays(check, path=path, advice=_GET_FILE)


def _identify(raw: dict[str, AnyArray], path: Path) -> _Family:
    """Tell the model by its number of joints, and hold the shapes that mapping relies on."""

    def fail(key: str, expected: str) -> BodyFileError:
        found = f"shape {raw[key].shape}"
        return BodyFileError(path, key=key, found=found, expected=expected, advice=_GET_FILE)

    joints = raw["J_regressor"].shape[0] if raw["J_regressor"].ndim == 2 else 0
    if joints in _NO_BODY:
        raise fail("J_regressor", f"a whole body, but this file is {_NO_BODY[joints]}")
    if joints not in _FAMILY_OF_JOINTS:
        raise fail("J_regressor", "24 (SMPL), 52 (SMPL-H) or 55 (SMPL-X) rows")
    family = _FAMILY_OF_JOINTS[joints]
    if "posedirs" in raw and raw["posedirs"].shape[2:] == (_STAR_POSE_FEATURES,):
        raise fail("posedirs", "pose correctives of SMPL, but this file is STAR, which smplx does not offer")
    vertices = family.vertices
    shapes: dict[str, tuple[int, ...]] = {
        "v_template": (vertices, 3),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "kintree_table": (2, joints),
        "posedirs": (vertices, 3, (joints - 1) * 9),
    }
    for key, shape in shapes.items():
        if key in raw and raw[key].shape != shape:
            raise fail(key, f"shape {shape} for {family.name}")
    if raw["shapedirs"].ndim != 3 or raw["shapedirs"].shape[:2] != (vertices, 3):
        raise fail("shapedirs", f"shape ({vertices}, 3, any) for {family.name}")
    for key, value in raw.items():
        if value.dtype.kind not in "fiu":
            found = f"dtype {value.dtype}"
            raise BodyFileError(path, key=key, found=found, expected="numbers", advice=_GET_FILE)
    return family


def _fold(raw: dict[str, AnyArray], path: Path) -> tuple[AnyArray, AnyArray]:
    """Reduce J joints to 24: return the joint regressor (24, V) and the skinning weights (V, 24)."""
    regressor, weights = raw["J_regressor"], raw["weights"]
    parents = raw["kintree_table"][0].astype(np.int64)
    fail = partial(BodyFileError, path, key="kintree_table", advice=_GET_FILE)
    if tuple(parents[1:_NUM_SHARED_JOINTS].tolist()) != PARENTS[1:_NUM_SHARED_JOINTS]:
        expected = f"the joints 1..21 to hang as in SMPL, {list(PARENTS[1:_NUM_SHARED_JOINTS])}"
        raise fail(found=f"parents {parents.tolist()}", expected=expected)
    if len(parents) == NUM_JOINTS:
        return regressor, weights
    folded = np.zeros((weights.shape[0], NUM_JOINTS), weights.dtype)
    carriers = list(range(_NUM_SHARED_JOINTS))  # our joint that carries each of theirs
    folded[:, carriers] = weights[:, carriers]
    for joint, parent in enumerate(parents.tolist()[_NUM_SHARED_JOINTS:], start=_NUM_SHARED_JOINTS):
        if parent not in _FOLLOWS and not _NUM_SHARED_JOINTS <= parent < joint:
            expected = "joints after 21 to be those of the hands and the face"
            raise fail(found=f"joint {joint} below joint {parent}", expected=expected)
        carriers.append(_FOLLOWS[parent] if parent in _FOLLOWS else carriers[parent])
        folded[:, carriers[joint]] += weights[:, joint]
    return np.concatenate([regressor[:_NUM_SHARED_JOINTS], regressor[_middle_fingers(len(parents))]]), folded


def _middle_fingers(joints: int) -> list[int]:
    tables = _published("smplx.joint_names")
    is_smplh = _FAMILY_OF_JOINTS[joints].name == "SMPL-H"
    names = tables.SMPLH_JOINT_NAMES if is_smplh else tables.JOINT_NAMES
    return [names.index("left_middle1"), names.index("right_middle1")]


def _shared_correctives(posedirs: AnyArray) -> AnyArray:
    """Keep the correctives of the joints 1..21; hands are rigid unless the model is SMPL itself."""
    if posedirs.shape[2] == NUM_POSE_FEATURES:
        return posedirs
    kept = np.zeros((*posedirs.shape[:2], NUM_POSE_FEATURES), posedirs.dtype)
    shared = (_NUM_SHARED_JOINTS - 1) * 9
    kept[:, :, :shared] = posedirs[:, :, :shared]
    return kept


def _part_labels(weights: AnyArray) -> AnyArray:
    per_part = np.zeros((weights.shape[0], NUM_PARTS))
    for joint, part in enumerate(PART_OF_JOINT):
        per_part[:, part] += weights[:, joint]
    labels: AnyArray = per_part.argmax(axis=1)
    return labels


def _keypoint_regressor(joint_regressor: AnyArray, family: _Family) -> AnyArray:
    landmarks = _published("smplx.vertex_ids").vertex_ids[family.landmarks]
    regressor = np.zeros((NUM_KEYPOINTS, family.vertices))
    for row, name in zip(regressor, KEYPOINT_NAMES, strict=True):
        if name in _LANDMARK_OF_KEYPOINT:
            row[landmarks[_LANDMARK_OF_KEYPOINT[name]]] = 1.0
        else:
            row[:] = joint_regressor[JOINT_NAMES.index(name)]
    return regressor


def _published(module: str) -> Any:
    """Import a module of tables from ``smplx``, only now that a file asks for it."""
    try:
        return import_module(module)
    except ImportError as fault:
        raise ImportError(
            "SMPL-family files need the smplx package, which is not installed. Read docs/licences.md, then: "
            "pip install smplx"
        ) from fault
