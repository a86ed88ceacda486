"""Accuracy of state heads on people nobody trained on, from evidence that the network gives once.

The network runs once on every set, in half precision; a head is then measured in a second or two, frame by
frame, without filter, with or without the measurement update by the network's keypoints. Joints are the
body's own, not surface keypoints.

* ``opencap``: PA-MPJPE as in :mod:`kinestream.tools.bench.accuracy.opencap`, mean over all frames of its
  trials, in the boxes of the detector (the best of each frame, every ``OPENCAP_STRIDE``-th frame of a video).
* ``bodypose3d``: PA-MPJPE as in :mod:`kinestream.tools.bench.accuracy.sets`, of the body's keypoints.
* ``lspet``: PCK@0.2 of the body's projected joints on the validation list, presence left out; the heat maps'
  beside it. Crops are turned with people who are not upright, as in the tracker.
* ``clothing``: overlap (mean IoU of person, head and feet) of the drawn body with the clothing masks of ccp.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, PART_NAMES
from kinestream.detect.detector import PersonDetector
from kinestream.engines.torch import TorchEngine
from kinestream.filtering.base import KeypointEvidence, PersonState
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.geometry.camera import Camera
from kinestream.geometry.crop import CropTransform
from kinestream.geometry.rotation import matrix_from_quat
from kinestream.kernels.array_types import Float64Array, RgbImage
from kinestream.latent.flow import PoseFlow
from kinestream.networks.interface import Inference
from kinestream.regress.network import InferenceNetwork, RegressorNetwork
from kinestream.regress.observation import Observations
from kinestream.regress.preprocessing import view_of_crops
from kinestream.regress.regressor import Regressor, observations
from kinestream.regress.state_head import Evidence, StateHead
from kinestream.regress.upright import observe_upright
from kinestream.tools.bench.accuracy import opencap, sets
from kinestream.tools.part_fitting.scenes import Bodies, render_parts
from kinestream.trainer.data.crops.crop_sample import PART_PERSON, PART_UNKNOWN
from kinestream.trainer.data.photos.clothing import clothing_map, label_table
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS, LIMB_KEYPOINTS, load_lspet
from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.data.photos.unlabelled import CLEAN_MARGIN
from kinestream.trainer.losses.body import with_hands
from kinestream.trainer.metrics import aligned_error

OPENCAP_STRIDE: Final = 3
CLOTHING_STRIDE: Final = 8
_BATCH: Final = 32
_MAP_PX: Final = 96
_OVERLAPS: Final = ("head", "l_foot", "r_foot")
_LIMBS: Final = [JOINT_NAMES.index(name) for name in LIMB_JOINTS]


@dataclass
class RecordedCrops:
    """Persons in pictures, and what a network gives of them."""

    bfloat16: bool = True
    crops: list[CropTransform] = field(default_factory=list)
    cameras: list[Camera] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    _covariances: list[Tensor] = field(default_factory=list)
    _waiting: list[RgbImage] = field(default_factory=list)

    def add(
        self, network: RegressorNetwork, image: RgbImage, box: Any, camera: Camera, quarter_turns: int = 0
    ) -> None:
        """Take the person in a box (4,) px of a picture of ``camera``, in a crop turned clockwise there."""
        config = network.config
        angle = quarter_turns * (math.pi / 2)
        crop = CropTransform.around_box(
            box, crop_px=config.crop_px, margin=config.crop_margin, angle_rad=angle
        )
        self.crops.append(crop)
        self.cameras.append(camera)
        self._waiting.append(crop.extract(image))
        if len(self._waiting) == _BATCH:
            self.finish(network)

    @torch.no_grad()
    def finish(self, network: RegressorNetwork) -> "RecordedCrops":
        """Run the network on what it has not seen yet."""
        if self._waiting:
            images = torch.from_numpy(np.stack(self._waiting)).permute(0, 3, 1, 2)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                seen = network.encode(images)
            self.evidence.append(Evidence(*[part.float() for part in seen.evidence]))
            self._covariances.append(seen.covariance.float())
            self._waiting.clear()
        return self

    @torch.no_grad()
    def observed(self, head: StateHead, update: KeypointUpdate | None = None) -> Observations:
        """What the regressor would say with this head, after the measurement update if there is one."""
        view = view_of_crops(self.crops, self.cameras)
        evidence = Evidence(*[torch.cat(parts) for parts in zip(*self.evidence, strict=True)])
        place = [torch.from_numpy(array).float() for array in (view.to_virtual, view.log_extent)]
        presence = torch.zeros(len(self.crops))
        state = head.eval()(evidence, *place)
        output = Inference(*evidence[:2], torch.cat(self._covariances), presence, state)
        seen = observations(output, self.crops, view)
        return seen if update is None else self._updated(seen, update)

    def _updated(self, seen: Observations, update: KeypointUpdate) -> Observations:
        states = []
        for row, (crop, camera) in enumerate(zip(self.crops, self.cameras, strict=True)):
            evidence = KeypointEvidence.of(seen, row, camera, crop.side_px / CLEAN_MARGIN)
            state = PersonState.from_observations(seen, row)
            states.append(update(state, evidence, deviations=False).state)
        names = ("z", "root_quat_wxyz", "translation_m", "betas")
        return replace(seen, **{name: np.stack([getattr(one, name) for one in states]) for name in names})


Measure = Callable[[Observations], dict[str, float]]


class HeadSets:
    """The recorded sets of one network; call with a head for its metrics by set."""

    def __init__(self, network: RegressorNetwork, data: Path, flow: PoseFlow, body: BodyModel) -> None:
        """Run ``network`` on the sets that are in the data folder."""
        self._flow, self._body = flow, body
        self._sets: list[tuple[str, RecordedCrops, Measure]] = []
        for name, folder in (
            ("opencap", data / "bench" / "opencap"),
            ("bodypose3d", data / "bench" / "bodypose3d"),
            ("lspet", data / "images" / "lspet"),
            ("clothing", data / "images" / "ccp"),
        ):
            if folder.is_dir():
                getattr(self, f"_record_{name}")(network, folder)

    def __call__(self, head: StateHead, update: KeypointUpdate | None = None) -> dict[str, dict[str, float]]:
        """Metrics by set; frames of a set's trials count alike."""
        found: dict[str, list[dict[str, float]]] = {}
        for name, crops, measure in self._sets:
            found.setdefault(name, []).append(measure(crops.observed(head, update)))
        return {name: _mean(trials) for name, trials in found.items()}

    def _joints(self, seen: Observations) -> tuple[Float64Array, Float64Array]:
        return sets.posed(seen, self._flow, self._body)

    def _record_opencap(self, network: RegressorNetwork, folder: Path) -> None:
        detector = PersonDetector.load()
        for path in sorted(folder.glob("*.npz")):
            truth_s, truth, names = opencap.trial(path)
            crops, times_s = RecordedCrops(), []
            rate = _frame_rate(path.with_suffix(".mp4"))
            for index, image in enumerate(sets.video_frames(path.with_suffix(".mp4"))):
                boxes = detector(image).boxes_xyxy_px if index % OPENCAP_STRIDE == 0 else ()
                if len(boxes):
                    camera = Camera.from_fov(image.shape[1], image.shape[0])
                    crops.add(network, image, boxes[0], camera)
                    times_s.append(index / rate)
            rows, at_s = [JOINT_NAMES.index(name) for name in names], np.array(times_s)

            def measure(
                seen: Observations,
                at_s: Float64Array = at_s,
                rows: list[int] = rows,
                truth: tuple[Any, ...] = (truth_s, truth, names),
            ) -> dict[str, float]:
                found = opencap.compared(at_s, self._joints(seen)[0][:, rows], *truth)
                return {"frames": found["frames"], "pa_mpjpe_mm": found["pa_mpjpe_mm"]}

            self._sets.append(("opencap", crops.finish(network), measure))

    def _record_bodypose3d(self, network: RegressorNetwork, folder: Path) -> None:
        in_camera, names, intrinsics = sets.bodypose3d_reference(folder)
        rows = [KEYPOINT_NAMES.index(name) for name in names]
        crops = RecordedCrops()
        for image, true in zip(sets.video_frames(folder / "cam0.mp4"), in_camera, strict=False):
            camera = sets.bodypose3d_camera(image, intrinsics)
            true_px = camera.project(true)
            crops.add(network, image, np.concatenate([true_px.min(0), true_px.max(0)]), camera)
        truth = in_camera[: len(crops.crops)]

        def measure(seen: Observations) -> dict[str, float]:
            errors = aligned_error(truth, self._joints(seen)[1][:, rows])
            return {"frames": len(errors), "pa_mpjpe_mm": 1000 * float(errors.mean())}

        self._sets.append(("bodypose3d", crops.finish(network), measure))

    def _record_lspet(self, network: RegressorNetwork, folder: Path) -> None:
        photos = [photo for photo in load_lspet(folder) if photo.torso_px is not None]
        regressor = Regressor(TorchEngine(InferenceNetwork(network)), network.config)
        crops = RecordedCrops()
        for photo in photos:
            image, box, camera = sets.whole_photo(photo.path, network.config.crop_margin)
            turns = observe_upright(regressor, image, [box], camera).quarter_turns
            crops.add(network, image, box, camera, int(turns[0]))
        known = np.array([photo.labelled for photo in photos])
        truth = np.array([photo.joints_px for photo in photos])
        limit = sets.PCK_SHARE * np.array([photo.torso_px for photo in photos])[:, None]

        def measure(seen: Observations) -> dict[str, float]:
            joints = self._joints(seen)[0][:, _LIMBS]
            body_px = np.stack([c.project(j) for c, j in zip(crops.cameras, joints, strict=True)])
            heat_px = seen.keypoints_px[:, list(LIMB_KEYPOINTS), :2]
            right = [np.linalg.norm(points - truth, axis=-1) < limit for points in (body_px, heat_px)]
            body, heat = (100 * float(hits[known].mean()) for hits in right)
            return {
                "frames": len(photos),
                "pck_0.2_body_percent": body,
                "pck_0.2_heat_maps_percent": heat,
            }

        self._sets.append(("lspet", crops.finish(network), measure))

    def _record_clothing(self, network: RegressorNetwork, folder: Path) -> None:
        labels = PseudoLabels.load(folder.parent.parent / "pseudo" / f"{folder.name}.npz")
        table, crops, truth = label_table(folder / "classes.txt"), RecordedCrops(), []
        for row in range(0, len(labels), CLOTHING_STRIDE):
            path = folder / "images" / labels.files[row]
            keypoints = labels.keypoints[row]
            parts = clothing_map(folder / "masks" / f"{path.stem}.png", table, keypoints)
            image, _, camera = sets.whole_photo(path, 1.0)
            rows, columns = np.nonzero((parts > 0) & (parts != PART_UNKNOWN))
            box = [columns.min(), rows.min(), columns.max(), rows.max()]
            crops.add(network, image, box, camera)
            small = camera.resized(*_small(camera))
            size = (small.width_px, small.height_px)
            truth.append((cv2.resize(parts, size, interpolation=cv2.INTER_NEAREST), small))

        def measure(seen: Observations) -> dict[str, float]:
            overlaps = [
                _overlaps(map_of, parts)
                for map_of, (parts, _) in zip(self._drawn(seen, [c for _, c in truth]), truth, strict=True)
            ]
            return {"frames": len(truth), "part_iou": float(np.nanmean(overlaps))}

        self._sets.append(("clothing", crops.finish(network), measure))

    @torch.no_grad()
    def _drawn(self, seen: Observations, cameras: list[Camera]) -> list[Any]:
        root = torch.from_numpy(matrix_from_quat(seen.root_quat_wxyz))[:, None]
        pose = with_hands(torch.cat([root, self._flow.decode(torch.from_numpy(seen.z))], 1))
        bodies = Bodies(torch.from_numpy(seen.betas), pose, torch.from_numpy(seen.translation_m))
        maps = []
        for row, camera in enumerate(cameras):
            vertices = bodies.rows(torch.tensor([row])).posed(self._body).vertices_m
            maps.append(render_parts(self._body, vertices, camera)[0][0].numpy())
        return maps


