"""Who was turned away: counted, and said without filling the log."""

import logging
import time
from typing import Final

log = logging.getLogger(__name__)

QUIET_S: Final = 30.0
"""A peer that keeps trying is named again only after this long."""
_MANY: Final = 1000


class Refusals:
    """Counts attempts to listen that were turned away.

    Attributes:
        count: how many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._named_s: dict[str, float] = {}

    def add(self, peer: str, why: str) -> None:
        """Count one, and log it unless the same was logged a moment ago."""
        self.count += 1
        now_s = time.monotonic()
        if now_s - self._named_s.get(peer + why, -QUIET_S) < QUIET_S:
            return
        if len(self._named_s) > _MANY:
            self._named_s.clear()
        self._named_s[peer + why] = now_s
        log.warning("refused %s, who came %s", peer, why)
