"""Filters of a person's motion, by name."""

from tracker.latent.filtering.base import FilterFactory, PersonState, PoseFilter
from tracker.latent.filtering.interpolation import InterpolationFilter
from tracker.latent.filtering.kalman import KalmanFilter
from tracker.latent.filtering.learned import LearnedFilter
from tracker.latent.filtering.none import Unfiltered
from tracker.latent.filtering.one_euro import OneEuroFilter

__all__ = ["FILTERS", "FilterFactory", "PersonState", "PoseFilter", "filter_factory"]

FILTERS: dict[str, FilterFactory] = {
    cls.name: cls for cls in (LearnedFilter, KalmanFilter, OneEuroFilter, InterpolationFilter, Unfiltered)
}
"""What makes a new filter for a new track."""


def filter_factory(name: str) -> FilterFactory:
    """The filter of this name, known to work.

    Raises ``ValueError`` naming those there are, and ``FileNotFoundError`` where its weights are missing.
    """
    if name not in FILTERS:
        raise ValueError(f"filter: expected one of {', '.join(FILTERS)}, found {name!r}")
    FILTERS[name]()
    return FILTERS[name]
