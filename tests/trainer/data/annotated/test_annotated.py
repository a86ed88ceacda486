"""Data sets with human annotations, on small files in their published layouts that are written here."""

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, PART_NAMES
from kinestream.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from kinestream.trainer.data.annotated import human36m, mpi_inf_3dhp, threedpw
from kinestream.trainer.data.annotated.annotated import (
    AnnotatedCrops,
    AnnotatedPerson,
    AnnotationError,
    PhotoBody,
    keypoint_array,
    read_picture,
)
from kinestream.trainer.data.annotated.coco import DENSEPOSE_PARTS, OCCLUDED_WEIGHT, decode_runs, load_coco
from kinestream.trainer.data.annotated.sets import annotated_people
from kinestream.trainer.data.crops.crop_sample import PART_PERSON, PART_UNKNOWN, collate
from kinestream.trainer.data.motion.clip import REST_JOINTS_M
from kinestream.trainer.data.photos import clothing
from kinestream.trainer.data.photos.lspet import training_people
from kinestream.trainer.data.photos.open_images import load_open_images

CROP = 64
NOSE, LEFT, RIGHT = (KEYPOINT_NAMES.index(n) for n in ("nose", "left_wrist", "right_wrist"))


def write_picture(path: Path, width: int = 80, height: int = 120) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def write_video(path: Path, count: int) -> None:
    """Frame k has gray value 8 k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 80, 120, "yuv420p", 4
        for index in range(count):
            picture = np.full((120, 80, 3), 8 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """COCO's text of run lengths, by its definition."""
    flat = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    text = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            group, value = value & 31, value >> 5
            last = value == (-1 if group & 16 else 0)
            text += chr(48 + (group | (0 if last else 32)))
            if last:
                break
    return {"size": list(mask.shape), "counts": text}


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_are_read_in_both_forms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.random((4, 3)) < 0.5
    mask = np.kron(coarse, np.ones((40, 50))).astype(bool)
    mask[rng.integers(160), rng.integers(150)] ^= True
    np.testing.assert_array_equal(decode_runs(compressed(mask)), mask)
    flat = mask.T.ravel()
    change = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], change, [flat.size]])).tolist()
    runs = [0, *runs] if flat[0] else runs
    np.testing.assert_array_equal(decode_runs({"size": list(mask.shape), "counts": runs}), mask)
    with pytest.raises(AnnotationError, match="add up"):
        decode_runs({"size": [3, 3], "counts": [4, 4]})
    with pytest.raises(AnnotationError):
        decode_runs({"size": [3, 3], "counts": "\x01"})


def test_coco_with_densepose(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.jpg")
    keypoints = [0] * 51
    keypoints[0:3] = [40, 12, 2]
    for row in range(5, 17):
        keypoints[3 * row : 3 * row + 3] = [30 + row, 20 + 4 * row, 1 if row == 9 else 2]
    hand = np.zeros((256, 256), bool)
    hand[128:, :64] = True
    torso = np.zeros((256, 256), bool)
    torso[:64] = True
    masks: list[Any] = [[] for _ in DENSEPOSE_PARTS]
    masks[0], masks[1] = compressed(torso), compressed(hand)
    person = {
        "image_id": 7, "bbox": [20, 10, 40, 100], "keypoints": keypoints, "iscrowd": 0, "dp_masks": masks,
        "segmentation": [[20, 10, 59, 10, 59, 109, 20, 109]],
    }  # fmt: skip
    crowd = person | {"iscrowd": 1, "segmentation": compressed(np.ones((120, 80), bool))}
    unlabelled = person | {"keypoints": [0] * 51}
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 120, "width": 80}],
        "annotations": [person, crowd, unlabelled],
    }
    path = tmp_path / "person_keypoints.json"
    path.write_text(json.dumps(content))
    (read,) = load_coco(path, tmp_path / "images")
    np.testing.assert_allclose(read.keypoints[NOSE], [40, 12, 1])
    assert read.keypoints[LEFT, 2] == pytest.approx(OCCLUDED_WEIGHT)
    assert (read.keypoints[17:, 2] == 0).all()
    np.testing.assert_allclose(read.box_xyxy_px, [20, 10, 60, 110])
    parts = read.part_map()
    assert parts.shape == (120, 80)
    assert parts[5, 5] == 0 and parts[12, 40] == PART_PERSON and parts[100, 55] == PART_PERSON
    right_hand = 1 + PART_NAMES.index("r_hand")
    assert (parts[61:109, 21:29] == right_hand).all() and (parts == right_hand).sum() == 50 * 10

    sample = AnnotatedCrops([read], crop_px=CROP).sample(np.random.default_rng(0))
    assert set(np.unique(sample.parts)) <= {0, PART_PERSON, PART_UNKNOWN, right_hand, right_hand - 1}
    (tmp_path / "bad.json").write_text('{"images": []}')
    with pytest.raises(AnnotationError, match=r"bad\.json.*annotations"):
        load_coco(tmp_path / "bad.json", tmp_path)


