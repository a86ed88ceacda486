"""The regressor as the tracker uses it: picture, boxes and camera in, :class:`Observations` out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.engines.engine import Engine, Network, NetworkInput, compile_network, network_key
from kinestream.geometry.camera import Camera
from kinestream.geometry.compiled_rotation import matrix_from_sixd, quat_from_matrix
from kinestream.geometry.crop import CropTransform
from kinestream.kernels.array_types import Float32Array, Float64Array, RgbImage
from kinestream.networks.interface import BodyState, Inference, RegressorConfig
from kinestream.networks.weight_files import configured, fill, read_header, read_weights
from kinestream.regress.observation import Observations
from kinestream.regress.preprocessing import VirtualView, covariance_to_pixels, to_pixels, view_of_crops
from kinestream.regress.shipped import weights_of

if TYPE_CHECKING:  # made only where an engine has to be built
    from torch import Tensor, nn

    from kinestream.regress.network import RegressorNetwork

REGRESSOR_FORMAT: Final = "kinestream.regressor.v1"
INFERENCE_FORM: Final = Inference._make([*Inference._fields[:-1], BodyState._make(BodyState._fields)])
"""The form of what engines return, names for arrays."""

_NETWORK_CODE: Final = (
    *("networks/backbone", "networks/interface", "networks/weight_files"),
    *("regress/heads", "regress/lifter", "regress/network", "regress/state_head"),
)
"""Modules that define the network."""
MIN_BOX_PX: Final = 4.0
"""Boxes are enlarged to at least this side, so that no input can break the crop."""

KEYPOINT_SUPPORT: Final = 0.4
"""A person of whom keypoints are seen with less confidence than this on average is less present.

On 133 photos without people, boxes of the detector at score 0.3 passed presence 0.5 in 45 % of the photos by
the presence head alone, and in 14 % with this support."""


def load_network(model: str | Path | None = None) -> RegressorNetwork:
    """The network with its weights, for evaluation; ``model`` as in `kinestream.regress.shipped.weights_of`.

    Raises ``FileNotFoundError`` or ``ValueError``, of which
    :class:`kinestream.networks.weight_files.WeightsError` is one.
    """
    from kinestream.regress.network import RegressorNetwork

    path = weights_of(model)
    file = read_weights(path, kind=REGRESSOR_FORMAT)
    network = RegressorNetwork(configured(RegressorConfig, file.config, path=path))
    fill(network, file.arrays, path=path)
    return network.eval().requires_grad_(False)


def inference_network(model: str | Path | None = None) -> tuple[Network, RegressorConfig]:
    """What engines run of a regressor, and its configuration; raises as :func:`load_network`."""
    path = weights_of(model)
    config = configured(RegressorConfig, read_header(path, kind=REGRESSOR_FORMAT).config, path=path)

    def make() -> nn.Module:
        from kinestream.regress.network import InferenceNetwork

        return InferenceNetwork(load_network(path)).eval()

    key = network_key(path, *_NETWORK_CODE)
    return Network(make, network_inputs(config), INFERENCE_FORM, key, path), config


def network_inputs(config: RegressorConfig) -> tuple[NetworkInput, ...]:
    """The arguments of a regressor's network: crops, maps to the virtual camera, log half extents."""
    shape = (1, 3, config.crop_px, config.crop_px)
    crop = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    extent = np.full(1, -1.2, np.float32)
    return NetworkInput(crop), NetworkInput(np.eye(3, dtype=np.float32)[None]), NetworkInput(extent)


class Regressor:
    """Observes the person in every box of a picture. Not thread-safe where the network is not."""

    def __init__(self, network: Engine | Callable[..., Inference], config: RegressorConfig) -> None:
        """Take an engine that runs an inference network, or what does as well."""
        self.config = config
        self._network = network
        self.engine = getattr(network, "name", "torch")
        matrix_from_sixd(np.zeros((1, 6)))  # compile now, not at the first person

    @classmethod
    def load(cls, model: str | Path | None = None, *, engine: str = "torch") -> Regressor:
        """The regressor; ``model`` as in `kinestream.regress.shipped.weights_of`.

        Raises as :func:`load_network` and :func:`kinestream.engines.engine.compile_network` do.
        """
        network, config = inference_network(model)
        return cls(compile_network(network, engine=engine), config)

    @property
    def latent_size(self) -> int:
        """Dimension D of the pose latent."""
        return self.config.latent_size

    def __call__(
        self,
        image_rgb: RgbImage,
        boxes_xyxy_px: npt.ArrayLike,
        camera: Camera,
        quarter_turns: npt.ArrayLike | None = None,
    ) -> Observations:
        """Observe the persons in boxes (P, 4) of an image (H, W, 3) that ``camera`` took.

        With ``quarter_turns`` (P,) each crop is turned clockwise in the picture by so many, for people who
        are not upright there (see `kinestream.regress.upright`). Raises ``ValueError`` when image, boxes,
        turns and camera do not fit together.
        """
        boxes = _checked_boxes(image_rgb, boxes_xyxy_px, camera)
        turns = np.zeros(len(boxes)) if quarter_turns is None else np.asarray(quarter_turns, np.float64)
        if turns.shape != (len(boxes),):
            raise ValueError(f"expected a quarter turn for each of {len(boxes)} boxes, found {turns.shape}")
        if not len(boxes):
            return Observations.of_nobody(self.latent_size)
        crops = [self._crop_of(*pair) for pair in zip(boxes, turns.tolist(), strict=True)]
        view = view_of_crops(crops, [camera] * len(crops))
        images = np.stack([crop.extract(image_rgb) for crop in crops])
        output: Inference = self._network(
            images.transpose(0, 3, 1, 2), _float32(view.to_virtual), _float32(view.log_extent)
        )
        return observations(output, crops, view)

    def _crop_of(self, box: Float64Array, quarter_turns: float) -> CropTransform:
        return CropTransform.around_box(
            box,
            crop_px=self.config.crop_px,
            margin=self.config.crop_margin,
            angle_rad=quarter_turns * (math.pi / 2),
        )


