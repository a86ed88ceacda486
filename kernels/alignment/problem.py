"""Checked inputs of the alignment loss: every refusal happens here, before any kernel starts."""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from kinestream.kernels.alignment.robust import Robustifier

_INTEGER_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_FLOAT_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Problem:
    """What every backend receives: consistent shapes, one device, one floating dtype, map pixels as the unit.

    A vertex contributes only in front of the near plane (3-D) or where its point is finite (2-D).
    """

    vertices: Tensor  # (B,V,3) camera metres, or (B,V,2) points in map pixels
    map_camera: Tensor | None  # (B,2,3) upper rows of the intrinsics of the map; None for 2-D points
    part_ids: Tensor  # (V,) int64, 0 .. num_parts - 1
    visibility: Tensor  # (B,V) weights >= 0
    labels: Tensor  # (B,H,W) int64, 0 background, p + 1 for part p
    confidence: Tensor  # (B,H,W) weights >= 0
    sigma_px: Tensor  # (B,) scale of the robustifier in map pixels
    robustifier: Robustifier
    num_parts: int
    near_m: float


def make_problem(
    vertices: Tensor,
    part_ids: Tensor,
    part_map: Tensor,
    *,
    camera: Tensor | None,
    visibility: Tensor | None,
    confidence: Tensor | None,
    image_from_map: float | Tensor,
    sigma_px: float,
    robustifier: Robustifier,
    num_parts: int,
    near_m: float,
) -> Problem:
    """Check the arguments of `kinestream.kernels.alignment.alignment_loss` and bring them to map pixels.

    Raises TypeError for a wrong kind or dtype, ValueError for shapes, devices and values.
    """
    _require_tensors(vertices=vertices, part_ids=part_ids, part_map=part_map)
    if vertices.dtype not in _FLOAT_DTYPES:
        raise TypeError(f"vertices must be float32 or float64, found {vertices.dtype}; convert them first")
    if vertices.ndim != 3 or vertices.shape[2] not in (2, 3) or 0 in vertices.shape:
        raise ValueError(f"vertices must be a non-empty (B,V,3) or (B,V,2), found {tuple(vertices.shape)}")
    if num_parts < 1 or not sigma_px > 0 or not near_m > 0:
        raise ValueError(
            f"num_parts, sigma_px and near_m must be positive, found {num_parts}, {sigma_px} and {near_m}"
        )
    if robustifier not in get_args(Robustifier):
        raise ValueError(f"robustifier must be one of {get_args(Robustifier)}, found {robustifier!r}")

    batch, count = vertices.shape[:2]
    _check_part_ids(part_ids, count, num_parts, vertices.device)
    labels, weights = _labels_and_confidence(part_map, confidence, vertices, num_parts)
    scale, origin = _map_grid(image_from_map, vertices)
    projected_input = vertices
    map_camera = None
    if vertices.shape[2] == 3:
        map_camera = _map_camera(camera, vertices, scale, origin)
    elif camera is not None:
        raise ValueError("vertices are (B,V,2) points already projected: leave camera out, or give (B,V,3)")
    else:
        projected_input = (vertices - origin[:, None]) / scale[:, None, None]
    return Problem(
        vertices=projected_input,
        map_camera=map_camera,
        part_ids=part_ids.to(torch.int64),
        visibility=_weights("visibility", visibility, (batch, count), vertices),
        labels=labels,
        confidence=weights,
        sigma_px=sigma_px / scale,
        robustifier=robustifier,
        num_parts=num_parts,
        near_m=near_m,
    )


def _require_tensors(**tensors: object) -> None:
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, found {type(value).__name__}")


def _same_device(name: str, tensor: Tensor, device: torch.device) -> None:
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device} but vertices are on {device}; move one of them")


def _check_range(name: str, ids: Tensor, highest: int, meaning: str) -> None:
    if ids.numel() == 0:
        raise ValueError(f"{name} is empty, found shape {tuple(ids.shape)}")
    low, high = (int(bound) for bound in torch.aminmax(ids))
    if low < 0 or high > highest:
        raise ValueError(f"{name} must lie in 0..{highest} ({meaning}), found {low}..{high}")


def _check_part_ids(part_ids: Tensor, count: int, num_parts: int, device: torch.device) -> None:
    if part_ids.dtype not in _INTEGER_DTYPES:
        raise TypeError(f"part_ids must have an integer dtype, found {part_ids.dtype}")
    if tuple(part_ids.shape) != (count,):
        raise ValueError(f"part_ids must be ({count},), one for every vertex, found {tuple(part_ids.shape)}")
    _same_device("part_ids", part_ids, device)
    _check_range("part_ids", part_ids, num_parts - 1, "the part of a vertex")


