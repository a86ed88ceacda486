"""Small random bodies that are valid in every respect but look."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kinestream.body.skeleton import NUM_JOINTS, NUM_KEYPOINTS, NUM_PARTS, PARENTS

RawBody = dict[str, Any]


@pytest.fixture(scope="session")
def make_raw_body() -> Callable[..., RawBody]:
    """Return a maker of the arrays of a body file; ``vertices`` points scattered around a skeleton."""

    def make(*, vertices: int = 60, betas: int = 10, seed: int = 0, correctives: bool = True) -> RawBody:
        rng = np.random.default_rng(seed)

        def rows(count: int, columns: int, used: int) -> np.ndarray:
            matrix = np.zeros((count, columns))
            for row in matrix:
                row[rng.choice(columns, used, replace=False)] = rng.dirichlet(np.ones(used))
            return matrix.astype(np.float32)

        raw = {
            "v_template": rng.normal(0.0, 0.5, (vertices, 3)).astype(np.float32),
            "shapedirs": rng.normal(0.0, 0.02, (vertices, 3, betas)).astype(np.float32),
            "J_regressor": rows(NUM_JOINTS, vertices, 8),
            "weights": rows(vertices, NUM_JOINTS, 4),
            "kintree_table": np.array([PARENTS, range(NUM_JOINTS)]).astype(np.uint32),
            "f": rng.integers(0, vertices, (100, 3), dtype=np.uint32),
            "part_labels": rng.integers(0, NUM_PARTS, vertices, dtype=np.uint8),
            "keypoint_regressor": rows(NUM_KEYPOINTS, vertices, 5),
        }
        if correctives:
            raw["posedirs"] = rng.normal(0.0, 0.01, (vertices, 3, 207)).astype(np.float32)
        return raw

    return make