def _overlaps(drawn: Any, parts: Any) -> list[float]:
    """IoU of the person, the head and the feet; nan where the mask has none.

    Of a part only where the mask tells parts apart: skin and clothes are the person's, of whatever part.
    """
    sure = parts != PART_UNKNOWN
    told = sure & (parts != PART_PERSON)
    pairs = [((drawn > 0) & sure, (parts > 0) & sure)]
    for name in _OVERLAPS:
        label = 1 + PART_NAMES.index(name)
        pairs.append(((drawn == label) & told, (parts == label) & told))
    return [float((a & b).sum() / (a | b).sum()) if b.any() else float("nan") for a, b in pairs]


def _mean(trials: list[dict[str, float]]) -> dict[str, float]:
    """Means over frames of several trials."""
    frames = np.array([trial["frames"] for trial in trials])
    names = [name for name in trials[0] if name != "frames"]
    means = {name: float(np.average([trial[name] for trial in trials], weights=frames)) for name in names}
    return {"frames": int(frames.sum())} | means


def _small(camera: Camera) -> tuple[int, int]:
    scale = _MAP_PX / max(camera.width_px, camera.height_px)
    return round(camera.width_px * scale), round(camera.height_px * scale)


def _frame_rate(video: Path) -> float:
    import av

    with av.open(f"file:{video}") as container:
        return float(container.streams.video[0].average_rate or 30)
