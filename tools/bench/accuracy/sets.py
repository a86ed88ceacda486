"""What is measured on each set, and how.

* ``rendered``: crops of unseen rendered people on panoramas. MPJPE (root-aligned) and PA-MPJPE (after a
  similarity) over 24 joints; PVE (vertices, root-aligned); mean IoU of the parts that occur; share of the
  truth within the central 90 % of the stated deviations, for latents, pelvis and shape; PCK@0.2 of the torso
  (shoulder to opposite hip), keypoints in the crop only. Crops are spoiled as in training: a fifth is covered
  in part, most are blurred, compressed or discoloured; "unspoiled" are the same people without that. All by
  one look of the network into the crop as it is; "still" and "body_keypoints" as below.
* ``lspet``: 12 limb joints of the validation list, PCK@0.2 of the labelled torso. The crop is the whole
  photo (which was cut around the person). "all" counts a photo without presence as wrong; photos without a
  labelled torso are not scored. Of the heat maps as in video, and ("still") as the tracker publishes them of
  pictures that stand alone: in two looks, in the mirror image as well. The first is wider than that crop, as
  of anybody who was detected and fills the picture. "body" are the
  joints of the body that it fits to those, "body_keypoints" its points on the surface that the heat maps
  look for.
* ``bodypose3d``: 12 joints of one man in calibrated video, boxes from the projected reference. The unit of
  the reference is unknown, so it is moved onto the prediction by a similarity; errors are in our millimetres.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.geometry.rotation import matrix_from_quat, matrix_from_sixd
from kinestream.kernels.array_types import RgbImage
from kinestream.latent.flow import PoseFlow
from kinestream.models import Models
from kinestream.networks.interface import BodyState
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.observation import Observations
from kinestream.regress.regressor import Regressor
from kinestream.regress.upright import Observer, observe_upright
from kinestream.tools.bench.accuracy.stills import StillPeople
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool
from kinestream.trainer.data.crops.crop_sample import CropSample, collate
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS, LIMB_KEYPOINTS, load_lspet
from kinestream.trainer.losses.body import BodyLoss, BodyTarget, with_hands
from kinestream.trainer.losses.parts import part_iou
from kinestream.trainer.metrics import INTERVAL_STDS, aligned_error, root_error

FloatArray = npt.NDArray[np.float64]

PRESENCE = 0.5
PCK_SHARE = 0.2
_SEED = 2024
_BATCH = 64
_LIMBS = [JOINT_NAMES.index(name) for name in LIMB_JOINTS]
_TORSO = tuple(
    (KEYPOINT_NAMES.index(a), KEYPOINT_NAMES.index(b))
    for a, b in (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))
)


@torch.no_grad()
def rendered(
    network: RegressorNetwork,
    models: Models,
    pool: Path,
    data: Path,
    flow: PoseFlow,
    body: BodyModel,
    *,
    limit: int | None,
) -> dict[str, Any]:
    """Errors on every person of a crop pool, each drawn once with a fixed seed."""
    samples = _crops(network, pool, data, limit)
    loss = BodyLoss(flow, body)
    names = ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "right", "part_iou", "z", "pelvis", "betas")
    errors: dict[str, list[FloatArray]] = {name: [] for name in names}
    for first in range(0, len(samples), _BATCH):
        batch = collate(samples[first : first + _BATCH])
        output = network(batch.images, batch.to_virtual, batch.log_extent)
        state = BodyState(*output.state)
        posed_truth = body(batch.betas, with_hands(batch.rotations), batch.translation_m)
        true = posed_truth.joints_m
        guess = loss.surface(state, matrix_from_sixd(state.root_sixd), batch.log_extent)
        gap = (guess.vertices_m - guess.joints_m[:, :1]) - (posed_truth.vertices_m - true[:, :1])
        errors["pve_mm"].append(1000 * gap.norm(dim=-1).mean(1).numpy().astype(np.float64))
        errors["part_iou"].append(np.array([float(part_iou(output.parts, batch.parts))]))
        labels = ("rotations", "translation_m", "betas", "log_extent")
        target = BodyTarget(flow, body, **{name: getattr(batch, name) for name in labels})
        for name, share in _within(state, target).items():
            errors[name].append(share)
        errors["mpjpe_mm"].append(1000 * root_error(guess.joints_m.numpy(), true.numpy()))
        errors["pa_mpjpe_mm"].append(1000 * aligned_error(guess.joints_m.numpy(), true.numpy()))
        errors["right"].append(_right(output.points.numpy(), batch.keypoints.numpy()))
    unspoiled = _crops(network, pool, data, limit, spoiled=False)
    plain: list[FloatArray] = []
    for first in range(0, len(unspoiled), _BATCH):
        batch = collate(unspoiled[first : first + _BATCH])
        points = network(batch.images, batch.to_virtual, batch.log_extent).points
        plain.append(_right(points.numpy(), batch.keypoints.numpy()))
    mean = {name: float(np.concatenate(parts).mean()) for name, parts in errors.items()}
    return {
        "crops": len(samples),
        **{name: mean[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "part_iou")},
        "pck_0.2_percent": 100 * mean["right"],
        "pck_0.2_unspoiled_percent": 100 * float(np.concatenate(plain).mean()),
        **_rendered_stills(models, samples, network.config.crop_margin),
        **{f"{name}_within_90_percent": 100 * mean[name] for name in ("z", "pelvis", "betas")},
    }


def _rendered_stills(models: Models, samples: Sequence[CropSample], crop_margin: float) -> dict[str, float]:
    """PCK of what the tracker publishes of crops as pictures that stand alone."""
    still = StillPeople(models)
    right: dict[str, list[FloatArray]] = {"still_": [], "body_keypoints_": []}
    for sample in samples:
        side = len(sample.image)
        truth = sample.keypoints.astype(np.float64)
        truth[:, :2] = (truth[:, :2] + 1) * (side / 2) - 0.5
        found = still(sample.image, whole_picture(side, side, crop_margin))
        found_px = dict.fromkeys(right, np.full((len(truth), 2), np.inf))
        for person in found:
            found_px["still_"] = person.keypoints_px[:, :2]
            found_px["body_keypoints_"] = found.camera.project(person.keypoints_cam_m)
        for name, points in found_px.items():
            right[name].append(_right(points[None], truth[None]))
    share = {name: float(np.concatenate(rows).mean()) for name, rows in right.items()}
    return {f"{name}pck_0.2_percent": 100 * value for name, value in share.items()}


def _crops(
    network: RegressorNetwork, pool: Path, data: Path, limit: int | None, *, spoiled: bool = True
) -> list[CropSample]:
    """Every person of a pool once, with a fixed seed."""
    backdrops = Backdrops.load(data / "backgrounds" / "hdri")
    source = CropPool(pool, backdrops, crop_px=network.config.crop_px, spoiled=spoiled)
    rng = np.random.default_rng(_SEED)
    return [source.crop(row, rng) for row in range(min(len(source), limit or len(source)))]


def _right(points_px: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> FloatArray:
    """Of every keypoint in its crop 1 where it is near the true one (N, 23, 3), else 0."""
    known = truth[..., 2] > 0
    true_px = truth[..., :2].astype(np.float64)
    torso_px = np.mean([np.linalg.norm(true_px[:, a] - true_px[:, b], axis=1) for a, b in _TORSO], axis=0)
    near = np.linalg.norm(points_px - true_px, axis=-1) < PCK_SHARE * torso_px[:, None]
    return near[known].astype(np.float64)


def _within(state: BodyState, target: BodyTarget) -> dict[str, FloatArray]:
    """Which true values lie within the central 90 % interval of the stated deviations."""
    found = {}
    for name in ("z", "pelvis", "betas"):
        error, log_std = getattr(state, name) - getattr(target, name), getattr(state, f"{name}_log_std")
        within = error.abs() <= INTERVAL_STDS * log_std.exp()
        found[name] = within.flatten().numpy().astype(np.float64)
    return found


def lspet(models: Models, folder: Path, *, limit: int | None) -> dict[str, Any]:
    """PCK@0.2 on the validation list, per joint and in all, each photo as the tracker sees a first one."""
    regressor, still = models.regressor, StillPeople(models)
    assert isinstance(regressor, Regressor)
    near: dict[str, list[npt.NDArray[np.bool_]]] = {
        name: [] for name in ("", "still_", "body_", "body_keypoints_")
    }
    labelled: list[npt.NDArray[np.bool_]] = []
    present: list[bool] = []
    for photo in load_lspet(folder)[:limit]:
        torso_px = photo.torso_px
        if torso_px is None:
            continue
        image, box, camera = whole_photo(photo.path, regressor.config.crop_margin)
        seen = observe_upright(regressor, image, [box], camera).seen
        found = still(image, box)
        found_px = dict.fromkeys(near, np.full((len(LIMB_JOINTS), 2), np.inf))
        found_px[""] = seen.keypoints_px[0, list(LIMB_KEYPOINTS), :2]
        for person in found:
            found_px["still_"] = person.keypoints_px[list(LIMB_KEYPOINTS), :2]
            found_px["body_"] = found.camera.project(person.joints_cam_m[_LIMBS])
            found_px["body_keypoints_"] = found.camera.project(person.keypoints_cam_m[list(LIMB_KEYPOINTS)])
        for name, points in found_px.items():
            near[name].append(np.linalg.norm(points - photo.joints_px, axis=1) < PCK_SHARE * torso_px)
        labelled.append(photo.labelled)
        present.append(bool(seen.presence[0] >= PRESENCE))
    known, there = np.array(labelled), np.array(present)
    result: dict[str, Any] = {"photos": len(there), "found_percent": 100 * float(there.mean())}
    for name, rows in near.items():
        hit = np.array(rows)
        result[f"{name}pck_0.2_all_percent"] = 100 * float((hit & there[:, None])[known].mean())
        result[f"{name}pck_0.2_without_presence_percent"] = 100 * float(hit[known].mean())
    all_hits = np.array(near[""]) & there[:, None]
    for column, name in enumerate(LIMB_JOINTS):
        result[f"{name}_percent"] = 100 * float(all_hits[:, column][known[:, column]].mean())
    return result


def whole_photo(path: Path, crop_margin: float) -> tuple[RgbImage, list[float], Camera]:
    """A photo (H, W, 3), the box of which a crop of such a margin shows all of it, and a camera for it."""
    image = decode(packed_image(path))
    height, width = image.shape[:2]
    return image, whole_picture(width, height, crop_margin), Camera.from_fov(width, height)


def whole_picture(width_px: int, height_px: int, crop_margin: float) -> list[float]:
    """The box (4,) of which a crop of such a margin shows all of a picture."""
    half = max(width_px, height_px) / 2 / crop_margin
    return [width_px / 2 - half, height_px / 2 - half, width_px / 2 + half, height_px / 2 + half]


def bodypose3d(
    regressor: Observer, folder: Path, flow: PoseFlow, body: BodyModel, *, limit: int | None
) -> dict[str, Any]:
    """Similarity-aligned error against the triangulated reference."""
    in_camera, names, intrinsics = bodypose3d_reference(folder)
    rows = [KEYPOINT_NAMES.index(name) for name in names]
    errors, pixels = [], []
    for index, image in enumerate(video_frames(folder / "cam0.mp4")):
        if index >= min(len(in_camera), limit or len(in_camera)):
            break
        camera = bodypose3d_camera(image, intrinsics)
        true_px = camera.project(in_camera[index])
        box = np.concatenate([true_px.min(0), true_px.max(0)])
        seen = regressor(image, [box], camera)
        _, keypoints = posed(seen, flow, body)
        errors.append(1000 * aligned_error(in_camera[index], keypoints[0, rows]))
        extent = float((box[2:] - box[:2]).max())
        pixels.append(np.linalg.norm(seen.keypoints_px[0, rows, :2] - true_px, axis=1).mean() / extent)
    return {
        "frames": len(errors),
        "pa_mpjpe_mm": float(np.mean(errors)),
        "pa_mpjpe_median_mm": float(np.median(errors)),
        "keypoint_error_percent_of_box": 100 * float(np.mean(pixels)),
    }


def bodypose3d_reference(folder: Path) -> tuple[FloatArray, list[str], FloatArray]:
    """Joints (T, 12, 3) in the camera frame, in the reference's own unit, their names, and K (3, 3)."""
    record = json.loads((folder / "cameras.json").read_text(encoding="utf-8"))["cameras"]["cam0"]
    with np.load(folder / "joints3d.npz", allow_pickle=False) as content:
        reference, names = content["joints3d"].astype(np.float64), content["names"].tolist()
    in_camera = reference @ np.array(record["R"], np.float64).T + np.array(record["t"], np.float64).reshape(3)
    return in_camera, names, np.array(record["K"], np.float64)


def bodypose3d_camera(image: RgbImage, intrinsics: FloatArray) -> Camera:
    """The camera of a picture (H, W, 3) with K (3, 3)."""
    focal, centre = intrinsics[[0, 1], [0, 1]].tolist(), intrinsics[:2, 2].tolist()
    return Camera(image.shape[1], image.shape[0], tuple(focal), tuple(centre))


@torch.no_grad()
def posed(seen: Observations, flow: PoseFlow, body: BodyModel) -> tuple[FloatArray, FloatArray]:
    """Joints (P, 24, 3) and keypoints (P, 23, 3) in metres, camera frame, of observed bodies."""
    root = torch.from_numpy(matrix_from_quat(seen.root_quat_wxyz))[:, None]
    rotations = torch.cat([root, flow.decode(torch.from_numpy(seen.z))], 1)
    joints, keypoints = body.skeleton(
        torch.from_numpy(seen.betas), with_hands(rotations), torch.from_numpy(seen.translation_m)
    )
    return joints.numpy().astype(np.float64), keypoints.numpy().astype(np.float64)


def video_frames(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Every picture (H, W, 3) RGB of a video."""
    with av.open(f"file:{path}") as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
