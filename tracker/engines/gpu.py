"""What engines ask of an NVIDIA GPU: memory, recorded work and times. A stand-in takes its place in tests."""

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

import torch
from torch import Tensor

from kinestream.engines.engine import EngineError, NotHereError

log = logging.getLogger(__name__)

_WARM_UP: Final = 3
"""Runs before work is recorded: libraries choose their kernels and take their memory in them."""


class Gpu(Protocol):
    """A device on which work is recorded once and replayed.

    Attributes:
        name: of the device, for people and cache keys.
        device: where tensors live.
    """

    name: str
    device: torch.device

    @property
    def driver(self) -> str:
        """Version of the driver."""
        ...

    def host(self, like: Tensor) -> Tensor:
        """Host memory of this shape, type and layout, all zero, from which copies do not wait."""
        ...

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record ``work``; returns what replays it, and the tensor that each replay writes anew."""
        ...

    def running(self) -> AbstractContextManager[None]:
        """Within, copies and replays are queued; at the end, all of it is done."""
        ...

    def stream(self) -> int:
        """Handle of the stream that takes work now, for libraries other than torch."""
        ...

    def time_ms(self, replay: Callable[[], None]) -> float:
        """Time that the device takes for one replay."""
        ...


class CudaGpu:
    """The first CUDA device, with a stream of its own and memory that all recordings share."""

    def __init__(self) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.name = torch.cuda.get_device_name(self.device)
        self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @property
    def driver(self) -> str:
        """Asked of the system each time: a driver's own program tells it, which takes a moment."""
        return driver_version()

    def host(self, like: Tensor) -> Tensor:
        """Pinned memory."""
        return torch.zeros_like(like, device="cpu", pin_memory=True)

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a CUDA graph, in full float32 where the work is float32.

        Recordings share one pool of memory: the result of a replay holds until the next one of any of them.
        """
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)  # what the work reads may have been copied on another stream
        with torch.inference_mode(), full_float32():
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UP):
                    work()
            self._stream.synchronize()
            # Other threads may use the device meanwhile (a decoder, a user's own model).
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                output = work()
        return graph.replay, output

    @contextmanager
    def running(self) -> Iterator[None]:
        """On the stream; waits for it at the end."""
        with torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()

    def stream(self) -> int:
        """The current stream of torch."""
        return int(torch.cuda.current_stream(self.device).cuda_stream)

    def time_ms(self, replay: Callable[[], None]) -> float:
        """Between two events around the replay."""
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        with self.running():
            before.record()
            replay()
            after.record()
        return float(before.elapsed_time(after))


@contextmanager
def full_float32() -> Iterator[None]:
    """float32 is float32 within, whatever the process has chosen: no TF32 in products and convolutions."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def require(engine: str) -> None:
    """Raise :class:`NotHereError` when no NVIDIA GPU can be used; the message says why and what to do."""
    if torch.version.cuda is None:
        raise NotHereError(
            f"engine {engine}: torch {torch.__version__} is built without CUDA; on a computer with an NVIDIA "
            "GPU install the CUDA build of torch"
        )
    if torch.cuda.is_available():
        return
    try:
        torch.zeros(1, device="cuda")  # says why
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    else:
        reason = "CUDA starts but lists no device"
    raise NotHereError(
        f"engine {engine}: no usable NVIDIA GPU ({reason}); torch {torch.__version__} needs a driver for "
        f"CUDA {torch.version.cuda}, found driver {driver_version()}"
    )


def find(engine: str) -> Gpu:
    """The GPU; raises as :func:`require` does."""
    require(engine)
    return CudaGpu()


def explained(engine: str, error: RuntimeError) -> EngineError:
    """The failure of a GPU in words, with what to do about it."""
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
        return EngineError(
            f"engine {engine}: not enough GPU memory ({_first_line(error)}); close other programs that use "
            "the GPU, or choose --engine cpu"
        )
    return EngineError(f"engine {engine}: the GPU cannot run the network ({_first_line(error)})")


def driver_version() -> str:
    """Version of the NVIDIA driver, ``none`` without one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "none"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
