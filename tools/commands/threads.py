"""How many threads the number crunching of a command may use."""

import os


def use_few_threads() -> None:
    """Half of the cores, at most four: the networks are small, and decoding needs cores as well.

    More threads wait for each other longer than they work (docs/decisions.md).
    """
    import cv2
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(4, max(1, cores // 2))
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
