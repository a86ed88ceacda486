"""One readable page of all benchmark reports in a folder: report.md, report.html, report.json.

kinestream bench report --out docs/benchmarks
"""

import base64
import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinestream.tools.bench.accuracy.published import PUBLISHED

Json = dict[str, Any]


@dataclass(frozen=True)
class Heading:
    """A section begins."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG in the folder."""

    name: str
    caption: str


Block = Heading | Text | Grid | Picture


def write(folder: Path) -> Path:
    """Write the three files; returns the page. Raises ``ValueError`` where there is nothing to report."""
    reports = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in _files(folder)}
    if not reports:
        raise ValueError(f"{folder}: no benchmark reports; kinestream bench clip --out {folder} makes one")
    blocks = list(_blocks(dict(reports), folder))
    (folder / "report.md").write_text(as_markdown(blocks), encoding="utf-8")
    (folder / "report.html").write_text(as_html(blocks, folder), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    return folder / "report.html"


def as_markdown(blocks: Sequence[Block]) -> str:
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


def as_html(blocks: Sequence[Block], folder: Path) -> str:
    """The page for a browser, pictures inside."""
    parts = []
    for block in blocks:
        match block:
            case Heading(text):
                parts.append(f"<h2>{html.escape(text)}</h2>")
            case Text(text):
                parts.append(f"<p>{html.escape(text)}</p>")
            case Picture(name, caption):
                data = base64.b64encode((folder / name).read_bytes()).decode()
                parts.append(
                    f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
                    f"<figcaption>{html.escape(caption)}</figcaption></figure>"
                )
            case Grid(columns, rows):
                head = "".join(f"<th>{html.escape(cell)}</th>" for cell in columns)
                body = "".join(
                    "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
                    for row in rows
                )
                parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Kinestream benchmarks</title>'
        f"<style>{_STYLE}</style><h1>Kinestream benchmarks</h1>{''.join(parts)}</html>\n"
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.name != "report.json")


def _blocks(reports: dict[str, Json], folder: Path) -> Iterator[Block]:
    yield Text(
        "Every figure of a section was measured by its command on the machine named there. Nothing here was "
        "measured on a GPU unless the section names one."
    )
    if "speed" in reports:
        yield from _speed(reports.pop("speed"))
    if "clip" in reports:
        yield from _clip(reports.pop("clip"), folder)
    for name in sorted(name for name in reports if name.startswith("accuracy")):
        yield from _accuracy(reports.pop(name))
    if "filter" in reports:
        yield from _filter(reports.pop("filter"), folder)
    for name, report in reports.items():
        rows = list(_latencies(report))
        if rows:
            yield Heading(name.replace("_", " ").capitalize())
            yield _environment(report)
            yield Grid(("what", "p50 ms", "p95 ms", "p99 ms"), rows)
    yield Heading("Published figures of others")
    yield Text(
        "As published by the sources named, not measured here and not comparable with the sections above: "
        "each table is one protocol."
    )
    for table in PUBLISHED:
        yield Text(f"{table.title}. {table.protocol}")
        yield Grid(
            ("method", *table.columns, "source"), [[m, *values, source] for m, values, source in table.rows]
        )


def _environment(report: Json) -> Text:
    found = report.get("environment", {})
    packages = ", ".join(f"{name} {version}" for name, version in found.get("packages", {}).items())
    gpu = found.get("gpu") or "no GPU"
    return Text(
        f"Machine: {found.get('cpu')}, {found.get('cpu_count')} cores, {gpu}, {found.get('system')}; "
        f"Python {found.get('python')}, {packages}."
    )


def _speed(report: Json) -> Iterator[Block]:
    yield Heading("Speed")
    yield Text(
        f"Video file to socket, contestants in turn, medians of {report['runs']} runs; other tools in the "
        f"same run. Load average: {report.get('load_average_1min')}."
    )
    yield _environment(report)
    rows = []
    for name, row in report["medians"].items():
        if "cpu_ms_per_frame" in row and name != "idle":
            age = row.get("capture_to_publish_ms", {}).get("p95")
            rows.append([
                name.replace("_", " "), f"{row['cpu_ms_per_frame']:.1f}", f"{row['fps']:.1f}",
                f"{age:.1f}" if name == "paced" and age is not None else "",
            ])  # fmt: skip
    yield Text(
        "every: all frames as fast as they go; paced: at the clip's own speed, as if live; large: every, "
        "with --model large; four people: another clip. Processor time is that of all threads, "
        "decoding included."
    )
    yield Grid(("contestant", "CPU ms per frame", "frames/s", "capture to publish p95 ms"), rows)
    stages = report["medians"].get("every", {}).get("stage_ms", {})
    if stages:
        keys = ("p50", "p95", "p99")
        yield Grid(
            ("stage", *(f"{key} ms" for key in keys)),
            [[name, *(f"{times[key]:.1f}" for key in keys)] for name, times in stages.items()],
        )


