"""A stand-in for a GPU, for tests of engines: it records and replays on the CPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tracker.regress import gpu as gpus


class FakeGpu:
    """Replays by working anew. As on the device, a replay overwrites the results of all other recordings."""

    def __init__(self) -> None:
        self.name, self.driver, self.device = "Fake GPU 9000", "580.1", torch.device("cpu")
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


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """The only GPU of this computer, whether it has one or not."""
    made = FakeGpu()
    monkeypatch.setattr(gpus, "find", lambda engine: made)
    monkeypatch.setattr(gpus, "require", lambda engine: None)
    return made


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of engines."""
    monkeypatch.setenv("KINESTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks on a busy machine: threads that wait for each other take the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
