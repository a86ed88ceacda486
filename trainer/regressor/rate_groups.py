"""Parameter groups for networks of which a part starts trained."""

from collections.abc import Iterable

from torch import nn

from kinestream.networks.backbone import Backbone


def rate_groups(
    network: nn.Module, started: Iterable[nn.Module], *, started_rate: float, frozen_stages: int = 0
) -> list[dict[str, object]]:
    """Groups for an optimiser that :class:`kinestream.trainer.run_state.TrainingRun` steps.

    Args:
        network: all that is trained.
        started: the modules in it that start trained; they learn at ``started_rate`` of the learning rate.
        started_rate: see above; at 0 they keep their weights, which saves their backward pass.
        frozen_stages: where it is not 0, the backbone's stem and so many of its first stages keep theirs too.

    """
    modules = list(started)
    if frozen_stages:
        for module in modules:
            if isinstance(module, Backbone):
                for frozen in (module.stem, *list(module.stages)[:frozen_stages]):
                    frozen.requires_grad_(False)
    if not started_rate:
        for module in modules:
            module.requires_grad_(False)
    known = [p for module in modules for p in module.parameters()]
    ids = {id(p) for p in known}
    rest = [p for p in network.parameters() if id(p) not in ids]
    slow = [p for p in known if p.requires_grad]
    groups: list[dict[str, object]] = [{"params": rest}]
    return [{"params": slow, "rate_share": started_rate}, *groups] if slow else groups
