"""Rates that other tools expect: nominal ones, whatever stamps were rounded to, and a row for each frame."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.stream import read_poses
from kinestream.tools.export import Options, export, read_tracks
from kinestream.tools.export.motion import resample, takes_of
from kinestream.tools.export.rates import frame_rate, snapped
from kinestream.tools.export.tracks import Track
from kinestream.tools.sinks.npz import ROW

NTSC = 60000 / 1001


def track(times_ns: np.ndarray, indices: np.ndarray | None = None, fps: float | None = None) -> Track:
    rows = np.zeros(len(times_ns), ROW)
    rows["frame_index"] = np.arange(len(times_ns)) if indices is None else indices
    rows["t_capture_ns"] = times_ns
    rows["root_quat_wxyz"][:, 0] = rows["joint_quats_wxyz"][..., 0] = 1
    rows["translation_m"][:, 0] = rows["frame_index"]
    return Track(0, rows, fps=fps)


@pytest.mark.parametrize(
    ("fps", "meant"),
    [
        (30.303, 30.303), (30.03, 30), (29.9999999, 30), (29.97003, 30000 / 1001), (59.9999988, 60),
        (59.94, NTSC), (58.82, 58.82), (23.976, 24000 / 1001), (14.99, 15), (12.34, 12.34), (25.02, 25),
        (239.9, 240),
    ],
)  # fmt: skip
def test_what_is_meant(fps: float, meant: float) -> None:
    assert snapped(fps) == pytest.approx(meant, rel=1e-9)


@pytest.mark.parametrize("meant", [24, 25, 30000 / 1001, 30, 50, NTSC, 60, 120])
@pytest.mark.parametrize("unit_ns", [1, 1_000_000, 11_111])
@pytest.mark.parametrize("nominal", [True, False])
def test_stamps_in_milliseconds(meant: float, unit_ns: int, nominal: bool) -> None:
    """The median step of 30 fps in whole milliseconds is 33, which is 30.303 fps."""
    indices = np.delete(np.arange(300), [7, 8, 40])
    times_ns = np.round(indices / meant * 1e9 / unit_ns).astype(np.int64) * unit_ns + 17 * unit_ns
    one = track(times_ns, indices, fps=meant * (1 + 1e-7) if nominal else None)
    fps = frame_rate([one], 0.5)
    assert fps == pytest.approx(meant, rel=1e-9 if nominal or meant not in (30000 / 1001, NTSC) else 2e-3)
    motion = resample(takes_of(one, 0.5)[0], fps, int(times_ns[0]))
    assert len(motion.t_s) == 300, "as many rows as frames"
    np.testing.assert_allclose(motion.pelvis_m[:, 0], np.arange(300), atol=1e-4)


def test_a_nominal_rate_that_is_invented_is_not_believed() -> None:
    assert frame_rate([track(np.arange(50) * 100_000_000, fps=25.0)], 0.5) == 10


def test_several_poses_of_a_frame() -> None:
    """As --rate 50 publishes them."""
    assert frame_rate([track(np.arange(50) * 20_000_000, np.arange(50) // 2)], 0.5) == 50


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("rate", [30, 60])
def test_from_a_file_in_milliseconds_to_bvh(
    kinestream: Callable[..., tuple[int, str, str]],
    paint_blocks: Callable[..., np.ndarray],
    tmp_path: Path,
    rate: int,
) -> None:
    clip, npz, recording = tmp_path / "ms.mkv", tmp_path / "ms.npz", tmp_path / "ms2.mcap"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = 320, 240
        for i in range(45):
            image = paint_blocks((320, 240), {0: (40 + i, 60, 50, 120)})
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    assert kinestream("run", clip, "--no-publish", "--npz", npz, "--record", recording)[0] == 0
    assert {message.fps for message in read_poses(recording)} == {float(np.load(npz)["fps"])}
    for path in (npz, recording):
        assert kinestream("export", path, "--to", "bvh")[0] == 0
        lines = path.with_suffix(".track-0.bvh").read_text().splitlines()
        frames = next(int(line.split()[1]) for line in lines if line.startswith("Frames:"))
        step_s = next(float(line.split()[2]) for line in lines if line.startswith("Frame Time:"))
        tracked = read_tracks(path)[0].rows["frame_index"]
        assert frames == tracked[-1] - tracked[0] + 1 and step_s == pytest.approx(1 / rate, abs=1e-9)


def test_c3d(archive: Path, walk: object, body: object, tmp_path: Path) -> None:
    """Read back by ezc3d's own reader, which shares its code with the writer, and by byte offsets."""
    ezc3d = pytest.importorskip("ezc3d", reason="the extra 'export' is not installed")
    from kinestream.tools.export.trc import MARKERS

    paths = export(archive, tmp_path, "c3d", read_tracks(archive), body, Options())
    for path, (track_id, first, last) in zip(paths, walk.takes.values(), strict=True):
        content = ezc3d.c3d(str(path))
        point = content["parameters"]["POINT"]
        assert point["RATE"]["value"][0] == 25 and point["UNITS"]["value"] == ["mm"]
        assert point["LABELS"]["value"] == list(MARKERS)
        points = content["data"]["points"]
        assert points.shape == (4, 47, last - first + 1)
        expected = walk.seen(track_id, first, last)
        at = expected["frame_index"] - first
        up = 1000 * expected["joints_cam_m"][..., [0, 2, 1]] * [1, 1, -1]
        np.testing.assert_allclose(points[:3, :24, at].transpose(2, 1, 0), up, atol=0.01)
        head = path.read_bytes()[:512]
        assert head[1] == 0x50 and int.from_bytes(head[2:4], "little") == 47, "C3D, 47 points"


