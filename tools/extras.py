"""Packages that only some uses need: imported where they are used, with advice where they are missing."""

from importlib import import_module
from typing import Any


class MissingExtraError(ImportError):
    """A package of one of the extras is not installed; the message says what to install."""


def optional_module(name: str, *, extra: str, purpose: str) -> Any:
    """Import a module of an extra.

    >>> optional_module("json", extra="none", purpose="this example").dumps([1])
    '[1]'
    >>> optional_module("no_such_module", extra="view", purpose="--view")
    Traceback (most recent call last):
    ...
    kinestream.tools.extras.MissingExtraError: --view needs no_such_module: pip install 'kinestream[view]'

    Raises ``MissingExtraError``.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name != package:
            raise
        raise MissingExtraError(f"{purpose} needs {package}: pip install 'kinestream[{extra}]'") from error
