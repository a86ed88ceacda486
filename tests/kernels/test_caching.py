"""Compiled code and engines where homes are read-only, missing or nobody's: another folder, then none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinestream.kernels import caching

TRACK = """
import sys
import numpy as np
from kinestream.kernels import caching
from kinestream.geometry.compiled_rotation import quat_from_matrix
assert np.allclose(quat_from_matrix(np.eye(3)[None]), [[1, 0, 0, 0]])
print(caching.cache_folder(), bool(quat_from_matrix.stats.cache_path), *__import__("os").listdir("."))
"""


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KINESTREAM_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "TMPDIR", "TEMP"):
        monkeypatch.delenv(name, raising=False)


def test_the_first_that_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KINESTREAM_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert caching.cache_folder() == tmp_path / f"kinestream-{os.getuid()}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert caching.cache_folder() == tmp_path / "caches" / "kinestream"
    monkeypatch.setenv("KINESTREAM_CACHE", str(tmp_path / "named"))
    assert caching.cache_folder() == tmp_path / "named"


@pytest.mark.skipif(os.name == "nt", reason="folders have no modes there")
def test_a_temporary_folder_of_somebody_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compiled is run: nobody else may put it there."""
    place = tmp_path / f"kinestream-{os.getuid()}"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert place in caching.cache_places() and place.stat().st_mode & 0o077 == 0
    place.chmod(0o777)
    assert place not in caching.cache_places()
    place.rmdir()
    (tmp_path / "theirs").mkdir()
    place.symlink_to(tmp_path / "theirs")
    assert place not in caching.cache_places()


@pytest.mark.parametrize("home", ["~", "/", "relative"])
def test_what_is_no_home(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: Path(home)))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/to/nothing")
    assert all(place.is_absolute() and place.parts[1] in ("tmp", "var") for place in caching.cache_places())

    def nobody(cls: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(nobody))
    assert all(place.parts[1] in ("tmp", "var") for place in caching.cache_places())


def may_unshare() -> bool:
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "setpriv"))):
        return False
    make = "mount -t tmpfs tmpfs /mnt && mount -o remount,ro,bind /"
    done = subprocess.run(["unshare", "-m", "sh", "-c", make], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="needs the right to make mount namespaces (root)")
@pytest.mark.skipif(
    sys.executable.startswith(("/tmp/", "/var/tmp/", "/mnt/")), reason="covers the folder this Python is in"
)
@pytest.mark.parametrize(("temporary", "kept"), [(True, True), (False, False)])
def test_a_container_whose_root_is_read_only(temporary: bool, kept: bool) -> None:
    """No HOME, a user whom nobody knows, only the working folder can be written to."""
    seal = "".join(
        f"mount -t tmpfs {'' if temporary and place == '/tmp' else '-o ro'} tmpfs {place} && "
        for place in ("/tmp", "/var/tmp", "/dev/shm")
    )
    user = "setpriv --reuid 4711 --regid 4711 --clear-groups"  # who may read all that root may read
    user += " --inh-caps +dac_read_search --ambient-caps +dac_read_search"
    script = (
        f"mount -t tmpfs -o mode=777 tmpfs /mnt && {seal} mount -o remount,ro,bind / && cd /mnt && "
        f'exec {user} {sys.executable} -c "$TRACK"'
    )
    environment = {
        "PATH": os.environ["PATH"], "TRACK": TRACK, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=300, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == (
        ["/tmp/kinestream-4711", "True"] if kept else ["None", "False"]
    )


def test_kept_code_is_found_where_numba_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "package" / "module.py"
    source.parent.mkdir()
    source.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    beside = source.parent / "__pycache__" / "module.solve-12.py311.nbi"
    in_cache = tmp_path / "caches" / "kinestream" / "numba" / "package_1a2b" / beside.name
    named = tmp_path / "named" / "package_1a2b" / beside.name
    for place, variable in ((beside, ""), (in_cache, ""), (named, str(tmp_path / "named"))):
        monkeypatch.setenv("NUMBA_CACHE_DIR", variable)
        assert not caching.has_code(source, "solve")
        place.parent.mkdir(parents=True)
        place.write_bytes(b"")
        os.utime(place, (source.stat().st_mtime + 1,) * 2)
        assert caching.has_code(source, "solve") and not caching.has_code(source, "solv")
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "another"))
        assert not caching.has_code(source, "solve"), "numba would not look there"
        monkeypatch.setenv("NUMBA_CACHE_DIR", variable)
        os.utime(place, (source.stat().st_mtime - 1,) * 2)
        assert not caching.has_code(source, "solve"), "older than its source"
        place.unlink()


DOUBLE = """
from kinestream.kernels.caching import compiled

@compiled()
def double(x):
    return 2 * x

double(1.0)
"""


def test_a_source_that_is_installed_again_has_its_code_where_numba_takes_it(tmp_path: Path) -> None:
    """Same text, newer file: numba either takes what is there, or compiles it once more."""
    source = tmp_path / "module.py"
    source.write_text(DOUBLE)
    assert not caching.has_code(source, "double")
    for _ in range(2):
        os.utime(source)  # now
        subprocess.run([sys.executable, str(source)], check=True)
        assert caching.has_code(source, "double")
    source.write_text(DOUBLE + "\n# another one\n")
    assert not caching.has_code(source, "double")
