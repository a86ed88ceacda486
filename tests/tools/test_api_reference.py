"""The API reference: every module is in it, every public name says what it is."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import kinestream
from kinestream.tools.api_reference import main, module_names


def test_every_public_name_is_documented() -> None:
    for name in kinestream.__all__:
        thing = getattr(kinestream, name)
        assert inspect.getdoc(thing), name
        for part, value in vars(thing).items() if inspect.isclass(thing) else ():
            if not part.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{part}"


def test_every_module_is_named_and_documented() -> None:
    names = set(module_names())
    assert {
        "kinestream",
        "kinestream.pipeline",
        "kinestream.stream.message",
        "kinestream.kernels.raster.cpu",
    } <= names
    for name in names:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        assert Path(spec.origin).read_text(encoding="utf-8").startswith('"""'), name


def test_pages_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pdoc", reason="the extra 'docs' is not installed")
    few = [m for m in pkgutil.iter_modules(kinestream.__path__, "kinestream.") if m.name == "kinestream.pose"]
    monkeypatch.setattr("kinestream.tools.api_reference.pkgutil.walk_packages", lambda path, prefix: few)
    main(tmp_path)
    page = (tmp_path / "kinestream.html").read_text(encoding="utf-8")
    assert "PoseFrame" in page and "Follows people through a source of frames" in page
    assert "stable while the person is followed" in (tmp_path / "kinestream" / "pose.html").read_text()
