"""Semantic body-part alignment between projected vertices and a part map, exact and both ways."""

from kernels.alignment.api import AlignmentLoss, alignment_loss
from kernels.alignment.probe import Face, FaceStatus, probe_faces
from kernels.alignment.robust import Robustifier

__all__ = ["AlignmentLoss", "Face", "FaceStatus", "Robustifier", "alignment_loss", "probe_faces"]
