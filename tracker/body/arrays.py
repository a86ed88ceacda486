"""The arrays of a body model, checked once on load so that nothing after it has to doubt them.

The file is an npz in the layout that SMPL software reads, plus part labels and keypoints. V vertices,
F triangles, S <= 10 shape components; the extra names, where present, must be those of
:mod:`kinestream.body.skeleton`.

=====================  ==================  =====================================================
``v_template``         float (V, 3)        mean body in the T-pose, metres
``shapedirs``          float (V, 3, S)     metres per standard deviation
``posedirs``           float (V, 3, 207)   optional; per row-major entry of R - I of joints 1..23
``J_regressor``        float (24, V)       joints from the shaped template, rows sum to 1
``weights``            float (V, 24)       skinning weights, rows sum to 1
``kintree_table``      int (2, 24)         parents of the joints in the first row
``f``                  int (F, 3)          triangles
``part_labels``        int (V,)            body part of each vertex
``keypoint_regressor`` float (23, V)       keypoints from the posed vertices, rows sum to 1
=====================  ==================  =====================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from kinestream.body.npz import BodyFileError, npz_keys, read_npz, refuse_pickle
from kinestream.body.skeleton import (
    JOINT_NAMES,
    KEYPOINT_NAMES,
    NUM_BETAS,
    NUM_JOINTS,
    NUM_KEYPOINTS,
    NUM_PARTS,
    PARENTS,
    PART_NAMES,
)
from kinestream.defaults import ASSETS
from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array, Int64Array

__all__ = ["BODY_FORMAT", "BodyArrays", "BodyFileError", "check_body_arrays", "load_body_arrays", "read_body"]

DEFAULT_BODY_PATH: Final = ASSETS / "body.npz"
"""The embedded free body."""

BODY_FORMAT: Final = "kinestream-body 1"
MAX_VERTICES: Final = 200_000
NUM_POSE_FEATURES: Final = (NUM_JOINTS - 1) * 9

REQUIRED_KEYS: Final = (
    "v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f", "part_labels",
    "keypoint_regressor",
)  # fmt: skip
_NAMES: Final = {
    "format": (BODY_FORMAT,),
    "joint_names": JOINT_NAMES,
    "keypoint_names": KEYPOINT_NAMES,
    "part_names": PART_NAMES,
}
_REBUILD: Final = "Build it again with `python -m kinestream.tools.body_builder`."
_SUM_TOLERANCE: Final = 0.01
"""How far the sum of a row may be from 1: float16 storage stays well below."""


@dataclass(frozen=True, repr=False, eq=False)
class BodyArrays:
    """The arrays of one body: float32 or int64, read-only, skinning weights normalised. Metres."""

    v_template: Float32Array  # (V, 3)
    shapedirs: Float32Array  # (V, 3, S)
    posedirs: Float32Array | None  # (V, 3, 207)
    joint_regressor: Float32Array  # (24, V)
    skin_weights: Float32Array  # (V, 24)
    faces: Int64Array  # (F, 3)
    part_labels: Int64Array  # (V,)
    keypoint_regressor: Float32Array  # (23, V)

    @cached_property
    def keypoint_support(self) -> Int64Array:
        """Vertices (M,) on which keypoints depend."""
        return np.flatnonzero(self.keypoint_regressor.any(axis=0))

    @cached_property
    def rest_joints(self) -> tuple[Float64Array, Float64Array]:
        """Joints of the template (24, 3) and their change by shape (24, 3, S)."""
        regressor = self.joint_regressor.astype(np.float64)
        return regressor @ self.v_template, np.einsum("jv,vcs->jcs", regressor, self.shapedirs, optimize=True)

    def __repr__(self) -> str:
        """Show the shapes, not the numbers."""
        shapes = {f.name: getattr(self, f.name) for f in fields(self)}
        return f"BodyArrays({', '.join(f'{k}={_shape_of(v)}' for k, v in shapes.items())})"


def keypoint_parts(
    regressor: Float32Array | Float64Array, skin_weights: Float64Array
) -> tuple[Float64Array, Int64Array, Int64Array]:
    """What of each keypoint follows each joint: regressor (23, M) times skinning weights (M, 24).

    Returns the P parts that are not zero: shares of the vertices (P, M), keypoints (P,) and joints (P,).
    """
    share = regressor[:, None] * skin_weights.T
    keypoint, joint = np.nonzero(share.any(axis=2))
    return share[keypoint, joint], keypoint, joint


def load_body_arrays(path: str | Path) -> BodyArrays:
    """Read and check the body file ``path`` (layout above).

    Raises:
        BodyFileError: anything is wrong with the file; the message names the array, what was found,
            what was expected and what to do.

    """
    path = Path(path)
    return check_body_arrays(
        read_npz(path, required=REQUIRED_KEYS, optional=("posedirs", *_NAMES)), path=path
    )


def read_body(spec: str | Path | None = None) -> BodyArrays:
    """The arrays of the body that ``spec`` names, as in `kinestream.load_body`, without torch."""
    if spec is None or spec == "default":
        return load_body_arrays(DEFAULT_BODY_PATH)
    path = Path(spec)
    refuse_pickle(path)
    if "keypoint_regressor" in npz_keys(path):
        return load_body_arrays(path)
    from kinestream.body.smplx_adapter import load_smpl_family

    return load_smpl_family(path)


def check_body_arrays(raw: Mapping[str, AnyArray], *, path: str | Path, advice: str = _REBUILD) -> BodyArrays:
    """Check arrays in the file layout above and return them as :class:`BodyArrays`.

    ``path`` and ``advice``, what to do about a bad file, are only for the :class:`BodyFileError` raised.
    """
    check = _Checker(raw, path, advice)
    for key, names in _NAMES.items():
        check.names(key, names)
    template = check.floats("v_template", (-1, 3))
    vertices = template.shape[0]
    if not 3 <= vertices <= MAX_VERTICES:
        check.fail("v_template", f"{vertices} vertices", f"3 to {MAX_VERTICES}")
    shapedirs = check.floats("shapedirs", (vertices, 3, -1))
    if not 1 <= shapedirs.shape[2] <= NUM_BETAS:
        check.fail("shapedirs", f"{shapedirs.shape[2]} shape components", f"1 to {NUM_BETAS}")
    posedirs = check.floats("posedirs", (vertices, 3, NUM_POSE_FEATURES)) if "posedirs" in raw else None
    check.tree("kintree_table")
    return BodyArrays(
        v_template=template,
        shapedirs=shapedirs,
        posedirs=posedirs,
        joint_regressor=check.weights("J_regressor", (NUM_JOINTS, vertices), signed=True),
        skin_weights=check.weights("weights", (vertices, NUM_JOINTS), normalise=True),
        faces=check.indices("f", (-1, 3), vertices),
        part_labels=check.indices("part_labels", (vertices,), NUM_PARTS),
        keypoint_regressor=check.weights("keypoint_regressor", (NUM_KEYPOINTS, vertices), signed=True),
    )


class _Checker:
    """Turns raw arrays into valid ones or says what is wrong with them."""

    def __init__(self, raw: Mapping[str, AnyArray], path: str | Path, advice: str) -> None:
        self._raw = raw
        self._path = path
        self._advice = advice

    def fail(self, key: str, found: str, expected: str) -> NoReturn:
        raise BodyFileError(self._path, key=key, found=found, expected=expected, advice=self._advice)

    def floats(self, key: str, shape: tuple[int, ...]) -> Float32Array:
        with np.errstate(over="ignore"):
            array = self._array(key, "f", "floating-point numbers", shape).astype(np.float32)
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            self.fail(key, f"{bad} values that are NaN or infinite", "finite values")
        return _frozen(array)

    def weights(
        self, key: str, shape: tuple[int, int], *, signed: bool = False, normalise: bool = False
    ) -> Float32Array:
        array = self.floats(key, shape)
        if not signed and array.size and array.min() < 0:
            self.fail(key, f"negative values, down to {array.min():.3g}", "values of at least 0")
        sums = array.sum(axis=1, dtype=np.float64)
        row = int(np.abs(sums - 1.0).argmax())
        if abs(sums[row] - 1.0) > _SUM_TOLERANCE:
            self.fail(key, f"a sum of {sums[row]:.4g} in row {row}", "rows that sum to 1")
        return _frozen((array / sums[:, None]).astype(np.float32)) if normalise else array

    def indices(self, key: str, shape: tuple[int, ...], limit: int) -> Int64Array:
        array = self._array(key, "iu", "integers", shape).astype(np.int64)
        if array.size == 0:
            self.fail(key, "no entries", "at least one")
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= limit:
            self.fail(key, f"indices from {low} to {high}", f"indices from 0 to {limit - 1}")
        return _frozen(array)

    def tree(self, key: str) -> None:
        found = self._array(key, "iu", "integers", (2, NUM_JOINTS))[0].astype(np.int64)
        if found[0] == 2**32 - 1:  # SMPL files store the -1 of the root as unsigned
            found = np.concatenate([[-1], found[1:]])
        if tuple(found.tolist()) != PARENTS:
            self.fail(key, f"parents {found.tolist()}", f"those of the SMPL skeleton, {list(PARENTS)}")

    def names(self, key: str, names: tuple[str, ...]) -> None:
        if key in self._raw:
            found = tuple(str(name) for name in np.atleast_1d(self._raw[key]).ravel())
            if found != names:
                self.fail(key, f"{', '.join(found)}", f"{', '.join(names)}")

    def _array(self, key: str, kinds: str, meaning: str, shape: tuple[int, ...]) -> AnyArray:
        if key not in self._raw:
            self.fail(key, "nothing", f"an array of shape {_shape_text(shape)}")
        array = self._raw[key]
        if array.dtype.kind not in kinds:
            self.fail(key, f"dtype {array.dtype}", meaning)
        fits = array.ndim == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            self.fail(key, f"shape {array.shape}", f"shape {_shape_text(shape)}")
        return array


def _frozen(array: AnyArray) -> AnyArray:
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def _shape_of(array: AnyArray | None) -> str:
    return "None" if array is None else str(array.shape)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"({', '.join('any' if n == -1 else str(n) for n in shape)})"
