"""The house rules that a machine can check: who may import whom, what an import costs, file sizes."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "kernels": {"kernels"},
    "tracker": {"tracker", "kernels"},
    "trainer": {"trainer", "tracker", "kernels"},
    "tools": {"tools", "trainer", "tracker", "kernels"},
}
"""Which folders each folder may import; all install under `kinestream`, tracker/ as `kinestream` itself."""
FOLDERS = {"kernels", "trainer", "tools"}
OPTIONAL_IN_RUNTIME = {
    "smplx",
    "scipy",
    "anny",
    "matplotlib",
    "mediapipe",
    "pickle",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "torch_tensorrt",
    "mcap",
}
"""Libraries that tracker/ and kernels/ may import only inside the function that needs them."""
MAX_LINES = 400

FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def imported_names(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Folder or top-level package of every import, and whether it runs when the module is loaded."""
    deferred = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield folder_of(name), id(node) not in deferred


def folder_of(name: str) -> str:
    """Our folder that holds an imported name, or the top-level package of another project."""
    top, _, rest = name.partition(".")
    if top != "kinestream":
        return top
    below = rest.partition(".")[0]
    return below if below in FOLDERS else "tracker"


def test_the_tree_is_there() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name, at_load in imported_names(ast.parse(path.read_text())):
        if name in MAY_IMPORT:
            assert name in MAY_IMPORT[package], f"{package} must not import {name}"
        if package in ("tracker", "kernels") and at_load:
            assert name not in OPTIONAL_IN_RUNTIME, f"{name} must be imported where it is used"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES, "split it by responsibility"
    assert path.name != "utils.py"


def loaded_by(module: str) -> set[str]:
    """Folders of ours and top-level modules that a fresh process holds after importing ``module``."""
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {folder_of(name) for name in done.stdout.split()}


def test_importing_tracker_is_light() -> None:
    loaded = loaded_by("kinestream")
    assert "tracker" in loaded
    assert not {"torch", "smplx", "trainer", "tools", "cv2"} & loaded


def test_a_help_text_comes_at_once() -> None:
    loaded = loaded_by("kinestream.tools.cli")
    assert "typer" in loaded
    assert not {"torch", "cv2", "av", "numba", "zmq"} & loaded


def test_an_option_is_checked_before_anything_is_loaded() -> None:
    assert not {"torch", "numpy"} & loaded_by("kinestream.regress.shipped")


def test_a_listener_loads_no_tracker() -> None:
    """A robot that subscribes starts in a moment and needs neither torch nor video libraries in memory."""
    loaded = loaded_by("kinestream.stream")
    assert "zmq" in loaded
    assert not {"torch", "cv2", "av", "numba", "mcap", "websockets"} & loaded


def test_every_public_name_resolves() -> None:
    import kinestream

    for name in kinestream.__all__:
        assert getattr(kinestream, name).__module__.startswith("kinestream.")
    assert set(kinestream.__all__) <= set(dir(kinestream))
    with pytest.raises(AttributeError, match=r"no attribute 'Trackr'; it offers .*PoseFrame"):
        _ = kinestream.Trackr
