"""glTF 2.0 in one file (.glb): everybody as a skinned mesh with a skeleton and one animation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES, NUM_FLOW_JOINTS, PARENTS
from kinestream.kernels.raster.normals import vertex_normals
from kinestream.kernels.raster.overlay import PALETTE
from kinestream.tools.export.motion import (
    Y_UP,
    Take,
    continuous_quats,
    local_rotations,
    mean_betas,
    rest_joints,
    takes_of,
)
from kinestream.tools.export.tracks import Track
from kinestream.tools.extras import optional_module

INFLUENCES = 4
"""Joints that may move a vertex, as glTF has it in its first set of weights."""


def write_glb(
    path: Path, tracks: Sequence[Track], body: BodyModel, *, start_ns: int, max_gap_s: float
) -> None:
    """Write all tracks. Metres; x right, y up, z towards the viewer; seconds since ``start_ns``.

    Keys are the frames as tracked. People are scaled to nothing before and after they are there and in gaps
    longer than ``max_gap_s``. Meshes follow their skeletons without the body's pose correctives.
    Raises ``OSError``, and ``ImportError`` naming the extra where pygltflib is missing.
    """
    pygltflib = optional_module("pygltflib", extra="export", purpose="glTF")
    file = _File(pygltflib)
    animation = pygltflib.Animation(name="tracked")
    faces = file.add(
        body.faces.numpy().astype(np.uint16 if body.num_vertices < 65536 else np.uint32).ravel(),
        "SCALAR",
        target=pygltflib.ELEMENT_ARRAY_BUFFER,
    )
    last_ns = max(int(track.t_ns[-1]) for track in tracks)
    for track in tracks:
        person, joints = _add_person(file, track, body, faces)
        _animate(file, animation, takes_of(track, max_gap_s), person, joints, start_ns, last_ns)
    file.gltf.animations = [animation]
    file.save(path)


class _File:
    """A glTF document and the bytes of its one buffer."""

    def __init__(self, library: Any) -> None:
        self.library = library
        asset = library.Asset(generator="kinestream")
        self.gltf = library.GLTF2(scene=0, scenes=[library.Scene()], asset=asset)
        self._blob = bytearray()

    def add(self, array: npt.NDArray[Any], kind: str, *, target: int | None = None) -> int:
        """Append an array as a new accessor; returns its index."""
        library = self.library
        codes = {
            "f4": library.FLOAT, "u1": library.UNSIGNED_BYTE, "u2": library.UNSIGNED_SHORT,
            "u4": library.UNSIGNED_INT,
        }  # fmt: skip
        flat = np.ascontiguousarray(array)
        columns = flat.reshape(len(flat), -1)
        self._blob.extend(bytes(-len(self._blob) % 4))
        view = library.BufferView(buffer=0, byteOffset=len(self._blob), byteLength=flat.nbytes, target=target)
        self._blob.extend(flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes())
        self.gltf.bufferViews.append(view)
        accessor = library.Accessor(
            bufferView=len(self.gltf.bufferViews) - 1,
            componentType=codes[flat.dtype.str[1:]],
            count=len(flat),
            type=kind,
            min=columns.min(axis=0).tolist(),
            max=columns.max(axis=0).tolist(),
        )
        self.gltf.accessors.append(accessor)
        return len(self.gltf.accessors) - 1

    def node(self, **fields: Any) -> int:
        """Add a node; returns its index."""
        self.gltf.nodes.append(self.library.Node(**fields))
        return len(self.gltf.nodes) - 1

    def save(self, path: Path) -> None:
        self._blob.extend(bytes(-len(self._blob) % 4))
        self.gltf.buffers = [self.library.Buffer(byteLength=len(self._blob))]
        self.gltf.set_binary_blob(bytes(self._blob))
        path.write_bytes(b"".join(self.gltf.save_to_bytes()))


def _add_person(file: _File, track: Track, body: BodyModel, faces: int) -> tuple[int, list[int]]:
    """Add mesh, skin and skeleton at rest; returns the node above the skeleton, and the joints' nodes."""
    pygltflib, gltf, name = file.library, file.gltf, f"person {track.track_id}"
    betas = mean_betas(track)
    rest = rest_joints(body, betas)
    offsets = rest - np.where(np.arange(len(rest))[:, None] > 0, rest[list(PARENTS)], 0)
    first = len(gltf.nodes)
    for joint, joint_name in enumerate(JOINT_NAMES):
        children = [first + child for child, parent in enumerate(PARENTS) if parent == joint]
        file.node(
            name=f"{joint_name} {track.track_id}", translation=offsets[joint].tolist(), children=children
        )
    joints = list(range(first, first + len(JOINT_NAMES)))
    person = file.node(name=name, children=[first])

    bind = np.tile(np.eye(4, dtype=np.float32), (len(rest), 1, 1))
    bind[:, 3, :3] = -rest  # column-major
    gltf.skins.append(
        pygltflib.Skin(
            name=name,
            joints=joints,
            skeleton=first,
            inverseBindMatrices=file.add(bind.reshape(-1, 16), "MAT4"),
        )
    )
    vertices = np.asarray(
        body.v_template.numpy() + np.einsum("vcs,s->vc", body.shapedirs.numpy(), betas), np.float32
    )
    influences, weights = _strongest(body.skin_weights.numpy())
    vertex = pygltflib.ARRAY_BUFFER
    attributes = pygltflib.Attributes(
        POSITION=file.add(vertices, "VEC3", target=vertex),
        NORMAL=file.add(vertex_normals(vertices, body.faces.numpy().astype(np.int32)), "VEC3", target=vertex),
        JOINTS_0=file.add(influences, "VEC4", target=vertex),
        WEIGHTS_0=file.add(weights, "VEC4", target=vertex),
    )
    colour = [*(np.array(PALETTE[track.track_id % len(PALETTE)]) / 255.0).tolist(), 1.0]
    surface = pygltflib.PbrMetallicRoughness(baseColorFactor=colour, metallicFactor=0.0, roughnessFactor=0.8)
    gltf.materials.append(pygltflib.Material(name=name, pbrMetallicRoughness=surface))
    shape = pygltflib.Primitive(attributes=attributes, indices=faces, material=len(gltf.materials) - 1)
    gltf.meshes.append(pygltflib.Mesh(name=name, primitives=[shape]))
    mesh = file.node(name=f"{name} mesh", mesh=len(gltf.meshes) - 1, skin=len(gltf.skins) - 1)
    gltf.scenes[0].nodes += [person, mesh]
    return person, joints


