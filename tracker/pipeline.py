"""`Tracker`: from frames to people, the one place where everything is wired together."""

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kinestream.capture import CameraMode, Clock, Frame, FrameSource, PictureGeometry, Policy, open_source
from kinestream.capture.intrinsics import Intrinsics
from kinestream.defaults import (
    DEFAULT_ENGINE,
    DEFAULT_FILTER,
    DEFAULT_FOV_DEG,
    DEFAULT_MAX_PEOPLE,
    DEFAULT_MODEL,
)
from kinestream.detect.schedule import DetectorSchedule
from kinestream.filtering import FilterFactory, check_filter
from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import Int64Array, RgbImage
from kinestream.models import Models
from kinestream.pose import PoseFrame
from kinestream.regress.flip_test import observe_both_ways
from kinestream.regress.upright import observe_upright
from kinestream.stream import BasePublisher
from kinestream.stream.fixed_rate import FixedRate
from kinestream.timing import WINDOW, Rate, StageTimes, percentiles_ms
from kinestream.tracking.cuts import CutDetector
from kinestream.tracking.fixed_lag import FixedLagSmoother
from kinestream.tracking.known_heights import KnownHeights
from kinestream.tracking.motion import motion_filters, stands_alone
from kinestream.tracking.people import People
from kinestream.tracking.poser import BodyPoser

log = logging.getLogger(__name__)

STATS_NS = 1_000_000_000
STILL_LOOKS = 2
"""At somebody in a picture that stands alone: the second in a box around what the first found."""
STALE_NS = 1_000_000_000
"""Without a frame for this long nothing is predicted any more."""
MAX_LEAD_MS = 500.0


