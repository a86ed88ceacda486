"""Order of the vertices: face, feet and fingertips stand at the ids that SMPL tools expect."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kinestream.tools.body_builder.arrays import FloatArray, IntArray
from kinestream.tools.body_builder.skeleton import JOINT_ID

LANDMARK_IDS: dict[str, int] = {
    "nose": 332, "reye": 6260, "leye": 2800, "rear": 4071, "lear": 583,
    "LBigToe": 3216, "LSmallToe": 3226, "LHeel": 3387,
    "RBigToe": 6617, "RSmallToe": 6624, "RHeel": 6787,
    "lthumb": 2746, "lindex": 2319, "lmiddle": 2445, "lring": 2556, "lpinky": 2673,
    "rthumb": 6191, "rindex": 5782, "rmiddle": 5905, "rring": 6016, "rpinky": 6133,
}  # fmt: skip
"""Vertex ids by which common SMPL tools read landmarks off the surface."""

_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_PAIRED = (("{s}eye", "eye"), ("{s}ear", "ear"), ("{S}BigToe", "big_toe"), ("{S}SmallToe", "small_toe"),
           ("{S}Heel", "heel"))  # fmt: skip


def pick_landmarks(
    points_m: FloatArray,
    bone_weights: FloatArray,
    bone_names: Sequence[str],
    keypoints_m: Mapping[str, FloatArray],
    joints_m: FloatArray,
) -> dict[str, int]:
    """The vertex of `points_m` (V, 3) for each name in `LANDMARK_IDS`.

    Fingertips are the vertices of the last finger bones farthest from the wrist, the rest are the vertices
    nearest to the keypoints.
    """
    taken: set[int] = set()
    picks: dict[str, int] = {}

    def take(vertices_by_preference: Iterator[int]) -> int:
        vertex = next(v for v in vertices_by_preference if v not in taken)
        taken.add(vertex)
        return vertex

    def nearest(target: FloatArray) -> int:
        return take(int(v) for v in np.argsort(np.linalg.norm(points_m - target, axis=1)))

    picks["nose"] = nearest(keypoints_m["nose"])
    for word, letter in (("left", "L"), ("right", "R")):
        side = letter.lower()
        for pattern, keypoint in _PAIRED:
            picks[pattern.format(s=side, S=letter)] = nearest(keypoints_m[f"{word}_{keypoint}"])
        for number, finger in enumerate(_FINGERS, start=1):
            tip = bone_weights[:, list(bone_names).index(f"finger{number}-3.{letter}")] > 0.5
            reach = np.where(tip, np.linalg.norm(points_m - joints_m[JOINT_ID[f"{word}_wrist"]], axis=1), -1)
            picks[side + finger] = int(reach.argmax())
            taken.add(picks[side + finger])
    return picks


def landmark_order(vertex_count: int, picks: Mapping[str, int]) -> IntArray:
    """Permutation (V,) that moves the picked vertices to their ids and keeps all others in sequence."""
    order = np.full(vertex_count, -1)
    for name, vertex in picks.items():
        if LANDMARK_IDS[name] < vertex_count:
            order[LANDMARK_IDS[name]] = vertex
    rest = np.setdiff1d(np.arange(vertex_count), order)
    order[order < 0] = rest
    return order
