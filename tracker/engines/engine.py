"""Engines: what runs a network. All take the same tensors and return what the network returns.

    engine = compile_network(network, engine="auto")
    output = engine(images, to_virtual, log_extent)

Arrays go in and come out. ``torch`` is the reference and always there. Every other engine is compared with it
on examples when it is built, so that a stale or damaged build costs time and never gives a wrong result.
Torch is loaded only where an engine is built, or runs in it.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from kinestream.kernels.array_types import AnyArray

if TYPE_CHECKING:  # a start with engines from the cache has no use for torch, which takes seconds to load
    from torch import nn

log = logging.getLogger(__name__)

ENGINES: Final = ("auto", "tensorrt", "cuda", "openvino-bf16", "openvino", "cpu", "torch")
AUTO: Final = ("tensorrt", "cuda", "cpu", "torch")
"""Of these auto takes the first that runs: on a CPU the one whose numbers are always the same."""
Precision = Literal["float32", "float16", "bfloat16"]
TOLERANCE: Final[dict[str, float]] = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 0.5}
"""Largest difference from torch, over the largest value of an output, with which an engine is accepted.

Wider than what engines reach (tests hold them to 1e-4 in float32): it tells a wrong build. The examples are
noise, in whose flat heat maps bfloat16 finds the highest place elsewhere."""
MAX_BATCH: Final = 16


class EngineError(ValueError):
    """An engine cannot run here; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """One argument of a network.

    Attributes:
        example: of batch 1.
        varies: axes whose length may change; axis 0 is the batch.
        step: lengths of the other ones are multiples of this,
        largest: and at most this; the example's length where it is None.
    """

    example: AnyArray
    varies: tuple[int, ...] = (0,)
    step: int = 1
    largest: int | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """What engines run, made in torch only where an engine has to be built.

    Attributes:
        make: the network for evaluation; its outputs are tensors or (nested) named tuples of tensors.
        inputs: one for every argument.
        like: a result with anything for tensors, whose form results take.
        key: tells the network, its weights and its code from all others.
        weights: file that it is read from, if it is.
    """

    make: Callable[[], nn.Module]
    inputs: Sequence[NetworkInput]
    like: Any
    key: str
    weights: Path | None = None

    @cached_property
    def module(self) -> nn.Module:
        """The network in torch."""
        return self.make()


class Engine(Protocol):
    """A network, ready to run. Not thread-safe.

    Attributes:
        name: one of ``ENGINES``.
        detail: library, device and threads, for people.
        precision: of the arithmetic.
    """

    name: str
    detail: str
    precision: Precision

    def __call__(self, *inputs: AnyArray) -> Any:
        """Run on arrays with a common batch; the result has the form of `Network.like`."""
        ...


def compile_network(network: Network, *, engine: str = "auto", max_batch: int = MAX_BATCH) -> Engine:
    """Make ``network`` ready to run.

    Args:
        network: what to run.
        engine: one of ``ENGINES``; auto takes the first of ``AUTO`` that works here and logs why.
        max_batch: largest batch that a GPU engine is built for; larger ones are run in parts.

    Raises:
        ValueError: there is no such engine.
        EngineError: the engine that was named cannot run here.

    """
    if engine not in ENGINES:
        raise ValueError(f"engine: expected one of {', '.join(ENGINES)}, found {engine!r}")
    candidates: tuple[str, ...] = (engine,)
    if engine == "auto":
        candidates = AUTO if has_nvidia_driver() else AUTO[2:]
    for name in candidates:
        try:
            found: Engine = _module(name).build(network, max_batch)
        except EngineError as error:
            if engine != "auto":
                raise
            log.log(logging.INFO if isinstance(error, NotHereError) else logging.WARNING, "%s", error)
            continue
        fallback = ": no faster one is available" if engine == "auto" and name == "torch" else ""
        log.info("engine %s (%s)%s", name, found.detail, fallback)
        return found
    raise AssertionError("the engine torch is always there")


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver seems to be installed; without one torch need not be asked for a GPU."""
    if sys.platform == "win32":
        return shutil.which("nvidia-smi") is not None
    return any(Path("/dev", name).exists() for name in ("nvidiactl", "dxg", "nvhost-gpu", "nvgpu"))


class NotHereError(EngineError):
    """The library or the device that an engine needs is not there, which is nothing unusual."""


def why_not(name: str) -> str | None:
    """Why an engine cannot run on this computer; None when it can, as far as one can tell without trying."""
    try:
        _module(name).require()
    except EngineError as error:
        return str(error)
    return None


def _module(name: str) -> ModuleType:
    """The module of an engine, with ``require`` and ``build``; imported when it is asked for."""
    return importlib.import_module(f"kinestream.engines.{name.replace('-', '_')}")


def build_key(network: Network, **versions: str) -> str:
    """Hexadecimal name of a build: the network, the shapes of its inputs and the versions given."""
    shapes = [(i.example.shape, i.example.dtype.str, i.varies, i.step, i.largest) for i in network.inputs]
    content = repr((network.key, shapes, sorted(versions.items())))
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def network_key(weights: Path, *code: str) -> str:
    """Key of the network that a weight file and these modules of ours define."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in (weights, *(root / f"{module}.py" for module in code)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def examples(inputs: Sequence[NetworkInput], batch: int) -> tuple[AnyArray, ...]:
    """Arguments of the given batch size, made from the examples."""
    return tuple(entry.example.repeat(batch, 0) for entry in inputs)


def check(engine: Engine, reference: Callable[..., Any], inputs: Sequence[NetworkInput]) -> float:
    """Largest difference from torch on batches of one and three; :class:`EngineError` if it is too large."""
    differences = [
        drift(engine(*given), reference(*given)) for given in (examples(inputs, n) for n in (1, 3))
    ]
    worst = float(np.max(differences))
    if not worst <= TOLERANCE[engine.precision]:  # NaN fails, too
        raise EngineError(
            f"engine {engine.name}: results differ from torch by {worst:.2g} of the largest value, "
            f"expected at most {TOLERANCE[engine.precision]:g}"
        )
    return worst


def drift(output: Any, expected: Any) -> float:
    """Largest difference over the outputs, each relative to its largest expected value."""
    worst = 0.0
    for found, right in zip(flatten(output), flatten(expected), strict=True):
        if found.shape != right.shape:
            return float("inf")
        difference = np.abs(np.subtract(found, right, dtype=np.float64)).max() / max(
            np.abs(right).max(), 1e-6
        )
        if not np.isfinite(difference):
            return float("inf")
        worst = max(worst, float(difference))
    return worst


def flatten(output: Any) -> list[Any]:
    """The arrays or tensors of nested tuples, in order."""
    return (
        [leaf for part in output for leaf in flatten(part)] if isinstance(output, tuple | list) else [output]
    )


def rebuild(like: Any, leaves: Iterator[Any]) -> Any:
    """Arrays or tensors in the nested named tuples of ``like``; undoes :func:`flatten`."""
    if not isinstance(like, tuple):
        return next(leaves)
    return type(like)(*[rebuild(part, leaves) for part in like])
