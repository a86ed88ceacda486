"""The rotation nearest to a matrix, with a gradient that also exists at rotations themselves.

Differentiating the singular value decomposition directly divides by differences of singular
values, which vanish exactly where this projection is used. The projection itself is smooth there:
with ``M = U S V^T`` its differential only divides by sums of singular values.
"""

from typing import Any

import torch
from torch import Tensor


class _Polar(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        u, s, vh = torch.linalg.svd(matrix)
        sign = torch.linalg.det(u @ vh).sign()
        flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
        u, s = u * flip[..., None, :], s * flip
        ctx.save_for_backward(u, s, vh)
        rotation: Tensor = u @ vh
        return rotation

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        u, s, vh = ctx.saved_tensors
        inner = u.transpose(-1, -2) @ grad_outputs[0] @ vh.transpose(-1, -2)
        sums = (s[..., :, None] + s[..., None, :]).clamp_min(1e-12)
        gradient: Tensor = u @ ((inner - inner.transpose(-1, -2)) / sums) @ vh
        return gradient


def polar_rotation(matrix: Tensor) -> Tensor:
    """Rotations (..., 3, 3) nearest to ``matrix`` (..., 3, 3) in the Frobenius norm.

    The gradient is exact wherever the nearest rotation is unique and bounded elsewhere.
    """
    rotation: Tensor = _Polar.apply(matrix)  # type: ignore[no-untyped-call]
    return rotation
