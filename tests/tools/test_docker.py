"""The image's recipe, as far as it can be tried without docker: what it copies is enough to install."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "tools" / "docker" / "Dockerfile").read_text()
IGNORE = (ROOT / "tools" / "docker" / "Dockerfile.dockerignore").read_text().splitlines()


def test_the_user_is_nobody_special_and_the_extras_exist() -> None:
    steps = [line.split()[0] for line in RECIPE.splitlines() if re.match(r"[A-Z]+ ", line)]
    assert steps.index("USER") < steps.index("ENTRYPOINT") and "USER root" not in RECIPE
    extras = re.findall(r"'\.\[(.+)\]'", RECIPE)[0].split(",")
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])


def test_what_is_copied_installs(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools 77")
    for name in (line[1:] for line in IGNORE if line.startswith("!")):
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, tmp_path / name)
    build = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(tmp_path / "built")]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for part in (
        "__init__.py",
        "assets/body.npz",
        "kernels/caching.py",
        "tools/cli.py",
        "trainer/__init__.py",
    ):
        assert (tmp_path / "built" / "kinestream" / part).is_file(), part
