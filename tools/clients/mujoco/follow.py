"""A humanoid in MuJoCo whose joints follow a live stream. Needs ``pip install mujoco`` and no model files.

    kinestream run 0 --tilt auto
    python3 tools/clients/mujoco/follow.py                     # in MuJoCo's window; on macOS with mjpython
    MUJOCO_GL=egl python3 tools/clients/mujoco/follow.py --seconds 5 --picture humanoid.png

The humanoid is made from the first person who comes: capsules along that person's bones, a free joint at
the pelvis, and a ball joint at each of the 21 joints that turn. Each message sets ``qpos``, and the lengths
of the bones, which settle in the first second. When the person is gone it follows another. Nothing is
simulated.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import mujoco
import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import JOINT_NAMES, NUM_FLOW_JOINTS, PARENTS
from kinestream.geometry.quaternion import conjugates, multiply, rotate
from kinestream.stream import Subscriber
from kinestream.stream.adapters import HumanFrame, human_frames

Floats = npt.NDArray[np.float64]
RADII_M = {"hip": 0.08, "knee": 0.065, "ankle": 0.045, "spine": 0.1, "neck": 0.06, "head": 0.06}
"""Radius of the capsule that ends there."""
LIMB_M = 0.04
HEAD_M = 0.11
SOLE_M = 0.05
"""How far the lowest joint of the first pose is above the floor, where the stream says nothing of it."""
QUIET_MS = 10_000
SCENE = """
<mujoco model="kinestream">
  <visual><headlight ambient=".4 .4 .4" diffuse=".3 .3 .3"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".95 .97 1" rgb2=".7 .8 .9"
      width="64" height="384"/>
    <texture name="grid" type="2d" builtin="checker" rgb1=".85 .85 .85" rgb2=".75 .75 .75"
      width="64" height="64"/>
    <material name="grid" texture="grid" texrepeat="1 1" texuniform="true"/>
  </asset>
  <default><geom rgba=".25 .5 .85 1" contype="0" conaffinity="0"/></default>
  <worldbody>
    <light pos="0 0 5" dir=".2 .3 -1" directional="true" diffuse=".5 .5 .5"/>
    <geom name="floor" type="plane" pos="0 0 {floor_m}" size="0 0 1" rgba="1 1 1 1" material="grid"/>
    {humanoid}
  </worldbody>
</mujoco>
"""


def model_of(human: HumanFrame, floor_m: float = 0.0) -> Any:
    """A humanoid (`mujoco.MjModel`) with the bones of a person in any pose, above a floor at that height."""
    return mujoco.MjModel.from_xml_string(SCENE.format(humanoid=_body(0, _bones(human)), floor_m=floor_m))


def pose(model: Any, data: Any, human: HumanFrame) -> None:
    """Put the humanoid into a pose."""
    place_m, root = human[JOINT_NAMES[0]]
    quats = np.array([human[name][1] for name in JOINT_NAMES])
    local = multiply(
        conjugates(quats[list(PARENTS)]), quats
    )  # MuJoCo's ball joints count from the parent too
    bones = _bones(human)
    for joint, name in enumerate(JOINT_NAMES):
        if joint == 0:
            data.joint(name).qpos = [*place_m, *root]
            continue
        model.body(name).pos = bones[joint]
        if joint <= NUM_FLOW_JOINTS:
            data.joint(name).qpos = local[joint]
    mujoco.mj_forward(model, data)


def follow(
    address: str, show: Callable[[Any, Any], bool], *, seconds: float = 0.0, keys: Path | None = None
) -> None:
    """Call ``show`` with model and data after each pose, while it says True.

    Ends after ``seconds`` (0: never). Raises ``TimeoutError`` where nothing comes for 10 s.
    """
    model = data = None
    followed, start_s = -1, time.monotonic()
    with Subscriber(address, latest=True, timeout_ms=QUIET_MS, keys=keys) as subscriber:
        for message in subscriber:
            humans = human_frames(message)
            if humans:
                followed = followed if followed in humans else min(humans)
                human = humans[followed]
                if model is None:
                    lowest_m = min(place_m[2] for place_m, _ in human.values()) - SOLE_M
                    model = model_of(human, lowest_m if message.frame.ground is None else 0.0)
                    data = mujoco.MjData(model)
                pose(model, data, human)
                if not show(model, data):
                    return
            if seconds and time.monotonic() - start_s > seconds:
                return


def picture(model: Any, data: Any, *, width: int = 480, height: int = 360) -> npt.NDArray[np.uint8]:
    """The humanoid (height, width, 3) in RGB, drawn without a window."""
    camera = mujoco.MjvCamera()
    camera.lookat[:] = data.body("spine1").xpos - [0, 0, 0.1]
    camera.distance, camera.azimuth, camera.elevation = 2.6, 70.0, -12.0
    with mujoco.Renderer(model, height, width) as renderer:
        renderer.update_scene(data, camera)
        drawn: npt.NDArray[np.uint8] = renderer.render()
    return drawn


def _bones(human: HumanFrame) -> Floats:
    """(24, 3) each joint seen from its parent, in the parent's axes; the root is 0."""
    places_m = np.array([human[name][0] for name in JOINT_NAMES])
    quats = np.array([human[name][1] for name in JOINT_NAMES])
    parents = np.maximum(PARENTS, 0)
    bones: Floats = rotate(conjugates(quats[parents]), places_m - places_m[parents])
    return bones


