"""What follows each person: the motion filter of a new track, with everything that goes around it."""

from typing import NamedTuple

from kinestream.capture import SourceInfo
from kinestream.filtering import FilterFactory, PoseFilter, filter_factory
from kinestream.filtering.forecasting import with_forecasts
from kinestream.filtering.keypoint_filter import with_keypoints
from kinestream.filtering.keypoint_update import InvertibleDecoder, KeypointUpdate
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.still import StillFilter, for_stills, still_noise
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.models import Models


class MotionFilters(NamedTuple):
    """What makes filters of new tracks, the name of the motion filter, and its smoothness if it has one."""

    new: FilterFactory
    name: str
    smoothness: float | None


def motion_filters(
    models: Models, chosen: str | FilterFactory, *, keypoint_update: bool = True, stills: bool = False
) -> MotionFilters:
    """The filters of these models, as the options of `kinestream.Tracker` of the same names say.

    One is made, so that faults show before any frame. Raises ``ValueError`` where the models have no
    dynamics for it or those of another flow, and ``TypeError`` for a factory that makes no filter.
    """
    decoder, lifter = models.decoder, models.temporal_lifter
    updates = keypoint_update and isinstance(decoder, InvertibleDecoder)
    if stills:
        if not updates:
            return MotionFilters(Unfiltered, Unfiltered.name, None)
        update = _update(models, photos=True)
        return MotionFilters(for_stills(update, lifter), StillFilter.name, None)
    new, made = _chosen(models, chosen)
    name = getattr(made, "name", type(made).__name__)
    if updates:
        new = with_keypoints(new, _update(models), lifter)
    if name == LearnedFilter.name and models.forecaster is not None:
        new = with_forecasts(new, models.forecaster)
    return MotionFilters(new, name, made.smoothness)


def stands_alone(asked: bool | None, source: SourceInfo | None, *, moves: bool) -> bool:
    """Whether each picture stands alone: as was asked for, or there is only one.

    Raises ``ValueError`` where it was asked for with what needs a motion (``moves``), or of a live source.
    """
    if asked is None:
        return source is not None and source.single_picture
    if asked and (moves or (source is not None and source.live)):
        raise ValueError(
            "stills (--stills): nobody is followed from one picture to the next; for files, without "
            "--filter, --lead-ms, --rate and --smooth-lag-ms"
        )
    return asked


def _chosen(models: Models, chosen: str | FilterFactory) -> tuple[FilterFactory, PoseFilter]:
    if chosen == LearnedFilter.name and models.dynamics is None:
        raise ValueError("filter 'learned': these models have no dynamics; give Models(dynamics=...)")
    factory = filter_factory(chosen, models.dynamics)
    made = factory()
    if not isinstance(made, PoseFilter):
        raise TypeError(f"filter: expected a callable that returns a PoseFilter, it returned {made!r}")
    if isinstance(made, LearnedFilter):
        models.check_dynamics(made.weights)
    return factory, made


def _update(models: Models, *, photos: bool = False) -> KeypointUpdate:
    decoder = models.decoder
    assert isinstance(decoder, InvertibleDecoder)
    noise = still_noise(models.keypoint_noise) if photos else models.keypoint_noise
    return KeypointUpdate(models.body, decoder, noise=noise)
