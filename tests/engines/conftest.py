"""What tests of engines share: a stand-in for the GPU, a cache of their own, one thread."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kinestream.engines import engine
from kinestream.engines import gpu as gpus
from tests.engines.fake_gpu import FakeGpu


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """The only GPU of this computer, whether it has one or not."""
    made = FakeGpu()
    monkeypatch.setattr(gpus, "find", lambda engine: made)
    monkeypatch.setattr(gpus, "require", lambda engine: None)
    monkeypatch.setattr(engine, "has_nvidia_driver", lambda: True)
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
