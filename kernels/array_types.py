"""The array types that signatures name, by dtype; shapes stand in the docstrings."""

from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
RgbImage = npt.NDArray[np.uint8]
"""(H, W, 3) red, green, blue, 0..255."""
