"""How a command keeps the garbage collector out of the way of frames."""

import gc


def spare_what_is_loaded() -> None:
    """Never again search what exists by now: modules and networks, which stay until the end.

    A search of all of it takes 0.15 s and would fall on one of the first frames (docs/decisions.md).
    """
    gc.freeze()
