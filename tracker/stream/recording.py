"""Reads recordings, also those that end in the middle because of a kill or a full disk."""

import base64
import json
import logging
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from kinestream.stream.message import MessageError, PoseMessage, decode
from kinestream.stream.recorder import IMAGE_TOPIC, WIRE_TOPICS, RecordingError, require_mcap

log = logging.getLogger(__name__)

MAX_RECORD_BYTES: Final = 1 << 28
_MAGIC_BYTES: Final = 8


@dataclass(frozen=True, repr=False)
class RecordedMessage:
    """One message of a recording.

    Attributes:
        topic: ``pose``, ``heartbeat`` or ``stats``; other topics begin with a slash.
        t_log_ns: when it happened on the recording's timeline, nanoseconds since 1970.
        data: pose messages and their like byte for byte as they were sent; the content of other topics.
    """

    topic: str
    t_log_ns: int
    data: bytes


def read_messages(path: str | Path, topics: Collection[str] = WIRE_TOPICS) -> Iterator[RecordedMessage]:
    """The messages of a recording in the order in which they were written.

    What is damaged or cut off at the end is left out, and logged. Raises ``RecordingError`` for anything that
    is not a recording, ``OSError`` where the file cannot be read.
    """
    require_mcap()
    from mcap.records import Channel, Message

    channels: dict[int, str] = {}
    for record in _records(Path(path)):
        if isinstance(record, Channel):
            channels[record.id] = record.topic
        elif isinstance(record, Message) and channels.get(record.channel_id) in topics:
            topic = channels[record.channel_id]
            prefix = topic.encode() + b"\0" if topic in WIRE_TOPICS else b""
            yield RecordedMessage(topic, record.log_time, prefix + record.data)


def _records(path: Path) -> Iterator[object]:
    """All MCAP records up to the index, out of their chunks, as far as they can be read."""
    import zstandard
    from mcap.exceptions import EndOfFile, McapError
    from mcap.records import Chunk, DataEnd
    from mcap.stream_reader import StreamReader, breakup_chunk

    damage = (McapError, ValueError, struct.error, zstandard.ZstdError, MemoryError)
    with open(path, "rb") as file:
        whole: Any = _Whole(file, EndOfFile)
        try:
            for record in StreamReader(whole, emit_chunks=True).records:
                if isinstance(record, DataEnd):
                    return
                if not isinstance(record, Chunk):
                    yield record
                    continue
                try:
                    inner = breakup_chunk(record, validate_crc=True)
                except damage as error:
                    log.warning("%s: a damaged piece is left out (%s)", path, error)
                    continue
                yield from inner
        except damage as error:
            if file.tell() <= _MAGIC_BYTES:
                raise RecordingError(
                    f"{path}: not a recording; expected what `kinestream record` or `run --record` made"
                ) from error
            log.warning(
                "%s: was not closed, as after a power loss; its %.1f MB are read up to there",
                path,
                file.tell() / 1e6,
            )


def read_poses(path: str | Path) -> Iterator[PoseMessage]:
    """The pose messages of a recording, decoded. Raises as `read_messages`."""
    for recorded in read_messages(path, ("pose",)):
        try:
            message = decode(recorded.data)
        except MessageError as error:
            raise RecordingError(f"{path}: {error}") from error
        if isinstance(message, PoseMessage):
            yield message


def read_pictures(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """The pictures of a recording: time on its timeline, and the JPEG file. Raises as `read_messages`."""
    for recorded in read_messages(path, (IMAGE_TOPIC,)):
        yield recorded.t_log_ns, base64.b64decode(json.loads(recorded.data)["data"])


class _Whole:
    """A file that says so when it holds less than is asked for, however much that is."""

    def __init__(self, file: BinaryIO, end_of_file: type[Exception]) -> None:
        self._file = file
        self._end_of_file = end_of_file

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, MAX_RECORD_BYTES))
        if len(data) < size:
            raise self._end_of_file
        return data
