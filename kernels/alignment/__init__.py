"""Semantic body-part alignment between projected vertices and a part map, exact and both ways."""

from kinestream.kernels.alignment.api import AlignmentLoss, alignment_loss
from kinestream.kernels.alignment.probe import Backend, BackendStatus, probe_backends
from kinestream.kernels.alignment.robust import Robustifier

__all__ = ["AlignmentLoss", "Backend", "BackendStatus", "Robustifier", "alignment_loss", "probe_backends"]
