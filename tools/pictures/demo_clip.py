"""Make the embedded demo clip and its ground truth: one free character, one free motion, one free panorama.

    python -m kinestream.tools.pictures.demo_clip --data DATA --mocap CACHE [--out tracker/assets]

Writes demo.mp4 (H.264) and demo.npz. Only CC0 characters, CC0 panoramas and motion that may be shared go in;
photos do not. The defaults make the clip that is shipped; its motion is of a held-out subject.

Keys of demo.npz, for T frames (camera frame: OpenCV, metres; pixels: those of the clip):
t_ns (T,) int64; joints_cam_m (T, 24, 3); keypoints_px (T, 23, 2); rotations (T, 24, 3, 3) float16, the root's
first; betas (10,); translation_m (T, 3); box_xyxy_px (T, 4); intrinsics (3, 3); size_px (2,); fps; and the
names of what it was made from.
"""

import argparse
import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from rich.console import Console

from kinestream.geometry.camera import Camera
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.scenes.assets import data_folder
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
MAX_VIDEO_BYTES: Final = 1_500_000
MAX_TRUTH_BYTES: Final = 150_000

KNOBS: Final = dataclasses.replace(
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


def render(arguments: argparse.Namespace) -> Iterator[Frame]:
    """Frames of the demo."""
    assets = SceneAssets.load(data_folder(arguments.data), photos=False)
    clip = find_motion(
        MocapCache.load(arguments.mocap), arguments.motion, arguments.start_s, arguments.seconds
    )
    frames = round(arguments.seconds * FPS)
    character = Character(
        assets.library, random_outfit(assets.library, np.random.default_rng(arguments.outfit))
    )
    rng = np.random.default_rng(arguments.outfit)
    motion = grounded(character, ClipPoses([clip], mirror_share=0.0).motion(rng, frames=frames, fps=FPS))
    camera = Camera.from_fov(*SIZE_PX, fov_deg=60)
    distance, azimuth = arguments.distance_m, math.radians(arguments.azimuth_deg)
    walk = Walk(
        character,
        motion,
        camera,
        eye_m=np.array([distance * math.sin(azimuth), 1.5, distance * math.cos(azimuth)]),
        target_m=np.array([0.0, 0.95, 0.0]),
    )
    stems = [path.stem for path in assets.backgrounds.panoramas]
    if arguments.panorama not in stems:
        raise ValueError(f"no panorama {arguments.panorama!r}; there are {', '.join(stems)}")
    panorama = stems.index(arguments.panorama), math.radians(arguments.heading_deg)
    turns = sway(frames, KNOBS, rng)
    return film(
        assets, Augmenter(KNOBS), walk, turns, seed=arguments.outfit, shadow=True, rng=rng, panorama=panorama
    )


def write_video(path: Path, frames: list[Frame], *, crf: int) -> None:
    """H.264 file (yuv420p) of frames at FPS."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height = SIZE_PX
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryslow", "movflags": "+faststart"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode())


def ground_truth(frames: list[Frame], made_from: dict[str, str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of demo.npz."""
    people = [frame.people[0] for frame in frames]
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


def main() -> None:
    """Entry point of `python -m kinestream.tools.pictures.demo_clip`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="data folder (default: KINESTREAM_DATA)")
    parser.add_argument(
        "--mocap", type=Path, required=True, help="cache of `python -m kinestream.trainer.prepare.mocap`"
    )
    parser.add_argument("--out", type=Path, default=Path("tracker/assets"), help="folder to write to")
    parser.add_argument("--motion", default="cmu/135_04.bvh")
    parser.add_argument("--start-s", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--outfit", type=int, default=1, help="seed of the character")
    parser.add_argument(
        "--distance-m", type=float, default=5.0, help="of the camera from the middle of the path"
    )
    parser.add_argument("--azimuth-deg", type=float, default=58.0, help="where the camera stands")
    parser.add_argument("--panorama", default="dancing_hall")
    parser.add_argument("--heading-deg", type=float, default=0.0)
    parser.add_argument("--crf", type=int, default=20)
    arguments = parser.parse_args()
    console = Console()
    frames = list(render(arguments))
    video, truth = arguments.out / "demo.mp4", arguments.out / "demo.npz"
    write_video(video, frames, crf=arguments.crf)
    made_from = {"motion": arguments.motion, "panorama": arguments.panorama}
    np.savez_compressed(truth, **ground_truth(frames, made_from))  # type: ignore[arg-type]
    for path, limit in ((video, MAX_VIDEO_BYTES), (truth, MAX_TRUTH_BYTES)):
        size = path.stat().st_size
        console.print(f"{path}: {size / 1000:.0f} kB")
        if size > limit:
            raise SystemExit(f"{path} has {size} bytes, more than the {limit} that may be shipped")


if __name__ == "__main__":
    main()
