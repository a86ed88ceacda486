"""What every training shares: its loop, its checkpoint (weights, averaged weights, optimiser) and its log."""

import copy
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kinestream.networks.weight_files import save_weights
from kinestream.trainer.processes import Processes

_logger = logging.getLogger(__name__)
_CHECKPOINT = "checkpoint.pt"
_LOG = "metrics.jsonl"


class TrainingRun:
    """A run folder with a checkpoint that is replaced atomically and a log of one JSON object per line.

    Attributes:
        step: number of finished steps.
        average: exponential moving average of the weights, the model to evaluate and ship.
    """

    def __init__(
        self,
        folder: Path,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        average_decay: float = 0.999,
        processes: Processes | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Take what is trained; with several ``processes`` each calls every method, and the first writes.

        ``settings`` are plain values that stay the same for a whole run: a checkpoint with others is refused.
        """
        self.folder, self.network, self.optimizer = Path(folder), network, optimizer
        self.processes = processes or Processes()
        self.settings: dict[str, Any] | None = settings and json.loads(json.dumps(settings))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.step = 0
        self.average = AveragedModel(network, multi_avg_fn=_ramped_average(average_decay), use_buffers=True)
        self._started = time.monotonic()

    def resume(self) -> bool:
        """Continue from the folder's checkpoint; False when there is none.

        Raises ``ValueError`` when it was made with other settings.
        """
        path = self.folder / _CHECKPOINT
        if not path.exists():
            return False
        content = torch.load(path, map_location="cpu", weights_only=True)
        if self.settings is not None and content.get("settings") != self.settings:
            found = content.get("settings") or {}
            changed = [name for name, value in self.settings.items() if found.get(name) != value]
            raise ValueError(
                f"{path} was made with another configuration: {', '.join(changed)} changed; remove it to "
                "start anew, or name another folder"
            )
        self.step = int(content["step"])
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        return True

    def train(
        self,
        loss_of_step: Callable[[], tuple[Tensor, Mapping[str, Any]]],
        *,
        rate: Callable[[int], float],
        steps: int,
        stop_after: int | None = None,
        validate: Callable[[nn.Module], Mapping[str, Mapping[str, float]]] | None = None,
        log_every: int = 50,
        validate_every: int = 500,
        clip_norm: float = 5.0,
    ) -> None:
        """Train to ``steps``, or pause at ``stop_after``.

        Args:
            loss_of_step: loss and named terms of the step ``self.step``.
            rate: learning rate of a step.
            steps: of the whole training.
            stop_after: last step of this call.
            validate: figures of the averaged network by validation set.
            log_every: steps between lines of the log.
            validate_every: steps between validations, each followed by a checkpoint; both also at the end.
            clip_norm: largest norm of the gradients.
        """
        last = min(steps, stop_after or steps)
        while self.step < last:
            self.network.train()
            loss, terms = loss_of_step()
            now = rate(self.step)
            self.update(loss, learning_rate=now, clip_norm=clip_norm)
            if self.step % log_every == 0:
                _logger.info("%s", self.log(loss=loss.detach(), rate=now, **terms))
            if self.processes.first and (self.step % validate_every == 0 or self.step == last):
                for name, figures in (validate(self.average.module.eval()) if validate else {}).items():
                    _logger.info("%s", self.log(validation=name, **figures))
                self.save()

    def averaged(self) -> Any:
        """A copy of the network with averaged weights, ready to use and to ship."""
        return copy.deepcopy(self.average.module).cpu().eval().requires_grad_(False)

    def ship(self, file: str, *, kind: str, config: Mapping[str, Any]) -> None:
        """Write the averaged weights into the folder, with the number of steps; the first process does."""
        if self.processes.first:
            notes = {"steps": str(self.step)}
            save_weights(self.folder / file, self.averaged(), kind=kind, config=config, notes=notes)

    def save(self) -> None:
        """Write the checkpoint; an interruption leaves the old one."""
        if not self.processes.first:
            return
        partial = self.folder / f"{_CHECKPOINT}.partial"
        content = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "settings": self.settings,
        }
        torch.save(content, partial)
        partial.replace(self.folder / _CHECKPOINT)

    def log(self, **values: Any) -> dict[str, Any]:
        """Append one line to the log; returns it."""
        record = {"step": self.step, "elapsed_s": round(time.monotonic() - self._started, 1)}
        record |= {name: _plain(value) for name, value in values.items()}
        if not self.processes.first:
            return record
        with (self.folder / _LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        return record

    def history(self, name: str) -> list[dict[str, Any]]:
        """The logged lines up to this step that hold ``name``, one for each step."""
        path = self.folder / _LOG
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        records = {record["step"]: record for record in map(json.loads, lines) if name in record}
        return [records[step] for step in sorted(records) if step <= self.step]

    def update(self, loss: Tensor, *, learning_rate: float, clip_norm: float = 5.0) -> bool:
        """One optimiser step; a loss that is not finite (in any process) is skipped and gives False.

        A parameter group with ``rate_share`` learns at that share of the rate.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if not self.processes.all_true(bool(torch.isfinite(loss)), loss.device):
            return False
        loss.backward()  # type: ignore[no-untyped-call]
        self.processes.average(self.network)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip_norm)
        if not torch.isfinite(norm):
            return False
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("rate_share", 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        return True

    def generator(self, seed: int) -> np.random.Generator:
        """Random numbers of the next step: a run that was interrupted draws what it would have drawn."""
        return np.random.default_rng((seed, self.step))


def _ramped_average(decay: float) -> Any:
    """Averaging that follows quickly at first and slowly later."""

    @torch.no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), 1 - keep)
            else:
                mean.copy_(value)

    return average


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return round(float(value), 5)
    return round(value, 5) if isinstance(value, float) else value