def test_mirroring_exchanges_left_and_right(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    parts = np.zeros((120, 80), np.uint8)
    parts[:, :40], parts[:, 40:] = 1 + PART_NAMES.index("l_hand"), 1 + PART_NAMES.index("r_hand")
    points = {
        "left_wrist": (20, 60, 1),
        "right_wrist": (60, 60, 1),
        "nose": (40, 20, 1),
        "left_knee": (30, 100, 1),
    }
    person = AnnotatedPerson(tmp_path / "a.png", keypoint_array(points), part_map=lambda: parts)
    source = AnnotatedCrops([person], crop_px=CROP)
    seen = set()
    for seed in range(12):
        sample = source.sample(np.random.default_rng(seed))
        knee = "right_knee" if sample.known[KEYPOINT_NAMES.index("right_knee")] else "left_knee"
        seen.add(knee)
        for row, label in ((LEFT, "l_hand"), (RIGHT, "r_hand")):
            if sample.keypoints[row, 2] > 0:
                cell = ((sample.keypoints[row, :2] + 1) / 2 * (CROP // 4)).astype(int)
                assert sample.parts[cell[1], cell[0]] in (1 + PART_NAMES.index(label), PART_UNKNOWN)
    assert seen == {"left_knee", "right_knee"}
    assert MIRROR_KEYPOINTS[LEFT] == RIGHT
    with pytest.raises(ValueError, match="none of 1 people"):
        AnnotatedCrops([person], crop_px=CROP, min_labels=9)


def test_bodies_project_onto_their_keypoints_in_every_crop(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", 200, 240)
    body = BodyModel.load()
    rng = np.random.default_rng(0)
    rotations = np.tile(np.eye(3), (22, 1, 1))
    rotations[0] = matrix_from_axis_angle(np.array([np.pi, 0.2, 0.3]))
    state = PhotoBody(np.array([220.0, 220, 95, 118]), rotations, np.array([0.1, -0.1, 3.0]), np.zeros(10))
    projected = project(body, state.rotations, state.translation_m, state.betas, state.camera)
    person = AnnotatedPerson(
        tmp_path / "a.png", np.concatenate([projected, np.ones((23, 1))], 1).astype(np.float32), body=state
    )
    source = AnnotatedCrops([person], crop_px=CROP)
    for _ in range(6):
        sample = source.sample(rng)
        label = sample.body
        again = project(body, label.rotations, label.translation_m, label.betas, label.intrinsics)
        inside = sample.keypoints[:, 2] > 0
        np.testing.assert_allclose(again[inside], sample.keypoints[inside, :2], atol=2e-3)
    assert collate([sample]).has_body.all()


def project(body: BodyModel, rotations, translation, betas, camera) -> np.ndarray:
    import torch

    from kinestream.trainer.losses.body import with_hands

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, np.float32))[None]

    _, points = body.skeleton(tensor(betas), with_hands(tensor(rotations)), tensor(translation))
    x, y, z = points[0].numpy().T.astype(np.float64)
    return np.stack([x / z * camera[0] + camera[2], y / z * camera[1] + camera[3]], 1)


def test_open_images_boxes(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "aa.jpg")
    write_picture(tmp_path / "images" / "bb.jpg")
    columns = "ImageID Source LabelName Confidence XMin XMax YMin YMax IsOccluded IsTruncated"
    columns += " IsGroupOf IsDepiction IsInside"
    rows = [
        ["aa", "x", "/m/04yx4", 1, 0.25, 0.5, 0.1, 0.9, 0, 0, 0, 0, 0],
        ["aa", "x", "/m/01g317", 1, 0.5, 1.0, 0.0, 0.5, 0, 0, 1, 0, 0],
        ["aa", "x", "/m/01g317", 1, 0.0, 0.1, 0.0, 0.5, 0, 0, 0, 1, 0],
        ["bb", "x", "/m/0k4j", 1, 0.0, 0.1, 0.0, 0.5, 0, 0, 0, 0, 0],
        ["gone", "x", "/m/01g317", 1, 0.0, 0.1, 0.0, 0.5, 0, 0, 0, 0, 0],
    ]
    path = tmp_path / "boxes.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(), *rows])
    people, nobody = load_open_images(path, tmp_path / "images")
    np.testing.assert_allclose(people.boxes, [[0.25, 0.1, 0.5, 0.9], [0.5, 0, 1, 0.5]])
    assert people.group.tolist() == [False, True] and len(nobody.boxes) == 0
    path.write_text(path.read_text().replace("0.25", "0.75"))
    with pytest.raises(AnnotationError, match="line 2: no box"):
        load_open_images(path, tmp_path / "images")
    path.write_text("a,b\n")
    with pytest.raises(AnnotationError, match="ImageID"):
        load_open_images(path, tmp_path)


def test_clothing_masks_tell_heads_feet_and_people(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "0001.jpg")
    classes = np.zeros((120, 80), np.uint8)
    classes[10:20, 30:50], classes[20:100, 30:50], classes[40:60, 50:60] = 19, 31, 2
    classes[100:110, 30:38], classes[100:110, 42:50] = 39, 39
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "0001.png"), classes)
    (tmp_path / "classes.txt").write_text("0 null\n2 bag\n19 hair\n31 pants\n39 shoes\n")
    landmarks = np.zeros((1, 33, 4), np.float16)
    landmarks[..., :2], landmarks[..., 3] = (40, 60), 0.9
    landmarks[0, [27, 29, 31], :2], landmarks[0, [28, 30, 32], :2] = (46, 105), (34, 105)
    np.savez(
        tmp_path / "ccp.npz", files=np.array(["0001.jpg"]), size=np.array([[80, 120]]),
        detected=np.array([True]), image=landmarks,
        mask=np.zeros((1, 512), np.uint8), flip_err=np.zeros(1, np.float16),
    )  # fmt: skip
    (person,) = clothing.load_clothing(tmp_path, tmp_path / "ccp.npz")
    parts = person.part_map()
    assert parts[15, 40] == 1 + PART_NAMES.index("head")
    assert parts[50, 40] == PART_PERSON and parts[50, 55] == PART_UNKNOWN and parts[5, 5] == 0
    assert parts[105, 45] == 1 + PART_NAMES.index("l_foot") and parts[105, 33] == 1 + PART_NAMES.index(
        "r_foot"
    )
    AnnotatedCrops([person], crop_px=CROP).sample(np.random.default_rng(0))
    (tmp_path / "classes.txt").write_text("0 null\nhair\n")
    with pytest.raises(AnnotationError, match="line 2"):
        clothing.label_table(tmp_path / "classes.txt")


