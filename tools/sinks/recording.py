"""The stream itself as a file: see docs/recording.md."""

from pathlib import Path

from kinestream.capture import Frame
from kinestream.pose import PoseFrame
from kinestream.stream import Publisher, Recorder
from kinestream.tools.sinks.base import Sink


class RecordingSink(Sink):
    """Adds pictures, on request, to a recorder which a publisher feeds, and tells of its faults."""

    def __init__(self, recorder: Recorder, *, pictures: bool = False) -> None:
        self.name = str(recorder.path)
        self._recorder = recorder
        self._pictures = pictures

    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Add one picture."""
        if self._recorder.error is not None:
            raise self._recorder.error
        if self._pictures:
            self._recorder.add_picture(frame.image_rgb, frame.t_capture_ns)

    def close(self) -> None:
        """Complete the file."""
        self._recorder.close()


def record_stream(path: Path, publisher: Publisher, *, wait: bool, pictures: bool) -> RecordingSink:
    """Start to record all that a publisher sends; options as for `Recorder`. Raises ``OSError``."""
    recorder = Recorder(path, source=publisher.identity.source, wait=wait)
    publisher.on_message = recorder.add
    return RecordingSink(recorder, pictures=pictures)
