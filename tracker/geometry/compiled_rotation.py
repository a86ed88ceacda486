"""Rotations of a few people per frame: the formulas of `kinestream.geometry.rotation`, compiled.

Each function equals its namesake there within rounding (tested). Arrays are numpy; nothing is differentiable.
"""

import numpy as np

from kinestream.kernels.array_types import Float32Array, Float64Array
from kinestream.kernels.caching import compiled

_SHORT = 1e-18
_PARALLEL = 4 * np.finfo(np.float64).eps ** 2


@compiled()
def quat_from_matrix(rotations: Float64Array) -> Float32Array:
    """Unit quaternions (N, 4) wxyz, w >= 0, of rotations (N, 3, 3).

    By the largest component first (Shepperd 1978), so that no rotation divides by little.
    """
    quats = np.empty((rotations.shape[0], 4), np.float32)
    for n in range(rotations.shape[0]):
        r00, r11, r22 = rotations[n, 0, 0], rotations[n, 1, 1], rotations[n, 2, 2]
        zy = rotations[n, 2, 1] - rotations[n, 1, 2]
        xz = rotations[n, 0, 2] - rotations[n, 2, 0]
        yx = rotations[n, 1, 0] - rotations[n, 0, 1]
        w, x, y, z = 1 + r00 + r11 + r22, 1 + r00 - r11 - r22, 1 - r00 + r11 - r22, 1 - r00 - r11 + r22
        if w >= x and w >= y and w >= z:
            x, y, z = zy, xz, yx
        elif x >= y and x >= z:
            w, y, z = zy, rotations[n, 0, 1] + rotations[n, 1, 0], rotations[n, 0, 2] + rotations[n, 2, 0]
        elif y >= z:
            w, x, z = xz, rotations[n, 0, 1] + rotations[n, 1, 0], rotations[n, 1, 2] + rotations[n, 2, 1]
        else:
            w, x, y = yx, rotations[n, 0, 2] + rotations[n, 2, 0], rotations[n, 1, 2] + rotations[n, 2, 1]
        scale = 1 / np.sqrt(w * w + x * x + y * y + z * z)
        if w < 0:
            scale = -scale
        quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3] = w * scale, x * scale, y * scale, z * scale
    return quats


@compiled(error_model="numpy")
def turn(base: Float64Array, vectors: Float64Array, turned: Float64Array, right: Float64Array) -> None:
    """Fill ``turned`` = base exp(v) and ``right`` (N, 3, 3), of rotations (N, 3, 3) and vectors v (N, 3).

    ``right`` is the right Jacobian of exp: exp(v + d) = exp(v) exp(right d) to first order.
    """
    for n in range(vectors.shape[0]):
        x, y, z = vectors[n, 0], vectors[n, 1], vectors[n, 2]
        square = x * x + y * y + z * z
        if square < 1e-8:
            a, b, c = 1 - square / 6, 0.5 - square / 24, 1 / 6 - square / 120
        else:
            angle = np.sqrt(square)
            a, half = np.sin(angle) / angle, np.sin(0.5 * angle)
            b = 2 * half * half / square
            c = (1 - a) / square
        for r in range(3):
            for s in range(3):
                # (v v' - |v|^2 I) and the cross product's matrix, element by element
                outer = vectors[n, r] * vectors[n, s]
                skew, one = 0.0, 0.0
                if r == s:
                    outer, one = outer - square, 1.0
                else:
                    skew = vectors[n, 3 - r - s] if (s - r) % 3 == 2 else -vectors[n, 3 - r - s]
                turned[n, r, s] = one + a * skew + b * outer
                right[n, r, s] = one - b * skew + c * outer
        for s in range(3):
            x, y, z = turned[n, 0, s], turned[n, 1, s], turned[n, 2, s]
            for r in range(3):
                turned[n, r, s] = base[n, r, 0] * x + base[n, r, 1] * y + base[n, r, 2] * z


@compiled(error_model="numpy")
def matrix_from_sixd(sixd: Float64Array) -> Float64Array:
    """Rotations (N, 3, 3) of 6D coordinates (N, 6); a fixed one where they determine none.

    One function, since each call of another one, and each kind of its arguments, takes long to compile.
    """
    rotations = np.empty((sixd.shape[0], 3, 3))
    for n in range(sixd.shape[0]):
        columns = rotations[n]
        for c in range(3):
            if c < 2:
                x, y, z = sixd[n, 3 * c], sixd[n, 3 * c + 1], sixd[n, 3 * c + 2]
            else:
                a, b, e = columns[0, 0], columns[1, 0], columns[2, 0]
                for _ in range(2):
                    x = b * columns[2, 1] - e * columns[1, 1]
                    y = e * columns[0, 1] - a * columns[2, 1]
                    z = a * columns[1, 1] - b * columns[0, 1]
                    if not x * x + y * y + z * z < _PARALLEL:
                        break
                    # no plane: take the axis that is least along the first column for the second one
                    columns[0, 1] = 1.0 if abs(a) <= abs(b) and abs(a) <= abs(e) else 0.0
                    columns[1, 1] = 1.0 if columns[0, 1] == 0.0 and abs(b) <= abs(e) else 0.0
                    columns[2, 1] = 1.0 - columns[0, 1] - columns[1, 1]
            scale = abs(x)
            if abs(y) > scale:
                scale = abs(y)
            if abs(z) > scale:
                scale = abs(z)
            if scale < _SHORT:
                for r in range(3):
                    columns[r, c] = 0.0
                columns[c, c] = 1.0
                continue
            x, y, z = x / scale, y / scale, z / scale
            length = np.sqrt(x * x + y * y + z * z)
            columns[0, c], columns[1, c], columns[2, c] = x / length, y / length, z / length
        for r in range(3):
            s, t = (r + 1) % 3, (r + 2) % 3
            columns[r, 1] = columns[s, 2] * columns[t, 0] - columns[t, 2] * columns[s, 0]
    return rotations