def _body(joint: int, bones: Floats) -> str:
    """A body of the model, with all below it."""
    name = JOINT_NAMES[joint]
    children = [child for child, parent in enumerate(PARENTS) if parent == joint]
    kind = "free" if joint == 0 else "ball"
    parts = [f'<joint name="{name}" type="{kind}"/>'] if joint <= NUM_FLOW_JOINTS else []
    for child in children:
        radius_m = next((r for part, r in RADII_M.items() if part in JOINT_NAMES[child]), LIMB_M)
        parts.append(f'<geom type="capsule" size="{radius_m}" fromto="0 0 0 {_numbers(bones[child])}"/>')
    if not children:
        parts.append(f'<geom type="sphere" size="{HEAD_M if name == "head" else LIMB_M}"/>')
    parts += [_body(child, bones) for child in children]
    return f'<body name="{name}" pos="{_numbers(bones[joint])}">{"".join(parts)}</body>'


def _numbers(values: Floats) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Show the humanoid in a window, or write its last pose as a picture."""
    parser = argparse.ArgumentParser(description="A humanoid in MuJoCo follows a live stream of poses.")
    parser.add_argument("address", nargs="?", default="tcp://127.0.0.1:5556")
    parser.add_argument("--keys", type=Path, help="folder of a listener's keys")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long; default: never")
    parser.add_argument("--picture", type=Path, help="open no window, write the last pose as a picture")
    chosen = parser.parse_args(arguments)
    shown: list[Any] = []

    def show(model: Any, data: Any) -> bool:
        if not shown:
            shown.extend([model, data])
            if not chosen.picture:
                from mujoco import viewer  # needs a display, which drawing pictures does not

                shown.append(viewer.launch_passive(model, data))
        if chosen.picture:
            return True
        shown[2].sync()
        return bool(shown[2].is_running())

    try:
        follow(chosen.address, show, seconds=chosen.seconds, keys=chosen.keys)
    except (TimeoutError, KeyboardInterrupt) as end:
        if not shown:
            raise SystemExit(str(end) or "nobody was seen") from end
    if chosen.picture:
        if not shown:
            raise SystemExit(f"{chosen.address}: nobody was seen within {chosen.seconds:g} s")
        cv2.imwrite(str(chosen.picture), picture(*shown)[..., ::-1])


if __name__ == "__main__":
    main()
