"""Pictures, skeletons and calibration as the messages that Foxglove and other robotics tools draw.

The schemas are Foxglove's own (docs.foxglove.dev, "message schemas"), in their JSON form; only the fields
used here are listed. They ride along in recordings beside the pose messages (docs/recording.md).
"""

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from kinestream.body.skeleton import PARENTS
from kinestream.geometry.camera import Camera
from kinestream.geometry.level import level_from_camera
from kinestream.geometry.quaternion import from_matrix
from kinestream.pose import PoseFrame

CAMERA_FRAME: Final = "camera"
"""OpenCV axes: x right, y down, z forward."""
WORLD_FRAME: Final = "world"
"""The camera's place, or the floor under it where that is known, with x forward, y left and z up."""

_COLOURS: Final = ((0.9, 0.3, 0.2), (0.2, 0.6, 0.9), (0.3, 0.8, 0.3), (0.9, 0.7, 0.1), (0.7, 0.4, 0.9))
_BONES: Final = [index for joint, parent in enumerate(PARENTS) if parent >= 0 for index in (parent, joint)]
_LINE_LIST: Final = 2
_ALL: Final = 1
_NO_TURN: Final = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}
_ORIGIN: Final = {"x": 0.0, "y": 0.0, "z": 0.0}
# Axes of a level camera in the world: z forward becomes x, x right becomes -y, y down becomes -z.
_WORLD_FROM_LEVEL: Final = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_STRING: Final = {"type": "string"}
_INTEGER: Final = {"type": "integer"}
_NUMBER: Final = {"type": "number"}
_BOOLEAN: Final = {"type": "boolean"}
_TIME: Final = {"title": "time", **_object(sec=_INTEGER, nsec=_INTEGER)}
_DURATION: Final = {"title": "duration", **_object(sec=_INTEGER, nsec=_INTEGER)}
_XYZ: Final = _object(x=_NUMBER, y=_NUMBER, z=_NUMBER)
_QUATERNION: Final = _object(x=_NUMBER, y=_NUMBER, z=_NUMBER, w=_NUMBER)
_POSE: Final = _object(position=_XYZ, orientation=_QUATERNION)
_COLOUR: Final = _object(r=_NUMBER, g=_NUMBER, b=_NUMBER, a=_NUMBER)
_LINE: Final = _object(
    type=_INTEGER, pose=_POSE, thickness=_NUMBER, scale_invariant=_BOOLEAN, points=_array(_XYZ),
    color=_COLOUR, colors=_array(_COLOUR), indices=_array(_INTEGER),
)  # fmt: skip
_KEY_VALUE: Final = _object(key=_STRING, value=_STRING)
_PRIMITIVES: Final = ("arrows", "cubes", "spheres", "cylinders", "triangles", "texts", "models")
_ENTITY: Final = _object(
    timestamp=_TIME, frame_id=_STRING, id=_STRING, lifetime=_DURATION, frame_locked=_BOOLEAN,
    metadata=_array(_KEY_VALUE), lines=_array(_LINE), **{name: _array(_object()) for name in _PRIMITIVES},
)  # fmt: skip

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "foxglove.CompressedImage": _object(
        timestamp=_TIME,
        frame_id=_STRING,
        data={"type": "string", "contentEncoding": "base64"},
        format=_STRING,
    ),
    "foxglove.CameraCalibration": _object(
        timestamp=_TIME, frame_id=_STRING, width=_INTEGER, height=_INTEGER, distortion_model=_STRING,
        D=_array(_NUMBER), K=_array(_NUMBER), R=_array(_NUMBER), P=_array(_NUMBER),
    ),
    "foxglove.FrameTransform": _object(
        timestamp=_TIME, parent_frame_id=_STRING, child_frame_id=_STRING, translation=_XYZ,
        rotation=_QUATERNION,
    ),
    "foxglove.SceneUpdate": _object(
        deletions=_array(_object(timestamp=_TIME, type=_INTEGER, id=_STRING)), entities=_array(_ENTITY)
    ),
}  # fmt: skip
"""JSON schema of each message by the name under which the tools know it."""


