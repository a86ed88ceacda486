"""Invertible layers of the pose flow; each maps (B, D) to (B, D) with the log-determinant (B,).

`forward` goes from pose coordinates towards the latent space, `inverse` back. State and linear maps stay in
float32; under autocast only the hidden layers of a coupling's network compute in half precision. Both ways
then see the same rounded values but for rare flips of the last bit, which keeps layers inverse to each other.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinestream.latent.decode import CLAMP


class Invertible(nn.Module):
    """What every layer offers."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent: (B, D) -> (B, D) and log |det dy/dx| (B,)."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def inverse(self, y: Tensor) -> Tensor:
        """Towards the pose: (B, D) -> (B, D)."""
        raise TypeError(f"{type(self).__name__} has no inverse")


class InvertibleLinear(Invertible):
    """y = L U (x - mean), with L unit lower triangular and U upper triangular with positive diagonal.

    No permutation is learned: a fixed one follows (reversal), so that couplings see other halves in turn.
    """

    def __init__(self, dim: int, *, reverse: bool) -> None:
        super().__init__()
        self.reverse = reverse
        self.mean = nn.Parameter(torch.zeros(dim))
        self.lower = nn.Parameter(torch.zeros(dim, dim))
        self.upper = nn.Parameter(torch.zeros(dim, dim))
        self.log_diagonal = nn.Parameter(torch.zeros(dim))

    def factors(self) -> tuple[Tensor, Tensor]:
        """The triangular factors L and U, (D, D) each."""
        eye = torch.eye(len(self.mean), dtype=self.lower.dtype, device=self.lower.device)
        return self.lower.tril(-1) + eye, self.upper.triu(1) + torch.diag(self.log_diagonal.exp())

    def set_whitening(self, mean: Tensor, covariance: Tensor) -> None:
        """Make this layer turn N(mean, covariance) into N(0, I)."""
        whitener = torch.linalg.inv(torch.linalg.cholesky(covariance.double()))
        # an unpivoted LU of a lower triangular matrix: L = W / diag(W), U = diag(W)
        diagonal = whitener.diagonal()
        with torch.no_grad():
            self.mean.copy_(mean)
            self.lower.copy_(whitener / diagonal)
            self.upper.zero_()
            self.log_diagonal.copy_(diagonal.log())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        with torch.autocast(x.device.type, enabled=False):
            lower, upper = self.factors()
            y = (x - self.mean) @ (lower @ upper).mT
            y = y.flip(-1) if self.reverse else y
        return y, self.log_diagonal.sum().expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        """Towards the pose."""
        with torch.autocast(y.device.type, enabled=False):
            lower, upper = self.factors()
            y = y.flip(-1) if self.reverse else y
            y = torch.linalg.solve_triangular(lower, y.mT, upper=False, unitriangular=True)
            x: Tensor = torch.linalg.solve_triangular(upper, y, upper=True).mT + self.mean
        return x

    def inverse_matrix(self) -> Tensor:
        """A (D, D) with x = A y + mean, the reversal included."""
        lower, upper = self.factors()
        matrix: Tensor = torch.linalg.inv(lower.double() @ upper.double())
        return matrix.flip(-1) if self.reverse else matrix


class AffineCoupling(Invertible):
    """Real-NVP: the second part is scaled and shifted by a network of the first (Dinh et al., ICLR 2017).

    Log-scales are soft-clamped to (-clamp, clamp), so that no latent, however far out, overflows.
    """

    def __init__(self, dim: int, hidden: int, *, clamp: float = CLAMP) -> None:
        super().__init__()
        self.kept = (dim + 1) // 2
        self.clamp = clamp
        self.conditioner = nn.Sequential(
            nn.Linear(self.kept, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * (dim - self.kept)),
        )
        last = self.conditioner[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        first, *middle, last = self.conditioner
        with torch.autocast(kept.device.type, enabled=False):
            hidden = first(kept)
        for layer in middle:
            hidden = layer(hidden)
        with torch.autocast(kept.device.type, enabled=False):
            raw, shift = last(hidden.to(kept.dtype)).chunk(2, -1)
        return self.clamp * torch.tanh(raw / self.clamp), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        kept, moved = x[..., : self.kept], x[..., self.kept :]
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, moved * log_scale.exp() + shift], -1), log_scale.sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        """Towards the pose."""
        kept, moved = y[..., : self.kept], y[..., self.kept :]
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], -1)


class InvertiblePReLU(Invertible):
    """y = x where x > 0, slope * x elsewhere; one learned positive slope a dimension."""

    def __init__(self, dim: int, *, slope: float = 1.0) -> None:
        super().__init__()
        self.log_slope = nn.Parameter(torch.full((dim,), math.log(slope)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        y = functional.relu(x) - self.log_slope.exp() * functional.relu(-x)
        return y, torch.where(x < 0, self.log_slope, 0.0).sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        """Towards the pose."""
        return functional.relu(y) - (-self.log_slope).exp() * functional.relu(-y)
