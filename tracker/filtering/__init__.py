"""Filters of a person's motion, by name."""

from kinestream.filtering.base import FilterFactory, PersonState, PoseFilter
from kinestream.filtering.interpolation import InterpolationFilter
from kinestream.filtering.kalman import KalmanFilter
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.one_euro import OneEuroFilter
from kinestream.filtering.unfiltered import Unfiltered

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
