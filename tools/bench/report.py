"""One readable page of all benchmark reports in a folder: report.md, report.html, report.json.

kinestream bench report --out docs/benchmarks
"""

import base64
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kinestream.defaults import DEFAULT_FILTER
from kinestream.tools.extras import optional_module

Json = dict[str, Any]
PERCENTILES = ("p50", "p95", "p99")


class Heading(NamedTuple):
    """A section begins."""

    text: str


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Grid(NamedTuple):
    """A table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """A PNG in the folder."""

    name: str
    caption: str


Block = Heading | Text | Grid | Picture


def write(folder: Path) -> Path:
    """Write the three files; returns the page. Raises ``ValueError`` where there is nothing to report."""
    paths = sorted(path for path in folder.glob("*.json") if path.name != "report.json")
    reports = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    if not reports:
        raise ValueError(f"{folder}: no benchmark reports; kinestream bench clip --out {folder} makes one")
    blocks = list(_blocks(dict(reports), folder))
    (folder / "report.md").write_text(as_markdown(blocks), encoding="utf-8")
    (folder / "report.html").write_text(as_html(blocks, folder), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    return folder / "report.html"


def as_markdown(blocks: Iterable[Block]) -> str:
    """The page for a code host."""
    parts = ["# Benchmarks"]
    for block in blocks:
        match block:
            case Heading(text):
                parts.append(f"## {text}")
            case Text(text):
                parts.append(text)
            case Picture(name, caption):
                parts.append(f"![{caption}]({name})\n\n{caption}")
            case Grid(columns, rows):
                lines = [columns, ["---"] * len(columns), *rows]
                parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def as_html(blocks: Iterable[Block], folder: Path) -> str:
    """The page for a browser, pictures inside."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    parts = []
    for block in blocks:
        match block:
            case Heading(text):
                parts.append(f"<h2>{html.escape(text)}</h2>")
            case Text(text):
                parts.append(f"<p>{html.escape(text)}</p>")
            case Picture(name, caption):
                data = base64.b64encode((folder / name).read_bytes()).decode()
                label = html.escape(caption)
                parts.append(
                    f'<figure><img alt="{label}" src="data:image/png;base64,{data}">'
                    f"<figcaption>{label}</figcaption></figure>"
                )
            case Grid(columns, rows):
                lines = [row(columns, "th"), *(row(cells, "td") for cells in rows)]
                parts.append(f"<table>{''.join(lines)}</table>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Kinestream benchmarks</title>'
        f"<style>{_STYLE}</style><h1>Kinestream benchmarks</h1>{''.join(parts)}</html>\n"
    )


def _blocks(reports: dict[str, Json], folder: Path) -> Iterator[Block]:
    yield Text(
        "Every figure of a section was measured by its command on the machine named there. Nothing here was "
        "measured on a GPU unless the section names one. What others published stands in docs/published.md."
    )
    for name, section in (("speed", _speed), ("clip", _clip)):
        if name in reports:
            yield from section(reports.pop(name), folder)
    for name in sorted(name for name in reports if name.startswith("accuracy")):
        report = reports.pop(name)
        yield Heading(f"Accuracy of {report['weights']}")
        yield Text("Protocols in tools/bench/accuracy/sets.py, one set a table.")
        yield _environment(report)
        for group, figures in report["results"].items():
            numbers = {key: value for key, value in figures.items() if isinstance(value, int | float)}
            yield Grid((group, "value"), [[key, f"{value:.4g}"] for key, value in numbers.items()])
    if "filter" in reports:
        yield from _filter(reports.pop("filter"), folder)
    for name, report in reports.items():
        rows = list(_latencies(report))
        if rows:
            yield Heading(name.replace("_", " ").capitalize())
            yield _environment(report)
            yield Grid(("what", *(f"{key} ms" for key in PERCENTILES)), rows)


def _environment(report: Json) -> Text:
    found = report.get("environment", {})
    packages = ", ".join(f"{name} {version}" for name, version in found.get("packages", {}).items())
    return Text(
        f"Machine: {found.get('cpu')}, {found.get('cpu_count')} cores, {found.get('gpu') or 'no GPU'}, "
        f"{found.get('system')}; Python {found.get('python')}, {packages}."
    )