def test_lspet_trains_on_what_does_not_validate(tmp_path: Path) -> None:
    names = [
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist",
        "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
    ]  # fmt: skip
    joints = [[10 + k, 20 + 2 * k, int(k != 11)] for k in range(14)]
    images = [{"file": f"{name}.jpg", "joints": joints} for name in "ab"]
    (tmp_path / "labels.json").write_text(json.dumps({"joint_names": names, "images": images}))
    (tmp_path / "val.txt").write_text("b.jpg\n")
    (person,) = training_people(tmp_path)
    assert person.path.name == "a.jpg"
    assert person.keypoints[LEFT, 2] == 0 and person.keypoints[RIGHT].tolist() == [16, 32, 1]


def test_sets_are_found_by_name(tmp_path: Path) -> None:
    write_3dpw(tmp_path)
    (tmp_path / "sequenceFiles" / "test").rename(tmp_path / "sequenceFiles" / "train")
    assert len(annotated_people(f"3dpw={tmp_path}")) == 2
    for name in ("coco", "densepose", "lspet", "human36m", "3dhp", "clothing"):
        with pytest.raises(FileNotFoundError):
            annotated_people(f"{name}={tmp_path / 'nothing' / 'here'}")
    for spec in ("3dpw", f"kinetics={tmp_path}"):
        with pytest.raises(ValueError, match="NAME=FOLDER"):
            annotated_people(spec)