def _labels_and_confidence(
    part_map: Tensor, confidence: Tensor | None, vertices: Tensor, num_parts: int
) -> tuple[Tensor, Tensor]:
    """Hard labels (B,H,W) with their weights, from hard ids or from logits (B,num_parts + 1,H,W)."""
    batch = vertices.shape[0]
    _same_device("part_map", part_map, vertices.device)
    if part_map.dtype in _INTEGER_DTYPES:
        if part_map.ndim != 3 or part_map.shape[0] != batch:
            raise ValueError(f"hard part_map must be ({batch},H,W), found {tuple(part_map.shape)}")
        _check_range("part_map", part_map, num_parts, "0 background, p + 1 for part p")
        weights = _weights("confidence", confidence, tuple(part_map.shape), vertices)
        return part_map.to(torch.int64), weights
    if part_map.dtype not in _FLOAT_DTYPES:
        raise TypeError(f"part_map must be integer ids or float32/float64 logits, found {part_map.dtype}")
    if part_map.ndim != 4 or part_map.shape[:2] != (batch, num_parts + 1) or part_map.numel() == 0:
        raise ValueError(
            f"part_map of logits must be ({batch},{num_parts + 1},H,W), found {tuple(part_map.shape)}"
        )
    if confidence is not None:
        raise ValueError("confidence comes out of the logits: give it with hard ids only")
    probability, labels = part_map.detach().softmax(1).max(1)
    return labels, probability.to(vertices.dtype)


def _weights(name: str, given: Tensor | None, shape: tuple[int, ...], vertices: Tensor) -> Tensor:
    """Per-element weights in the vertices' dtype; ones when nothing is given."""
    if given is None:
        return torch.ones(shape, dtype=vertices.dtype, device=vertices.device)
    _require_tensors(**{name: given})
    if given.dtype not in (*_FLOAT_DTYPES, torch.bool):
        raise TypeError(f"{name} must be bool, float32 or float64, found {given.dtype}")
    if tuple(given.shape) != shape:
        raise ValueError(f"{name} must be {shape}, found {tuple(given.shape)}")
    _same_device(name, given, vertices.device)
    weights = given.detach().to(vertices.dtype)
    if not bool((weights >= 0).all()):
        raise ValueError(f"{name} holds weights and must be >= 0 everywhere, found negative or NaN values")
    return weights


def _map_grid(image_from_map: float | Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """Scale (B,) and origin (B,2): image = scale * map + origin, pixel centres at integers in both."""
    batch, dtype, device = vertices.shape[0], vertices.dtype, vertices.device
    if isinstance(image_from_map, Tensor):
        _same_device("image_from_map", image_from_map, device)
        if tuple(image_from_map.shape) not in ((3,), (batch, 3)):
            raise ValueError(
                f"image_from_map must be a number or (scale, x0, y0) as (3,) or ({batch},3), "
                f"found {tuple(image_from_map.shape)}"
            )
        grid = image_from_map.detach().to(dtype).expand(batch, 3)
    else:
        offset = (image_from_map - 1.0) / 2.0  # the corners of both grids coincide
        grid = torch.tensor([image_from_map, offset, offset], dtype=dtype, device=device).expand(batch, 3)
    if not bool(torch.isfinite(grid).all()) or not bool((grid[:, 0] > 0).all()):
        raise ValueError(f"image_from_map must be finite with a positive scale, found {image_from_map}")
    return grid[:, 0], grid[:, 1:]


def _map_camera(camera: Tensor | None, vertices: Tensor, scale: Tensor, origin: Tensor) -> Tensor:
    """The upper two rows of the intrinsics that project onto the map's pixels, (B,2,3), differentiable."""
    batch = vertices.shape[0]
    if camera is None:
        raise ValueError("vertices are (B,V,3) camera metres: give camera, their intrinsics K (B,3,3)")
    _require_tensors(camera=camera)
    if camera.dtype != vertices.dtype:
        raise TypeError(f"camera is {camera.dtype} but vertices are {vertices.dtype}; convert one of them")
    if tuple(camera.shape) not in ((3, 3), (batch, 3, 3)):
        raise ValueError(f"camera must be (3,3) or ({batch},3,3), found {tuple(camera.shape)}")
    _same_device("camera", camera, vertices.device)
    upper = camera.expand(batch, 3, 3)[:, :2]
    shift = torch.zeros_like(upper)
    shift[:, :, 2] = origin
    return (upper - shift) / scale[:, None, None]