def _speed(report: Json, folder: Path) -> Iterator[Block]:
    yield Heading("Speed")
    yield Text(
        f"Video file to socket, contestants in turn, medians of {report['runs']} runs; other tools in the "
        f"same run. Load average: {report.get('load_average_1min')}."
    )
    yield _environment(report)
    yield Text(
        "every: all frames as fast as they go; paced: at the clip's own speed, as if live; large: every, "
        "with --model large; four people: another clip. Processor time is that of all threads, "
        "decoding included."
    )
    medians = report["medians"]
    rows = []
    for name, row in medians.items():
        if "cpu_ms_per_frame" in row and name != "idle":
            age = row.get("capture_to_publish_ms", {}).get("p95") if name == "paced" else None
            figures = (row["cpu_ms_per_frame"], row["fps"], age)
            rows.append([name.replace("_", " "), *map(_shown, figures)])
    yield Grid(("contestant", "CPU ms per frame", "frames/s", "capture to publish p95 ms"), rows)
    stages = medians.get("every", {}).get("stage_ms", {})
    if stages:
        yield _grid("stage", stages, {key: f"{key} ms" for key in PERCENTILES})
    if "start" in report:
        yield Text(
            "From the start of the process to the first pose, whole runs of 180 frames of 1080p, start-up "
            "included, and ratios to MediaPipe in the same run:"
        )
        yield Grid(("what", "p50", "least", "most"), list(_spans(report["start"])))
    if "growth" in report:
        yield Text("How it grows with people (1080p), size and, as if live, with the rate (720p):")
        rows = {
            f"{figure}: {name}": row | row["capture_to_publish_ms"]
            for figure, named in report["growth"].items()
            for name, row in named.items()
        }
        columns = {
            "people_per_frame": "people found", "cpu_ms_per_frame": "CPU ms per frame", "fps": "frames/s",
            "p95": "capture to publish p95 ms", "dropped": "dropped",
        }  # fmt: skip
        yield _grid("what", rows, columns)
        if (folder / "speed_growth.png").exists():
            yield Picture("speed_growth.png", "Processor time of a frame by people, size and rate")


def _spans(figures: Json) -> Iterator[list[str]]:
    for name, value in figures.items():
        spread = value if isinstance(value, dict) else {"p50": value}
        found = [spread.get(key) for key in ("p50", "least", "most")]
        yield [name.replace("_", " "), *("" if number is None else f"{number:.3g}" for number in found)]


def _clip(report: Json, folder: Path) -> Iterator[Block]:
    yield Heading("The embedded clip, all filters")
    yield Text(
        "kinestream bench clip: the whole tracker on the rendered clip that ships with it, 24 joints against "
        "the exact truth, errors around the pelvis. Jitter of the true motion: "
        f"{report['true_jitter_100m_s3']:.1f} (100 m/s³). Load average afterwards: "
        f"{report.get('load_average_1min')}. No lag is given where the cross-correlation has its peak "
        "at the edge of what is searched."
    )
    yield _environment(report)
    rows = {
        name: {**row, **row["frame_ms"], "tracked": f"{row['tracked']}/{row['frames']}"}
        for name, row in report["filters"].items()
    }
    columns = {
        "tracked": "tracked", "mpjpe_mm": "MPJPE mm", "camera_mpjpe_mm": "in the camera mm",
        "acceleration_error_m_s2": "acceleration error m/s²", "jitter_100m_s3": "jitter 100 m/s³",
        "lag_ms": "lag ms", "p50": "frame p50 ms", "p95": "p95 ms", "p99": "p99 ms",
    }  # fmt: skip
    yield _grid("filter", rows, columns)
    if "limbs" in report:
        yield Text(
            "Twelve limb joints between the hips, aligned by the best similarity of every frame, same run:"
        )
        limbs = {
            name if name[0].isupper() else f"Kinestream, {name}": {**row, "tracked": str(row["tracked"])}
            for name, row in report["limbs"].items()
        }
        columns = {"tracked": "frames", "pa_mpjpe_mm": "PA-MPJPE mm", "jitter_100m_s3": "jitter 100 m/s³"}
        yield _grid("tracker", limbs, {**columns, "lag_ms": "lag ms"})
    yield from _clip_plots(report, folder)