def _strongest(weights: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """The four joints that move each vertex most (V, 4), and their weights with sum 1; unused ones are 0."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    kept = np.take_along_axis(weights, order, axis=1)
    kept = kept / kept.sum(axis=1, keepdims=True)
    return np.where(kept > 0, order, 0).astype(np.uint8), kept.astype(np.float32)


def _animate(
    file: _File,
    animation: Any,
    takes: Sequence[Take],
    person: int,
    joints: Sequence[int],
    start_ns: int,
    last_ns: int,
) -> None:
    """Add the motion of one track."""
    rows = np.concatenate([take.rows for take in takes])
    rotations = local_rotations(rows)
    rotations[:, 0] = Y_UP @ rotations[:, 0]
    quats_xyzw = np.roll(continuous_quats(rotations), -1, axis=-1).astype(np.float32)
    times = file.add(_seconds(rows["t_capture_ns"], start_ns), "SCALAR")
    _channel(file, animation, times, joints[0], "translation", rows["translation_m"] @ Y_UP.T)
    for joint in range(1 + NUM_FLOW_JOINTS):
        _channel(file, animation, times, joints[joint], "rotation", quats_xyzw[:, joint])
    shown = _appearances(takes, start_ns, last_ns)
    if len(shown) > 1:
        keys = file.add(_seconds(np.array([t_ns for t_ns, _ in shown]), start_ns), "SCALAR")
        sizes = np.array([[float(there)] * 3 for _, there in shown])
        _channel(file, animation, keys, person, "scale", sizes, interpolation="STEP")


def _appearances(takes: Sequence[Take], start_ns: int, last_ns: int) -> list[tuple[int, bool]]:
    """When the person comes and goes: increasing times, and whether the person is there from then on."""
    events: list[tuple[int, bool]] = []
    first_ns = int(takes[0].rows["t_capture_ns"][0])
    if first_ns > start_ns:
        events.append((start_ns, False))
    for take in takes:
        times = take.rows["t_capture_ns"]
        events.append((int(times[0]), True))
        if times[-1] < last_ns:
            events.append((int(times[-1]) + 1_000_000, False))
    return events


def _seconds(t_ns: npt.NDArray[np.int64], start_ns: int) -> npt.NDArray[np.float32]:
    return ((t_ns - start_ns) / 1e9).astype(np.float32)


def _channel(
    file: _File,
    animation: Any,
    times: int,
    node: int,
    path: str,
    values: npt.NDArray[Any],
    *,
    interpolation: str = "LINEAR",
) -> None:
    pygltflib = file.library
    output = file.add(np.asarray(values, np.float32), "VEC4" if values.shape[1] == 4 else "VEC3")
    animation.samplers.append(
        pygltflib.AnimationSampler(input=times, output=output, interpolation=interpolation)
    )
    animation.channels.append(
        pygltflib.AnimationChannel(
            sampler=len(animation.samplers) - 1, target=pygltflib.AnimationChannelTarget(node=node, path=path)
        )
    )
