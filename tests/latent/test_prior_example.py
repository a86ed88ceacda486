"""The example of the pose prior runs as it stands in the documentation."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "pose_prior.py"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    result = runpy.run_path(str(EXAMPLE))
    assert float(result["fit"].mean_error[0]) < 0.03
    assert capsys.readouterr().out.count("\n") == 4
