"""The robust loss of reprojection errors, one definition for torch and for compiled loops.

    rho(r) = 1/2 s^2 log(1 + r^2 / s^2)        (Cauchy)

is 1/2 r^2 for residuals well below the scale s and grows with the logarithm of those beyond it. Its weight in
iteratively reweighted least squares is rho'(r) / r = 1 / (1 + r^2 / s^2).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cauchy_loss(squared: "Tensor", scale: float) -> "Tensor":
    """Losses of squared residuals of any shape."""
    return 0.5 * scale**2 * (squared / scale**2).log1p()
