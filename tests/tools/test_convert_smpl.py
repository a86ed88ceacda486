"""Official SMPL pickles convert without chumpy or scipy, and hostile ones do nothing."""

import io
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from kinestream.body.arrays import BodyFileError
from kinestream.body.model import load_body
from kinestream.body.skeleton import PARENTS
from kinestream.tools.convert_smpl import convert
from kinestream.trainer.data.annotated.pickled_arrays import as_array
from kinestream.trainer.data.annotated.restricted_unpickler import PickleRefusedError, read_pickle

V = 6890


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote: protocol 2, its module names, and bytes as plain strings."""

    def save_string(self, value):
        content = value.encode("latin-1") if isinstance(value, str) else value
        short = len(content) < 256
        self.write(b"U" + bytes([len(content)]) if short else b"T" + struct.pack("<i", len(content)))
        self.write(content)
        self.memoize(value)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_string, str: save_string}


def python2_dumps(value) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture
def old_packages(monkeypatch):
    """Stand-ins of chumpy and scipy that pickle as the real ones do."""

    def make(module, name, base=object):
        kind = type(name, (base,), {"__module__": module})
        holder = sys.modules.get(module) or ModuleType(module)
        monkeypatch.setitem(sys.modules, module, holder)
        monkeypatch.setattr(holder, name, kind, raising=False)
        return kind

    for package in ("chumpy", "scipy", "scipy.sparse"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    monkeypatch.setitem(sys.modules, "scipy.sparse.csc", ModuleType("scipy.sparse.csc"))
    ch = make("chumpy.ch", "Ch")
    return {
        "Ch": ch,
        "Select": make("chumpy.reordering", "Select", ch),
        "Reshape": make("chumpy.reordering", "Reshape", ch),
        "MatVecMult": make("chumpy.ch", "MatVecMult", ch),
        "csc_matrix": make("scipy.sparse.csc", "csc_matrix"),
    }


def instance(kind, **state):
    made = object.__new__(kind)
    made.__dict__.update(state)
    return made


def chumpy_array(packages, array):
    return instance(packages["Ch"], x=array, _dirty_vars={"x"}, _itr=None, _depends_on_deps={})


def sparse_columns(packages, dense):
    columns, rows = np.nonzero(dense.T)
    return instance(
        packages["csc_matrix"],
        _shape=dense.shape,
        data=dense.T[columns, rows],
        indices=rows.astype(np.int32),
        indptr=np.searchsorted(columns, np.arange(dense.shape[1] + 1)).astype(np.int32),
        maxprint=50,
    )


@pytest.fixture
def official(old_packages):
    """The entries of an official file, and the arrays that they stand for."""
    rng = np.random.default_rng(0)
    weights = np.zeros((V, 24))
    weights[np.arange(V), rng.integers(0, 24, V)] = 1.0
    regressor = np.zeros((24, V))
    for row in regressor:
        row[rng.choice(V, 10, replace=False)] = 0.1
    arrays = {
        "v_template": rng.normal(0.0, 0.5, (V, 3)),
        "shapedirs": rng.normal(0.0, 0.02, (V, 3, 10)),
        "posedirs": rng.normal(0.0, 0.001, (V, 3, 207)).astype(np.float32),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([PARENTS, range(24)]).astype(np.uint32),
        "f": rng.integers(0, V, (300, 3)).astype(np.uint32),
        "J": rng.normal(size=(24, 3)),
    }
    wide = rng.normal(0.0, 0.02, (V, 3, 12))
    wide[:, :, :10] = arrays["shapedirs"]
    chosen = np.arange(wide.size).reshape(wide.shape)[:, :, :10].ravel()
    entries = dict(arrays)
    entries |= {
        "v_template": chumpy_array(old_packages, arrays["v_template"]),
        "shapedirs": instance(
            old_packages["Select"],
            a=chumpy_array(old_packages, wide),
            idxs=chosen,
            preferred_shape=(V, 3, 10),
        ),
        "posedirs": np.asfortranarray(arrays["posedirs"]),
        "J_regressor": sparse_columns(old_packages, regressor),
        "weights": instance(
            old_packages["Reshape"], a=chumpy_array(old_packages, weights.ravel()), newshape=(V, 24)
        ),
        "J": instance(old_packages["MatVecMult"], mtx=sparse_columns(old_packages, regressor), vec=None),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "pose_training_info": OrderedDict(gender="neutral", subjects=["a", "b"], scale=np.float64(2.0)),
    }
    return entries, arrays


def test_an_official_pickle_converts_to_a_body_with_the_same_arrays(tmp_path, official):
    entries, arrays = official
    source, target = tmp_path / "SMPL_NEUTRAL.pkl", tmp_path / "SMPL_NEUTRAL.npz"
    source.write_bytes(python2_dumps(entries))
    written = convert(source, target)
    assert written == sorted(set(arrays) - {"J"})
    with np.load(target, allow_pickle=False) as found:
        for key in written:
            np.testing.assert_array_equal(found[key], arrays[key])
            assert found[key].dtype == arrays[key].dtype
    assert load_body(target).num_vertices == V
    assert [path.name for path in sorted(tmp_path.iterdir())] == [target.name, source.name]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_that_were_written_again_by_python_3_convert_too(tmp_path, official, protocol):
    _, arrays = official
    del arrays["posedirs"]
    source = tmp_path / "again.pkl"
    source.write_bytes(pickle.dumps(arrays, protocol=protocol))
    assert convert(source, tmp_path / "again.npz") == sorted(arrays)


def test_the_command_reports_and_fails_as_commands_do(tmp_path, official):
    _, arrays = official
    del arrays["posedirs"]
    source = tmp_path / "smpl.pkl"
    source.write_bytes(pickle.dumps(arrays, protocol=2))
    run = [sys.executable, "-m", "kinestream.tools.convert_smpl", str(source)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "with 7 arrays" in done.stdout
    assert source.with_suffix(".npz").is_file()
    source.write_bytes(b"cos\nsystem\n.")
    failed = subprocess.run(run, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "os.system" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(4, dtype=">f4"),
        np.zeros((0, 3)),
        np.array(3.5),
        np.array([True, False]),
        np.arange(5, dtype=np.int64),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
@pytest.mark.parametrize("dumps", [python2_dumps, lambda v: pickle.dumps(v, 4), lambda v: pickle.dumps(v, 5)])
def test_arrays_keep_their_numbers_type_and_shape(array, dumps):
    np.testing.assert_array_equal(pickle.loads(dumps(array), encoding="latin1"), array)
    found = as_array(read_pickle(dumps(array)))
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)


def numpy_state(shape="(I2\nt", dtype="S'f8'\nI0\nI1\n", content="S'0123456789abcdef'\n"):
    """Text of a pickled array of two float64 numbers with one thing changed."""
    return (
        "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        f"(I1\n{shape}cnumpy\ndtype\n({dtype}tRI00\n{content}tb."
    ).encode()


def test_the_unchanged_state_is_an_array():
    assert as_array(read_pickle(numpy_state())).shape == (2,)


@pytest.mark.parametrize(
    "content",
    [
        numpy_state(shape="(I3\nt"),
        numpy_state(shape="(L1000000000000L\nt"),
        numpy_state(shape="(I-2\nt"),
        numpy_state(shape="S'ab'\n"),
        numpy_state(dtype="S'O8'\nI0\nI1\n"),
        numpy_state(dtype="S'V16'\nI0\nI1\n"),
        numpy_state(dtype="I5\n"),
        numpy_state(content="(lp0\nI1\na"),
        numpy_state(content="N"),
        b"I5\n.",
        b"c__builtin__\nset\n((ltR.",
        b"\x80\x02cchumpy.ch\nCh\n)\x81.",
        b"\x80\x02cchumpy.ch\nCh\n)\x81}b.",
        b"\x80\x02cscipy.sparse.csc\ncsc_matrix\n)\x81}b.",
        b"\x80\x02cchumpy.reordering\nReshape\n)\x81q\x00}(U\x01ah\x00U\x08newshapeI1\nub.",
    ],
)
def test_records_that_are_no_arrays_of_numbers_are_refused(content):
    with pytest.raises(PickleRefusedError):
        as_array(read_pickle(content))


@pytest.mark.parametrize(
    "change",
    [
        {"_shape": (10**6, 10**6)},
        {"_shape": (2, 3)},
        {"_shape": (-3, 4)},
        {"indptr": np.array([0, 1, 0, 2, 3])},
        {"indptr": np.array([0, 0, 0, 0, 9])},
        {"indices": np.array([0, 1, 3])},
        {"indices": np.array([0, -1, 1])},
        {"data": np.array([1.0])},
    ],
    ids=lambda change: "-".join(change),
)
def test_sparse_matrices_that_do_not_fit_are_refused(old_packages, change):
    matrix = sparse_columns(old_packages, np.diag([1.0, 2.0, 3.0, 0.0])[:3])
    np.testing.assert_array_equal(as_array(read_pickle(python2_dumps(matrix)))[2], [0.0, 0.0, 3.0, 0.0])
    matrix.__dict__.update(change)
    with pytest.raises(PickleRefusedError):
        as_array(read_pickle(python2_dumps(matrix)))


@pytest.mark.parametrize("entries", [{"v_template": np.zeros(3)}, {}, {"v_template": "text"}, [1, 2]])
def test_pickles_that_are_no_body_leave_nothing_behind(tmp_path, entries):
    source = tmp_path / "x.pkl"
    source.write_bytes(pickle.dumps(entries, protocol=2))
    with pytest.raises((PickleRefusedError, BodyFileError)):
        convert(source, tmp_path / "x.npz")
    assert list(tmp_path.iterdir()) == [source]


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        convert(tmp_path / "none.pkl", tmp_path / "x.npz")