def _clip(report: Json, folder: Path) -> Iterator[Block]:
    from kinestream.tools.bench.report_plots import clip_plots

    yield Heading("The embedded clip, all filters")
    yield Text(
        "kinestream bench clip: the whole tracker on the rendered clip that ships with it, 24 joints against "
        "the exact truth, errors around the pelvis. Jitter of the true motion: "
        f"{report['true_jitter_100m_s3']:.1f} (100 m/s³). Load average afterwards: "
        f"{report.get('load_average_1min')}. No lag is given where the cross-correlation has its peak "
        "at the edge of what is searched."
    )
    yield _environment(report)
    columns = {
        "mpjpe_mm": "MPJPE mm", "camera_mpjpe_mm": "in the camera mm",
        "acceleration_error_m_s2": "acceleration error m/s²", "jitter_100m_s3": "jitter 100 m/s³",
        "lag_ms": "lag ms",
    }  # fmt: skip
    yield Grid(
        ("filter", "tracked", *columns.values(), "frame p50 ms", "p95 ms", "p99 ms"),
        [
            [
                name, f"{row['tracked']}/{row['frames']}", *(_shown(row[key]) for key in columns),
                *(f"{row['frame_ms'][key]:.1f}" for key in ("p50", "p95", "p99")),
            ]
            for name, row in report["filters"].items()
        ],
    )  # fmt: skip
    if "limbs" in report:
        yield Text(
            "Twelve limb joints between the hips, aligned by the best similarity of every frame, same run:"
        )
        yield Grid(
            ("tracker", "frames", "PA-MPJPE mm", "jitter 100 m/s³", "lag ms"),
            [
                [
                    name if name[0].isupper() else f"Kinestream, {name}", str(row["tracked"]),
                    *(_shown(row[key]) for key in ("pa_mpjpe_mm", "jitter_100m_s3", "lag_ms")),
                ]
                for name, row in report["limbs"].items()
            ],
        )  # fmt: skip
    for name, caption in clip_plots(report, folder):
        yield Picture(name, caption)


def _accuracy(report: Json) -> Iterator[Block]:
    yield Heading(f"Accuracy of {report['weights']}")
    yield Text("Protocols in tools/bench/accuracy/sets.py, one set a table.")
    yield _environment(report)
    for name, row in report["results"].items():
        shown = [(k, v) for k, v in row.items() if isinstance(v, int | float)]
        yield Grid((name, "value"), [[key, f"{value:.4g}"] for key, value in shown])


def _filter(report: Json, folder: Path) -> Iterator[Block]:
    yield Heading("Filters on held-out motion capture")
    yield _environment(report)
    for condition, text, picture in (
        ("realistic, 30 Hz", "Simulated observations; protocol in the model card.", "filter_frontier.png"),
        ("recorded, 30 Hz", "What the regressor said of rendered people.", "filter_frontier_recorded.png"),
    ):
        rows = report["tables"].get(condition, {})
        if not rows:
            continue
        yield Text(f"{condition[0].upper()}{condition[1:]}. {text}")
        columns = ("mpjpe_mm", "acceleration_error_m_s2", "jitter_100m_s3", "lag_ms", "update_us_p50")
        yield Grid(
            ("filter", "MPJPE mm", "acceleration error m/s²", "jitter 100 m/s³", "lag ms", "µs median"),
            [[n, *(_shown(r.get(c)) for c in columns)] for n, r in rows.items()],
        )
        if (folder / picture).is_file():
            yield Picture(picture, f"Jitter and lag of every filter over its settings, {condition}")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _latencies(report: Any, prefix: str = "") -> Iterator[list[str]]:
    """A row for everything that was timed, however deep it lies."""
    if not isinstance(report, dict):
        return
    if "p50_ms" in report:
        yield [prefix, *(f"{report[key]:.3f}" for key in ("p50_ms", "p95_ms", "p99_ms"))]
        return
    for name, inner in report.items():
        if name not in ("environment", "latency", "results"):
            yield from _latencies(inner, f"{prefix}, {name}" if prefix else name)
        elif name != "environment":
            yield from _latencies(inner, prefix)


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}"
    "figcaption{color:#666;font-size:.9em}h2{margin-top:2.5rem}"
)
