"""Engines: what runs a network. All take the same tensors and return what the network returns.

    engine = compile_network(network, inputs, engine="auto")
    output = engine(images, to_virtual, log_extent)

``torch`` is the reference and always there. Every other engine is compared with it on examples before it is
used, so that a stale or damaged build costs time and never gives a wrong result.
"""

import hashlib
import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Literal, Protocol, cast

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

ENGINES: Final = ("auto", "tensorrt", "cuda", "cpu", "torch")
Precision = Literal["float32", "float16"]
TOLERANCE: Final[dict[str, float]] = {"float32": 1e-3, "float16": 5e-2}
"""Largest difference from torch, over the largest value of an output, with which an engine is accepted.

Wider than what engines reach (tests hold them to 1e-4 in float32): it tells a wrong build."""
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

    example: Tensor
    varies: tuple[int, ...] = (0,)
    step: int = 1
    largest: int | None = None


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

    def __call__(self, *inputs: Tensor) -> Any:
        """Run on CPU tensors with a common batch; the result has the network's own type, on the CPU."""
        ...


class TorchEngine:
    """The reference: the module itself."""

    name = "torch"
    precision: Precision = "float32"

    def __init__(self, network: nn.Module) -> None:
        self.detail = f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)"
        self._network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, *inputs: Tensor) -> Any:
        """Run the module without gradients."""
        with torch.inference_mode():
            return self._network(*inputs)


Builder = Callable[[nn.Module, Sequence[NetworkInput], TorchEngine, int], Engine]


def compile_network(
    network: nn.Module, inputs: Sequence[NetworkInput], *, engine: str = "auto", max_batch: int = MAX_BATCH
) -> Engine:
    """Make ``network`` ready to run.

    Args:
        network: in evaluation mode; its outputs are tensors or (nested) named tuples of tensors.
        inputs: one for every argument.
        engine: one of ``ENGINES``; auto takes the fastest that works here and logs why.
        max_batch: largest batch that a GPU engine is built for; larger ones are run in parts.

    Raises:
        ValueError: there is no such engine.
        EngineError: the engine that was named cannot run here.

    """
    if engine not in ENGINES:
        raise ValueError(f"engine: expected one of {', '.join(ENGINES)}, found {engine!r}")
    reference = TorchEngine(network)
    if engine == "torch":
        return reference
    candidates = ENGINES[1:-1] if engine == "auto" else (engine,)
    for name in candidates:
        try:
            found = _builder(name)(network, inputs, reference, max_batch)
        except EngineError as error:
            if engine != "auto":
                raise
            log.log(logging.INFO if isinstance(error, NotHereError) else logging.WARNING, "%s", error)
            continue
        log.info("engine %s (%s)", name, found.detail)
        return found
    log.info("engine torch (%s): no faster one is available", reference.detail)
    return reference


class NotHereError(EngineError):
    """The library or the device that an engine needs is not there, which is nothing unusual."""


def why_not(name: str) -> str | None:
    """Why an engine cannot run on this computer; None when it can, as far as one can tell without trying."""
    if name == "torch":
        return None
    try:
        _module(name).require()
    except EngineError as error:
        return str(error)
    return None


def _builder(name: str) -> Builder:
    return cast(Builder, _module(name).build)


def _module(name: str) -> ModuleType:
    """The module of an engine, with ``require`` and ``build``; imported when it is asked for."""
    return importlib.import_module(f"kinestream.engines.{name}")


def weights_key(network: nn.Module, inputs: Sequence[NetworkInput], **versions: str) -> str:
    """Hexadecimal name of a build: weights, structure, input shapes and the versions given."""
    digest = hashlib.sha256(repr(network).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    for entry in inputs:
        shape, limits = tuple(entry.example.shape), (entry.varies, entry.step, entry.largest)
        digest.update(f"{shape} {entry.example.dtype} {limits}".encode())
    digest.update(repr(sorted({**versions, "torch": torch.__version__}.items())).encode())
    return digest.hexdigest()[:32]


def examples(inputs: Sequence[NetworkInput], batch: int) -> tuple[Tensor, ...]:
    """Arguments of the given batch size, made from the examples."""
    return tuple(entry.example.repeat(batch, *[1] * (entry.example.ndim - 1)) for entry in inputs)


def check(engine: Engine, reference: TorchEngine, inputs: Sequence[NetworkInput]) -> None:
    """Compare an engine with torch on batches of one and three; :class:`EngineError` if they differ."""
    for batch in (1, 3):
        arguments = examples(inputs, batch)
        worst = drift(engine(*arguments), reference(*arguments))
        if not worst <= TOLERANCE[engine.precision]:  # NaN fails, too
            raise EngineError(
                f"engine {engine.name}: results differ from torch by {worst:.2g} of the largest value, "
                f"expected at most {TOLERANCE[engine.precision]:g}"
            )


@torch.no_grad()
def drift(output: Any, expected: Any) -> float:
    """Largest difference over the outputs, each relative to its largest expected value."""
    worst = 0.0
    for found, right in zip(flatten(output), flatten(expected), strict=True):
        if found.shape != right.shape:
            return float("inf")
        difference = (found.double() - right.double()).abs().max() / right.abs().max().clamp_min(1e-6)
        if not torch.isfinite(difference):
            return float("inf")
        worst = max(worst, float(difference))
    return worst


def flatten(output: Any) -> list[Tensor]:
    """The tensors of a tensor or of nested tuples, in order."""
    return [output] if isinstance(output, Tensor) else [leaf for part in output for leaf in flatten(part)]


def rebuild(like: Any, tensors: Iterator[Tensor]) -> Any:
    """Tensors in the nested named tuples of ``like``; undoes :func:`flatten`."""
    if isinstance(like, Tensor):
        return next(tensors)
    return type(like)(*[rebuild(part, tensors) for part in like])


class Flat(nn.Module):
    """A network whose result is a plain tuple of tensors, as exporters want it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's tensors in order."""
        return tuple(flatten(cast(Any, self.network(*inputs))))
