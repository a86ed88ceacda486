"""Benchmarks take turns, count right and tell nothing private."""

import json
from pathlib import Path

import pytest

from kinestream.tools.bench import timing
from kinestream.tools.bench.timing import (
    Latency,
    environment,
    measure,
    measure_paired,
    median_latency,
    write_report,
)


def test_contestants_take_turns_and_warm_up_is_not_counted():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    results = measure_paired(calls, repeats=3, warmup=2)
    assert "".join(order) == "ab" * 5
    assert [results[name].repeats for name in "ab"] == [3, 3]


def test_the_device_is_waited_for_around_each_call():
    events = []
    measure(lambda: events.append("call"), repeats=2, warmup=0, synchronize=lambda: events.append("wait"))
    assert events == ["wait", "call", "wait"] * 2


def test_percentiles_are_those_of_the_clock(monkeypatch):
    ticks = iter([tick for i in range(101) for tick in (0, i * 1_000_000)])
    cpu_ticks = iter([tick for i in range(101) for tick in (0, i * 500_000)])
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: next(ticks))
    monkeypatch.setattr(timing.time, "thread_time_ns", lambda: next(cpu_ticks))
    assert measure(lambda: None, repeats=101, warmup=0) == Latency(50.0, 95.0, 99.0, 50.0, 25.0, 101)


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 0), (1, -1)])
def test_senseless_counts_are_refused(repeats, warmup):
    with pytest.raises(ValueError, match=f"found repeats {repeats} and warmup {warmup}"):
        measure(lambda: None, repeats=repeats, warmup=warmup)


def test_the_median_is_taken_of_each_percentile():
    runs = [
        Latency(1.0, 9.0, 9.0, 2.0, 0.5, 7),
        Latency(2.0, 8.0, 11.0, 1.0, 0.1, 7),
        Latency(3.0, 7.0, 10.0, 3.0, 0.2, 7),
    ]
    assert median_latency(runs) == Latency(2.0, 8.0, 10.0, 2.0, 0.2, 7)
    with pytest.raises(ValueError, match="no runs"):
        median_latency([])


def test_the_environment_names_versions_but_no_host_user_or_path():
    found = environment()
    assert set(found) == {"cpu", "cpu_count", "threads", "gpu", "system", "python", "packages"}
    assert found["packages"]["torch"]
    assert found["threads"] >= 1
    assert str(Path.home()) not in json.dumps(found)


def test_a_report_is_json_with_the_environment(tmp_path):
    path = tmp_path / "new" / "report.json"
    write_report(path, "demo", {"latency": {"ours": Latency(1.0, 2.0, 3.0, 1.5, 0.9, 10)}})
    report = json.loads(path.read_text())
    assert report["benchmark"] == "demo"
    assert report["latency"]["ours"] == {
        "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "mean_ms": 1.5, "cpu_p50_ms": 0.9, "repeats": 10,
    }  # fmt: skip
    assert report["environment"] == json.loads(json.dumps(environment()))
