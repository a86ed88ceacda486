"""The kinematic latent normalizing flow: a bijection between the pose of 21 joints and z ~ N(0, I).

After "Weakly Supervised 3D Human Pose and Shape Reconstruction with Normalizing Flows" (Zanfir et al., ECCV
2020), our reading: a Real-NVP main model, and a light model of invertible dense layers and PReLUs for use
inside optimisers.

    flow = PoseFlow.load()                       # shipped weights
    z = flow.encode(rotations)                   # (B, 21, 3, 3) -> (B, 63)
    rotations = flow.decode(z)
    score = flow.log_prob(rotations)             # (B,)
    poses = flow.sample(16, temperature=0.8)
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from kinestream.body.skeleton import NUM_FLOW_JOINTS
from kinestream.defaults import ASSETS
from kinestream.latent.coordinates import TangentCoordinates
from kinestream.latent.couplings import AffineCoupling, Invertible, InvertibleLinear, InvertiblePReLU
from kinestream.latent.decode import ADVICE, DEFAULT_WEIGHTS, FORMAT, fingerprint
from kinestream.networks.weight_files import configured, fill, read_weights, save_weights

LIGHT_WEIGHTS = ASSETS / "flow_light.safetensors"


@dataclass(frozen=True)
class FlowConfig:
    """Architecture of a flow.

    Attributes:
        kind: "realnvp" (couplings) or "light" (invertible dense + PReLU).
        coordinates: "tangent" (63-D); kept in the files of weights.
        depth: number of couplings, or of PReLUs.
        hidden: width of the couplings' networks; of no meaning for the light model.
    """

    kind: Literal["realnvp", "light"] = "realnvp"
    coordinates: Literal["tangent"] = "tangent"
    depth: int = 8
    hidden: int = 128

    def __post_init__(self) -> None:
        if self.coordinates != "tangent":
            raise ValueError(f"coordinates must be 'tangent', found {self.coordinates!r}; train a flow anew")


class PoseFlow(nn.Module):
    """Density, latent code and samples of human poses (rotations of the 21 flow joints).

    Attributes:
        config: the architecture.
        real_log_probs: sorted log-densities of held-out real poses at even quantiles, or None; the
            reference of `kinestream.latent.prior.completion.plausibility`.
    """

    def __init__(self, config: FlowConfig, mean_rotations: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.coordinates = TangentCoordinates(mean_rotations)
        dim = self.coordinates.dim
        layers: list[Invertible] = [InvertibleLinear(dim, reverse=False)]
        for index in range(config.depth):
            if config.kind == "realnvp":
                layers.append(AffineCoupling(dim, config.hidden))
            else:
                layers.append(InvertiblePReLU(dim))
            if config.kind == "light" or index + 1 < config.depth:
                layers.append(InvertibleLinear(dim, reverse=True))
        self.layers = nn.ModuleList(layers)
        self.real_log_probs: Tensor | None = None

    @property
    def dim(self) -> int:
        """Dimension D of the latent space."""
        return self.coordinates.dim

    def encode(self, rotations: Tensor) -> Tensor:
        """Poses (B, 21, 3, 3) to latents z (B, D)."""
        return self.encode_with_log_det(rotations)[0]

    def encode_with_log_det(self, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, D) and log |det dz/dR| (B,), R by the Haar measure in rad."""
        if rotations.shape[-3:] != (NUM_FLOW_JOINTS, 3, 3):
            raise ValueError(
                f"rotations must be (B, {NUM_FLOW_JOINTS}, 3, 3), found {tuple(rotations.shape)}"
            )
        coordinates, log_volume = self.coordinates.encode(rotations)
        latent, log_det = self.to_latent(coordinates)
        return latent, log_det + log_volume

    def decode(self, latent: Tensor) -> Tensor:
        """Latents z (B, D) to poses (B, 21, 3, 3); any finite z gives rotations.

        Latents in half precision are taken as float32 ones; under autocast only the couplings' networks
        compute in half precision.
        """
        if latent.shape[-1] != self.dim:
            raise ValueError(f"latents must be (B, {self.dim}), found {tuple(latent.shape)}")
        if latent.dtype in (torch.float16, torch.bfloat16):
            latent = latent.float()
        return self.coordinates.decode(self.from_latent(latent))

    def log_prob(self, rotations: Tensor) -> Tensor:
        """Log-density (B,) of poses, with respect to the Haar measure of SO(3)^21 (rad^-63)."""
        latent, log_det = self.encode_with_log_det(rotations)
        return standard_normal_log_prob(latent) + log_det

    def sample(
        self, count: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw poses (count, 21, 3, 3); temperature scales the standard deviation of z."""
        parameter = next(self.parameters())
        device = generator.device if generator is not None else parameter.device
        latent = torch.randn(count, self.dim, generator=generator, device=device, dtype=parameter.dtype)
        return self.decode(temperature * latent.to(parameter.device))

    def to_latent(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (B, D) to latents (B, D) and log |det| (B,)."""
        log_det = torch.zeros_like(coordinates[..., 0])
        for layer in self.layers:
            coordinates, step = layer(coordinates)
            log_det = log_det + step
        return coordinates, log_det

    def from_latent(self, latent: Tensor) -> Tensor:
        """Latents (B, D) to coordinates (B, D)."""
        for layer in reversed(list(self.layers)):
            assert isinstance(layer, Invertible)
            latent = layer.inverse(latent)
        return latent

    def set_reference(self, poses: Tensor, *, quantiles: int = 201) -> None:
        """Take the log-densities of real poses (N, 21, 3, 3) as the reference of what is plausible."""
        with torch.no_grad():
            log_probs = torch.cat([self.log_prob(chunk) for chunk in torch.split(poses, 4096)])
        self.real_log_probs = torch.quantile(log_probs, torch.linspace(0, 1, quantiles))

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write weights, architecture and reference; with ``half`` matrices in half precision."""
        notes = {}
        if self.real_log_probs is not None:
            notes["real_log_probs"] = json.dumps([round(value, 3) for value in self.real_log_probs.tolist()])
        save_weights(
            path, self, kind=FORMAT, config=asdict(self.config), notes=notes,
            halved=lambda _, value: half and value.ndim == 2,
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path | None = None) -> "PoseFlow":
        """Read a flow in evaluation mode; None gives the shipped main model.

        Raises ``FileNotFoundError``, or ``WeightsError`` where the file is not a pose flow.
        """
        path = path or DEFAULT_WEIGHTS
        file = read_weights(path, kind=FORMAT, advice=ADVICE)
        flow = cls(configured(FlowConfig, file.config, path=path))
        fill(flow, file.arrays, path=path)
        if "real_log_probs" in file.notes:
            flow.real_log_probs = torch.tensor(json.loads(file.notes["real_log_probs"]))
        return flow.eval().requires_grad_(False)


def standard_normal_log_prob(latent: Tensor) -> Tensor:
    """Log-density (B,) of latents (B, D) under N(0, I)."""
    return -0.5 * latent.square().sum(-1) - 0.5 * latent.shape[-1] * math.log(2 * math.pi)


def flow_fingerprint(flow: nn.Module) -> str:
    """Short hash of a flow's weights: dynamics fit one latent space only."""
    return fingerprint({name: value.detach().cpu().numpy() for name, value in flow.state_dict().items()})
