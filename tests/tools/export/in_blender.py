"""Opens an export in Blender as docs/recipes.md says, and writes down what is there; see test_blender.py.

python in_blender.py FILE FPS OUT.npz [AMASS.npz JOINT,JOINT,... PELVIS_X,Y,Z]
"""

import math
import sys

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector


def main() -> None:
    path, fps, out, *amass = sys.argv[1:]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    if path.endswith(".bvh"):
        bpy.ops.import_anim.bvh(
            filepath=path, global_scale=0.01, update_scene_fps=True, update_scene_duration=True
        )
    else:
        scene.render.fps = int(fps)
        bpy.ops.import_scene.gltf(filepath=path)
    found = {"fps": np.array(scene.render.fps / scene.render.fps_base)}
    armatures = sorted((o for o in scene.objects if o.type == "ARMATURE"), key=lambda o: o.name)
    for number, armature in enumerate(armatures):
        first, last = armature.animation_data.action.frame_range
        frames = np.arange(first, last + 0.25, 0.5)
        found[f"frames_{number}"] = frames
        found[f"names_{number}"] = np.array([bone.name for bone in armature.data.bones])
        found[f"rest_{number}"] = np.array([b.head_local for b in armature.data.bones])
        heads, turns = [], []
        for frame in frames:
            scene.frame_set(math.floor(frame), subframe=frame % 1)
            heads.append([armature.matrix_world @ bone.head for bone in armature.pose.bones])
            turns.append([bone.matrix_basis.to_quaternion() for bone in armature.pose.bones])
        found[f"heads_{number}"], found[f"turns_{number}"] = np.array(heads), np.array(turns)
    scene.frame_set(12)
    for mesh in (o for o in scene.objects if o.type == "MESH" and o.find_armature()):
        posed = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
        found[mesh.name] = np.array([posed.matrix_world @ vertex.co for vertex in posed.data.vertices])
    if amass:
        found["amass_heads"] = driven(armatures[0], *amass)
    np.savez(out, **found)


def driven(armature: "bpy.types.Object", path: str, joints: str, pelvis: str) -> np.ndarray:
    """Heads of the bones in every tenth frame of an AMASS archive, which turns those of a T-pose."""
    content = np.load(path)
    upright = Matrix.Rotation(math.pi / 2, 3, "X")  # the body at rest has y up, the armature z
    armature.animation_data_clear()
    heads = []
    for pose, place in zip(content["poses"][::10], content["trans"][::10], strict=True):
        for joint, name in enumerate(joints.split(",")):
            bone = armature.pose.bones[name]
            vector = Vector(pose[3 * joint : 3 * joint + 3])
            turn = Quaternion(vector.normalized(), vector.length).to_matrix()
            turn = turn @ upright.inverted() if joint == 0 else upright @ turn @ upright.inverted()
            axes = bone.bone.matrix_local.to_3x3()
            bone.rotation_mode = "QUATERNION"
            bone.rotation_quaternion = (axes.inverted() @ turn @ axes).to_quaternion()
            if joint == 0:
                moved = Vector(place) + Vector(map(float, pelvis.split(","))) - bone.bone.head_local
                bone.location = axes.inverted() @ moved
        bpy.context.view_layer.update()
        heads.append([armature.matrix_world @ bone.head for bone in armature.pose.bones])
    return np.array(heads)


main()