def observations(output: Inference, crops: list[CropTransform], view: VirtualView) -> Observations:
    """The network's answer for P crops, turned from the virtual cameras into the real one."""
    state = output.state
    turn = view.rotation
    root = turn @ matrix_from_sixd(_float64(state.root_sixd))
    translation, translation_std = _translation(
        _float64(state.pelvis), np.exp(_float64(state.pelvis_log_std)), view.half_extent, turn
    )
    keypoints = np.empty((len(crops), NUM_KEYPOINTS, 3))
    covariances = np.empty_like(keypoints)
    answers = zip(crops, _float64(output.points), _float64(output.covariance), strict=True)
    for row, (crop, points, covariance) in enumerate(answers):
        keypoints[row, :, :2] = to_pixels(points, crop)
        covariances[row] = covariance_to_pixels(covariance, crop)
    keypoints[..., 2] = _sigmoid(_float64(output.confidence_logit))
    return Observations(
        presence=_float32(_presence(_float64(output.presence_logit), keypoints[..., 2])),
        keypoints_px=_float32(keypoints),
        covariance_px2=_float32(covariances),
        z=_float32(_float64(state.z)),
        z_std=_float32(np.exp(_float64(state.z_log_std))),
        root_quat_wxyz=quat_from_matrix(root),
        root_std_rad=_float32(np.exp(_float64(state.root_log_std)[:, 0])),
        translation_m=_float32(translation),
        translation_std_m=_float32(translation_std),
        betas=_float32(_float64(state.betas)),
        betas_std=_float32(np.exp(_float64(state.betas_log_std))),
    )


def _presence(logits: Float64Array, confidence: Float64Array) -> Float64Array:
    """The presence head's probability (P,), lowered where hardly any keypoint is seen."""
    support: Float64Array = np.minimum(confidence.mean(1) / KEYPOINT_SUPPORT, 1.0)
    return _sigmoid(logits) * support


def _translation(
    code: Float64Array, std: Float64Array, extent: Float64Array, turn: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Pelvis (P, 3) in the real camera and its standard deviation along the real axes, to first order."""
    depth = np.exp(np.clip(code[:, 2:], -4.0, 5.0)) / extent[:, None]
    plane = code[:, :2] * extent[:, None]
    rays = np.concatenate([plane, np.ones_like(depth)], 1)
    sideways = np.zeros((len(code), 3, 3))
    sideways[:, 0, 0] = std[:, 0] * extent * depth[:, 0]
    sideways[:, 1, 1] = std[:, 1] * extent * depth[:, 0]
    sideways[:, :, 2] = rays * depth * std[:, 2:]  # an error of log depth moves along the ray
    spread: Float64Array = np.linalg.norm(turn @ sideways, axis=-1)
    return (turn @ (rays * depth)[..., None])[..., 0], spread


def _checked_boxes(image_rgb: RgbImage, boxes_xyxy_px: npt.ArrayLike, camera: Camera) -> Float64Array:
    boxes = np.asarray(boxes_xyxy_px, np.float64).reshape(-1, 4)
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ValueError(f"expected an RGB image (H, W, 3) uint8, found {image_rgb.shape} {image_rgb.dtype}")
    if image_rgb.shape[:2] != (camera.height_px, camera.width_px):
        raise ValueError(
            f"the image is {image_rgb.shape[1]}x{image_rgb.shape[0]} px, but the camera "
            f"{camera.width_px}x{camera.height_px} px; use camera.resized(width, height)"
        )
    if not np.isfinite(boxes).all():
        raise ValueError(f"expected finite boxes (x0, y0, x1, y1), found {boxes.tolist()}")
    center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    half = np.maximum(size, MIN_BOX_PX) / 2
    return np.concatenate([center - half, center + half], 1)


def _sigmoid(logits: Float64Array) -> Float64Array:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))


def _float64(values: Tensor) -> Float64Array:
    """An array where an engine returned it; the type is that of networks."""
    return np.asarray(values, np.float64)


def _float32(values: npt.ArrayLike) -> Float32Array:
    return np.asarray(values, np.float32)
