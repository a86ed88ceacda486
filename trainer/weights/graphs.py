"""The graphs that lie beside shipped weights, so that a first start needs no torch.

    python -m kinestream.trainer.weights.graphs

Run it after weights or networks changed; see `kinestream.engines.onnx_graph`.
"""

import typer

from kinestream.detect.detector import inference_network as detector
from kinestream.engines.onnx_graph import write_graph
from kinestream.regress.regressor import inference_network as regressor
from kinestream.regress.shipped import MODELS


def main() -> None:
    """Write the graphs of the shipped detector and regressors."""
    for network in (detector()[0], *(regressor(model)[0] for model in MODELS)):
        typer.echo(f"wrote {write_graph(network)}")


if __name__ == "__main__":
    main()
