"""A ROS 2 node that subscribes to a pose stream and publishes transforms, joint states and markers.

ros2 run needs no package for it: with ROS 2 (Humble or newer) sourced and kinestream installed,

    kinestream run 0                                         # native format, camera axes
    python3 tools/clients/ros2/kinestream_node.py --ros-args -p address:=tcp://127.0.0.1:5556

* ``/tf``: for each person a tree ``person_<id>/pelvis`` -> ``person_<id>/left_hip`` ... under the frame
  ``camera_frame`` (parameter, default ``camera_link``: x forward, y left, z up, as REP-103 says).
  With ``kinestream run 0 --tilt auto`` also ``world_frame`` (default ``world``: level, 0 on the floor) ->
  ``camera_frame``, which then is the camera as it is held.
* ``/human/joint_states``: `sensor_msgs/JointState`, for each joint the intrinsic x-y-z Euler angles
  ``person_<id>/left_knee_x``, ``..._y``, ``..._z`` in radians: three revolute joints one after another.
* ``/human/markers``: `visualization_msgs/MarkerArray` with the bones as lines.

Stamps are capture times on the publisher's wall clock. Parameters: ``address``, ``keys`` (folder),
``camera_frame``, ``world_frame``, ``tilt_deg`` (how far the camera looks down, where that is not estimated).
"""

import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import JOINT_NAMES, PARENTS
from kinestream.geometry.level import Ground
from kinestream.geometry.quaternion import from_matrix, multiply, rotate
from kinestream.pose import Person, PoseFrame
from kinestream.stream import OutputFrame, PoseMessage, Subscriber

LINE_LIST = 5
KEEP_S = 0.5
"""Markers vanish this long after their person was last seen."""
Floats = npt.NDArray[np.float64]


class Link(NamedTuple):
    """One frame of a person, relative to its parent's: REP-103 axes, metres, wxyz."""

    name: str
    parent: str
    place_m: Floats
    quat_wxyz: Floats


def links(person: Person, camera_frame: str) -> list[Link]:
    """The 24 frames of a person who is given in ROS axes, parents first."""
    local = np.concatenate(
        [person.root_quat_wxyz[None], person.joint_quats_wxyz, [[1.0, 0, 0, 0], [1.0, 0, 0, 0]]]
    )
    joints = person.joints_cam_m.astype(np.float64)
    prefix = f"person_{person.track_id}/"
    turned = [local[0]]
    found = [Link(prefix + JOINT_NAMES[0], camera_frame, joints[0], local[0])]
    for joint in range(1, len(JOINT_NAMES)):
        parent = PARENTS[joint]
        offset = rotate(turned[parent] * [1, -1, -1, -1], joints[joint] - joints[parent])
        turned.append(multiply(turned[parent], local[joint]))
        found.append(Link(prefix + JOINT_NAMES[joint], prefix + JOINT_NAMES[parent], offset, local[joint]))
    return found


