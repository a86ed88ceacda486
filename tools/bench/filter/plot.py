"""The jitter-lag frontier of filters as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

Point = Mapping[str, float]
_STYLE = {
    "learned": ("#d62728", "o", "-", 3),
    "one-euro": ("#1f77b4", "s", "none", 2),
    "kalman": ("#2ca02c", "^", "-", 2),
    "interpolation": ("#7f7f7f", "D", "none", 2),
    "none": ("#000000", "X", "none", 2),
}


def draw_frontier(
    points: Mapping[str, Sequence[Point]], truth_jitter: float, path: Path, *, title: str
) -> None:
    """Write a PNG: lag to the right, jitter upwards; and beside it error over jitter.

    Args:
        points: per filter, rows with ``lag_ms``, ``jitter_100m_s3`` and ``mpjpe_mm``.
        truth_jitter: of the true motion.
        path: where to write.
        title: above the picture.

    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    for axis, key, label in (
        (axes[0], "lag_ms", "added lag (ms, by cross-correlation)"),
        (axes[1], "mpjpe_mm", "error (MPJPE around the pelvis, mm)"),
    ):
        for name, rows in points.items():
            color, marker, line, order = _STYLE[name]
            across, up = [row[key] for row in rows], [row["jitter_100m_s3"] for row in rows]
            axis.plot(across, up, color=color, marker=marker, ls=line, ms=5, lw=1.2, label=name, zorder=order)
        axis.axhline(truth_jitter, color="#999999", linestyle=":", linewidth=1, label="true motion")
        axis.set_yscale("log")
        axis.set_xlabel(label)
        axis.set_ylabel("jitter (mean jerk, 100 m/s³)")
        axis.grid(alpha=0.25, which="both")
    axes[0].legend(frameon=False)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