class Tracker:
    """Follows people through a source of frames.

        with Tracker("clip.mp4") as tracker:
            for frame in tracker:
                for person in frame:
                    print(person.track_id, person.joints_cam_m[0])

    Those who own the loop make it without a source and call `process` with each picture. Frames are
    handled in the thread that asks for them; decoding happens in a thread of its own. Not thread-safe.
    """

    def __init__(
        self,
        source: str | Path | int | FrameSource | None = None,
        *,
        policy: Policy | None = None,
        mode: CameraMode | None = None,
        camera: Camera | None = None,
        fov_deg: float = DEFAULT_FOV_DEG,
        filter: str | FilterFactory = DEFAULT_FILTER,
        keypoint_update: bool = True,
        max_people: int = DEFAULT_MAX_PEOPLE,
        body: str | Path | None = None,
        vertices: bool = False,
        models: Models | None = None,
        engine: str = DEFAULT_ENGINE,
        regressor: str | Path = DEFAULT_MODEL,
        publisher: BasePublisher | None = None,
        lead_ms: float = 0.0,
        rate_hz: float | None = None,
        ground: bool = False,
        heights_m: float | Sequence[float] | None = None,
        smooth_lag_ms: float = 0.0,
        stills: bool | None = None,
        flip_test: bool = False,
    ) -> None:
        """Open the source and load the models.

        Args:
            source: as in `kinestream.capture.open_source`, or an open `FrameSource`; None for `process`.
            policy: which frames to take, as there.
            mode: size and rate to ask a camera for.
            camera: intrinsics of the source before `open_source` turned or mirrored it, scaled to its size
                where the shape is the same.
            fov_deg: diagonal field of view, used without ``camera``.
            filter: one of `kinestream.filtering.FILTERS`, or what makes a `PoseFilter` for a new track, as in
                ``filter=lambda: LearnedFilter(smoothness=1)``.
            keypoint_update: move bodies until they agree with the keypoints in the picture; off to compare.
                Needs a decoder that can encode, as that of the shipped models.
            max_people: nobody beyond this number is followed.
            body: file of another body model (see `kinestream.load_body`).
            vertices: give the mesh as well.
            models: shared or own models, instead of ``body``, ``engine``, ``regressor`` and ``flip_test``.
            engine: what runs the networks, one of `kinestream.engines.engine.ENGINES`.
            regressor: ``medium``, ``large``, or a file of its weights.
            publisher: where to send every frame; stays the caller's to close.
            lead_ms: how far ahead of its capture, or with ``rate_hz`` of its publication, to predict a pose.
            rate_hz: publish predictions at this rate instead of each frame, for live and paced sources.
            ground: estimate `PoseFrame.ground` from the people, and level what is published.
            heights_m: how tall everybody is, or each in the order in which they come; fixes distances.
            smooth_lag_ms: hold pictures of files back so long and let what follows correct the poses in them.
            stills: each picture stands alone (an attribute as well): everybody is new in it, is looked at
                twice, and the body fits its keypoints closely. By default so for a source of one picture.
            flip_test: observe everybody in the mirror image as well: more accurate, at twice the time.

        Raises ``CaptureError`` for the source, ``ValueError`` for a filter, model or number that is not
        there, and ``FileNotFoundError`` where weights are missing.
        """
        check_filter(filter)
        self.lead_ms = lead_ms
        self._lead_ns = self._next_lead_ns
        self.source: FrameSource | None = None
        self._fixed_rate: FixedRate | None = None
        if isinstance(source, FrameSource):
            self.source = source
        elif source is not None:
            self.source = open_source(source, policy=policy, mode=mode)
        self._stages = StageTimes()
        live = self.source is not None and self.clock == "monotonic"
        self._schedule = DetectorSchedule(self._stages, beside=live)
        try:
            geometry = self.source.info.geometry if self.source else PictureGeometry()
            self._intrinsics = Intrinsics(camera, fov_deg, geometry)
            self._models = models = models or Models.load(
                body=body, engine=engine, regressor=regressor, flip_test=flip_test
            )
            moves = filter != DEFAULT_FILTER or bool(lead_ms or rate_hz or smooth_lag_ms)
            self.stills = stands_alone(stills, self.source.info if self.source else None, moves=moves)
            motion = motion_filters(models, filter, keypoint_update=keypoint_update, stills=self.stills)
            self._filter_name, self._smoothness = motion.name, motion.smoothness
            poser = BodyPoser(self._models.body, self._models.decoder, vertices=vertices)
            heights = KnownHeights.given(self._models.body, heights_m)
            self._people = People(poser, motion.new, max_people=max_people, heights=heights, ground=ground)
            self._fixed_rate = self._make_fixed_rate(rate_hz, publisher)
            self._smoother = self._make_smoother(smooth_lag_ms)
            if live and self.source is not None:
                self._warm_up(self.source.info.width_px, self.source.info.height_px)
        except BaseException:
            self.close()
            raise
        self._publisher = publisher
        if publisher is not None and self.source is not None:
            info = self.source.info
            publisher.fps = rate_hz or (None if info.live else info.fps)  # of live sources it is a guess
        self._frames = 0
        self._newest: PoseFrame | None = None
        self._cuts = CutDetector()
        self._latency_ns: deque[int] = deque(maxlen=WINDOW)
        self._rates = (Rate(), Rate())
        self._told_ns = time.monotonic_ns()

    def __iter__(self) -> Iterator[PoseFrame]:
        for _, pose_frame in self.frames():
            yield pose_frame

    def frames(self) -> Iterator[tuple[Frame, PoseFrame]]:
        """Pictures with the people in them, to the end of the source.

        Raises ``CaptureError`` where the source fails, ``ValueError`` where there is none.
        """
        if self.source is None:
            raise ValueError("Tracker: made without a source; give one, or call process(image_rgb, t_ns)")
        if self._fixed_rate is not None:
            self._fixed_rate.start()
        tracked = self._tracked(self.source)
        for frame, pose_frame in self._smoother.smoothed(tracked) if self._smoother else tracked:
            if self._fixed_rate is None:
                self._publish(pose_frame, lead_ns=self._lead_ns)
            elif self._fixed_rate.error is not None:
                raise self._fixed_rate.error
            self._count(frame)
            yield frame, pose_frame

    def _tracked(self, source: FrameSource) -> Iterator[tuple[Frame, PoseFrame]]:
        while True:
            with self._stages.measure("wait"):
                frame = source.read()
            if frame is None:
                return
            self._taken_ns = time.monotonic_ns()
            yield frame, self.process(frame.image_rgb, frame.t_capture_ns, frame_index=frame.index)

    def process(self, image_rgb: RgbImage, t_capture_ns: int, *, frame_index: int | None = None) -> PoseFrame:
        """The people in one picture.

        Args:
            image_rgb: (H, W, 3) uint8; the size may change between calls.
            t_capture_ns: when it was taken, on any clock that runs forward. A step back forgets everybody.
            frame_index: number to report, by default counted here.

        Raises ``ValueError`` for anything but such a picture.
        """
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
            raise ValueError(
                f"process: expected an RGB image (H, W, 3) uint8, found {image_rgb.shape} {image_rgb.dtype}"
            )
        if self.stills:
            self.reset()
        last = self._newest
        if last is not None and t_capture_ns < last.t_capture_ns:
            log.warning("time ran back by %.3f s; starting over", (last.t_capture_ns - t_capture_ns) / 1e9)
            self.reset()
        if not self.stills and self._cuts.is_cut(image_rgb):
            log.info("frame %s: a new shot begins; everybody gets a new id", frame_index)
            self._people.reset()
            self._schedule.reset()
        camera = self._intrinsics.of(image_rgb.shape[1], image_rgb.shape[0])
        self._lead_ns = self._next_lead_ns
        self._schedule.update(t_capture_ns, image_rgb, self._models.detector, self._people)
        for _ in range(STILL_LOOKS if self.stills else 1):
            self._look(image_rgb, t_capture_ns, camera)
        with self._stages.measure("body"):
            persons = self._people.predict(t_capture_ns + self._lead_ns, camera)
        index = self._frames if frame_index is None else frame_index
        self._frames += 1
        self._newest = PoseFrame(
            frame_index=index, t_capture_ns=t_capture_ns, camera=camera, persons=persons,
            ground=self._people.ground,
        )  # fmt: skip
        return self._newest

    def _look(self, image_rgb: RgbImage, t_ns: int, camera: Camera) -> None:
        """Observe everybody who is followed."""
        with self._stages.measure("regress"):
            boxes = self._people.boxes_at(t_ns, camera)
            turns, may_turn = self._people.turns_at(t_ns)
            observe = observe_both_ways if self.stills else observe_upright
            crops = self._people.framed(boxes, camera)
            upright = observe(self._models.regressor, image_rgb, crops, camera, turns, may_turn)
        with self._stages.measure("filter"):
            self._people.keep_turns(t_ns, upright.quarter_turns, upright.looked_again)
            self._people.observe(t_ns, upright.seen, boxes, camera)

    def predict(self, t_ns: int) -> PoseFrame:
        """The people as they will be at ``t_ns``, on the clock of the frames; may be called from any thread.

        The frame is numbered and timed as the newest one. Raises ``ValueError`` before the first.
        """
        newest = self._newest
        if newest is None:
            raise ValueError("predict: no frame was processed yet")
        persons = self._people.predict(max(t_ns, newest.t_capture_ns), newest.camera)
        return dataclasses.replace(newest, persons=persons)

    def reset(self) -> None:
        """Forget everybody, as at a cut; ids are not used again."""
        self._people.reset()
        self._schedule.reset()
        self._newest = None

    @property
    def lead_ms(self) -> float:
        """How far ahead poses are predicted, from the next frame on; may be set from any thread.

        Raises ``ValueError`` for a number out of range.
        """
        return self._next_lead_ns / 1e6

    @lead_ms.setter
    def lead_ms(self, value: float) -> None:
        if not 0 <= value <= MAX_LEAD_MS:
            raise ValueError(f"lead_ms: expected 0 to {MAX_LEAD_MS:.0f}, found {value}")
        self._next_lead_ns = round(value * 1e6)

    @property
    def smoothness(self) -> float | None:
        """Of the motion filter, -1 (fast) .. 1 (smooth); None where it has none. May be set from any thread.

        Raises ``ValueError`` for a number out of range, and where the filter has no smoothness.
        """
        return self._smoothness

    @smoothness.setter
    def smoothness(self, value: float) -> None:
        if self._smoothness is None:
            raise ValueError(f"smoothness: the filter {self._filter_name!r} has none; choose 'learned'")
        if not -1 <= value <= 1:
            raise ValueError(f"smoothness: expected a number from -1 to 1, found {value}")
        self._smoothness = value
        self._people.set_smoothness(value)

    @property
    def faces(self) -> Int64Array:
        """Triangles (F, 3) of the body, by vertex."""
        return self._models.body.faces

    @property
    def clock(self) -> Clock:
        """What ``t_capture_ns`` counts."""
        return self.source.clock if self.source else "monotonic"

    def stats(self) -> dict[str, Any]:
        """How the tracker is doing, as described in docs/wire.md."""
        source = self.source
        return {
            "fps_in": round(self._rates[0].per_second, 2),
            "fps_out": round(self._rates[1].per_second, 2),
            "frames": self._frames,
            "dropped": source.dropped if source else 0,
            "corrupt": source.corrupt if source else 0,
            "reconnects": source.reconnects if source else 0,
            "jitter_ms": round(source.jitter_ms, 2) if source and source.jitter_ms is not None else None,
            "people": len(self._newest) if self._newest is not None else 0,
            "filter": self._filter_name,
            "engine": self._models.engine,
            "policy": source.policy if source else "",
            "latency_ms": percentiles_ms(self._latency_ns),
            "stage_ms": {**(source.stages.percentiles() if source else {}), **self._stages.percentiles()},
        }

    def close(self) -> None:
        """Free the source."""
        if self._fixed_rate is not None:
            self._fixed_rate.stop()
        self._schedule.close()
        if self.source is not None:
            self.source.close()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _warm_up(self, width_px: int, height_px: int) -> None:
        """Run the networks on a blank picture: the first run is slow, and a live source does not wait."""
        image = np.zeros((height_px, width_px, 3), np.uint8)
        self._models.detector(image)
        whole = np.array([[0, 0, width_px, height_px]], np.float32)
        self._models.regressor(image, whole, self._intrinsics.of(width_px, height_px))

    def _make_fixed_rate(self, rate_hz: float | None, publisher: BasePublisher | None) -> FixedRate | None:
        if rate_hz is None or publisher is None:
            return None
        if self.clock != "monotonic":
            raise ValueError("rate_hz (--rate): needs a live source, or a file with policy paced")
        return FixedRate(rate_hz, self._publish_prediction)

    def _make_smoother(self, lag_ms: float) -> FixedLagSmoother | None:
        if not lag_ms:
            return None
        if self.source is None or self.source.info.live or self.clock == "monotonic" or self._next_lead_ns:
            raise ValueError("smooth_lag_ms (--smooth-lag-ms): for files at their own pace, without lead_ms")
        return FixedLagSmoother(self._people, lag_ms)

    def _publish_prediction(self, now_ns: int) -> None:
        """Send everybody as they are now, or will be; nothing once frames no longer come."""
        newest = self._newest
        if newest is not None and now_ns - newest.t_capture_ns < STALE_NS:
            t_ns = max(now_ns + self._lead_ns, newest.t_capture_ns)
            self._publish(self.predict(t_ns), lead_ns=t_ns - newest.t_capture_ns)

    def _publish(self, pose_frame: PoseFrame, *, lead_ns: int) -> None:
        source = self.source
        if self._publisher is None or source is None:
            return
        with self._stages.measure("publish"):
            self._publisher.publish(
                pose_frame,
                clock=source.clock,
                lead_ns=lead_ns,
                dropped=source.dropped,
                corrupt=source.corrupt,
            )

    def _count(self, frame: Frame) -> None:
        """Note the latency, and now and then send the statistics.

        A file has no moment of capture on our clock: there it counts from the moment the picture was taken.
        """
        now_ns = time.monotonic_ns()
        start_ns = frame.t_capture_ns if self.clock == "monotonic" else self._taken_ns
        self._latency_ns.append(now_ns - start_ns)
        self._rates[0].tick(frame.t_ready_ns)
        self._rates[1].tick(now_ns)
        if self._publisher is not None and now_ns - self._told_ns > STATS_NS:
            self._told_ns = now_ns
            self._publisher.publish_stats(self.stats())
