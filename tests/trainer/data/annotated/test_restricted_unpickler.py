"""Pickles are read as data; whatever could do something is refused by name and not done."""

import contextlib
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.trainer.data.annotated.pickled_arrays import as_array
from kinestream.trainer.data.annotated.restricted_unpickler import (
    ALLOWED_GLOBALS,
    PickleRefusedError,
    read_pickle,
)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_plain_data_is_read_as_it_was_written(protocol):
    shared = ["x", "é"]
    value = {
        "a": [1, -5, 2**40, True, None, 1.5],
        7: (shared, shared),
        "t": ((), (1,), (1, 2, 3, 4)),
        "d": {},
    }
    found = read_pickle(pickle.dumps(value, protocol=protocol))
    assert found == value
    assert found[7][0] is found[7][1]


def call(module, name, argument="'mkdir executed'"):
    return f"c{module}\n{name}\n(S{argument}\ntR.".encode()


class Reduces:
    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


HOSTILE = {
    "os.system": call("os", "system"),
    "posix.system": call("posix", "system"),
    "builtins.eval": call("builtins", "eval"),
    "__builtin__.eval": call("__builtin__", "eval"),
    "__builtin__.getattr": call("__builtin__", "getattr"),
    "builtins.__import__": call("builtins", "__import__"),
    "subprocess.Popen": call("subprocess", "Popen"),
    "numpy.load": call("numpy", "load"),
    "numpy.fromfile": call("numpy", "fromfile"),
    "numpy.testing._private.utils.runstring": call("numpy.testing._private.utils", "runstring"),
    "numpy.ndarray.__class__": b"cnumpy\nndarray.__class__\n.",
    "chumpy.ch.os.system": call("chumpy.ch", "os.system"),
    "scipy.sparse.csc.csc_matrix.__init__": b"cscipy.sparse.csc\ncsc_matrix.__init__\n.",
    "chumpy.ch.ChLambda": b"cchumpy.ch\nChLambda\n.",
    "functools.partial": call("functools", "partial"),
    "pickle.loads": call("pickle", "loads"),
    "nested.system": pickle.dumps({"f": [Reduces(print, ("executed",))]}, protocol=4)
    .replace(b"\x8c\x08builtins", b"\x8c\x06nested")
    .replace(b"\x8c\x05print", b"\x8c\x06system"),
}


@pytest.fixture
def quiet_folder(tmp_path, monkeypatch):
    """A folder to run in, which must stay empty."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_forbidden_global_is_named_and_never_run(quiet_folder, name):
    with pytest.raises(PickleRefusedError, match="asks for") as error:
        read_pickle(HOSTILE[name])
    assert f"'{name}'" in str(error.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"cnumpy\nndarray\n(tR.", "call numpy.ndarray"),
        (b"cchumpy.ch\nCh\n(tR.", "call chumpy.ch.Ch"),
        (b"\x80\x02c__builtin__\nset\n)\x81.", "call __builtin__.set"),
        (b"c__builtin__\nobject\n(tR.", "call __builtin__.object"),
        (b"S'text'\n(tR.", "call a str"),
        (
            b"ccopy_reg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nobject\nNtR.",
            "call __builtin__.set",
        ),
        (b"cchumpy.ch\nCh\n(dS'x'\nI1\nsb.", "change chumpy.ch.Ch"),
        (b"cnumpy\nndarray\n(dS'shape'\nI1\nsb.", "change numpy.ndarray"),
        (b"(d(dS'x'\nI1\nsb.", "change dict"),
        (b"(l(db.", "change list"),
        (b"\x80\x02cchumpy.ch\nCh\n)\x81(db(db.", "change Built"),
        (b"Pthing\n.", "uses PERSID"),
        (b"I1\nQ.", "uses BINPERSID"),
        (b"(ios\nsystem\n.", "uses INST"),
        (b"(cchumpy.ch\nCh\no.", "uses OBJ"),
        (b"\x80\x04cchumpy.ch\nCh\n)}\x92.", "uses NEWOBJ_EX"),
        (b"\x80\x02\x82\x01.", "uses EXT1"),
        (b"\x80\x05\x97.", "uses NEXT_BUFFER"),
    ],
)
def test_what_plain_data_does_not_need_is_refused(quiet_folder, content, found):
    with pytest.raises(PickleRefusedError, match=rf"{found}( at byte \d+)?, which no body model needs"):
        read_pickle(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"(.",
        b"I1\nI2\n.",
        b"I1\n",
        b"hello",
        b"\x80\x02}q\x00(U\x01a",
        b"U\xff",
        b"g5\n.",
        b"(ta.",
        b"t.",
        b"\x80\x02N\x85b.",
        b"I1\np99999999999999\n.",
        b"(dI1\nI2\n(I3\nu.",
        b"(d(tI1\ns.",
        b"(dL2305843009213693951L\nI1\ns.",
        b"ccollections\nOrderedDict\n(I1\ntR.",
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        b"ccopy_reg\n_reconstructor\n(tR.",
        b"S'%s'\n." % (b"\\"),
    ],
)
def test_damaged_pickles_are_refused(quiet_folder, content):
    with pytest.raises(PickleRefusedError, match=r"damaged|truncated|tries to"):
        read_pickle(content)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_truncated_pickles_are_refused(kept):
    content = pickle.dumps({"f": np.arange(300), "v_template": np.zeros((9, 3))}, protocol=2)
    with pytest.raises(PickleRefusedError):
        read_pickle(content[: int(len(content) * kept)])


def test_size_and_length_are_limited(monkeypatch):
    content = pickle.dumps(list(range(50)))
    monkeypatch.setattr("kinestream.trainer.data.annotated.restricted_unpickler.MAX_INSTRUCTIONS", 20)
    with pytest.raises(PickleRefusedError, match="more than 20 instructions"):
        read_pickle(content)
    monkeypatch.setattr("kinestream.trainer.data.annotated.restricted_unpickler.MAX_PICKLE_BYTES", 10)
    with pytest.raises(PickleRefusedError, match="more than the 10"):
        read_pickle(content)


def test_the_list_of_globals_has_no_callable_of_use_to_an_attacker():
    assert {name for _, name in ALLOWED_GLOBALS} == {
        *("ndarray", "dtype", "_reconstruct", "_frombuffer", "scalar", "csc_matrix"),
        *("Ch", "MatVecMult", "Select", "Reshape"),
        *("set", "object", "OrderedDict", "encode", "_reconstructor"),
    }


def test_every_opcode_is_either_read_or_refused():
    for opcode in pickletools.opcodes:
        with pytest.raises(PickleRefusedError):
            read_pickle(opcode.code.encode("latin-1") * 3)


FUZZED = pickle.dumps({"a": np.arange(5.0), "b": [1, "x", (2.5, None)], "c": {"d": {1, 2}}}, protocol=2)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_gives_data_or_a_refusal(data):
    damaged = bytearray(FUZZED)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(FUZZED) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PickleRefusedError):
        found = read_pickle(bytes(damaged))
        if isinstance(found, dict):
            assert as_array(found.get("a")).dtype.kind in "biuf"