@pytest.mark.parametrize("format_name", ["bvh", "amass", "gmr", "trc", "glb", "csv", "jsonl"])
def test_exports_stand_on_the_floor(
    archive: Path, body: object, rows: np.ndarray, tmp_path: Path, format_name: str
) -> None:
    from kinestream.tools.export.motion import FEET, grounded, usual

    for one in read_tracks(archive):
        soles = grounded(one, np.eye(3)).rows["keypoints_cam_m"][:, FEET, 1].max(axis=1)
        assert usual(soles) == pytest.approx(0, abs=1e-5)
        moved = grounded(one, np.eye(3)).rows["joints_cam_m"] - one.rows["joints_cam_m"]
        assert np.ptp(moved[..., 1]) < 1e-5 and not moved[..., [0, 2]].any(), "all of it, straight up or down"
    plain, ground, tilted = (
        export(archive, tmp_path / name, format_name, read_tracks(archive), body, options)[0]
        for name, options in (
            ("plain", Options()),
            ("ground", Options(ground=True, tilt_deg=0.0)),
            ("tilted", Options(ground=True)),
        )
        if (tmp_path / name).mkdir() is None
    )
    assert len({path.read_bytes() for path in (plain, ground, tilted)}) == 3


def test_the_floor_is_where_soles_are_at_most_times() -> None:
    """Six of ten frames near 1.2 m, three in the air, one sunk by an error."""
    from kinestream.tools.export.motion import usual

    rng = np.random.default_rng(0)
    soles = np.concatenate([rng.normal(1.2, 0.01, 60), rng.uniform(0.2, 1.1, 30), rng.uniform(1.3, 1.8, 10)])
    assert usual(rng.permutation(soles)) == pytest.approx(1.2, abs=0.01)
    assert usual(np.array([0.7])) == 0.7 and usual(np.array([1.0, 2.0])) == 1.5


def test_grounded_people_are_turned_as_a_whole(archive: Path) -> None:
    """The level frame of a camera that is tilted and rolled: pixels of the posed body do not change."""
    from kinestream.geometry.level import level_from_camera
    from kinestream.geometry.rotation import matrix_from_quat
    from kinestream.tools.export.motion import grounded, level_of

    level = level_from_camera(0.4, -0.3)
    one = read_tracks(archive)[0]
    turned = grounded(one, level)
    root, before = (matrix_from_quat(t.rows["root_quat_wxyz"].astype(np.float64)) for t in (turned, one))
    np.testing.assert_allclose(root, level @ before, atol=1e-5)
    moved = turned.rows["joints_cam_m"] - one.rows["joints_cam_m"] @ level.T
    np.testing.assert_allclose(moved - moved[0, 0], 0, atol=1e-4)
    found = level_of([one])
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-9)


def test_a_full_disk_is_named_and_leaves_no_half(archive: Path, body: object, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="there is no limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for format_name in ("bvh", "amass", "trc", "csv", "jsonl", "glb", "c3d"):
        if format_name == "c3d":
            pytest.importorskip("ezc3d", reason="the extra 'export' is not installed")
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        try:
            with pytest.raises(OSError, match="walk.*: "):
                export(archive, tmp_path, format_name, read_tracks(archive), body, Options())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not list(tmp_path.glob(f"walk*{format_name}*")), format_name
