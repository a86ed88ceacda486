"""OpenVINO in bfloat16, for processors that have it: half the time of float32, at 8 bits of precision."""

from kinestream.engines.engine import Network, NotHereError
from kinestream.engines.openvino import OpenVinoEngine, bfloat16_here, open_or_build

_NAME = "openvino-bf16"


def require() -> None:
    """Raise :class:`NotHereError` without OpenVINO, and for processors without bfloat16."""
    if not bfloat16_here(_NAME):
        raise NotHereError(
            f"engine {_NAME}: this processor has no instructions for bfloat16; --engine openvino needs none"
        )


def build(network: Network, max_batch: int) -> OpenVinoEngine:
    """The engine; raises as :func:`require` and `kinestream.engines.openvino.open_or_build`."""
    require()
    return open_or_build(_NAME, network, "bfloat16")
