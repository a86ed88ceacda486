"""The ablation's trainings differ by one thing each; its figures are means with deviations."""

import inspect

import pytest

from kinestream.tools.bench.accuracy import ablation, ablation_end_to_end
from kinestream.trainer import train_regressor


def test_every_setting_adds_to_the_one_before() -> None:
    names = list(ablation.SETTINGS)
    assert names == ["full", "+ weak keypoints", "+ alignment", "+ latent prior", "+ self", "update alone"]
    before = ablation.weights_of(names[0])
    assert not any(before.values())
    for name in names[1:]:
        now = ablation.weights_of(name)
        assert {key for key in now if now[key] != before[key]} == set(ablation.SETTINGS[name])
        before = now
    assert {key for key, value in before.items() if value} == {"updated"}
    with pytest.raises(KeyError):
        ablation.weights_of("everything")


def test_seeds_become_mean_and_deviation_in_a_row_each() -> None:
    groups: dict[str, dict[str, float]] = {}
    for group, metric in ablation.COLUMNS:
        groups.setdefault(group, {})[metric] = 12.0
    other = {group: dict.fromkeys(metrics, 14.0) for group, metrics in groups.items()}
    results = ablation.summary({"before": [groups], "full": [groups, other]})
    assert results["full"]["opencap"]["pa_mpjpe_mm"] == 13
    assert results["full"]["opencap"]["pa_mpjpe_mm_std"] == pytest.approx(2**0.5)
    lines = ablation.as_markdown(results).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert lines[3].startswith("| full | 13 ± 1.4 |")


def test_every_training_of_the_whole_regressor_adds_to_the_one_before() -> None:
    names = list(ablation_end_to_end.SETTINGS)
    before = ablation_end_to_end.options_of(names[0])
    assert {key for key, value in before.items() if value} == {"full"}
    for name in names[1:]:
        now = ablation_end_to_end.options_of(name)
        changed = {key for key in now if now[key] != before.get(key, 0.0)}
        assert changed == set(ablation_end_to_end.SETTINGS[name])
        before = now
    assert set(before) <= set(inspect.signature(train_regressor.main).parameters)
    with pytest.raises(KeyError):
        ablation_end_to_end.options_of("everything")
