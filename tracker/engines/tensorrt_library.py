"""TensorRT and torch-tensorrt, as the engine uses them; nothing else imports them.

A network is exported with float16 where automatic mixed precision has it, and explicit casts; TensorRT keeps
the types it is given. One context of TensorRT serves one recording, since a recorded one must not change.
"""

import copy
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from kinestream.engines import gpu as gpus
from kinestream.engines.cuda_graphs import Prepare
from kinestream.engines.engine import EngineError, NetworkInput, NotHereError, examples
from kinestream.engines.gpu import Gpu
from kinestream.engines.torch import Flat

log = logging.getLogger(__name__)

INSTALL: Final = "pip install 'kinestream[trt]'"
USUAL_BATCH: Final = 4
"""TensorRT chooses its kernels for this batch."""


class Library(Protocol):
    """What builds and runs TensorRT engines.

    Attributes:
        versions: of the libraries, by name.
    """

    versions: dict[str, str]

    def build(self, network: nn.Module, inputs: Sequence[NetworkInput], max_batch: int, gpu: Gpu) -> bytes:
        """A serialized engine; :class:`EngineError` when there is none."""
        ...

    def load(self, plan: bytes, gpu: Gpu) -> Prepare:
        """Work on the device from a serialized engine; :class:`EngineError` when it cannot be read."""
        ...


def require() -> None:
    """Raise :class:`NotHereError` without a GPU or without the packages; nothing is imported."""
    gpus.require("tensorrt")
    missing = [name for name in ("torch_tensorrt", "tensorrt") if importlib.util.find_spec(name) is None]
    if missing:
        raise NotHereError(f"engine tensorrt: {' and '.join(missing)} not installed; {INSTALL}")


def find() -> Library:
    """The installed library; raises as :func:`require`, or :class:`EngineError` when it does not load."""
    require()
    return TensorRt()


class TensorRt:
    """The real library."""

    def __init__(self) -> None:
        try:
            import tensorrt
        except (ImportError, OSError) as error:
            raise EngineError(f"engine tensorrt: TensorRT does not load ({error}); {INSTALL}") from error
        self._trt: Any = tensorrt
        self.versions = {
            "tensorrt": str(tensorrt.__version__),
            "torch_tensorrt": importlib.metadata.version("torch_tensorrt"),
        }

    def build(self, network: nn.Module, inputs: Sequence[NetworkInput], max_batch: int, gpu: Gpu) -> bytes:
        """Convert the whole network in float16."""
        try:
            import torch_tensorrt
        except (ImportError, OSError, RuntimeError) as error:
            raise EngineError(
                f"engine tensorrt: torch-tensorrt {self.versions['torch_tensorrt']} does not load with torch "
                f"{torch.__version__} ({error}); {INSTALL}"
            ) from error
        try:
            program = export_half(network, inputs, max_batch, gpu.device)
            ranges = [
                torch_tensorrt.Input(min_shape=low, opt_shape=usual, max_shape=high, dtype=torch.float32)
                for low, usual, high in (shape_range(entry, max_batch) for entry in inputs)
            ]
            plan: bytes = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
                program, arg_inputs=ranges, device=gpu.device
            )
        except RuntimeError as error:
            raise gpus.explained("tensorrt", error) from error
        except (AssertionError, TypeError, ValueError) as error:
            raise EngineError(
                f"engine tensorrt: torch-tensorrt {self.versions['torch_tensorrt']} cannot convert the "
                f"network ({type(error).__name__} {error}); --engine cuda needs no conversion"
            ) from error
        return plan

    def load(self, plan: bytes, gpu: Gpu) -> Prepare:
        """Read a serialized engine."""
        trt = self._trt
        try:
            runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        except (TypeError, RuntimeError) as error:  # without a fitting driver there is no object to make
            raise EngineError(
                f"engine tensorrt: TensorRT {trt.__version__} does not start with driver {gpu.driver} "
                f"({error}); update the driver, or choose --engine cuda"
            ) from error
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(
                f"engine tensorrt: TensorRT {trt.__version__} cannot read the engine on {gpu.name}; it is of "
                "another version or GPU, or the GPU's memory is too small"
            )
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs, outputs = (
            in_order([name for name in names if engine.get_tensor_mode(name) == mode])
            for mode in (trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT)
        )

        def prepare(given: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
            assert runtime is not None  # it must live as long as what it has read
            context = engine.create_execution_context()
            if context is None:
                raise RuntimeError("TensorRT made no context: out of memory")

            def work() -> Sequence[Tensor]:
                values = [value.float().contiguous() for value in given]
                for name, value in zip(inputs, values, strict=True):
                    if not context.set_input_shape(name, tuple(value.shape)):
                        raise RuntimeError(f"TensorRT refuses {name} of shape {tuple(value.shape)}")
                    context.set_tensor_address(name, value.data_ptr())
                results = [
                    torch.empty(tuple(context.get_tensor_shape(name)), device=gpu.device) for name in outputs
                ]
                for name, result in zip(outputs, results, strict=True):
                    context.set_tensor_address(name, result.data_ptr())
                if not context.execute_async_v3(gpu.stream()):
                    raise RuntimeError("TensorRT could not run the network")
                return results

            return work

        return prepare


class _Half(nn.Module):
    """The network in automatic mixed precision, results in float32."""

    def __init__(self, network: nn.Module, device_type: str) -> None:
        super().__init__()
        self.network = Flat(network)
        self.device_type = device_type

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(self.device_type, torch.float16):
            return tuple(value.float() for value in self.network(*inputs))


def export_half(
    network: nn.Module, inputs: Sequence[NetworkInput], max_batch: int, device: torch.device
) -> torch.export.ExportedProgram:
    """A copy of the network on ``device`` as a program of plain operations; float32 goes in and comes out."""
    given = [torch.as_tensor(value).float() for value in examples(inputs, min(2, max_batch))]
    batch = torch.export.Dim("batch", min=1, max=max(max_batch, 2))
    free = []
    for index, entry in enumerate(inputs):
        axes: dict[int, Any] = {0: batch} if 0 in entry.varies and max_batch > 1 else {}
        for axis in (axis for axis in entry.varies if axis):
            count = torch.export.Dim(f"steps_{index}_{axis}", min=1, max=_largest(entry, axis) // entry.step)
            axes[axis] = entry.step * count if entry.step > 1 else count
        free.append(axes)
    half = _Half(copy.deepcopy(network), device.type).eval().to(device)
    with torch.no_grad():
        return torch.export.export(
            half, tuple(value.to(device) for value in given), dynamic_shapes={"inputs": tuple(free)}
        )


def shape_range(entry: NetworkInput, max_batch: int) -> tuple[tuple[int, ...], ...]:
    """Smallest, usual and largest shape of an argument."""
    low, usual, high = (list(entry.example.shape) for _ in range(3))
    for axis in entry.varies:
        if axis:
            low[axis], high[axis] = entry.step, _largest(entry, axis)
        else:
            low[0], usual[0], high[0] = 1, min(USUAL_BATCH, max_batch), max_batch
    return tuple(low), tuple(usual), tuple(high)


def in_order(names: Sequence[str]) -> list[str]:
    """Names such as ``output10`` by their number; :class:`EngineError` for one without."""
    numbers = {name: re.search(r"\d+$", name) for name in names}
    for name, found in numbers.items():
        if found is None:
            raise EngineError(f"engine tensorrt: expected tensors with a number, found {name!r}")
    return sorted(names, key=lambda name: int(re.findall(r"\d+$", name)[0]))


def _largest(entry: NetworkInput, axis: int) -> int:
    return entry.largest or entry.example.shape[axis]
