"""The ablation's trainings differ by one thing each, and their commands are ones that training takes."""

import inspect
from pathlib import Path

import pytest

from kinestream.tools.bench.accuracy import ablation
from kinestream.trainer import train_regressor


def test_every_setting_adds_to_the_one_before() -> None:
    names = list(ablation.SETTINGS)
    assert names == ["full", "+ weak keypoints", "+ alignment", "+ latent prior", "+ self"]
    before = ablation.options_of(names[0])
    assert before["weak"] == before["alignment"] == before["prior"] == before["self"] == 0
    for name in names[1:]:
        now = ablation.options_of(name)
        changed = {key for key in now if now[key] != before[key]}
        assert changed == set(ablation.SETTINGS[name])
        before = now
    with pytest.raises(KeyError):
        ablation.options_of("everything")


def test_commands_name_options_that_exist(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("walk", "unlabelled"):
        (tmp_path / "clips" / f"{name}.mp4").touch()
    options = {
        "data": tmp_path,
        "pool": tmp_path,
        "labels": tmp_path,
        "run": tmp_path / "r",
        "more": ["--steps", "3"],
    }
    with pytest.raises(FileNotFoundError, match="pseudo_label"):
        ablation.command_of("+ self", **options)
    (tmp_path / "walk.npz").touch()
    command = ablation.command_of("+ self", **options)
    assert command[command.index("--unlabelled") + 1] == str(tmp_path / "clips" / "walk.mp4")
    assert command.count("--unlabelled") == 1
    known = {name.replace("_", "-") for name in inspect.signature(train_regressor.main).parameters} | {"self"}
    assert {text[2:] for text in command if text.startswith("--")} <= known
    assert "--unlabelled" not in ablation.command_of("full", **options)


def test_the_table_has_a_row_for_each_training() -> None:
    groups: dict[str, dict[str, float]] = {}
    for group, metric in ablation.COLUMNS:
        groups.setdefault(group, {})[metric] = 12.34
    lines = ablation.as_markdown({"full": groups, "+ weak": groups}).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| full | 12.3 |") and len({line.count("|") for line in lines}) == 1
