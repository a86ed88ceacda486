"""`kinestream` as a user types it, on stand-ins for the models: in this process, or in one of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from kinestream.models import Models
from kinestream.tools.cli import app

ROOT = Path(__file__).parents[2]
ON_STAND_INS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
sys.path.insert(0, "tests")
from dataclasses import replace
from conftest import BlockDetector, BlockRegressor
from kinestream.body.arrays import read_body
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.dynamics_weights import DynamicsWeights
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.models import Models
from kinestream.tools.cli import app

body, decoder = read_body(), FlowDecoder(PoseFlow(FlowConfig(depth=2, hidden=16)).eval())
dynamics = replace(DynamicsWeights.load(), flow_id=decoder.flow_id)
models = Models(BlockDetector(), BlockRegressor(body, decoder), decoder, body, dynamics)
Models.load = classmethod(lambda cls, **_: models)
if limit := int(os.environ.get("FILE_LIMIT", 0)):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
app()
"""


class Said(NamedTuple):
    """Exit code, standard output, and standard error without frames and with spaces made one."""

    code: int
    out: str
    err: str


@pytest.fixture
def kinestream() -> Iterator[Callable[..., Said]]:
    """Runs the command in this process; ``typed`` is its standard input."""

    def run(*arguments: object, typed: str = "") -> Said:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, " ".join(result.stderr.replace("│", " ").split()))

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def stand_ins(block_models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in this process load the stand-ins."""
    monkeypatch.setattr(Models, "load", classmethod(lambda cls, **_: block_models))


@pytest.fixture
def start_kinestream() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts the command on the stand-ins in a process of its own.

    ``file_limit`` is the size in bytes at which its files meet a full disk.
    """

    def start(*arguments: object, file_limit: int | None = None) -> "subprocess.Popen[str]":
        environment = {**os.environ, **({"FILE_LIMIT": str(file_limit)} if file_limit else {})}
        return subprocess.Popen(
            [sys.executable, "-c", ON_STAND_INS, *[str(each) for each in arguments]],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip

    return start
