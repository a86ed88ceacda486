"""Reads the data out of a pickle without ever running it.

A pickle is a program for a small stack machine whose instructions can import and call anything.
``pickle.Unpickler`` executes that program; overriding ``find_class`` narrows what it may call, but still
calls. Here the instructions are only decoded (by :mod:`pickletools`) and interpreted by a machine that has
no call: what a program wants imported becomes a :class:`Global`, a name from an exact list, and what it
wants built becomes a :class:`Built`, a record of that name with its arguments and state. Nothing is ever
imported, called, constructed or given attributes, hence there is nothing that a pickle could make happen.

What the records of arrays mean is the business of :mod:`kinestream.trainer.data.annotated.pickled_arrays`.
"""

import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_PICKLE_BYTES: Final = 2**30
MAX_INSTRUCTIONS: Final = 2_000_000

Key = tuple[str, str]


def _names(name: str, *modules: str) -> frozenset[Key]:
    return frozenset((module, name) for module in modules)


NDARRAY: Final = _names("ndarray", "numpy")
DTYPE: Final = _names("dtype", "numpy")
RECONSTRUCT: Final = _names("_reconstruct", "numpy.core.multiarray", "numpy._core.multiarray")
FROM_BUFFER: Final = _names("_frombuffer", "numpy.core.numeric", "numpy._core.numeric")
SCALAR: Final = _names("scalar", "numpy.core.multiarray", "numpy._core.multiarray")
SPARSE: Final = _names("csc_matrix", "scipy.sparse.csc", "scipy.sparse._csc")
CHUMPY: Final = frozenset({("chumpy.ch", "Ch"), ("chumpy.ch", "MatVecMult")}) | frozenset(
    {("chumpy.reordering", "Select"), ("chumpy.reordering", "Reshape")}
)
_SET: Final = _names("set", "__builtin__", "builtins")
_OBJECT: Final = _names("object", "__builtin__", "builtins")
_ORDERED_DICT: Final = _names("OrderedDict", "collections")
_ENCODE: Final = _names("encode", "_codecs")
_RECONSTRUCTOR: Final = _names("_reconstructor", "copy_reg", "copyreg")

_INSTANTIABLE: Final = CHUMPY | SPARSE
_CALLABLE: Final = (
    RECONSTRUCT | FROM_BUFFER | SCALAR | DTYPE | _SET | _ORDERED_DICT | _ENCODE | _RECONSTRUCTOR
)
ALLOWED_GLOBALS: Final = _INSTANTIABLE | _CALLABLE | NDARRAY | _OBJECT
"""All (module, name) pairs that a pickle may mention; each is only ever a label."""


class PickleRefusedError(ValueError):
    """A pickle that is damaged, or that asks for something which no body model needs."""


