"""Make the embedded demo clip and its ground truth: one free character, one free motion, one free panorama.

    python -m kinestream.tools.pictures.demo_clip --data DATA --mocap CACHE [--out tracker/assets]

Writes demo.mp4 (H.264) and demo.npz. Only CC0 characters, CC0 panoramas and motion that may be shared go in;
photos do not. Its motion is of a held-out subject.

Keys of demo.npz, for T frames (camera frame: OpenCV, metres; pixels: those of the clip):
t_ns (T,) int64; joints_cam_m (T, 24, 3); keypoints_px (T, 23, 2); rotations (T, 24, 3, 3) float16, the root's
first; betas (10,); translation_m (T, 3); box_xyxy_px (T, 4); intrinsics (3, 3); size_px (2,); fps; and the
names of what it was made from.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from kinestream.geometry.camera import Camera
from kinestream.tools import options
from kinestream.tools.metrics.clip import CLIP, TRUTH
from kinestream.tools.pictures.video import write_video
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.clips import Walk, film, grounded, sway
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.outfit import random_outfit
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import Frame
from kinestream.trainer.scenes.stage import SceneAssets

FPS: Final = 30
SIZE_PX: Final = (960, 540)
MOTION: Final = "cmu/135_04.bvh"
START_S: Final = 1.0
SECONDS: Final = 6.0
OUTFIT: Final = 1
"""Seed of the character."""
DISTANCE_M: Final = 5.0
AZIMUTH_DEG: Final = 58.0
"""Where the camera stands, from the middle of the path."""
PANORAMA: Final = "dancing_hall"
MAX_VIDEO_BYTES: Final = 1_500_000
MAX_TRUTH_BYTES: Final = 150_000

CONFIG: Final = dataclasses.replace(
    SceneConfig.clean(),
    samples=3,
    image_sizes_px=(SIZE_PX,),
    clip_fps=float(FPS),
    camera_shake_deg=0.2,
    noise_share=1.0,
    noise_sigma=(1.0, 1.0001),
)


def find_motion(cache: MocapCache, name: str, start_s: float, seconds: float) -> MotionClip:
    """The stretch of the clip with this name; ValueError names the clips that exist."""
    names = []
    for clip in cache.clips():
        if clip.name == name:
            first, last = round(start_s * clip.fps), round((start_s + seconds) * clip.fps) + 1
            if last > len(clip):
                raise ValueError(f"{name} lasts {clip.duration_s:.1f} s; asked for {start_s + seconds:.1f} s")
            return clip.part(first, last)
        names.append(clip.name)
    raise ValueError(f"no motion {name!r} in the cache; it has {', '.join(sorted(names))}")


def render(assets: SceneAssets, clip: MotionClip) -> Iterator[Frame]:
    """Frames of the clip: one outfit, seen from a fixed place before a fixed background."""
    frames = round(SECONDS * FPS)
    character = Character(assets.library, random_outfit(assets.library, np.random.default_rng(OUTFIT)))
    rng = np.random.default_rng(OUTFIT)
    motion = grounded(character, ClipPoses([clip], mirror_share=0.0).motion(rng, frames=frames, fps=FPS))
    azimuth = math.radians(AZIMUTH_DEG)
    walk = Walk(
        character,
        motion,
        Camera.from_fov(*SIZE_PX, fov_deg=60),
        eye_m=np.array([DISTANCE_M * math.sin(azimuth), 1.5, DISTANCE_M * math.cos(azimuth)]),
        target_m=np.array([0.0, 0.95, 0.0]),
    )
    stems = [path.stem for path in assets.backgrounds.panoramas]
    if PANORAMA not in stems:
        raise ValueError(f"no panorama {PANORAMA!r}; there are {', '.join(stems)}")
    place, turns = (stems.index(PANORAMA), 0.0), sway(frames, CONFIG, rng)
    return film(assets, Augmenter(CONFIG), walk, turns, seed=OUTFIT, shadow=True, rng=rng, panorama=place)


def ground_truth(frames: list[Frame], made_from: dict[str, str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of demo.npz."""
    people = [frame.person for frame in frames]
    return {
        "t_ns": np.array([frame.t_ns for frame in frames], np.int64),
        "joints_cam_m": np.stack([p.joints_cam_m for p in people]),
        "keypoints_px": np.stack([p.keypoints_px for p in people]),
        "rotations": np.stack([p.rotations for p in people]).astype(np.float16),
        "betas": people[0].betas,
        "translation_m": np.stack([p.translation_m for p in people]),
        "box_xyxy_px": np.stack([p.box_xyxy_px for p in people]),
        "intrinsics": frames[0].camera.K,
        "size_px": np.array(SIZE_PX, np.int64),
        "fps": np.array(float(FPS)),
        **{key: np.array(value) for key, value in made_from.items()},
    }


def main(
    data: options.Data,
    mocap: options.Mocap,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("tracker/assets"),
) -> None:
    """Make the embedded clip and its truth."""
    console = Console()
    assets = SceneAssets.load(data, photos=False)
    frames = list(render(assets, find_motion(MocapCache.load(mocap), MOTION, START_S, SECONDS)))
    video, truth = out / CLIP.name, out / TRUTH.name
    coding = {"crf": "20", "preset": "veryslow", "movflags": "+faststart"}
    write_video(video, (frame.image for frame in frames), fps=FPS, codec="libx264", options=coding)
    made_from = {"motion": MOTION, "panorama": PANORAMA}
    np.savez_compressed(truth, **ground_truth(frames, made_from))  # type: ignore[arg-type]
    for path, limit in ((video, MAX_VIDEO_BYTES), (truth, MAX_TRUTH_BYTES)):
        size = path.stat().st_size
        console.print(f"{path}: {size / 1000:.0f} kB")
        if size > limit:
            raise ValueError(f"{path} has {size} bytes, more than the {limit} that may be shipped")


if __name__ == "__main__":
    typer.run(main)
