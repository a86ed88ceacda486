"""The bars that the learned filter is held to, evaluated on the tables of the benchmark."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kinestream.filtering.error_state import difference, mean_of, std_of
from kinestream.filtering.learned import DEFAULT_SMOOTHNESS
from kinestream.latent.decode import FlowDecoder
from kinestream.tools.bench.filter.runs import Maker, Scene, around_pelvis, joints_of, run, stacked
from kinestream.tools.metrics import motion as metrics

Check = dict[str, Any]
LEARNED = {"learned": DEFAULT_SMOOTHNESS, "learned (quick)": -1.0, "learned (smooth)": 1.0}
"""Names and smoothness of the learned filter in the tables."""
COAST_MS = ("50", "100", "150", "200", "250", "300")


def checks(
    tables: Mapping[str, Mapping[str, Any]],
    forecasts: Mapping[str, Mapping[str, Any]],
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    half_rate: Mapping[str, float],
    weights_bytes: int,
) -> list[Check]:
    """Each bar with what was found, its limit and whether it is met."""
    found: list[Check] = []
    main = tables["realistic, 30 Hz"]
    for condition, table in forecasts.items():
        for lead in ("100", "300"):
            for key, frame in (("mpjpe_mm", "around the pelvis"), ("camera_mpjpe_mm", "in the camera")):
                moving = min(row[lead][key] for name, row in table.items() if name.startswith("kalman"))
                for rival, error in (("constant velocity", moving), ("hold-last", table["none"][lead][key])):
                    bar = f"forecast by {lead} ms, {condition}, {frame}: share of {rival}"
                    found.append(_at_most(bar, table["learned"][lead][key] / error, 0.7))
    baselines = [name for name in main if not name.startswith("learned")]
    for setting in LEARNED:
        for key, label in (("mpjpe_mm", "error"), ("acceleration_error_m_s2", "acceleration error")):
            rival = min(main[name][key] for name in baselines)
            bar = f"realistic noise, 30 Hz, {setting}: {label} as a share of the least of all baselines"
            found.append(_at_most(bar, main[setting][key] / rival, 1.0))
    keys = ("mpjpe_mm", "acceleration_error_m_s2")
    least = {key: min(main[name][key] for name in baselines) for key in keys}
    worse = min(max(row[key] / least[key] for key in keys) for row in curves["learned"])
    bar = "realistic noise, 30 Hz, best single smoothness: larger share of the least of all baselines"
    found.append(_at_most(bar, worse, 1.0))
    for name in ("one-euro (error)", "one-euro (acceleration)"):
        peer = main[name]
        lag = lag_at_jitter(curves["learned"], peer["jitter_100m_s3"])
        bar = f"lag at the jitter of {name}, as a share of its lag"
        found.append(_at_most(bar, lag / peer["lag_ms"], 0.5))
    for condition in ("realistic, 30 Hz", "clean, 30 Hz"):
        coasting, hold = forecasts[condition]["learned"], forecasts[condition]["none"]
        for key, frame in (("mpjpe_mm", "around the pelvis"), ("camera_mpjpe_mm", "in the camera")):
            for label, leads in (("at its end", COAST_MS[-1:]), ("on average", COAST_MS)):
                ratio = sum(coasting[lead][key] for lead in leads) / sum(hold[lead][key] for lead in leads)
                bar = f"coasting 300 ms, {condition}, {frame}, {label}: share of hold-last"
                found.append(_at_most(bar, ratio, 0.65))
    for lead in COAST_MS:
        covered = forecasts["realistic, 30 Hz"]["learned"][lead]["coverage_90"]
        bar = f"90 % intervals {lead} ms into a gap"
        found.append({"bar": bar, "found": covered, "limit": "0.85 to 0.95", "met": 0.85 <= covered <= 0.95})
    found.append(_at_most("update, median, milliseconds", main["learned"]["update_us_p50"] / 1e3, 0.5))
    found.append(_at_most("weights, MB", weights_bytes / 1e6, 3.0))
    found.append(_at_most("every other frame: change in standard deviations, rms", half_rate["rms_std"], 1.0))
    return found


def lag_at_jitter(curve: Sequence[Mapping[str, float]], jitter: float) -> float:
    """Lag of a filter whose setting gives this jitter, interpolated; of its nearest setting outside."""
    rows = sorted(curve, key=lambda row: row["jitter_100m_s3"])
    at = [row["jitter_100m_s3"] for row in rows]
    return float(np.interp(jitter, at, [row["lag_ms"] for row in rows]))


def half_rate_difference(make: Maker, scenes: Sequence[Scene], decoder: FlowDecoder) -> dict[str, float]:
    """How estimates change when only every other frame is seen: in standard deviations and millimetres."""
    ratios, gaps, full_errors, half_errors = [], [], [], []
    for scene in scenes:
        thin = scene.thinned(2)
        full, half = run(make, scene).estimates[::2], run(make, thin).estimates
        skipped = int(np.searchsorted(thin.times_s, 0.5))
        for one, other in zip(full[skipped:], half[skipped:], strict=True):
            ratios.append(difference(mean_of(one), mean_of(other)) / std_of(other, floor=1e-6))
        joints = [
            around_pelvis(joints_of(decoder, stacked(estimates[skipped:]))) for estimates in (full, half)
        ]
        truth = around_pelvis(thin.joints_m[skipped:])
        gaps.append(metrics.mpjpe_mm(joints[0], joints[1]))
        full_errors.append(metrics.mpjpe_mm(joints[0], truth))
        half_errors.append(metrics.mpjpe_mm(joints[1], truth))
    return {
        "rms_std": float(np.sqrt(np.square(np.concatenate(ratios)).mean())),
        "difference_mm": float(np.mean(gaps)),
        "mpjpe_full_mm": float(np.mean(full_errors)),
        "mpjpe_half_mm": float(np.mean(half_errors)),
    }


def _at_most(bar: str, found: float, limit: float) -> Check:
    return {"bar": bar, "found": found, "limit": limit, "met": bool(found <= limit)}