@dataclass(frozen=True)
class Global:
    """The name of something that the pickle wanted imported."""

    module: str
    name: str

    @property
    def key(self) -> Key:
        """The pair by which the lists of this module know it."""
        return self.module, self.name

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Built:
    """What the pickle wanted built: of which kind, from which arguments, in which state."""

    kind: Global
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickle(content: bytes) -> Any:
    """Return the data of the pickle ``content``: Python literals and containers, and :class:`Built` records.

    Python-2 strings are returned as str, each character one byte (latin-1).

    Raises:
        PickleRefusedError: the pickle mentions a global outside of :data:`ALLOWED_GLOBALS` (the message
            names it), uses an instruction that plain data do not need, is damaged, or is too large.

    """
    if len(content) > MAX_PICKLE_BYTES:
        raise PickleRefusedError(
            f"the pickle has {len(content)} bytes, more than the {MAX_PICKLE_BYTES} that are read"
        )
    machine = _Machine()
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(content)):
            if count >= MAX_INSTRUCTIONS:
                raise PickleRefusedError(f"the pickle has more than {MAX_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return machine.result()
            machine.step(opcode.name, argument, position)
    except PickleRefusedError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as fault:
        raise PickleRefusedError(f"the pickle is damaged or truncated ({fault!r:.200})") from fault
    raise PickleRefusedError("the pickle is truncated: it ends without a STOP instruction")


_MARK: Final = object()
"""Where a run of items starts on the stack."""
_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "MARK": lambda: _MARK,
}  # fmt: skip
_LITERALS: Final = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_IGNORED: Final = frozenset({"PROTO", "FRAME"})
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack machine of pickle, without the instructions that could do anything."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise PickleRefusedError(f"the pickle is damaged: it leaves {len(self._stack)} results, not one")
        return self._stack[0]

    def step(self, name: str, argument: Any, position: int | None) -> None:
        """One instruction; what is not listed here is refused."""
        push = self._stack.append
        if name in _LITERALS:
            push(argument)
        elif name in _CONSTANTS:
            push(_CONSTANTS[name]())
        elif name in _TUPLES:
            push(self._pop_many(_TUPLES[name]))
        elif name == "POP":
            self._stack.pop()
        elif name == "POP_MARK":
            self._pop_to_mark()
        elif name == "DUP":
            push(self._stack[-1])
        elif name == "TUPLE":
            push(tuple(self._pop_to_mark()))
        elif name == "LIST":
            push(self._pop_to_mark())
        elif name == "DICT":
            push(_as_dict(self._pop_to_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = [self._pop()] if name == "APPEND" else self._pop_to_mark()
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            pairs = self._pop_many(2) if name == "SETITEM" else self._pop_to_mark()
            self._top(dict).update(_as_dict(pairs))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = len(self._memo) if name == "MEMOIZE" else argument
            if not 0 <= index < MAX_INSTRUCTIONS:
                raise ValueError(f"memo index {index:.3g}")
            self._memo[index] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            push(self._memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, label = argument.split(" ", 1) if name == "GLOBAL" else self._pop_many(2)
            push(_mentioned(str(module), str(label)))
        elif name in ("NEWOBJ", "REDUCE"):
            kind, arguments = self._pop_many(2)
            built = name == "NEWOBJ"
            push(_record(kind, arguments, _INSTANTIABLE) if built else _reduced(kind, arguments))
        elif name == "BUILD":
            self._build(self._pop())
        elif name not in _IGNORED:
            raise PickleRefusedError(
                f"the pickle uses {name} at byte {position}, which no body model needs; it was not run"
            )

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value was expected")
        return value

    def _pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(self._pop() for _ in range(count))[::-1]

    def _pop_to_mark(self) -> list[Any]:
        start = len(self._stack) - 1
        while self._stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError("no mark on the stack")
        items = self._stack[start + 1 :]
        del self._stack[start:]
        return items

    def _top(self, kind: type) -> Any:
        value = self._stack[-1]
        if type(value) is not kind:
            raise ValueError(f"{type(value).__name__} where a {kind.__name__} was expected")
        return value

    def _build(self, state: Any) -> None:
        target = self._stack[-1]
        if type(target) is not Built or target.state is not None:
            found = str(target) if type(target) is Global else type(target).__name__
            raise PickleRefusedError(
                f"the pickle tries to change {found}, which no body model needs; it was not done"
            )
        target.state = state


def _mentioned(module: str, name: str) -> Global:
    mentioned = Global(module, name)
    if mentioned.key not in ALLOWED_GLOBALS:
        raise PickleRefusedError(
            f"the pickle asks for {str(mentioned)[:200]!r}, which no body model needs; it was not run. "
            "This is no official SMPL file: do not load it with other software either"
        )
    return mentioned


def _reduced(kind: Any, arguments: Any) -> Any:
    """The record of a call; containers and bytes that Python 2 wrote as calls are decoded."""
    built = _record(kind, arguments, _CALLABLE)
    if kind.key in _RECONSTRUCTOR:
        return _record(arguments[0], arguments[3:], _INSTANTIABLE)
    if kind.key in _ORDERED_DICT:
        return _as_dict([item for pair in (arguments[0] if arguments else []) for item in pair])
    if kind.key in _ENCODE:
        text, codec = arguments
        if codec not in ("latin1", "latin-1"):
            raise ValueError("bytes in an encoding other than latin-1")
        return text.encode("latin-1")
    return built


def _record(kind: Any, arguments: Any, allowed: frozenset[Key]) -> Built:
    if type(kind) is not Global or kind.key not in allowed:
        found = str(kind) if type(kind) is Global else f"a {type(kind).__name__}"
        raise PickleRefusedError(
            f"the pickle tries to call {found}, which no body model needs; it was not called"
        )
    if type(arguments) is not tuple:
        raise ValueError("arguments that are not a tuple")
    return Built(kind, arguments)


def _as_dict(items: Sequence[Any]) -> dict[Any, Any]:
    """Pair up keys and values; keys are plain, so that no crafted hashes can make dictionaries slow."""
    keys, values = items[::2], items[1::2]
    for key in keys:
        if not (type(key) is str or (type(key) is int and abs(key) < 2**31)):
            raise ValueError(f"a key of type {type(key).__name__}")
    return dict(zip(keys, values, strict=True))
