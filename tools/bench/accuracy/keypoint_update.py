"""What the measurement update by keypoints is worth: every set with and without it.

    python -m kinestream.tools.bench.accuracy.keypoint_update --data DATA [--model medium] [--flip-test]
        [--engine auto] [--out FILE]

* ``clip``: the whole tracker on the embedded clip, exact truth, 24 joints, each filter; coverage is the share
  of joints whose error along the ray from the camera lies within the central 90 % of the stated deviation.
  With the default filter also smoothed by what follows (``--smooth-lag-ms``), and its forecasts around the
  pelvis beside holding its last estimate.
* ``opencap``: marker-based truth of recorded clips, see `kinestream.tools.bench.accuracy.opencap`; without
  filter, with the default one, and with that and fixed-lag smoothing.
* ``bodypose3d``: one man, reference from two views, true boxes, single frames, PA-MPJPE of 12 keypoints.
* ``agreement``: the whole tracker with the default filter on the clips of ``DATA/clips``: distance of the
  body's keypoints in the picture to those the network found (confidence 0.3 or more), in percent of the
  longer side of the person's box.
* ``time``: one look of one person, update and filter, on one thread, beside the filter alone.

Nothing is tuned on any of these.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.capture import open_source
from kinestream.defaults import DEFAULT_ENGINE, DEFAULT_FILTER, DEFAULT_MODEL
from kinestream.filtering import FILTERS, PersonState
from kinestream.filtering.base import KeypointEvidence
from kinestream.filtering.keypoint_filter import KeypointFilter
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.geometry.camera import Camera
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame
from kinestream.regress.observation import Observations
from kinestream.tools import options
from kinestream.tools.bench import clip as clip_bench
from kinestream.tools.bench.accuracy.opencap import opencap
from kinestream.tools.bench.accuracy.sets import bodypose3d_reference, posed, video_frames
from kinestream.tools.bench.timing import measure_paired, write_report
from kinestream.tools.metrics.clip import CLIP, ClipTruth
from kinestream.trainer.metrics import INTERVAL_STDS, aligned_error

FloatArray = npt.NDArray[np.float64]
SETS = ("clip", "opencap", "bodypose3d", "agreement", "time")
CLIPS = ("phalp_vid", "mmhuman3d_single", "mmhuman3d_multi", "intel_one_by_one")
SEEN_CONFIDENCE = 0.3
SMOOTH_LAG_MS = 400.0
"""Of the rows with fixed-lag smoothing."""
LEADS_MS = (100, 300)
TRACKING: Final[dict[str, dict[str, Any]]] = {
    "as observed": {"keypoint_update": False},
    "updated": {},
    f"{DEFAULT_FILTER}, updated": {"filter": DEFAULT_FILTER},
    f"{DEFAULT_FILTER}, updated, {SMOOTH_LAG_MS:.0f} ms later": {
        "filter": DEFAULT_FILTER,
        "smooth_lag_ms": SMOOTH_LAG_MS,
    },
}
"""Options of the tracker for the recorded trials; without filter where none is named."""

_CLIP_KEYS = ("mpjpe_mm", "camera_mpjpe_mm", "acceleration_error_m_s2", "jitter_100m_s3", "lag_ms")


def embedded(models: Models, filters: list[str]) -> dict[str, Any]:
    """The embedded clip, each filter."""
    truth = ClipTruth.load()
    rows: dict[str, Any] = {}
    for name in filters:
        for updated in (False, True):
            found = clip_bench.measure(name, models, truth, keypoint_update=updated)
            frames = tracked(CLIP, models, name, updated, camera=truth.camera)
            row = _clip_figures(frames, truth) | {"frame_ms": found["frame_ms"]}
            rows[f"{name}{', updated' if updated else ''}"] = row
    with Tracker(CLIP, camera=truth.camera, models=models, smooth_lag_ms=SMOOTH_LAG_MS) as tracker:
        rows[list(TRACKING)[-1]] = _clip_figures(list(tracker), truth)
    for lead_ms in LEADS_MS:
        rows[f"{lead_ms} ms ahead"] = forecasts(models, truth, lead_ms)
    return rows


def forecasts(models: Models, truth: ClipTruth, lead_ms: int) -> dict[str, float]:
    """MPJPE around the pelvis of what the tracker foretells of the clip, and of holding what it said last."""
    tracker = Tracker(camera=truth.camera, models=models)
    estimates: list[tuple[int, PoseFrame, PoseFrame]] = []
    with open_source(CLIP) as source:
        for frame in source:
            now = tracker.process(frame.image_rgb, frame.t_capture_ns, frame_index=frame.index)
            estimates.append((frame.index, now, tracker.predict(frame.t_capture_ns + lead_ms * 1_000_000)))
    index_at = {round(now.t_capture_ns / 1e6): index for index, now, _ in estimates}
    errors: dict[str, list[float]] = {"mpjpe_mm": [], "held_mpjpe_mm": []}
    for _, now, ahead in estimates:
        later = index_at.get(round(now.t_capture_ns / 1e6) + lead_ms)
        if later is None or not now.persons:
            continue
        true = truth.joints_cam_m[later]
        for key, said in (("mpjpe_mm", ahead), ("held_mpjpe_mm", now)):
            joints = said.persons[0].joints_cam_m
            gap = (joints - joints[:1]) - (true - true[:1])
            errors[key].append(1000 * float(np.linalg.norm(gap, axis=1).mean()))
    return {key: float(np.mean(values)) for key, values in errors.items()} | {
        "frames": len(errors["mpjpe_mm"])
    }


def _clip_figures(frames: list[PoseFrame], truth: ClipTruth) -> dict[str, Any]:
    """Errors, jitter, lag, coverage and agreement with the keypoints."""
    found = clip_bench.figures(frames, truth)
    row = {key: found[key] for key in _CLIP_KEYS}
    row["limbs_pa_mpjpe_mm"] = found["limbs"]["pa_mpjpe_mm"]
    return row | _aligned_and_covered(frames, truth) | agreement(frames)


def _aligned_and_covered(frames: list[PoseFrame], truth: ClipTruth) -> dict[str, float]:
    """PA-MPJPE and coverage of the one person of the clip."""
    errors, inside = [], []
    for frame in frames:
        for person in frame.persons[:1]:
            true = truth.joints_cam_m[frame.frame_index]
            errors.append(1000 * aligned_error(person.joints_cam_m, true))
            ray = true / np.linalg.norm(true, axis=1, keepdims=True)
            along = np.abs(((person.joints_cam_m - true) * ray).sum(1))
            inside.append(along <= INTERVAL_STDS * person.joint_std_m)
    return {"pa_mpjpe_mm": float(np.mean(errors)), "joints_within_90_percent": 100 * float(np.mean(inside))}


def tracked(
    path: Path, models: Models, filter_name: str, updated: bool, *, camera: Camera | None = None
) -> list[PoseFrame]:
    """Every frame of a video through the whole tracker."""
    with open_source(path) as source:
        tracking = Tracker(camera=camera, filter=filter_name, models=models, keypoint_update=updated)
        return [
            tracking.process(frame.image_rgb, frame.t_capture_ns, frame_index=frame.index) for frame in source
        ]


def agreement(frames: list[PoseFrame]) -> dict[str, float]:
    """Percentiles of the distance between the body's keypoints and the network's, in percent of the box."""
    gaps: list[npt.NDArray[Any]] = []
    for frame in frames:
        for person in frame.persons:
            if person.state != "tracked":
                continue
            seen = person.keypoints_px[:, 2] >= SEEN_CONFIDENCE
            box = person.box_xyxy_px
            own = frame.camera.project(person.keypoints_cam_m[seen])
            gap = np.linalg.norm(own - person.keypoints_px[seen, :2], axis=1)
            gaps.append(100 * gap / max(box[2] - box[0], box[3] - box[1]))
    together = np.concatenate(gaps) if gaps else np.full(1, np.nan)
    median, high = np.nanpercentile(together, [50, 95])
    return {"distance_median_percent": float(median), "distance_p95_percent": float(high)}


def bodypose3d(models: Models, folder: Path) -> dict[str, float]:
    """PA-MPJPE of single frames with true boxes."""
    in_camera, names, K = bodypose3d_reference(folder)
    rows = [KEYPOINT_NAMES.index(name) for name in names]
    flow = PoseFlow.load()
    update = KeypointUpdate(models.body, FlowMap(flow), noise=models.keypoint_noise)
    body = BodyModel(models.body)
    errors: dict[str, list[float]] = {"as observed": [], "updated": []}
    for true, image in zip(in_camera, video_frames(folder / "cam0.mp4"), strict=False):
        height, width = image.shape[:2]
        camera = Camera(width, height, (K[0, 0], K[1, 1]), (K[0, 2], K[1, 2]))
        pixels = camera.project(true)
        box = np.concatenate([pixels.min(0), pixels.max(0)])
        seen = models.regressor(image, box[None], camera)
        side_px = float((box[2:] - box[:2]).max())
        evidence = KeypointEvidence.of(seen, 0, camera, side_px)
        after = update(PersonState.from_observations(seen, 0), evidence)
        for key, looks in (("as observed", seen), ("updated", _with_state(seen, after.state))):
            _, keypoints = posed(looks, flow, body)
            errors[key].append(float(1000 * aligned_error(true, keypoints[0, rows])))
    return {key: float(np.mean(values)) for key, values in errors.items()}


def _with_state(seen: Observations, state: PersonState) -> Observations:
    fields = {
        field.name: np.asarray(getattr(state, field.name))[None]
        for field in dataclasses.fields(PersonState)
        if field.name != "joint_std_share"
    }
    return dataclasses.replace(seen, **fields)


def time_of_a_look(models: Models) -> dict[str, Any]:
    """Latency of `KeypointFilter.look` beside the filter alone, over the looks at the embedded clip."""
    truth = ClipTruth.load()
    camera, looks = truth.camera, []
    with open_source(CLIP) as source:
        for frame in source:
            pixels = truth.keypoints_px[frame.index]
            box = np.concatenate([pixels.min(0), pixels.max(0)])
            looks.append((frame.t_capture_ns, models.regressor(frame.image_rgb, box[None], camera), box))
    decoder = models.decoder
    assert isinstance(decoder, FlowMap)
    update = KeypointUpdate(models.body, decoder, noise=models.keypoint_noise)
    filters = KeypointFilter(FILTERS[DEFAULT_FILTER](), update), FILTERS[DEFAULT_FILTER]()
    step = [0, 0, 0]

    def at(which: int) -> tuple[int, Observations, float]:
        loop, index = divmod(step[which], len(looks))
        step[which] += 1
        t_ns, seen, box = looks[index]
        return t_ns + loop * 7_000_000_000, seen, float(max(box[2] - box[0], box[3] - box[1]))

    def look() -> None:
        t_ns, seen, side = at(0)
        state = PersonState.from_observations(seen, 0)
        filters[0].observe(t_ns, state, KeypointEvidence.of(seen, 0, camera, side))

    def alone() -> None:
        t_ns, seen, _ = at(1)
        filters[1].update(t_ns, PersonState.from_observations(seen, 0))

    def single() -> None:
        _, seen, side = at(2)
        update(PersonState.from_observations(seen, 0), KeypointEvidence.of(seen, 0, camera, side))

    return {
        name: dataclasses.asdict(latency)
        for name, latency in measure_paired(
            {"filter": alone, "filter with both updates": look, "one update": single}, repeats=900
        ).items()
    }


def main(
    data: Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="Data folder.")],
    out: Annotated[Path, typer.Option(help="Report to write.")] = Path(
        "docs/benchmarks/keypoint_update.json"
    ),
    model: Annotated[str, typer.Option(help="medium, large, or a file of weights.")] = DEFAULT_MODEL,
    sets: Annotated[str, typer.Option(help="Of " + ", ".join(SETS))] = ",".join(SETS),
    filters: Annotated[str, typer.Option(help="For the embedded clip.")] = "learned,kalman,none",
    engine: options.Engine = DEFAULT_ENGINE,
    flip_test: options.FlipTest = False,
) -> None:
    """Measure, print, write the report."""
    torch.set_num_threads(1)
    models = Models.load(regressor=model, engine=engine, flip_test=flip_test)
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "clip": lambda: embedded(models, filters.split(",")),
        "opencap": lambda: {
            name: opencap(data / "bench" / "opencap", models, **tracking)
            for name, tracking in TRACKING.items()
        },
        "bodypose3d": lambda: bodypose3d(models, data / "bench" / "bodypose3d"),
        "agreement": lambda: {
            name: {
                "updated" if updated else "as observed": agreement(
                    tracked(data / "clips" / f"{name}.mp4", models, DEFAULT_FILTER, updated)
                )
                for updated in (False, True)
            }
            for name in CLIPS
        },
        "time": lambda: time_of_a_look(models),
    }
    content = {name: runs[name]() for name in sets.split(",")}
    console = Console()
    for name, rows in content.items():
        table = Table("", "", title=f"{name}, {model}")
        for key, row in rows.items():
            table.add_row(key, str(row))
        console.print(table)
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    write_report(
        out,
        "keypoint_update",
        {
            "model": model,
            "flip_test": flip_test,
            "engine": models.engine,
            "load_average_1min": load,
            **content,
        },
    )


if __name__ == "__main__":
    typer.run(main)
