"""Camera calibration files that people already have: OpenCV YAML, ROS YAML, echoed ``camera_info``.

Recognised keys, in any of the three dialects:
``image_width``/``width``, ``image_height``/``height``; ``camera_matrix`` (a matrix node with
``data``, or nested rows) or ``k``/``K``; ``distortion_coefficients``/``dist_coeffs``/``d``/``D``;
``distortion_model`` (``plumb_bob`` or ``rational_polynomial``).
"""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import Float64Array

_MODELS = ("", "plumb_bob", "rational_polynomial")
_HELP = "Calibrate with OpenCV or ROS camera_calibration, or pass a field of view instead."


class CameraFileError(ValueError):
    """A calibration file cannot be used; the message names the file, the key and what was found."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that also reads OpenCV's matrix nodes as plain mappings."""


def _matrix_node(loader: _Loader, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "expected a matrix mapping", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _matrix_node)


def load_camera(path: str | Path) -> Camera:
    """Read a camera from a YAML (or JSON) calibration file.

    Raises ``CameraFileError`` when the file is missing, is no calibration, has impossible values or
    describes a lens model without a perspective projection (fisheye, equidistant).
    """
    path = Path(path)
    calibration = _read(path)
    model = str(_find(calibration, "distortion_model", "model") or "").lower()
    if model not in _MODELS:
        raise CameraFileError(
            f"{path}: distortion_model is {model!r}; supported are {', '.join(_MODELS[1:])}. "
            "Undistort fisheye video first (cv2.fisheye)."
        )
    matrix = _numbers(path, calibration, "camera_matrix", "k", "K")
    if matrix.size != 9:
        raise CameraFileError(f"{path}: camera_matrix has {matrix.size} numbers, expected 9. {_HELP}")
    k = matrix.reshape(3, 3)
    lens = _find(calibration, "distortion_coefficients", "dist_coeffs", "d", "D")
    distortion = np.zeros(0) if lens is None else _flatten(path, "distortion_coefficients", lens)
    if distortion.size > 8 and not distortion[8:].any():
        distortion = distortion[:8]
    try:
        return Camera(
            width_px=_size(path, calibration, "image_width", "width"),
            height_px=_size(path, calibration, "image_height", "height"),
            focal_px=(float(k[0, 0]), float(k[1, 1])),
            center_px=(float(k[0, 2]), float(k[1, 2])),
            distortion=tuple(map(float, distortion)) if distortion.any() else (),
        )
    except ValueError as error:
        raise CameraFileError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CameraFileError(f"{path}: cannot be read as text ({error}). {_HELP}") from error
    # OpenCV writes "%YAML:1.0", which is not the directive of the YAML standard
    lines = [line for line in text.splitlines() if not line.startswith("%YAML")]
    try:
        documents = list(yaml.load_all("\n".join(lines), Loader=_Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        detail = " ".join(str(error).split())
        raise CameraFileError(f"{path}: is not valid YAML ({detail}). {_HELP}") from error
    first = documents[0] if documents else None
    if not isinstance(first, dict):
        raise CameraFileError(f"{path}: holds {type(first).__name__}, expected a mapping of keys. {_HELP}")
    return first


def _find(calibration: dict[str, Any], *names: str) -> Any:
    return next((calibration[name] for name in names if name in calibration), None)


def _numbers(path: Path, calibration: dict[str, Any], *names: str) -> Float64Array:
    value = _find(calibration, *names)
    if value is None:
        keys = ", ".join(map(str, calibration)) or "none"
        raise CameraFileError(f"{path}: has no key {' / '.join(names)}; found keys: {keys}. {_HELP}")
    return _flatten(path, names[0], value)


def _flatten(path: Path, name: str, value: Any) -> Float64Array:
    data = value.get("data") if isinstance(value, dict) else value
    try:
        numbers = np.asarray(data, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise CameraFileError(
            f"{path}: {name} is not a list of numbers: {str(data)[:80]}. {_HELP}"
        ) from error
    if not np.isfinite(numbers).all():
        raise CameraFileError(f"{path}: {name} has numbers that are not finite: {numbers}. {_HELP}")
    return numbers


def _size(path: Path, calibration: dict[str, Any], *names: str) -> int:
    number = _numbers(path, calibration, *names)
    if number.size != 1 or not float(number[0]).is_integer():
        raise CameraFileError(f"{path}: {names[0]} must be one whole number, found {number}. {_HELP}")
    return int(number[0])
