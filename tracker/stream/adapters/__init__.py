"""The same poses in the formats of other programs."""

from kinestream.stream.adapters.gmr import HumanFrame, human_frames
from kinestream.stream.adapters.json_lines import JsonLinesPublisher
from kinestream.stream.adapters.sonic import SonicPublisher
from kinestream.stream.adapters.vmc import VmcSender

__all__ = ["HumanFrame", "JsonLinesPublisher", "SonicPublisher", "VmcSender", "human_frames"]
