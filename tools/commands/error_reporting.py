"""Errors that a user can mend, as one line and exit code 1 instead of a traceback."""

import gc
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from kinestream.redact import mask_secrets

EXIT_FAILURE = 1
log = logging.getLogger(__name__)


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn known errors into a message on standard error and exit code 1; a closed pipe ends quietly."""
    from kinestream.capture import CaptureError
    from kinestream.stream import StreamTimeoutError

    try:
        yield
    except BrokenPipeError:
        # Whoever read our output has had enough, as `| head` does: no fault, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (CaptureError, StreamTimeoutError, OSError, ValueError, ImportError) as error:
        log.debug("", exc_info=True)
        text = mask_secrets(re.sub(r"^\[Errno \d+\] ", "", str(error)))
        # not wrapped: a path that is broken at a line's end can neither be copied nor searched for
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)
        raise typer.Exit(EXIT_FAILURE) from error
    finally:
        gc.enable()  # off since `start_quickly` where a command ended before its first picture
