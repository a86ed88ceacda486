"""One training on one process, or on several of `torchrun` that keep the same weights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0  # number of this process; 0 writes files
    world: int = 1  # number of processes

    @classmethod
    def join(cls, *, cuda: bool = False) -> "Processes":
        """The processes of `torchrun`, connected; a single one when started without it."""
        if not dist.is_torchelastic_launched():
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this process writes checkpoints, logs and weights."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device to train on; of several GPUs, the one of this process."""
        device = torch.device(name)
        if self.world > 1 and device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        return device

    def share(self, batch_size: int) -> int:
        """Rows of a batch for this process; `ValueError` when they do not divide."""
        if batch_size % self.world:
            raise ValueError(f"a batch of {batch_size} does not divide among {self.world} processes")
        return batch_size // self.world

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """What stands in the block is done by the first process, then by the others."""
        if not self.first:
            dist.barrier()
        yield
        if self.first and self.world > 1:
            dist.barrier()

    def all_true(self, value: bool, device: torch.device) -> bool:
        """Whether a condition holds in every process."""
        if self.world == 1:
            return value
        flag = torch.tensor(float(value), device=device)
        dist.all_reduce(flag, dist.ReduceOp.MIN)
        return bool(flag.item() > 0)

    def average(self, network: nn.Module) -> None:
        """Mean over processes of the gradients, and of floating buffers (statistics of normalisations).

        A parameter that had no gradient here counts as zero.
        """
        if self.world == 1:
            return
        gradients = []
        for parameter in network.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        tensors: list[Tensor] = list(chain(gradients, buffers))
        with torch.no_grad():
            flat = torch.cat([tensor.float().flatten() for tensor in tensors])
            dist.all_reduce(flat)
            parts = torch.split(flat / self.world, [tensor.numel() for tensor in tensors])
            for tensor, mean in zip(tensors, parts, strict=True):
                tensor.copy_(mean.view_as(tensor))

    def leave(self) -> None:
        """Disconnect."""
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()
