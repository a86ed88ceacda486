"""The same poses in the formats of other programs."""

from tracker.stream.adapters.json_lines import JsonLinesOutlet
from tracker.stream.adapters.sonic import SonicPublisher
from tracker.stream.adapters.vmc import VmcSender

__all__ = ["JsonLinesOutlet", "SonicPublisher", "VmcSender"]
