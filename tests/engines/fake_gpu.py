"""A stand-in for a GPU, for tests of engines: it records and replays on the CPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class FakeGpu:
    """Replays by working anew. As on the device, a replay overwrites the results of all other recordings."""

    def __init__(self) -> None:
        self.name, self.device = "Fake GPU 9000", torch.device("cpu")
        self.driver = "580.1"
        self.records = self.replays = 0
        self.fails: Exception | None = None
        self.error = 0.0
        self._outputs: list[Tensor] = []

    def host(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        if self.fails is not None:
            raise self.fails
        self.records += 1
        with torch.inference_mode():
            output = work().clone()
        self._outputs.append(output)

        def replay() -> None:
            self.replays += 1
            with torch.inference_mode():
                for other in self._outputs:
                    other.fill_(float("nan"))
                output.copy_(work() * (1 + self.error))

        return replay, output

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def stream(self) -> int:
        return 7

    def time_ms(self, replay: Callable[[], None]) -> float:
        replay()
        return 1.25
