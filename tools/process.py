"""What a process of ours does when it starts: threads, signals, the garbage collector."""

import gc
import os
import signal
from types import FrameType


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(count: int | None = None) -> None:
    """Limit the threads of torch and OpenCV; by default to half of the cores, at most four.

    The networks are small, and decoding needs cores as well: more threads wait for each other longer than
    they work (docs/decisions.md).
    """
    import cv2
    import torch

    count = count or min(4, max(1, cores() // 2))
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


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

    A search of all of it takes 0.15 s and would fall on one of the first frames (docs/decisions.md).
    """
    gc.freeze()