def _clip_plots(report: Json, folder: Path) -> Iterator[Picture]:
    """Write the pictures of the embedded clip. Needs the extra ``bench`` (matplotlib)."""
    optional_module("matplotlib", extra="bench", purpose="the report").use("Agg")
    plt = optional_module("matplotlib.pyplot", extra="bench", purpose="the report")
    filters = report["filters"]

    def save(name: str, caption: str) -> Picture:
        figure.savefig(folder / name, dpi=110)
        plt.close(figure)
        return Picture(name, caption)

    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for name, row in filters.items():
        errors = [float("nan") if error is None else error for error in row["error_over_time_mm"]]
        axis.plot(row["times_s"], errors, label=name, lw=1.3)
    axis.set(xlabel="time (s)", ylabel="error around the pelvis (mm)", ylim=(0, None))
    axis.legend(frameon=False, ncols=len(filters))
    yield save("clip_error.png", "Error over time on the embedded clip")

    figure, axis = plt.subplots(figsize=(8, 3.0), layout="constrained")
    name = DEFAULT_FILTER if DEFAULT_FILTER in filters else next(iter(filters))
    axis.hist(filters[name]["all_frame_ms"], bins=60, color="#1f77b4")
    for key, style in zip(PERCENTILES, ("-", "--", ":"), strict=True):
        axis.axvline(filters[name]["frame_ms"][key], color="#333333", ls=style, lw=1, label=key)
    axis.set(xlabel="time of a frame, picture to poses (ms)", ylabel="frames")
    axis.legend(frameon=False)
    yield save("clip_latency.png", f"Time of a frame, filter {name}")

    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, row in filters.items():
        if row["lag_ms"] is not None:
            at = (row["lag_ms"], row["jitter_100m_s3"])
            axis.plot(*at, "o")
            axis.annotate(name, at, textcoords="offset points", xytext=(6, 4))
    axis.axhline(report["true_jitter_100m_s3"], color="#999999", ls=":", lw=1)
    axis.set(xlabel="added lag (ms)", ylabel="jitter (100 m/s³)", yscale="log")
    yield save("clip_jitter_lag.png", "Jitter and lag on the embedded clip; dotted: truth")


def _filter(report: Json, folder: Path) -> Iterator[Block]:
    yield Heading("Filters on held-out motion capture")
    yield _environment(report)
    columns = {
        "mpjpe_mm": "MPJPE mm", "acceleration_error_m_s2": "acceleration error m/s²",
        "jitter_100m_s3": "jitter 100 m/s³", "lag_ms": "lag ms", "update_us_p50": "µs median",
    }  # fmt: skip
    for condition, text, picture in (
        ("realistic, 30 Hz", "Simulated observations; protocol in the model card.", "filter_frontier.png"),
        ("recorded, 30 Hz", "Observations of rendered people.", "filter_frontier_recorded.png"),
    ):
        rows = report["tables"].get(condition)
        if not rows:
            continue
        yield Text(f"{condition[0].upper()}{condition[1:]}. {text}")
        yield _grid("filter", rows, columns)
        if (folder / picture).is_file():
            yield Picture(picture, f"Jitter and lag of every filter over its settings, {condition}")


def _grid(first: str, rows: Mapping[str, Json], columns: Mapping[str, str]) -> Grid:
    """Named rows of figures; ``columns`` maps their keys to headings."""
    cells = [[name, *(_shown(row.get(key)) for key in columns)] for name, row in rows.items()]
    return Grid((first, *columns.values()), cells)


def _shown(value: float | str | None) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:.1f}"


def _latencies(report: Any, prefix: str = "") -> Iterator[list[str]]:
    """A row for everything that was timed, however deep it lies."""
    if not isinstance(report, dict):
        return
    if "p50_ms" in report:
        yield [prefix, *(f"{report[f'{key}_ms']:.3f}" for key in PERCENTILES)]
        return
    for name, inner in report.items():
        named = name not in ("latency", "results")
        where = ", ".join(filter(None, (prefix, name))) if named else prefix
        yield from _latencies(inner, where) if name != "environment" else ()


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}"
    "figcaption{color:#666;font-size:.9em}h2{margin-top:2.5rem}"
)
