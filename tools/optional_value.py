"""Options whose value may be left out: ``--ws`` alone stands for ``--ws=127.0.0.1:5558``."""

import re
from typing import Final

from typer.core import TyperCommand

from kinestream.defaults import DEFAULT_PAGE, DEFAULT_WEBSOCKET

OPTIONAL: Final = {
    "--ws": (re.compile(r"[^/\s]*:\d+"), DEFAULT_WEBSOCKET),
    "--web": (re.compile(r"([^/\s]*:)?\d+"), DEFAULT_PAGE),
}
"""What a value looks like, and what the option alone stands for."""


def with_values(words: list[str]) -> list[str]:
    """A command line in which each of these options has its value.

    >>> with_values(["0", "--ws", "--view"])
    ['0', '--ws=127.0.0.1:5558', '--view']
    >>> with_values(["--ws", "0.0.0.0:80", "clip.mp4"])
    ['--ws', '0.0.0.0:80', 'clip.mp4']
    """
    completed = []
    for word, following in zip(words, [*words, ""][1:], strict=True):
        pattern, value = OPTIONAL.get(word, (None, None))
        completed.append(word if pattern is None or pattern.fullmatch(following) else f"{word}={value}")
    return completed


class CommandWithOptionalValues(TyperCommand):
    """Completes its command line before it reads it."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]  # the context's type is typer's secret
        """Read the words as typed."""
        return super().parse_args(ctx, with_values(args))
