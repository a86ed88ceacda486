"""The pictures of the report. Needs the extra ``bench`` (matplotlib)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kinestream.defaults import DEFAULT_FILTER
from kinestream.tools.extras import optional_module


def clip_plots(report: dict[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    """Write the pictures of the benchmark of the embedded clip; yields name and caption of each."""
    plt = _pyplot()
    filters = report["filters"]

    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for name, row in filters.items():
        axis.plot(
            row["times_s"],
            [float("nan") if e is None else e for e in row["error_over_time_mm"]],
            label=name,
            lw=1.3,
        )
    axis.set(xlabel="time (s)", ylabel="error around the pelvis (mm)", ylim=(0, None))
    axis.legend(frameon=False, ncols=len(filters))
    yield _save(figure, folder, "clip_error.png"), "Error over time on the embedded clip"

    figure, axis = plt.subplots(figsize=(8, 3.0), layout="constrained")
    name = DEFAULT_FILTER if DEFAULT_FILTER in filters else next(iter(filters))
    axis.hist(filters[name]["all_frame_ms"], bins=60, color="#1f77b4")
    for key, style in (("p50", "-"), ("p95", "--"), ("p99", ":")):
        axis.axvline(filters[name]["frame_ms"][key], color="#333333", ls=style, lw=1, label=key)
    axis.set(xlabel="time of a frame, picture to poses (ms)", ylabel="frames")
    axis.legend(frameon=False)
    yield _save(figure, folder, "clip_latency.png"), f"Time of a frame, filter {name}"

    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, row in filters.items():
        if row["lag_ms"] is None:
            continue
        axis.plot(row["lag_ms"], row["jitter_100m_s3"], "o")
        axis.annotate(name, (row["lag_ms"], row["jitter_100m_s3"]), textcoords="offset points", xytext=(6, 4))
    axis.axhline(report["true_jitter_100m_s3"], color="#999999", ls=":", lw=1)
    axis.set(xlabel="added lag (ms)", ylabel="jitter (100 m/s³)", yscale="log")
    yield _save(figure, folder, "clip_jitter_lag.png"), "Jitter and lag on the embedded clip; dotted: truth"


def _pyplot() -> Any:
    optional_module("matplotlib", extra="bench", purpose="the report").use("Agg")
    return optional_module("matplotlib.pyplot", extra="bench", purpose="the report")


def _save(figure: Any, folder: Path, name: str) -> str:
    figure.savefig(folder / name, dpi=110)
    _pyplot().close(figure)
    return name
