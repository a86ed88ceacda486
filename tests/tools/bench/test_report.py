"""The page of all measurements: what was measured is in it, what others published stays apart."""

import json
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

from kinestream.tools.bench.report import Grid, Heading, Text, as_html, as_markdown
from kinestream.tools.commands.bench import TOPICS

Command = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "cpu": "A <fast> one",
    "cpu_count": 2,
    "gpu": None,
    "system": "X",
    "python": "3",
    "packages": {},
}


def clip_report() -> dict[str, object]:
    row = {
        "tracked": 3, "frames": 4, "mpjpe_mm": 77.25, "camera_mpjpe_mm": 120.0,
        "acceleration_error_m_s2": 9.0,
        "jitter_100m_s3": 5.0, "lag_ms": 12.0, "frame_ms": {"p50": 20.0, "p95": 30.0, "p99": 40.0},
        "error_over_time_mm": [1.0, None, 3.0, 4.0], "times_s": [0.0, 0.1, 0.2, 0.3],
        "all_frame_ms": [20.0, 21.0, 30.0, 40.0],
    }  # fmt: skip
    filters = {"kalman": row, "none": {**row, "lag_ms": 0.0}}
    limbs = {"tracked": 3, "pa_mpjpe_mm": 61.5, "jitter_100m_s3": 4.5, "lag_ms": None}
    return {
        "benchmark": "clip", "environment": ENVIRONMENT, "true_jitter_100m_s3": 2.0, "filters": filters,
        "limbs": {"kalman": limbs, "MediaPipe Pose": {**limbs, "lag_ms": 2.5}},
    }  # fmt: skip


def test_the_page_holds_every_section(kinestream: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'bench' is not installed")
    timed = {"environment": ENVIRONMENT, "results": {"draw": {"p50_ms": 1.5, "p95_ms": 2.0, "p99_ms": 3.0}}}
    speed = {
        "environment": ENVIRONMENT, "runs": 3, "load_average_1min": 0.1,
        "medians": {
            "every": {"cpu_ms_per_frame": 23.4, "fps": 41.0},
            "mediapipe": {"cpu_ms_per_frame": 34.5, "fps": 30.0},
        },
    }  # fmt: skip
    for name, content in (("clip", clip_report()), ("raster", timed), ("speed", speed)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    code, _, err = kinestream("bench", "report", "--out", tmp_path)
    assert code == 0, err
    markdown = (tmp_path / "report.md").read_text()
    assert "| kalman | 3/4 | 77.2 |" in markdown and "| draw | 1.500 | 2.000 | 3.000 |" in markdown
    assert "| mediapipe | 34.5 | 30.0 |" in markdown
    assert "| Kinestream, kalman | 3 | 61.5 | 4.5 |" in markdown
    assert "| MediaPipe Pose | 3 | 61.5 | 4.5 | 2.5 |" in markdown
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "A &lt;fast&gt; one" in page
    assert "http" not in page, "nothing is loaded from elsewhere"
    assert set(json.loads((tmp_path / "report.json").read_text())) == {"clip", "raster", "speed"}


def test_blocks_become_markdown_and_html(tmp_path: Path) -> None:
    blocks = [Heading("A"), Text("a < b"), Grid(("x", "y"), [["1", "2"]])]
    assert as_markdown(blocks).splitlines()[2:] == [
        "## A", "", "a < b", "", "| x | y |", "| --- | --- |", "| 1 | 2 |",
    ]  # fmt: skip
    assert "<p>a &lt; b</p>" in as_html(blocks, tmp_path) and "<td>2</td>" in as_html(blocks, tmp_path)


@pytest.mark.parametrize("name", [name for names in TOPICS.values() for name in names])
def test_topics_name_tools_that_write_where_they_are_told(name: str) -> None:
    module = import_module(f"kinestream.tools.bench.{name}")
    if hasattr(module, "__path__"):
        module = import_module(f"{module.__name__}.__main__")
    assert "out" in signature(module.main).parameters


def test_unknown_topics_and_empty_folders_are_told(kinestream: Command, tmp_path: Path) -> None:
    code, _, err = kinestream("bench", "sped")
    assert code == 2 and "clip" in err
    code, _, err = kinestream("bench", "report", "--out", tmp_path)
    assert code == 1 and "no benchmark reports" in err
