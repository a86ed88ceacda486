"""What a process of ours does when it starts: threads, signals, the garbage collector."""

import atexit
import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

import kinestream
from kinestream.kernels.caching import has_code

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(count: int | None = None) -> None:
    """Limit the threads of engines, torch and OpenCV; by default to half of the cores, at most four.

    The networks are small, and decoding needs cores as well: more threads wait for each other longer than
    they work (docs/decisions.md). Several people are another matter: half of them may have the other cores,
    where no number of threads was named.
    """
    import cv2

    from kinestream.engines.cpu import run_halves_beside_each_other

    run_halves_beside_each_other(count is None and cores() > 1)
    count = count or min(4, max(1, cores() // 2))
    os.environ["OMP_NUM_THREADS"] = str(count)  # for a torch that is loaded later, and engines without it
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)
    cv2.setNumThreads(count)


def keep_freed_memory() -> None:
    """Let the memory of one picture serve the next ones, where the C library is glibc.

    Left alone it gives large blocks back to the system and asks for them again, page by page: 0.2 ms of
    processor time a picture at 720p, 1 ms at 1080p.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_MMAP_THRESHOLD, 1 << 25)  # the largest that is allowed; a 4K picture has 25 MB
            mallopt(_TRIM_THRESHOLD, 1 << 28)


def start_quickly() -> None:
    """What shortens the start of a process that is ours alone.

    Until `freeze_loaded_objects` nothing is searched for garbage: a start makes many objects, and keeps them.
    """
    gc.disable()
    _compile_beside()
    load_kernels_without_scipy()


def _compile_beside() -> None:
    """On a first start, compile the second half of the kernels on another core; see `compile_kernels`."""
    source = Path(kinestream.__file__).parent / "filtering" / "keypoint_solver.py"
    if cores() > 1 and not has_code(source, "_step"):
        command = [sys.executable, "-m", "kinestream.tools.compile_kernels"]
        silent = subprocess.DEVNULL
        helper = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent)
        atexit.register(helper.kill)


def load_kernels_without_scipy() -> None:
    """Load numba without what it loads where it is installed, and no kernel of ours needs.

    That is scipy for products of matrices, coverage for reports of tests, yaml for files of settings. For a
    process that is ours alone; it saves a third of the start.
    """
    hidden = [name for name in ("scipy", "coverage", "yaml") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is taken as not installed
    try:
        import_module("numba.np.arraymath")
    finally:
        for name in hidden:
            del sys.modules[name]


def stop_on_signals() -> None:
    """Let SIGTERM, and SIGHUP of a closed terminal, end the process as Ctrl-C does: files are completed.

    The first counts, and the process then ends undisturbed: terminals, ssh and service managers say it more
    than once. Under ``nohup`` SIGHUP stays ignored.
    """
    numbers = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, stop)


def freeze_loaded_objects() -> None:
    """Keep the garbage collector away from all that exists by now: modules and networks, which stay anyway.

    A search of all of it takes 0.15 s and would fall on one of the first frames (docs/decisions.md). What
    comes later is searched as ever.
    """
    gc.freeze()
    gc.enable()
