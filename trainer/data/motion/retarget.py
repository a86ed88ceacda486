"""From a source skeleton to the project's 24 joints, by global orientations.

For target joint j driven by source joint s the global rotation is G_j(t) = R_s(t) C_j, where R_s is the
source's global rotation relative to its zero pose and C_j turns the target's T-pose into that zero pose:
the shortest arc between the bone directions for limbs, the identity for the torso and the head. Zero poses
that are no T-pose (spread legs, bent elbows, hanging arms) are thereby taken out. Local rotations follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import JOINT_NAMES, PARENTS
from kinestream.geometry.rotation import slerp
from kinestream.trainer.data.motion.arms import hinge_elbow, infer_collar
from kinestream.trainer.data.motion.clip import (
    ANKLE_HEIGHT_M,
    BODY_JOINT_NAMES,
    NUM_BODY_JOINTS,
    REST_JOINTS_M,
    MotionClip,
    forward_joints,
)
from kinestream.trainer.data.motion.source import FloatArray, MocapError, SourceMotion, shortest_arc

LIMB_CHILD = {
    f"{side}_{joint}": f"{side}_{child}"
    for side in ("left", "right")
    for joint, child in (
        ("hip", "knee"),
        ("knee", "ankle"),
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("wrist", "hand"),
    )
}
"""Target joints whose bone is aligned with the source's, and the joint at the bone's end."""

REQUIRED = (
    "pelvis", "spine3", "neck",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip


@dataclass(frozen=True)
class SkeletonMap:
    """Which source joint drives which target joint.

    Attributes:
        name: of the source skeleton.
        joints: target joint -> source joint, named after the bone that begins there; `a+b` is halfway between
            the orientations of a and b. `left_hand`/`right_hand` only give the direction of the hand.
            Joints not named follow their parent; missing collars are inferred from the arms.
        fixed: source joints used for their place only (for instance a wrist that never turns): the target
            joint follows its parent.
        legs_spread: the zero pose spreads the legs and turns the feet with them.
        directions: bone directions of the zero pose, left side, where they are not those between the joints.
        swing_arms: shoulders and elbows swing without turning about the bone; the turn of the upper arm is
            then chosen so that the elbow is a hinge.
        turns_deg: source joint -> rotation about x (positive: forward) that makes its zero pose upright.
    """

    name: str
    joints: Mapping[str, str]
    fixed: frozenset[str] = field(default_factory=frozenset)
    legs_spread: bool = False
    swing_arms: bool = False
    directions: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    turns_deg: Mapping[str, float] = field(default_factory=dict)

    def check(self, source: SourceMotion) -> None:
        """Raise `MocapError` when a joint is unknown, missing here or missing in the source."""
        unknown = [name for name in self.joints if name not in JOINT_NAMES]
        if unknown:
            raise MocapError(
                f"joint map '{self.name}': no target joint {unknown}; there are {', '.join(JOINT_NAMES)}"
            )
        unmapped = [name for name in REQUIRED if name not in self.joints]
        if unmapped:
            raise MocapError(f"joint map '{self.name}': target joints {unmapped} are not mapped")
        wanted = {part for name in self.joints.values() for part in name.split("+")}
        missing = sorted(wanted - set(source.joint_names) - {f"{n}:end" for n in source.end_offsets_m})
        if missing:
            raise MocapError(
                f"{source.name}: joint map '{self.name}' names joints {missing} that the file has not; "
                f"it has {', '.join(source.joint_names)}"
            )


def _both_sides(pattern: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {
        f"{side}_{joint}": names[index]
        for index, side in enumerate(("left", "right"))
        for joint, names in pattern.items()
    }


CGSPEED = SkeletonMap(
    "CMU as BVH (cgspeed, Daz figure)",
    {
        "pelvis": "hip", "spine1": "hip+abdomen", "spine2": "abdomen", "spine3": "chest",
        "neck": "chest+head", "head": "head",
        **_both_sides({
            "hip": ("lThigh", "rThigh"), "knee": ("lShin", "rShin"), "ankle": ("lFoot", "rFoot"),
            "shoulder": ("lShldr", "rShldr"), "elbow": ("lForeArm", "rForeArm"),
            "wrist": ("lHand", "rHand"), "hand": ("lMid1", "rMid1"),
        }),
    },
    # Measured against the ASF/AMC form of the same captures: rotations are relative to a straight figure,
    # not to the Daz figure's own bent limbs.
    directions={
        "hip": (0.0, -0.995, -0.105), "knee": (0.0, -0.995, -0.105),
        "shoulder": (0.990, -0.145, 0.0), "elbow": (0.990, -0.145, 0.0), "wrist": (0.990, -0.145, 0.0),
    },
    turns_deg={"head": 16.0},
)  # fmt: skip

ACCLAIM = SkeletonMap(
    "CMU as ASF/AMC",
    {
        "pelvis": "root", "spine1": "lowerback", "spine2": "upperback", "spine3": "thorax",
        "neck": "thorax+head", "head": "head",
        **_both_sides({
            "hip": ("lfemur", "rfemur"), "knee": ("ltibia", "rtibia"), "ankle": ("lfoot", "rfoot"),
            "foot": ("ltoes", "rtoes"), "shoulder": ("lhumerus", "rhumerus"), "elbow": ("lradius", "rradius"),
            "wrist": ("lhand", "rhand"), "hand": ("lfingers", "rfingers"),
        }),
    },
    legs_spread=True,
    # The finger marker sits on the back of the hand, which holds the hands up by this angle at rest.
    directions={"wrist": (0.906, -0.423, 0.0)},
)  # fmt: skip

REACTIDLE = SkeletonMap(
    "ReActIdle",
    {
        "pelvis": "pelvis", "spine1": "pelvis+spine", "spine2": "spine", "spine3": "spine.001",
        "neck": "neck", "head": "face",
        **_both_sides({
            "hip": ("thigh.L", "thigh.R"), "knee": ("shin.L", "shin.R"), "ankle": ("foot.L", "foot.R"),
            "collar": ("shoulder.L", "shoulder.R"), "shoulder": ("upper_arm.L", "upper_arm.R"),
            "elbow": ("forearm.L", "forearm.R"), "wrist": ("forearm.L:end", "forearm.R:end"),
        }),
    },
    fixed=frozenset({"left_wrist", "right_wrist"}),
    swing_arms=True,
)  # fmt: skip

DEEPMIMIC = SkeletonMap(
    "DeepMimic",
    {
        "pelvis": "root", "spine1": "root+chest", "spine2": "chest", "spine3": "chest",
        "neck": "chest+neck", "head": "neck",
        **{f"{side}_{joint}": f"{side}_{joint}"
           for side in ("left", "right")
           for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")},
    },
    fixed=frozenset({"left_wrist", "right_wrist"}),
)  # fmt: skip

KNOWN_MAPS = (CGSPEED, ACCLAIM, REACTIDLE, DEEPMIMIC)


def find_map(source: SourceMotion) -> SkeletonMap:
    """The known map that fits the joints of a source; `MocapError` lists what each known map lacks."""
    problems = []
    for known in KNOWN_MAPS:
        try:
            known.check(source)
        except MocapError:
            wanted = {part for name in known.joints.values() for part in name.split("+")}
            lacking = sorted(name for name in wanted - set(source.joint_names) if not name.endswith(":end"))
            problems.append(f"{known.name} lacks {', '.join(lacking[:4])}{' …' if len(lacking) > 4 else ''}")
        else:
            return known
    raise MocapError(
        f"{source.name}: no known joint map fits ({'; '.join(problems)}). The file has "
        f"{', '.join(source.joint_names)}. Give a SkeletonMap from {', '.join(BODY_JOINT_NAMES)} to these."
    )


def retarget(source: SourceMotion, skeleton: SkeletonMap | None = None, *, name: str = "") -> MotionClip:
    """Move a motion to the project's skeleton.

    The root translation is scaled by the ratio of leg lengths and puts the middle of the hip joints where the
    source has it, so that feet keep their contact. Its floor is not moved; see `to_floor`.

    Args:
        source: the motion, T frames.
        skeleton: the joint map; found by joint names when None.
        name: of the clip; the source's name when empty.

    Raises:
        MocapError: when no map fits, or the source has no frame rate.
    """
    skeleton = skeleton or find_map(source)
    skeleton.check(source)
    if not source.fps > 0:
        raise MocapError(f"{source.name}: frame rate is {source.fps}; it must be positive")
    places = _zero_places(source)

    global_rotations = np.empty((len(source), NUM_BODY_JOINTS, 3, 3))
    for joint, target in enumerate(BODY_JOINT_NAMES):
        parent = PARENTS[joint]
        driver = skeleton.joints.get(target)
        if driver is None or target in skeleton.fixed:
            global_rotations[:, joint] = global_rotations[:, parent]
            continue
        turned = _driver_rotation(source, skeleton, driver)
        global_rotations[:, joint] = turned @ _alignment(skeleton, places, target)
    if skeleton.swing_arms:
        for side in ("left", "right"):
            hinge_elbow(global_rotations, side)
    for joint, side in ((13, "left"), (14, "right")):
        if f"{side}_collar" not in skeleton.joints:
            upper_arm = global_rotations[:, joint + 3]
            global_rotations[:, joint] = infer_collar(global_rotations[:, 9], upper_arm, side)

    local = global_rotations.copy()
    for joint in range(1, NUM_BODY_JOINTS):
        local[:, joint] = global_rotations[:, PARENTS[joint]].transpose(0, 2, 1) @ global_rotations[:, joint]
    return MotionClip(
        name=name or source.name,
        rotations=local,
        root_translation_m=_root_translation(source, skeleton, places, global_rotations[:, 0]),
        fps=source.fps,
    )


def _driver_rotation(source: SourceMotion, skeleton: SkeletonMap, driver: str) -> FloatArray:
    turned = []
    for name in driver.split("+"):
        tilt = Rotation.from_euler("x", skeleton.turns_deg.get(name, 0.0), degrees=True).as_matrix()
        turned.append(source.global_rotations[:, source.index(name)] @ tilt)
    if len(turned) == 1:
        only: FloatArray = turned[0]
        return only
    halfway: FloatArray = slerp(turned[0], turned[1], np.full(len(source), 0.5))
    return halfway


def _zero_places(source: SourceMotion) -> dict[str, FloatArray]:
    positions = source.zero_positions_m()
    places = dict(zip(source.joint_names, positions, strict=True))
    for name, offset in source.end_offsets_m.items():
        places[f"{name}:end"] = places[name] + offset
    return places


def _alignment(skeleton: SkeletonMap, places: Mapping[str, FloatArray], target: str) -> FloatArray:
    """C of one target joint: from the target's T-pose to the source's zero pose."""
    joint = JOINT_NAMES.index(target)
    side, _, limb = target.partition("_")
    if limb in skeleton.directions:
        mirror = np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
        own = REST_JOINTS_M[JOINT_NAMES.index(LIMB_CHILD[target])] - REST_JOINTS_M[joint]
        return shortest_arc(own, np.array(skeleton.directions[limb]) * mirror)
    if target in LIMB_CHILD and LIMB_CHILD[target] in skeleton.joints:
        child = LIMB_CHILD[target]
        own = REST_JOINTS_M[JOINT_NAMES.index(child)] - REST_JOINTS_M[joint]
        return shortest_arc(own, places[skeleton.joints[child]] - places[skeleton.joints[target]])
    if skeleton.legs_spread and target in (f"{side}_ankle", f"{side}_foot"):
        thigh = places[skeleton.joints[f"{side}_knee"]] - places[skeleton.joints[f"{side}_hip"]]
        return shortest_arc(np.array([0.0, -1.0, 0.0]), thigh)
    return np.eye(3)


def _root_translation(
    source: SourceMotion, skeleton: SkeletonMap, places: Mapping[str, FloatArray], pelvis: FloatArray
) -> FloatArray:
    def place(target: str) -> FloatArray:
        return places[skeleton.joints[target]]

    def length(a: str, b: str) -> float:
        return float(np.linalg.norm(place(a) - place(b)))

    rest = dict(zip(JOINT_NAMES, REST_JOINTS_M, strict=True))
    own = sum(float(np.linalg.norm(rest[a] - rest[b])) for a, b in _LEG)
    scale = own / sum(length(a, b) for a, b in _LEG)
    hips = 0.5 * (place("left_hip") + place("right_hip")) - places[skeleton.joints["pelvis"]]
    root = source.global_rotations[:, source.index(skeleton.joints["pelvis"])]
    own_hips = 0.5 * (rest["left_hip"] + rest["right_hip"])
    moved: FloatArray = scale * (source.root_translation_m + root @ hips) - pelvis @ own_hips
    return moved


_LEG = (("left_hip", "left_knee"), ("left_knee", "left_ankle"))


def to_floor(clip: MotionClip, *, percentile: float = 5.0) -> MotionClip:
    """Shift a clip in height so that the given percentile of its lower ankle stands on the floor y = 0."""
    joints = forward_joints(clip.rotations, clip.root_translation_m)
    low = float(np.percentile(joints[:, (7, 8), 1].min(axis=1), percentile))
    shift = np.array([0.0, ANKLE_HEIGHT_M - low, 0.0])
    return MotionClip(
        clip.name, clip.rotations, clip.root_translation_m + shift, clip.fps, clip.split, clip.source
    )