def euler_xyz(quat_wxyz: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Angles a, b, c with R = Rx(a) Ry(b) Rz(c), radians; b within a quarter turn."""
    w, x, y, z = (float(v) for v in quat_wxyz)
    sine = max(-1.0, min(1.0, 2 * (x * z + w * y)))
    if abs(sine) > 1 - 1e-9:  # a and c turn about the same axis: all of it goes to a
        return 2 * math.atan2(x, w), math.asin(sine), 0.0
    first = math.atan2(2 * (w * x - y * z), 1 - 2 * (x * x + y * y))
    third = math.atan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z))
    return first, math.asin(sine), third


def messages(
    frame: PoseFrame, stamp_ns: int, camera_frame: str, types: Any
) -> tuple[list[Any], Any, list[Any]]:
    """Transforms, joint state and markers of everybody in a frame that is given in ROS axes.

    ``types`` has the classes of `ros_types`, or others with the same fields as keywords.
    """
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    header = types.Header(stamp=types.Time(sec=int(seconds), nanosec=int(nanoseconds)), frame_id=camera_frame)
    transforms, names, positions, markers = [], [], [], []
    for person in frame:
        for link in links(person, camera_frame):
            w, x, y, z = (float(v) for v in link.quat_wxyz)
            transforms.append(
                types.TransformStamped(
                    header=types.Header(stamp=header.stamp, frame_id=link.parent),
                    child_frame_id=link.name,
                    transform=types.Transform(
                        translation=types.Vector3(**_xyz(link.place_m)),
                        rotation=types.Quaternion(x=x, y=y, z=z, w=w),
                    ),
                )
            )
            if link.parent != camera_frame:
                names += [f"{link.name}_{axis}" for axis in "xyz"]
                positions += euler_xyz(link.quat_wxyz)
        markers.append(_bones(person, header, types))
    empty: Any = np.zeros(0)
    state = types.JointState(
        header=header, name=names, position=np.array(positions, np.float64), velocity=empty, effort=empty
    )
    return transforms, state, markers


def world_transform(ground: Ground, stamp_ns: int, world_frame: str, camera_frame: str, types: Any) -> Any:
    """Where the camera is in the level world, 0 on the floor."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = types.Time(sec=int(seconds), nanosec=int(nanoseconds))
    ros = OutputFrame("ros")
    w, x, y, z = (float(v) for v in from_matrix(ros.on(ground).world @ ros.world.T))
    return types.TransformStamped(
        header=types.Header(stamp=stamp, frame_id=world_frame),
        child_frame_id=camera_frame,
        transform=types.Transform(
            translation=types.Vector3(x=0.0, y=0.0, z=float(ground.height_m)),
            rotation=types.Quaternion(x=x, y=y, z=z, w=w),
        ),
    )


def _bones(person: Person, header: Any, types: Any) -> Any:
    points = [
        types.Point(**_xyz(person.joints_cam_m[end]))
        for joint in range(1, len(PARENTS))
        for end in (PARENTS[joint], joint)
    ]
    strong = 1.0 if person.state == "tracked" else 0.4
    identity = types.Pose(
        position=types.Point(x=0.0, y=0.0, z=0.0), orientation=types.Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
    )
    return types.Marker(
        header=header,
        ns="kinestream",
        id=int(person.track_id) % (1 << 31),
        type=LINE_LIST,
        pose=identity,
        scale=types.Vector3(x=0.03, y=0.0, z=0.0),
        color=types.ColorRGBA(r=0.1, g=0.7, b=1.0, a=strong),
        lifetime=types.Duration(sec=int(KEEP_S), nanosec=int(KEEP_S % 1 * 1e9)),
        points=points,
    )


def _xyz(values: npt.NDArray[Any]) -> dict[str, float]:
    return dict(zip("xyz", (float(v) for v in values), strict=True))


def stamp_ns(message: PoseMessage, subscriber: Subscriber) -> int | None:
    """Capture on the publisher's wall clock; of files, which have no such time, publishing."""
    start_ns = message.frame.t_capture_ns + message.lead_ns
    return subscriber.unix_ns(start_ns if message.clock == "monotonic" else message.t_publish_ns)


def ros_types() -> SimpleNamespace:
    """The classes of ROS messages that are used. Raises ``ImportError`` where it is not there."""
    return SimpleNamespace(**locals())


def main() -> None:
    """Run the node until Ctrl-C."""
    try:
        import rclpy
        from tf2_ros import TransformBroadcaster

        types = ros_types()
    except ImportError as error:
        raise SystemExit(f"needs ROS 2: {error}; source /opt/ros/DISTRIBUTION/setup.bash first") from error

    rclpy.init()
    node = rclpy.create_node("kinestream")
    address = node.declare_parameter("address", "tcp://127.0.0.1:5556").value
    keys = node.declare_parameter("keys", "").value
    camera_frame = node.declare_parameter("camera_frame", "camera_link").value
    world_frame = node.declare_parameter("world_frame", "world").value
    tilt_deg = node.declare_parameter("tilt_deg", 0.0).value
    output = OutputFrame("ros", math.radians(tilt_deg))
    transforms_out = TransformBroadcaster(node)
    states_out = node.create_publisher(types.JointState, "human/joint_states", 10)
    markers_out = node.create_publisher(types.MarkerArray, "human/markers", 10)
    with Subscriber(address, latest=True, keys=keys or None) as subscriber:
        said = ""
        try:
            while rclpy.ok():
                rclpy.spin_once(node, timeout_sec=0.0)
                try:
                    message = subscriber.receive(timeout_ms=200)
                except TimeoutError:
                    if subscriber.condition not in (said, "alive"):
                        node.get_logger().warning(f"{address}: {subscriber.describe()}")
                    said = subscriber.condition
                    continue
                if message.output != OutputFrame().on(message.frame.ground):
                    raise SystemExit(
                        "the stream must come in camera axes: run without --axes, --tilt DEGREES, --origin"
                    )
                t_ns = stamp_ns(message, subscriber)
                if t_ns is None:
                    continue  # before the first heartbeat there is no common clock
                found = messages(
                    output.apply(message.output.restore(message.frame)), t_ns, camera_frame, types
                )
                ground = message.frame.ground
                if ground is not None:
                    found[0].append(world_transform(ground, t_ns, world_frame, camera_frame, types))
                if found[0]:
                    transforms_out.sendTransform(found[0])
                    states_out.publish(found[1])
                    markers_out.publish(types.MarkerArray(markers=found[2]))
        except KeyboardInterrupt:
            pass
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
