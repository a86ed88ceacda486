"""Stage times and rates."""

import pytest

from kinestream.timing import WINDOW, Rate, StageTimes, percentiles_ms


def test_percentiles_are_of_the_newest_durations() -> None:
    stages = StageTimes()
    for i in range(WINDOW + 50):
        stages.add("body", 10**9 if i < 50 else 2_000_000)
    assert stages.percentiles() == {"body": {"p50": 2.0, "p95": 2.0, "p99": 2.0}}
    assert percentiles_ms(n * 1_000_000 for n in range(101)) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles_ms([]) == {"p50": 0.0, "p95": 0.0, "p99": 0.0}


def test_a_stage_that_fails_is_timed_as_well() -> None:
    stages = StageTimes()
    with pytest.raises(RuntimeError), stages.measure("detect"):
        raise RuntimeError
    assert stages.percentiles()["detect"]["p50"] >= 0


def test_rate() -> None:
    rate = Rate(window=10)
    assert rate.per_second == 0
    for i in range(100):
        rate.tick(i * 20_000_000 if i < 50 else 10**9 + i * 40_000_000)
    assert rate.per_second == pytest.approx(25)
