"""The wheel: one top level, and a user's own ``tracker.py`` or ``tools/`` beside it does no harm."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "tracker",
    "kernels",
    "trainer",
    "tools",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "NOTICE",
)
FOLDERS = ("kernels", "tools", "tracker", "trainer")


def run(arguments: list[str], *, cwd: Path, path: tuple[Path, ...] = ()) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout stays as it is, by the build backend itself: no network."""
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        pytest.skip("setuptools is not installed: no wheel can be built")
    if int(found.split(".")[0]) < 77:
        pytest.skip(f"setuptools {found} is older than the build needs (77)")
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    run(["-c", "from setuptools.build_meta import build_wheel; build_wheel('dist')"], cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_the_wheel_has_one_top_level(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"kinestream"}
    for needed in (
        "pipeline.py",
        "py.typed",
        "assets/body.npz",
        "kernels/alignment/api.py",
        "trainer/run_state.py",
    ):
        assert f"kinestream/{needed}" in names
    assert not any(name.startswith("kinestream/tests") for name in names)


def test_modules_of_the_users_own_do_no_harm(wheel: Path, tmp_path: Path) -> None:
    site, hostile = tmp_path / "site", tmp_path / "hostile"
    zipfile.ZipFile(wheel).extractall(site)
    hostile.mkdir()
    for name in FOLDERS:
        (hostile / f"{name}.py").write_text("raise ImportError('a module of the user was imported')")
    (hostile / "tools.py").unlink()
    (hostile / "tools").mkdir()
    (hostile / "tools" / "__init__.py").write_text("raise ImportError('a package of the user was imported')")
    path = (hostile, site)
    code = "import kinestream as k; from kinestream import Subscriber as S; print(S.__module__, k.__file__)"
    module, where = run(["-c", code], cwd=hostile, path=path).split(maxsplit=1)
    assert Path(where) == site / "kinestream" / "__init__.py" and module.startswith("kinestream.stream")
    assert run(["-m", "kinestream.tools.cli", "--version"], cwd=hostile, path=path)
