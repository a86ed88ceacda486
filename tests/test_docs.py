"""The documents say what is: commands and options exist, links lead somewhere, examples run."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from kinestream.tools.cli import app

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "tracker/assets/MODEL_CARD.md")),
        *(ROOT / "docs").glob("*.md"),
    ]
)
PACKAGES = {
    "tracker": "kinestream",
    "kernels": "kinestream.kernels",
    "trainer": "kinestream.trainer",
    "tools": "kinestream.tools",
}
WITH_EXAMPLES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text()
]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def commands_of(page: Path) -> list[str]:
    """The `kinestream` commands of a page, as typed, without comments."""
    text = page.read_text(encoding="utf-8")
    return [
        re.sub(r"\s+#.*|\s+\|.*|\s*&&.*|\s*2?>.*", "", line)
        for line in re.findall(r"(?:^|[`/ ])(kinestream [a-z][^`\n]*)", text, re.MULTILINE)
        if line.split()[1].strip(".,;:)") in COMMANDS
    ]


def test_the_pages_are_read() -> None:
    assert len(PAGES) > 8 and sum(len(commands_of(page)) for page in PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for line in commands_of(page):
        words = line.replace("'", "").split()
        command = COMMANDS[words[1].strip(".,;:)")]
        if command.name == "bench":
            continue  # hands its options on
        known = {"--help"}
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
        for word in words[2:]:
            option = word.strip(".,;:)").partition("=")[0]
            if option.startswith("--"):
                assert option in known, f"{page.name}: {shlex.quote(line)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_and_their_options_exist(page: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    commands = re.findall(r"-m (?:-- )?(kinestream\.[\w.]+)([^`\n]*)", re.sub(r"-m\n", "-m ", text))
    for name, words in commands:
        module = importlib.import_module(name.rstrip("."))
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{name}.__main__")
        options = re.findall(r"(?<=\s)--[a-z][\w-]*", re.sub(r"\s(#|-- ).*", "", words))
        if not hasattr(module, "main") or "argparse" in vars(module):
            continue  # its options are read in another way
        command = typer.Typer()
        command.command()(module.main)
        known = {"--help"}
        for parameter in typer.main.get_command(command).params:
            known |= {*parameter.opts, *parameter.secondary_opts}
        assert set(options) <= known, f"{page.name}: {name} {words}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstring_examples_run(path: Path) -> None:
    folder, *below = path.relative_to(ROOT).with_suffix("").parts
    module = importlib.import_module(".".join([PACKAGES[folder], *below]).removesuffix(".__init__"))
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.attempted > 0 and result.failed == 0


def test_there_are_examples() -> None:
    assert {"camera.py", "rotation.py", "skeleton.py", "pose.py"} <= {path.name for path in WITH_EXAMPLES}
