"""Filters of a person's motion, by name."""

from functools import partial

from kinestream.filtering.base import FilterFactory, PersonState, PoseFilter
from kinestream.filtering.interpolation import InterpolationFilter
from kinestream.filtering.kalman import KalmanFilter
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.one_euro import OneEuroFilter
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.latent.dynamics_weights import DynamicsWeights

__all__ = ["FILTERS", "FilterFactory", "PersonState", "PoseFilter", "check_filter", "filter_factory"]

FILTERS: dict[str, FilterFactory] = {
    cls.name: cls for cls in (LearnedFilter, KalmanFilter, OneEuroFilter, InterpolationFilter, Unfiltered)
}
"""What makes a new filter for a new track."""


def filter_factory(chosen: str | FilterFactory, dynamics: DynamicsWeights | None = None) -> FilterFactory:
    """What makes the filters of new tracks: those of a name in `FILTERS`, or ``chosen`` itself.

    The filter ``learned`` runs on ``dynamics``; None means the shipped ones. Raises as
    `check_filter`, and ``FileNotFoundError`` where weights are missing.
    """
    check_filter(chosen)
    if chosen == LearnedFilter.name:
        return partial(LearnedFilter, dynamics or DynamicsWeights.load())
    return FILTERS[chosen] if isinstance(chosen, str) else chosen


def check_filter(chosen: str | FilterFactory) -> None:
    """Raise ``ValueError`` for a name that is not in `FILTERS`, ``TypeError`` for no name and no factory."""
    if not isinstance(chosen, str) and not callable(chosen):
        raise TypeError(f"filter: expected a name or a callable that returns a PoseFilter, found {chosen!r}")
    if isinstance(chosen, str) and chosen not in FILTERS:
        raise ValueError(f"filter: expected one of {', '.join(FILTERS)}, found {chosen!r}")
