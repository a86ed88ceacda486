"""The recurrent cell of the dynamics: embedding, gated recurrent unit and head."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class RecurrentCell(nn.Module):
    """Runs once for every observation; `kinestream.filtering.recurrent` is the same in numpy.

    Args:
        features: F, numbers that it reads.
        hidden: H, width.
        outputs: O, numbers that it answers; small at first.

    """

    def __init__(self, features: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, hidden)
        self.cell = nn.GRUCell(hidden, hidden)
        self.mix = nn.Linear(2 * hidden, hidden)
        self.head = nn.Linear(hidden, outputs)
        with torch.no_grad():
            self.head.weight.mul_(0.1)

    def step(self, features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Answer (B, O) and the next hidden state (B, H), from features (B, F) and the last hidden state."""
        embedded = functional.silu(self.embed(features))
        hidden = self.cell(embedded, hidden)
        return self.head(functional.silu(self.mix(torch.cat([hidden, embedded], 1)))), hidden
