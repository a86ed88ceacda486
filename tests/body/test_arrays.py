"""Body files: what is valid loads, and whatever is wrong is said by name."""

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinestream.body.arrays import (
    BODY_FORMAT,
    DEFAULT_BODY_PATH,
    BodyFileError,
    check_body_arrays,
    load_body_arrays,
)
from kinestream.body.npz import npz_keys, read_npz
from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, PART_NAMES


@pytest.fixture
def raw(make_raw_body):
    return make_raw_body()


def save(folder: Path, raw, compress: bool = True) -> Path:
    path = folder / "body.npz"
    (np.savez_compressed if compress else np.savez)(path, **raw)
    return path


def npy_header(descr: str, shape: str, version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


def with_member(path: Path, key: str, content: bytes) -> Path:
    """Replace one array of the archive by raw bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[f"{key}.npy"] = content
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_the_arrays_of_a_file_are_those_that_were_saved(tmp_path, raw):
    arrays = load_body_arrays(save(tmp_path, raw))
    np.testing.assert_array_equal(arrays.v_template, raw["v_template"])
    np.testing.assert_array_equal(arrays.shapedirs, raw["shapedirs"])
    np.testing.assert_array_equal(arrays.posedirs, raw["posedirs"])
    np.testing.assert_array_equal(arrays.joint_regressor, raw["J_regressor"])
    np.testing.assert_array_equal(arrays.keypoint_regressor, raw["keypoint_regressor"])
    np.testing.assert_array_equal(arrays.faces, raw["f"])
    np.testing.assert_array_equal(arrays.part_labels, raw["part_labels"])
    np.testing.assert_allclose(arrays.skin_weights, raw["weights"], atol=1e-6)
    assert arrays.faces.dtype == arrays.part_labels.dtype == np.int64
    assert arrays.v_template.dtype == arrays.skin_weights.dtype == np.float32


def test_loaded_arrays_are_read_only_and_show_their_shapes(tmp_path, raw):
    arrays = load_body_arrays(save(tmp_path, raw))
    with pytest.raises(ValueError, match="read-only"):
        arrays.v_template[0] = 0.0
    assert "v_template=(60, 3)" in repr(arrays)
    assert "posedirs=(60, 3, 207)" in repr(arrays)


def test_the_embedded_body_loads():
    arrays = load_body_arrays(DEFAULT_BODY_PATH)
    assert 6000 < arrays.v_template.shape[0] < 8000
    assert arrays.shapedirs.shape[2] == 10
    stature = np.ptp(arrays.v_template[:, 1])
    assert 1.6 < stature < 1.8
    assert set(arrays.part_labels.tolist()) == set(range(15))


def test_float16_weights_sum_to_one_after_loading(tmp_path, raw):
    raw["weights"] = raw["weights"].astype(np.float16)
    assert np.abs(raw["weights"].astype(np.float32).sum(axis=1) - 1.0).max() > 1e-5
    sums = load_body_arrays(save(tmp_path, raw)).skin_weights.sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(sums, 1.0, atol=2e-7)


def test_correctives_and_names_are_optional_and_extra_arrays_are_not_read(tmp_path, raw):
    del raw["posedirs"]
    raw["anything"] = np.array([{"never": "unpickled"}], dtype=object)
    assert load_body_arrays(save(tmp_path, raw)).posedirs is None
    raw |= {"format": BODY_FORMAT, "joint_names": JOINT_NAMES}
    raw |= {"keypoint_names": KEYPOINT_NAMES, "part_names": PART_NAMES}
    load_body_arrays(save(tmp_path, raw))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("variant", [">f4", "f8", "fortran"])
def test_storage_does_not_matter(tmp_path, raw, compress, variant):
    expected = load_body_arrays(save(tmp_path, raw))
    for key in ("v_template", "shapedirs", "posedirs", "J_regressor"):
        raw[key] = np.asfortranarray(raw[key]) if variant == "fortran" else raw[key].astype(variant)
    raw["kintree_table"] = raw["kintree_table"].astype(np.int32)  # the root's parent becomes -1
    found = load_body_arrays(save(tmp_path, raw, compress))
    np.testing.assert_array_equal(found.posedirs, expected.posedirs)
    np.testing.assert_array_equal(found.joint_regressor, expected.joint_regressor)


def broken(key, change):
    return pytest.param(key, change, id=f"{key}-{change.__name__}")


def missing(array):
    return None


def flat(array):
    return array.reshape(-1)


def one_row_less(array):
    return array[:-1]


def not_a_number(array):
    array.flat[7] = np.nan
    return array


def infinite(array):
    array.flat[7] = np.inf
    return array


def too_large_for_float32(array):
    array = array.astype(np.float64)
    array.flat[7] = 1e300
    return array


def integers(array):
    return array.astype(np.int64)


def floats(array):
    return array.astype(np.float32)


def text(array):
    return array.astype("U5")


def complex_numbers(array):
    return array.astype(np.complex64)


def negative(array):
    array = array.copy()
    array[3, 3] -= 1.0
    array[3, 4] += 1.0
    return array


def zero_row(array):
    array[3] = 0.0
    return array


def doubled(array):
    return array * 2.0


def out_of_range(array):
    array = array.astype(np.int64)
    array.flat[4] = 60
    return array


def below_zero(array):
    array = array.astype(np.int64)
    array.flat[4] = -1
    return array


def other_tree(array):
    array[0, 5] = 1
    return array


def empty(array):
    return array[:0]


def too_many_components(array):
    return np.concatenate([array, array], axis=2)


def no_components(array):
    return array[:, :, :0]


BROKEN = [
    *(broken(key, missing) for key in ("v_template", "weights", "kintree_table", "part_labels")),
    *(broken("v_template", change) for change in (flat, empty, not_a_number, infinite, integers, text)),
    *(broken("v_template", change) for change in (too_large_for_float32, complex_numbers)),
    *(broken("shapedirs", change) for change in (one_row_less, too_many_components, no_components)),
    *(broken("shapedirs", change) for change in (not_a_number,)),
    *(broken("posedirs", change) for change in (flat, one_row_less, infinite, integers)),
    *(broken("J_regressor", change) for change in (one_row_less, zero_row, doubled, not_a_number)),
    *(broken("weights", change) for change in (one_row_less, zero_row, doubled, negative, not_a_number)),
    *(broken("kintree_table", change) for change in (flat, other_tree, floats)),
    *(broken("f", change) for change in (flat, empty, out_of_range, below_zero, floats)),
    *(broken("part_labels", change) for change in (one_row_less, out_of_range, below_zero, floats)),
    *(broken("keypoint_regressor", change) for change in (one_row_less, zero_row, doubled, infinite)),
]


@pytest.mark.parametrize(("key", "change"), BROKEN)
def test_a_broken_array_is_named_with_what_was_found(tmp_path, raw, key, change):
    value = change(raw.pop(key))
    if value is not None:
        raw[key] = value
    path = save(tmp_path, raw)
    with pytest.raises(BodyFileError) as error:
        load_body_arrays(path)
    assert error.value.key == key
    assert error.value.path == path
    message = str(error.value)
    assert message.startswith(f"{path}, array '{key}': found ")
    assert ", expected " in message
    assert message.endswith(".")


@pytest.mark.parametrize("key", ["format", "joint_names", "keypoint_names", "part_names"])
def test_other_names_than_ours_are_refused(tmp_path, raw, key):
    raw[key] = np.array(["something", "else"])
    with pytest.raises(BodyFileError, match=f"'{key}': found something, else, expected"):
        load_body_arrays(save(tmp_path, raw))


def test_checking_raw_arrays_needs_all_of_them(raw):
    del raw["weights"]
    with pytest.raises(BodyFileError, match=r"found nothing, expected an array of shape \(60, 24\)"):
        check_body_arrays(raw, path="here")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(BodyFileError, match="no such file"):
        load_body_arrays(tmp_path / "none.npz")
    with pytest.raises(BodyFileError, match="found a folder"):
        load_body_arrays(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"not a zip archive", pickle.dumps({"a": 1}), b"PK\x05\x06" + bytes(18)]
)
def test_what_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "body.npz"
    path.write_bytes(content)
    with pytest.raises(BodyFileError, match="expected"):
        load_body_arrays(path)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, raw, kept):
    path = save(tmp_path, raw)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BodyFileError, match="truncated"):
        load_body_arrays(path)


class MakesFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_object_arrays_are_refused_and_never_unpickled(tmp_path, raw):
    mark = tmp_path / "executed"
    raw["v_template"] = np.array([MakesFile(mark)], dtype=object)
    path = save(tmp_path, raw)
    assert "executed" in str(zipfile.ZipFile(path).read("v_template.npy"))
    with pytest.raises(BodyFileError, match=r"'v_template': found dtype object.*never loaded"):
        load_body_arrays(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (npy_header("<f4", "(4000000000, 3)"), "shape"),
        (npy_header("<f4", f"({10**30}, 3)"), "shape"),
        (npy_header("<f4", "(-60, 3)"), "shape"),
        (npy_header("<f4", "(60, 3)") + bytes(719), "fewer bytes than its header announces"),
        (npy_header("<f4", "(60, 3)") + bytes(721), "more bytes than its header announces"),
        (npy_header("<f4", "(60, 3)", version=b"\x09\x00"), "unreadable data"),
        (npy_header("<f4", "__import__('os').mkdir('executed')"), "unreadable data"),
        (npy_header("|O", "(1,)"), "dtype object"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "unreadable data"),
        (b"", "unreadable data"),
    ],
)
def test_headers_are_not_trusted(tmp_path, raw, monkeypatch, content, problem):
    monkeypatch.chdir(tmp_path)
    path = with_member(save(tmp_path, raw), "v_template", content)
    with pytest.raises(BodyFileError, match=f"'v_template': found {problem}"):
        load_body_arrays(path)
    assert not (tmp_path / "executed").exists()


def test_npy_version_2_is_read(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.arange(6.0).reshape(2, 3), version=(2, 0))
    path = with_member(save(tmp_path, {"b": np.zeros(1)}), "a", buffer.getvalue())
    assert npz_keys(path) == {"a", "b"}
    np.testing.assert_array_equal(read_npz(path, required=["a"])["a"], np.arange(6.0).reshape(2, 3))


@pytest.fixture(scope="module")
def small_file(tmp_path_factory, make_raw_body):
    path = save(tmp_path_factory.mktemp("fuzz"), make_raw_body(vertices=24, betas=1, correctives=False))
    return path, path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_a_body_or_a_clear_error(small_file, data):
    path, content = small_file
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(BodyFileError):
        assert load_body_arrays(path).v_template.shape == (24, 3)