def write_3dpw(folder: Path, *, extra: Any = None) -> np.ndarray:
    """A sequence of 3 frames and 1 person who stands upright in the world; returns the camera poses."""
    (folder / "sequenceFiles" / "test").mkdir(parents=True, exist_ok=True)
    poses = np.zeros((3, 72))
    poses[:, 3:6] = [0.1, 0.2, 0.3]
    cameras = np.tile(np.eye(4), (3, 1, 1))
    cameras[:, :3, :3] = np.diag([1.0, -1, -1])
    cameras[:, 2, 3] = 4.0
    poses2d = np.zeros((3, 3, 18))
    poses2d[:, 0], poses2d[:, 1], poses2d[:, 2] = np.arange(18) + 10, 50, 0.9
    poses2d[:, 2, 0] = 0.1
    content = {
        "sequence": "walk_00", "cam_intrinsics": np.array([[900.0, 0, 40], [0, 910, 60], [0, 0, 1]]),
        "cam_poses": cameras, "poses": [poses], "trans": [np.full((3, 3), 0.5)], "betas": [np.arange(10.0)],
        "poses2d": [poses2d], "campose_valid": [np.array([1, 0, 1])], "genders": ["f"],
    }  # fmt: skip
    if extra is not None:
        content["genders"] = extra
    (folder / "sequenceFiles" / "test" / "walk_00.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return cameras


class Explosive:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_3dpw_is_read_without_running_its_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cameras = write_3dpw(tmp_path)
    (sequence,) = threedpw.load_3dpw(tmp_path, "test")
    assert sequence.intrinsics.tolist() == [900, 910, 40, 60]
    np.testing.assert_allclose(sequence.rotations[0, 0], cameras[0, :3, :3], atol=1e-12)
    np.testing.assert_allclose(axis_angle_from_matrix(sequence.rotations[0, 1]), [0.1, 0.2, 0.3], atol=1e-9)
    pelvis = cameras[0, :3, :3] @ (REST_JOINTS_M[0] + 0.5) + [0, 0, 4]
    np.testing.assert_allclose(sequence.translation_m, np.tile(pelvis, (3, 1)), atol=1e-12)
    people = sequence.people()
    assert [p.path.name for p in people] == ["image_00000.jpg", "image_00002.jpg"]
    assert people[0].path.parent == tmp_path / "imageFiles" / "walk_00"
    assert people[0].keypoints[NOSE, 2] == 0 and people[0].keypoints[RIGHT, 0] == 14
    assert (people[0].body.betas == 0).all()
    assert sequence.people(betas=True)[0].body.betas[3] == 3

    write_3dpw(tmp_path, extra=Explosive())
    with pytest.raises(AnnotationError, match=r"walk_00\.pkl"):
        threedpw.load_3dpw(tmp_path, "test")
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(FileNotFoundError, match="sequenceFiles/train"):
        threedpw.load_3dpw(tmp_path, "train")


def test_mpi_inf_3dhp(tmp_path: Path) -> None:
    from scipy.io import savemat

    folder = tmp_path / "S1" / "Seq1"
    write_video(folder / "imageSequence" / "video_1.avi", 6)
    pixels, deep = np.empty((2, 1), object), np.empty((2, 1), object)
    for camera in range(2):
        pixels[camera, 0] = np.arange(6 * 56, dtype=float).reshape(6, 56) % 80 + camera
        deep[camera, 0] = np.full((6, 84), 1500.0)
    savemat(folder / "annot.mat", {"annot2": pixels, "annot3": deep})
    lines = ["Skeletool Camera Calibration File V1.0"]
    for camera in range(2):
        lines += [f"name {camera}", f"intrinsic 1500 0 {1024 + camera} 0 0 1501 1030 0 0 0 1 0 0 0 0 1 "]
    (folder / "camera.calibration").write_text("\n".join(lines))
    (view,) = mpi_inf_3dhp.load_3dhp(tmp_path)
    assert view.video.name == "video_1.avi" and view.intrinsics.tolist() == [1500, 1501, 1025, 1030]
    assert (view.joints_m == 1.5).all()
    people = view.people(stride=5)
    assert [p.frame for p in people] == [0, 5]
    row = KEYPOINT_NAMES.index("left_shoulder")
    np.testing.assert_allclose(people[0].keypoints[row, :2], [18 + 1, 19 + 1])
    assert (people[0].keypoints[:, 2] > 0).sum() == 14
    assert read_picture(view.video, 5).mean() == pytest.approx(40, abs=3)
    AnnotatedCrops(people, crop_px=CROP).sample(np.random.default_rng(0))
    savemat(folder / "annot.mat", {"annot2": pixels})
    with pytest.raises(AnnotationError, match="annot3"):
        mpi_inf_3dhp.load_3dhp(tmp_path)


def test_human36m(tmp_path: Path) -> None:
    cdfwrite = pytest.importorskip("cdflib.cdfwrite", reason="Human3.6M needs cdflib (extra 'train')")
    folder = tmp_path / "S1"
    write_video(folder / "Videos" / "Walking.54138969.mp4", 6)

    def write(kind: str, values: np.ndarray) -> None:
        path = folder / "MyPoseFeatures" / kind / "Walking.54138969.cdf"
        path.parent.mkdir(parents=True, exist_ok=True)
        cdf = cdfwrite.CDF(str(path), delete=True)
        spec = {
            "Variable": "Pose", "Data_Type": cdf.CDF_DOUBLE, "Num_Elements": 1, "Rec_Vary": True,
            "Dim_Sizes": list(values.shape[1:]), "Var_Type": "zVariable",
        }  # fmt: skip
        cdf.write_var(spec, var_data=values)
        cdf.close()

    flat = np.arange(6 * 64, dtype=float).reshape(1, 6, 64) % 75
    write("D2_Positions", flat)
    write("D3_Positions_mono", np.full((1, 6, 96), 2500.0))
    (view,) = human36m.load_human36m(tmp_path, ("S1",))
    assert view.joints_px.shape == (6, 32, 2) and (view.joints_m == 2.5).all()
    people = view.people(stride=4)
    assert [p.frame for p in people] == [0, 4]
    np.testing.assert_allclose(people[1].keypoints[LEFT, :2], flat[0, 4].reshape(32, 2)[19])
    AnnotatedCrops(people, crop_px=CROP).sample(np.random.default_rng(0))
    write("D2_Positions", np.zeros((1, 6, 34)))
    with pytest.raises(AnnotationError, match=r"expected \(1, T, 64\)"):
        human36m.load_human36m(tmp_path, ("S1",))
    with pytest.raises(FileNotFoundError, match="S5"):
        human36m.load_human36m(tmp_path, ("S5",))


def test_frames_of_videos_are_the_ones_asked_for(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 12)
    for frame in (0, 3, 7, 11):
        assert read_picture(tmp_path / "a.mp4", frame).mean() == pytest.approx(8 * frame, abs=3)
    with pytest.raises(ValueError, match="no frame 12"):
        read_picture(tmp_path / "a.mp4", 12)
