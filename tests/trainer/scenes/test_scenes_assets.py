"""Assets: what is loaded, and what a user is told about missing and damaged files."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kinestream.body.arrays import DEFAULT_BODY_PATH, load_body_arrays
from kinestream.trainer.scenes.assets import AssetError
from kinestream.trainer.scenes.library import CharacterLibrary
from kinestream.trainer.scenes.stage import SceneAssets


@pytest.fixture
def copy(data_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data_folder, tmp_path / "data"))


def test_library_holds_what_the_files_say(assets: SceneAssets) -> None:
    library = assets.library
    assert [i.name for i in library.named("top")] == ["shirt"] == [i.name for i in library.named("top", "m")]
    assert library.named("hat") == []
    assert set(library.texture_id) == {"skin.png", "shirt.png"} and len(library.textures) == 2
    shirt = library.items["shirt"].surface
    np.testing.assert_allclose(shirt.joint_weight.sum(1), 1, atol=1e-6)
    assert 20 < len(shirt.coarse_faces) < 0.6 * len(shirt.faces)
    assert shirt.coarse_faces.max() < len(shirt.template_m)


@pytest.mark.parametrize(
    "name",
    [
        "characters/manifest.json",
        "characters/geometry.npz",
        "characters/textures/shirt.png",
        "characters",
        "backgrounds/hdri",
        "backgrounds/photos",
        "backgrounds",
    ],
)
def test_missing_file_is_named_with_the_guide(copy: Path, name: str) -> None:
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(AssetError, match=r"docs/training\.md") as error:
        SceneAssets.load(copy)
    assert str(path) in str(error.value) and "missing" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("characters/manifest.json", b"{"),
        ("characters/manifest.json", b'{"format": "clothed-people 1"}'),
        ("characters/geometry.npz", b"PK\x03\x04 cut off"),
        ("characters/textures/shirt.png", b"no picture"),
        ("backgrounds/hdri/field.json", b"[]"[:1]),
    ],
)
def test_damaged_file_is_named_with_the_guide(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(AssetError, match=r"damaged.*docs/training\.md") as error:
        SceneAssets.load(copy)
    assert "geometry.npz" in str(error.value) or name.split("/")[-1] in str(error.value)


def test_truncated_archive_is_named(copy: Path) -> None:
    path = copy / "characters/geometry.npz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(AssetError, match=r"geometry\.npz is damaged"):
        SceneAssets.load(copy)


def test_manifest_of_another_skeleton_is_refused(copy: Path) -> None:
    path = copy / "characters/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["joints"][3] = "belly"
    path.write_text(json.dumps(manifest))
    with pytest.raises(AssetError, match="joints"):
        CharacterLibrary(copy / "characters", load_body_arrays(DEFAULT_BODY_PATH))


def test_characters_of_another_body_are_refused(copy: Path) -> None:
    body = load_body_arrays(DEFAULT_BODY_PATH)
    CharacterLibrary(copy / "characters", body)
    with pytest.raises(AssetError, match=r"another body.*shapedirs.*docs/training\.md"):
        CharacterLibrary(copy / "characters", dataclasses.replace(body, shapedirs=-body.shapedirs))
    smaller = dataclasses.replace(body, v_template=body.v_template[:6890])
    with pytest.raises(AssetError, match=r"v_template \(6899, 3\) differs from \(6890, 3\)"):
        CharacterLibrary(copy / "characters", smaller)


def test_people_move_like_the_tracker_body(copy: Path) -> None:
    body = load_body_arrays(DEFAULT_BODY_PATH)
    stiff = CharacterLibrary(copy / "characters", dataclasses.replace(body, posedirs=None))
    soft = CharacterLibrary(copy / "characters", body)
    assert len(stiff.correctives.vertex) == 0 < len(soft.correctives.vertex)


def test_photos_can_be_left_out(copy: Path) -> None:
    shutil.rmtree(copy / "backgrounds/photos")
    assert SceneAssets.load(copy, photos=False).backgrounds.photos == []
