"""The compiled rasteriser against the plain one, and both against geometry worked out by hand."""

import numpy as np
import pytest

from kinestream.kernels.raster import (
    Material,
    MaterialTable,
    Mesh,
    Target,
    TextureBank,
    cpu,
    plain_mesh,
    reference,
)
from kinestream.kernels.raster.mesh import CHECKS, DOTS, STRIPES_U, STRIPES_V
from kinestream.kernels.raster.texture import mip_levels

HEIGHT, WIDTH = 40, 52
K = np.array([[50.0, 0, 25.2], [0, 48.0, 19.7], [0, 0, 1]])
FACES = [cpu, reference]


def random_mesh(seed: int, *, faces: int = 60) -> Mesh:
    """Small and large triangles, some across the near plane, with every kind of material; some degenerate."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform([-2, -1.5, -0.2], [2, 1.5, 4], (faces, 1, 3))
    points = (centres + 0.4 * rng.normal(size=(faces, 3, 3))).reshape(-1, 3).astype(np.float32)
    points[4] = points[3]  # triangle 1 has no area
    points[8] = (points[6] + points[7]) / 2  # triangle 2 nearly none
    points[10] = 3.0 * points[9]  # triangle 3 is seen edge-on
    points[12] = [0.0, 0.0, 0.0]  # triangle 4 begins at the camera
    points[15:17, 2] = [-1.0, 2.0]  # triangle 5 reaches behind it
    triangles = np.arange(3 * faces, dtype=np.int32).reshape(-1, 3)
    triangles[6] = [19, 19, 20]
    vertices = len(points)
    cutout = rng.integers(0, 256, (24, 32, 4)).astype(np.uint8)
    solid = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    tint, other = (0.9, 0.5, 0.2), (0.1, 0.3, 1.0)
    materials = [
        Material(),
        Material(texture=0, bias_m=0.1),
        Material(texture=1, tint=tint),
        Material(texture=1, one_sided=True),
        *(
            Material(
                texture=1,
                gray_clip=0.4,
                tint=tint,
                pattern=pattern,
                pattern_count=4.5,
                pattern_width=0.4,
                pattern_tint=other,
            )
            for pattern in (STRIPES_U, STRIPES_V, CHECKS, DOTS)
        ),
    ]
    return Mesh(
        vertices_m=points,
        faces=triangles,
        light=rng.random((2, vertices, 3), np.float32),
        part=rng.integers(0, 15, vertices).astype(np.uint8),
        face_material=rng.integers(0, len(materials), faces).astype(np.int32),
        materials=MaterialTable.build(materials),
        uv=rng.uniform(-0.1, 1.1, (50, 2)).astype(np.float32),
        uv_faces=rng.integers(0, 50, (faces, 3)).astype(np.int32),
        textures=TextureBank.build([cutout, solid]),
        person=seed % 3,
    )


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_cpu_equals_reference(seed: int, samples: int) -> None:
    targets = [Target(HEIGHT, WIDTH, samples=samples) for _ in FACES]
    background = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    first, second = random_mesh(seed), random_mesh(seed + 100)
    images, seen = [], []
    for face, target in zip(FACES, targets, strict=True):
        face.draw(target, first, K)
        face.draw(target, second, K)
        images.append(face.resolve(target, background))
        seen.append(face.vertex_visibility(target, second.vertices_m, K, tolerance_m=0.05))
    fast, plain = targets
    for name in ("triangle", "part", "person", "depth_m"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(plain, name), err_msg=name)
    hit = fast.triangle >= 0
    assert 0.2 < hit.mean()
    assert (fast.triangle[hit] >= len(first.faces)).any() and (fast.triangle[hit] < len(first.faces)).any()
    np.testing.assert_allclose(fast.colour[hit], plain.colour[hit], atol=1e-5)
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    np.testing.assert_array_equal(seen[0], seen[1])
    assert seen[0].any() and not seen[0].all()


@pytest.mark.parametrize("face", FACES)
def test_square_covers_the_pixels_it_must(face) -> None:
    # a square of 0.2 m at 2 m, focal length 100 px: 10 px wide, centred between pixels 9 and 10
    corners = np.array([[-0.1, -0.1, 2], [0.1, -0.1, 2], [0.1, 0.1, 2], [-0.1, 0.1, 2]], np.float32)
    mesh = plain_mesh(corners, [[0, 2, 1], [0, 3, 2]], colour=(0.5, 0.25, 1.0), part=np.full(4, 6))
    target = Target(20, 20)
    face.draw(target, mesh, [[100, 0, 9.5], [0, 100, 9.5], [0, 0, 1]])
    expected = np.zeros((20, 20), bool)
    expected[5:15, 5:15] = True
    np.testing.assert_array_equal(target.triangle >= 0, expected)
    np.testing.assert_allclose(target.depth_m[expected], 2.0, rtol=1e-6)
    np.testing.assert_array_equal(np.unique(target.part), [0, 7])
    np.testing.assert_array_equal(np.unique(target.person), [0, 1])
    np.testing.assert_allclose(target.colour[10, 10], [0.5, 0.25, 1.0], rtol=1e-6)


@pytest.mark.parametrize("face", FACES)
def test_shared_edges_belong_to_exactly_one_triangle(face) -> None:
    # a fan whose centre and spokes run exactly through samples: no gap and no overlap
    angles = np.arange(8) * np.pi / 4
    ring = np.stack([np.round(np.cos(angles), 6), np.round(np.sin(angles), 6), np.ones(8)], -1)
    points = np.concatenate([[[0, 0, 1]], ring]).astype(np.float32)
    camera = [[8, 0, 10], [0, 8, 10], [0, 0, 1]]
    count = np.zeros((21, 21), int)
    for i in range(8):
        target = Target(21, 21)
        face.draw(target, plain_mesh(points, [[0, 1 + i, 1 + (i + 1) % 8]]), camera)
        count += target.triangle >= 0
    assert count.max() == 1
    assert count[10, 3:17].all() and count[4:16, 10].all()


@pytest.mark.parametrize("face", FACES)
def test_attributes_are_perspective_correct(face) -> None:
    # a floor that recedes from 1 m to 9 m: halfway in the picture is not halfway in the texture
    corners = np.array([[-1, 0.5, 1], [1, 0.5, 1], [1, 0.5, 9], [-1, 0.5, 9]], np.float32)
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[:, None, None], 4, 1).repeat(3, 2)
    mesh = Mesh(
        vertices_m=corners,
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        light=np.ones((2, 4, 3), np.float32),
        part=np.zeros(4, np.uint8),
        face_material=np.zeros(2, np.int32),
        materials=MaterialTable.build([Material(texture=0)]),
        uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32),
        uv_faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        textures=TextureBank.build([ramp]),
    )
    target = Target(100, 100)
    face.draw(target, mesh, [[100, 0, 50], [0, 100, 50], [0, 0, 1]])
    image = face.resolve(target, np.zeros((100, 100, 3), np.uint8))
    for row in (60, 70, 90):
        depth = 0.5 * 100 / (row - 50)
        share = 1 - (depth - 1) / 8  # texture row from the top
        assert target.depth_m[row, 50] == pytest.approx(depth, rel=1e-5)
        assert image[row, 50, 0] == pytest.approx(255 * share, abs=3)


@pytest.mark.parametrize("face", FACES)
def test_what_reaches_behind_the_camera_is_cut_at_the_near_plane(face) -> None:
    # a floor from 1 m behind to 4 m in front of the camera fills the picture below the horizon
    corners = np.array([[-50, 0.5, -1], [50, 0.5, -1], [50, 0.5, 4], [-50, 0.5, 4]], np.float32)
    mesh = plain_mesh(corners, [[0, 1, 2], [0, 2, 3]])
    target = Target(60, 60)
    camera = [[40, 0, 29.5], [0, 40, 29.5], [0, 0, 1]]
    face.draw(target, mesh, camera)
    rows = np.arange(60)
    depth = 0.5 * 40 / np.where(rows > 29.5, rows - 29.5, np.nan)
    np.testing.assert_array_equal((target.triangle >= 0)[:, 30], depth <= 4)
    near = Target(60, 60)
    face.draw(near, mesh, camera, near_m=1.0)
    np.testing.assert_array_equal((near.triangle >= 0)[:, 30], (depth <= 4) & (depth >= 1.0))


@pytest.mark.parametrize("face", FACES)
def test_nearest_wins_first_of_equals_and_bias_moves(face) -> None:
    triangle = np.array([[-1, -1, 2], [1, -1, 2], [0, 1, 2]], np.float32)
    camera = [[20, 0, 15], [0, 20, 15], [0, 0, 1]]
    target = Target(30, 30)
    for person, shift in enumerate([0.0, 0.5, 0.0, -0.5]):
        face.draw(
            target, plain_mesh(triangle + np.float32([0, 0, shift]), [[0, 1, 2]], person=person), camera
        )
        assert target.person[12, 15] == [1, 1, 1, 4][person]
    biased = plain_mesh(triangle, [[0, 1, 2]], person=7)
    biased = Mesh(**{**vars(biased), "materials": MaterialTable.build([Material(bias_m=0.75)])})
    face.draw(target, biased, camera)
    assert target.person[12, 15] == 8


@pytest.mark.parametrize("face", FACES)
def test_light_of_the_side_that_is_seen(face) -> None:
    triangle = np.array([[-1, -1, 2], [1, -1, 2], [0, 1, 2]], np.float32)
    light = np.stack([np.full((3, 3), 0.8), np.full((3, 3), 0.2)])
    for faces, expected in (([[0, 1, 2]], 0.2), ([[0, 2, 1]], 0.8)):
        target = Target(30, 30)
        face.draw(target, plain_mesh(triangle, faces, light=light), [[20, 0, 15], [0, 20, 15], [0, 0, 1]])
        # counter-clockwise seen from outside, with y down: a right turn on the screen
        normal = np.cross(*(triangle[np.array(faces[0])[1:]] - triangle[faces[0][0]]))
        assert (expected == 0.8) == (normal[2] < 0)
        assert target.colour[12, 15, 0] == pytest.approx(expected, rel=1e-6)


def test_transparent_texels_leave_a_hole_and_lend_no_colour() -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[:, :4] = (200, 100, 50, 255)
    fine, coarse = mip_levels(image)[:2]
    assert (fine[:, 4:, 3] == 0).all() and (fine[..., :3] == [200, 100, 50]).all()
    assert coarse.shape == (4, 4, 4) and (coarse[0, :2] == [200, 100, 50, 255]).all()
    bank = TextureBank.build([image])
    assert bank.cutout.tolist() == [True] and len(bank) == 1
    corners = np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2]], np.float32)
    mesh = Mesh(
        vertices_m=corners,
        faces=np.array([[0, 2, 1], [0, 3, 2]], np.int32),
        light=np.ones((2, 4, 3), np.float32),
        part=np.zeros(4, np.uint8),
        face_material=np.zeros(2, np.int32),
        materials=MaterialTable.build([Material(texture=0)]),
        uv=np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32),
        uv_faces=np.array([[0, 2, 1], [0, 3, 2]], np.int32),
        textures=bank,
    )
    target = Target(32, 32)
    cpu.draw(target, mesh, [[32, 0, 15.5], [0, 32, 15.5], [0, 0, 1]])
    hit = target.triangle >= 0
    assert hit[:, :15].all() and not hit[:, 17:].any()


def test_resolve_mixes_by_coverage() -> None:
    target = Target(1, 2, samples=2)
    corners = np.array([[-9, -9, 1], [0, -9, 1], [0, 9, 1], [-9, 9, 1]], np.float32)
    # the right edge of the square lies at x = 0 m, in the middle of pixel 0
    camera = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    cpu.draw(target, plain_mesh(corners, [[0, 2, 1], [0, 3, 2]]), camera)
    np.testing.assert_array_equal(target.coverage(), [[0.5, 0.0]])
    image = cpu.resolve(target, np.full((1, 2, 3), 100, np.uint8))
    np.testing.assert_array_equal(image[0, :, 0], [178, 100])


def test_empty_mesh_and_clear() -> None:
    target = Target(8, 8)
    cpu.draw(target, plain_mesh(np.zeros((0, 3)), np.zeros((0, 3))), np.eye(3))
    assert (target.triangle == -1).all()
    cpu.draw(target, plain_mesh([[-99, -9, 1], [99, -9, 1], [0, 99, 1]], [[0, 1, 2]]), np.eye(3))
    assert (target.triangle == 0).all()
    target.clear()
    assert (target.triangle == -1).all() and np.isinf(target.depth_m).all() and target.num_triangles == 0


def test_what_is_not_finite_is_not_drawn() -> None:
    points = np.array([[np.nan, 0, 1], [1, 0, 1], [0, 1, 1], [np.inf, 1, 2]], np.float32)
    target = Target(8, 8)
    cpu.draw(target, plain_mesh(points, [[0, 1, 2], [1, 2, 3]]), np.eye(3))
    assert (target.triangle == -1).all()


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="mesh.faces must lie in 0..2; found 0..3"):
        plain_mesh(np.zeros((3, 3)), [[0, 1, 3]])
    with pytest.raises(ValueError, match="positive focal lengths"):
        cpu.draw(Target(4, 4), plain_mesh(np.zeros((3, 3)), [[0, 1, 2]]), -np.eye(3))
    with pytest.raises(ValueError, match="skew"):
        cpu.draw(Target(4, 4), plain_mesh(np.zeros((3, 3)), [[0, 1, 2]]), [[9, 1, 0], [0, 9, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match=r"background must be uint8 of shape \(4, 4, 3\)"):
        cpu.resolve(Target(4, 4), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="texture must be uint8"):
        TextureBank.build([np.zeros((4, 4), np.uint8)])
    mesh = plain_mesh(np.zeros((3, 3)), [[0, 1, 2]])
    with pytest.raises(ValueError, match="refer to texture 2, the bank holds 0"):
        Mesh(**{**vars(mesh), "materials": MaterialTable.build([Material(texture=2)])})
    with pytest.raises(ValueError, match="a pixel and a sample"):
        Target(0, 4)
