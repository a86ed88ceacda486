"""Where the assets of scenes are found, and the error that says what is missing."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_GUIDE = "docs/training.md says where it comes from and how the data folder is laid out"


class AssetError(Exception):
    """An asset that is missing or damaged; the message names the file and where it comes from."""


def require(path: Path) -> Path:
    """The path itself, if it exists."""
    if not path.exists():
        raise AssetError(f"{path} is missing; {_GUIDE}")
    return path


def damaged(path: Path, reason: object) -> AssetError:
    """The error for a file that exists but cannot be used."""
    return AssetError(f"{path} is damaged: {reason}; get it again, {_GUIDE}")


def read_json(path: Path) -> Any:
    """Content of a JSON file."""
    try:
        return json.loads(require(path).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise damaged(path, error) from error


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an npz file."""
    require(path)
    try:
        with np.load(path, allow_pickle=False) as content:
            return {key: content[key] for key in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(path, error) from error


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Picture (H, W, 3) RGB or (H, W, 4) RGBA, uint8."""
    pixels = cv2.imread(str(require(path)), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise damaged(path, "it cannot be decoded as an 8-bit picture")
    if pixels.ndim == 2:
        return np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    code = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.ascontiguousarray(cv2.cvtColor(pixels, code), np.uint8)
