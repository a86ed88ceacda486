"""Mixtures of Gaussians on the tangent coordinates of poses: one component, or many as in SMPLify.

Bogo et al., "Keep it SMPL", ECCV 2016, use eight full-covariance components. Densities are stated as those of
the flow, with respect to the Haar measure, so that they compare.
"""

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from kinestream.latent.coordinates import TangentCoordinates


class PoseMixture:
    """A mixture of full-covariance Gaussians over poses (B, 21, 3, 3), in float64."""

    def __init__(
        self, coordinates: TangentCoordinates, weights: Tensor, means: Tensor, covariances: Tensor
    ) -> None:
        self.coordinates = coordinates
        self.weights, self.means, self.covariances = weights, means, covariances
        self._components = MultivariateNormal(means, covariances)

    @classmethod
    def fit(
        cls,
        coordinates: TangentCoordinates,
        poses: Tensor,
        components: int,
        *,
        iterations: int = 40,
        floor: float = 1e-4,
        seed: int = 0,
    ) -> "PoseMixture":
        """Expectation maximisation from k-means++ seeds; floor is added to the covariances' diagonals."""
        x = coordinates.encode(poses)[0].double()
        generator = torch.Generator().manual_seed(seed)
        chosen = [x[torch.randint(len(x), (1,), generator=generator)][0]]
        for _ in range(components - 1):
            nearest = torch.cdist(x, torch.stack(chosen)).amin(1).square()
            chosen.append(x[torch.multinomial(nearest / nearest.sum(), 1, generator=generator)][0])
        distances = torch.cdist(x, torch.stack(chosen))
        responsibilities = torch.nn.functional.one_hot(distances.argmin(1), components).double()
        mixture = cls._maximise(coordinates, x, responsibilities, floor)
        for _ in range(iterations if components > 1 else 0):
            responsibilities = torch.softmax(mixture._component_log_prob(x), dim=1)
            mixture = cls._maximise(coordinates, x, responsibilities, floor)
        return mixture

    @classmethod
    def _maximise(
        cls, coordinates: TangentCoordinates, x: Tensor, responsibilities: Tensor, floor: float
    ) -> "PoseMixture":
        mass = responsibilities.sum(0) + 1e-9
        means = (responsibilities.T @ x) / mass[:, None]
        shared = torch.cov(x.T)
        covariances = []
        for k, mean in enumerate(means):
            centred = x - mean
            own = (responsibilities[:, k, None] * centred).T @ centred
            # a component with few poses leans on the covariance of all of them
            prior = 2.0 * x.shape[1]
            covariances.append((own + 0.01 * prior * shared) / (mass[k] + 0.01 * prior))
        eye = torch.eye(x.shape[1], dtype=x.dtype)
        return cls(coordinates, mass / mass.sum(), means, torch.stack(covariances) + floor * eye)

    def _component_log_prob(self, x: Tensor) -> Tensor:
        """(B, K) log of weight times density of coordinates (B, 63)."""
        return self.weights.log() + self._components.log_prob(x[:, None])

    def log_prob(self, rotations: Tensor) -> Tensor:
        """Log-density (B,) of poses (B, 21, 3, 3)."""
        coordinates, log_volume = self.coordinates.encode(rotations)
        return torch.logsumexp(self._component_log_prob(coordinates.double()), dim=1) + log_volume

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw poses (count, 21, 3, 3)."""
        k = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        x = self.means[k] + (self._components.scale_tril[k] @ noise[..., None])[..., 0]
        return self.coordinates.decode(x.float())

    def complete(self, rotations: Tensor, known: Tensor) -> Tensor:
        """Poses with the hidden joints replaced by their conditional mean under the likeliest component.

        Args:
            rotations: (B, 21, 3, 3), any rotations where hidden.
            known: (21,) bool.
        """
        x = self.coordinates.encode(rotations)[0].double()
        given = known.repeat_interleave(3)
        best_score = torch.full((len(x),), -torch.inf, dtype=torch.float64)
        result = x.clone()
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            factor = torch.linalg.cholesky(covariance[given][:, given])
            centred = x[:, given] - mean[given]
            white = torch.linalg.solve_triangular(factor, centred.T, upper=False)
            score = weight.log() - factor.diagonal().log().sum() - 0.5 * white.square().sum(0)
            gain = torch.cholesky_solve(covariance[given][:, ~given], factor)
            estimate = mean[~given] + centred @ gain
            better = score > best_score
            best_score = torch.where(better, score, best_score)
            result[:, ~given] = torch.where(better[:, None], estimate, result[:, ~given])
        filled = self.coordinates.decode(result.float())
        return torch.where(known[:, None, None], rotations, filled)