def schema_bytes(name: str) -> bytes:
    """The schema as it is stored in a file."""
    return json.dumps({"title": name, **SCHEMAS[name]}).encode()


def scene_update(frame: PoseFrame, t_ns: int) -> bytes:
    """The skeletons of everybody as lines in the camera frame; replaces the ones before (``SceneUpdate``)."""
    time = _time(t_ns)
    entities = [
        {
            "timestamp": time,
            "frame_id": CAMERA_FRAME,
            "id": f"person {person.track_id}",
            "lifetime": _time(0),
            "frame_locked": True,
            "metadata": [
                {"key": "state", "value": person.state},
                {"key": "score", "value": f"{person.score:.3f}"},
            ],
            "lines": [
                {
                    "type": _LINE_LIST,
                    "pose": {"position": _ORIGIN, "orientation": _NO_TURN},
                    "thickness": 0.03,
                    "scale_invariant": False,
                    "points": [
                        {"x": x, "y": y, "z": z}
                        for x, y, z in np.round(person.joints_cam_m.astype(float), 4).tolist()
                    ],
                    "color": _colour(person.track_id, coasting=person.state == "coasting"),
                    "colors": [],
                    "indices": _BONES,
                }
            ],
            **{name: [] for name in _PRIMITIVES},
        }
        for person in frame
    ]
    return _json({"deletions": [{"timestamp": time, "type": _ALL, "id": ""}], "entities": entities})


def compressed_image(jpeg: bytes, t_ns: int) -> bytes:
    """A picture (``CompressedImage``)."""
    data = base64.b64encode(jpeg).decode()
    return _json({"timestamp": _time(t_ns), "frame_id": CAMERA_FRAME, "data": data, "format": "jpeg"})


def camera_calibration(camera: Camera, t_ns: int) -> bytes:
    """Intrinsics of the pictures (``CameraCalibration``)."""
    (fx, fy), (cx, cy) = camera.focal_px, camera.center_px
    count = 8 if len(camera.distortion) > 5 else 5
    return _json(
        {
            "timestamp": _time(t_ns),
            "frame_id": CAMERA_FRAME,
            "width": camera.width_px,
            "height": camera.height_px,
            "distortion_model": "rational_polynomial" if count == 8 else "plumb_bob",
            "D": _padded(camera.distortion, count),
            "K": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
            "R": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            "P": [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
        }
    )


def world_from_camera(
    t_ns: int, tilt_rad: float = 0.0, roll_rad: float = 0.0, height_m: float = 0.0
) -> bytes:
    """Where a camera is in the world that is held like this (``FrameTransform``; angles as of `Ground`).

    With it viewers show people upright, and on the floor where the camera's height is known.
    """
    turn = from_matrix(_WORLD_FROM_LEVEL @ level_from_camera(tilt_rad, roll_rad)).tolist()
    return _json(
        {
            "timestamp": _time(t_ns),
            "parent_frame_id": WORLD_FRAME,
            "child_frame_id": CAMERA_FRAME,
            "translation": {**_ORIGIN, "z": height_m},
            "rotation": dict(zip("wxyz", turn, strict=True)),
        }
    )


def _time(t_ns: int) -> dict[str, int]:
    return {"sec": t_ns // 1_000_000_000, "nsec": t_ns % 1_000_000_000}


def _colour(track_id: int, *, coasting: bool) -> dict[str, float]:
    red, green, blue = _COLOURS[track_id % len(_COLOURS)]
    return {"r": red, "g": green, "b": blue, "a": 0.4 if coasting else 1.0}


def _padded(values: Sequence[float], count: int) -> list[float]:
    return [*values, *[0.0] * (count - len(values))]


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
