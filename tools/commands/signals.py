"""How a command ends when it is told to."""

import signal
from types import FrameType


def stop_on_signals() -> None:
    """Let a polite kill end the command as Ctrl-C does, so that files are completed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
