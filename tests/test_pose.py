"""The interchange type: frozen, validated by field, compared by value, readable."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from kinestream import Camera, Person, PoseError, PoseFrame


def person_fields(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(22, 4))
    quats /= np.linalg.norm(quats, axis=-1, keepdims=True)
    return {
        "track_id": 3,
        "score": 0.9,
        "box_xyxy_px": [10, 20, 110, 220],
        "root_quat_wxyz": quats[0],
        "translation_m": [0.1, 0.2, 3],
        "joint_quats_wxyz": quats[1:],
        "betas": np.zeros(10),
        "joints_cam_m": rng.normal(size=(24, 3)),
        "joint_std_m": np.full(24, 0.02),
        "keypoints_cam_m": rng.normal(size=(23, 3)),
        "keypoints_px": np.concatenate([rng.normal(size=(23, 2)), np.full((23, 1), 0.5)], -1),
        **changes,
    }


def frame(**changes: Any) -> PoseFrame:
    fields = {"frame_index": 7, "t_capture_ns": 10**9, "camera": Camera.from_fov(640, 480)}
    return PoseFrame(**{**fields, "persons": (Person(**person_fields()),), **changes})


def test_arrays_are_read_only_float32_copies() -> None:
    betas = np.arange(10, dtype=np.float64)
    person = Person(**person_fields(betas=betas))
    betas[:] = 99
    assert person.betas.dtype == np.float32 and person.betas[3] == 3
    with pytest.raises(ValueError, match="read-only"):
        person.betas[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        person.score = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("joints_cam_m", np.zeros((23, 3)), r"joints_cam_m: expected shape \(24, 3\), found \(23, 3\)"),
        ("betas", np.zeros((10, 1)), r"betas: expected shape \(10,\), found \(10, 1\)"),
        ("vertices_cam_m", np.zeros((5, 2)), r"vertices_cam_m: expected shape \(V, 3\), found \(5, 2\)"),
        ("translation_m", [0, np.nan, 1], "translation_m: expected finite numbers"),
        ("translation_m", ["a", "b", "c"], r"translation_m: expected numbers of shape \(3,\)"),
        ("translation_m", None, "translation_m: expected"),
        ("joint_std_m", np.full(24, -0.1), "joint_std_m: expected no negative value"),
        ("keypoints_px", np.full((23, 3), 1.5), "keypoints_px: expected confidences from 0 to 1"),
        ("root_quat_wxyz", [1, 1, 0, 0], "root_quat_wxyz: expected unit quaternions"),
        ("score", 1.2, "score: expected a number from 0 to 1, found 1.2"),
        ("score", float("nan"), "score: expected a number from 0 to 1"),
        ("state", "lost", "state: expected one of .*tracked.*coasting.*found 'lost'"),
        ("track_id", -1, "track_id: expected at least 0, found -1"),
        ("track_id", 1.5, "track_id: expected an integer, found 1.5"),
        ("age_ns", True, "age_ns: expected an integer, found True"),
    ],
)
def test_bad_fields_are_named_with_what_was_found(name: str, value: object, message: str) -> None:
    with pytest.raises(PoseError, match=f"Person.{message}"):
        Person(**person_fields(**{name: value}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_index": -1}, "PoseFrame.frame_index: expected at least 0"),
        ({"t_capture_ns": 0.5}, "PoseFrame.t_capture_ns: expected an integer"),
        ({"camera": None}, "PoseFrame.camera: expected a Camera, found NoneType"),
        ({"persons": ("x",)}, "PoseFrame.persons: expected Person items, found str"),
        ({"persons": [Person(**person_fields())] * 2}, r"expected distinct track ids, found \[3, 3\]"),
    ],
)
def test_bad_frames_are_named_with_what_was_found(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PoseError, match=message):
        frame(**change)


def test_equality_is_by_value() -> None:
    assert frame() == frame()
    assert frame() != frame(t_capture_ns=5)
    other = Person(**person_fields(betas=np.ones(10)))
    assert frame() != frame(persons=(other,))
    assert frame() != "a frame"
    seen = Person(**person_fields(vertices_cam_m=np.zeros((4, 3))))
    assert seen != Person(**person_fields()) and seen == Person(
        **person_fields(vertices_cam_m=np.zeros((4, 3)))
    )


def test_repr_shows_shapes_not_numbers() -> None:
    text = repr(frame())
    assert "joints_cam_m=float32(24, 3)" in text and "track_id=3" in text and "Camera(640x480 px" in text
    assert len(text) < 900


def test_frames_iterate_over_persons() -> None:
    assert [p.track_id for p in frame()] == [3] and len(frame(persons=())) == 0
