"""Gravity, floor and distance of rendered people before tilted and rolled cameras.

    python -m kinestream.tools.bench.accuracy.ground --mocap CACHE.npz --data DATA [--clips 24]

Cameras look 30 degrees up to 45 degrees down, are rolled by up to 25 degrees to either side, and shake in
the hand. Each clip is tracked twice, without and with the person's height. Gravity and the camera's height
are those that were published 5 s after the start; a distance is the median over the clip. ``standing``: clips
in which somebody is upright (trunk within 25 degrees, a knee bent less than 50) in over half of the frames.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from rich.console import Console

from kinestream.body.skeleton import JOINT_NAMES
from kinestream.body.stature import Stature
from kinestream.geometry.camera import Camera, look_at
from kinestream.kernels.array_types import Float64Array
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame
from kinestream.tools import options
from kinestream.tools.bench.timing import write_report
from kinestream.tools.process import use_threads
from kinestream.trainer.scenes import clips
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.outfit import random_outfit
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import Frame
from kinestream.trainer.scenes.stage import SceneAssets
from kinestream.trainer.scenes.viewpoint import PELVIS_M, turn

SECONDS: Final = 6.0
JUDGED_S: Final = 5.0
CONFIG: Final = SceneConfig(
    image_sizes_px=((640, 480), (480, 640), (640, 360), (360, 640)),
    clip_fps=15.0,
    fov_deg=(50.0, 85.0),
    hdri_share=1.0,
)
PITCH_DEG, ROLL_DEG = (-30.0, 45.0), (-25.0, 25.0)
CAMERA_HEIGHT_M = (0.2, 4.0)
_STREAM: Final = 77  # of random numbers


@dataclass(frozen=True)
class Clip:
    """A person before a tilted camera: `ups` (T, 3) is the upward direction in its frame at each frame."""

    frames: Iterator[Frame]
    ups: Float64Array
    eye_m: Float64Array
    pitch_deg: float
    roll_deg: float


@dataclass(frozen=True)
class Result:
    """What was found in a clip; angles in degrees, ratios over the truth."""

    seed: int
    pitch_deg: float
    roll_deg: float
    standing: bool
    gravity_error_deg: float
    gravity_std_deg: float
    camera_height_error_m: float
    distance_ratio: float
    distance_ratio_known_height: float


def tilted_clip(assets: SceneAssets, source: ClipPoses, augmenter: Augmenter, seed: int) -> Clip:
    """The clip with this seed. The camera is as high as its tilt and the person in its picture ask for."""
    config, rng = augmenter.config, np.random.default_rng((seed, _STREAM))
    count = round(config.clip_fps * SECONDS)
    character = Character(assets.library, random_outfit(assets.library, rng))
    motion = clips.grounded(character, source.motion(rng, frames=count, fps=config.clip_fps))
    width, height = config.image_sizes_px[int(rng.integers(len(config.image_sizes_px)))]
    camera = Camera.from_fov(width, height, fov_deg=float(rng.uniform(*config.fov_deg)))
    distance = clips.fitting_distance_m(motion, camera, float(rng.uniform(*config.clip_size_range)))
    pitch, roll = (math.radians(rng.uniform(*limits)) for limits in (PITCH_DEG, ROLL_DEG))
    half = math.atan(height / 2 / camera.focal_px[1])
    low, high = (math.asin(np.clip((limit - PELVIS_M) / distance, -1, 1)) for limit in CAMERA_HEIGHT_M)
    fallen = float(
        np.clip(pitch + rng.uniform(-0.3, 0.3) * half, low, high)
    )  # of the pelvis, under the horizon
    fallen = float(np.clip(fallen, pitch - half / 2, pitch + half / 2))
    azimuth = float(rng.uniform(-math.pi, math.pi))
    back = np.array([math.sin(azimuth), 0, math.cos(azimuth)])
    eye = distance * math.cos(fallen) * back + [0, PELVIS_M + distance * math.sin(fallen), 0]
    target = eye - math.cos(pitch) * back - [0, math.sin(pitch), 0]
    turns = clips.sway(count, config, rng) + [0, 0, roll]
    level, _ = look_at(eye, target)
    ups = [(turn(0, a) @ turn(1, b) @ turn(2, c) @ level)[:, 1] for a, b, c in turns]
    walk = clips.Walk(character, motion, camera, eye, target)
    shadow = bool(rng.random() < config.shadow_share)
    panorama = int(rng.integers(len(assets.backgrounds.panoramas))), float(rng.uniform(-np.pi, np.pi))
    frames = clips.film(assets, augmenter, walk, turns, seed=seed, shadow=shadow, rng=rng, panorama=panorama)
    return Clip(frames, np.stack(ups), eye, math.degrees(pitch), math.degrees(roll))


def judged(seed: int, clip: Clip, models: Models) -> Result | None:
    """Track a clip; None where nobody was found in time."""
    frames = list(clip.frames)
    camera, fps = frames[0].camera, CONFIG.clip_fps
    height_m = Stature(models.body).height_m(frames[0].person.betas)
    plain, known = (
        [tracker.process(frame.image, frame.t_ns) for frame in frames]
        for tracker in (
            Tracker(camera=camera, models=models, ground=True),
            Tracker(camera=camera, models=models, heights_m=height_m),
        )
    )
    at = round(JUDGED_S * fps)
    ground = plain[at].ground
    if ground is None:
        return None
    return Result(
        seed=seed,
        pitch_deg=clip.pitch_deg,
        roll_deg=clip.roll_deg,
        standing=bool(np.mean([_upright(f, up) for f, up in zip(frames, clip.ups, strict=True)]) > 0.5),
        gravity_error_deg=_angle_deg(ground.up, clip.ups[at]),
        gravity_std_deg=math.degrees(ground.std_rad),
        camera_height_error_m=ground.height_m - float(clip.eye_m[1]),
        distance_ratio=_distance_ratio(plain, frames),
        distance_ratio_known_height=_distance_ratio(known, frames),
    )


def _distance_ratio(found: list[PoseFrame], frames: list[Frame]) -> float:
    return float(
        np.median(
            [
                np.linalg.norm(person.translation_m) / np.linalg.norm(frame.person.translation_m)
                for poses, frame in zip(found, frames, strict=True)
                for person in poses
            ]
        )
    )


def _upright(frame: Frame, up: Float64Array) -> bool:
    joints = dict(zip(JOINT_NAMES, frame.person.joints_cam_m.astype(np.float64), strict=True))
    knees = [
        _angle_deg(
            joints[f"{side}_hip"] - joints[f"{side}_knee"], joints[f"{side}_knee"] - joints[f"{side}_ankle"]
        )
        for side in ("left", "right")
    ]
    return _angle_deg(joints["neck"] - joints["pelvis"], up) < 25 and min(knees) < 50


def _angle_deg(one: Float64Array, other: Float64Array) -> float:
    return math.degrees(math.atan2(np.linalg.norm(np.cross(one, other)), one @ other))


def summary(results: list[Result]) -> dict[str, Any]:
    """Medians over clips, and the gravity error's other quartile and its size in deviations."""
    if not results:
        return {"clips": 0}
    gravity = np.array([result.gravity_error_deg for result in results])
    own, known = (
        np.abs(np.log([getattr(result, name) for result in results]))
        for name in ("distance_ratio", "distance_ratio_known_height")
    )
    return {
        "clips": len(results),
        "gravity_error_deg": float(np.median(gravity)),
        "gravity_error_deg_p75": float(np.percentile(gravity, 75)),
        "gravity_std_deg": float(np.median([result.gravity_std_deg for result in results])),
        "within_two_std_percent": 100
        * float(np.mean([result.gravity_error_deg < 2 * result.gravity_std_deg for result in results])),
        "camera_height_error_m": float(np.median(np.abs([r.camera_height_error_m for r in results]))),
        "distance_error_percent": 100 * float(np.median(np.expm1(own))),
        "distance_error_percent_known_height": 100 * float(np.median(np.expm1(known))),
    }


def main(
    mocap: options.Mocap,
    data: options.Data,
    model: options.Model = "medium",
    clip_count: Annotated[int, typer.Option("--clips", min=1, help="Clips.")] = 24,
    seed: options.Seed = 300,
    out: options.Report = Path("docs/benchmarks/ground.json"),
) -> None:
    """Render, track, measure, write the report."""
    use_threads()
    torch.set_num_threads(1)
    assets, source = SceneAssets.load(data), ClipPoses.load(mocap, split="val")
    augmenter, models = Augmenter(CONFIG), Models.load(regressor=model)
    results: list[Result] = []
    console = Console(stderr=True)
    for number in range(seed, seed + clip_count):
        found = judged(number, tilted_clip(assets, source, augmenter, number), models)
        console.print(found or f"{number}: nobody was found")
        if found is not None:
            results.append(replace(found, seed=number))
        standing = [result for result in results if result.standing]
        content = {"model": Path(model).stem, "first_seed": seed, "missed": number + 1 - seed - len(results)}
        content |= {"standing": summary(standing), "all": summary(results)}
        write_report(out, "ground", {**content, "results": [asdict(result) for result in results]})
    Console().print_json(data=content)


if __name__ == "__main__":
    typer.run(main)
