"""What a source given by the user is: camera, file, pictures, address or standard input."""

import logging
import re
from pathlib import Path

from kinestream.capture.av_errors import STANDARD_INPUT
from kinestream.capture.av_source import AvDecoder
from kinestream.capture.decoder import WHOLE, Decoder, Piece
from kinestream.capture.errors import SourceNotFoundError
from kinestream.capture.frame_queue import Policy
from kinestream.capture.orientation import Orientation
from kinestream.capture.picture_files import SUFFIXES, PictureDecoder, is_pattern
from kinestream.capture.source import FrameSource
from kinestream.capture.webcam import CameraMode, WebcamDecoder
from kinestream.defaults import DEFAULT_RECONNECT_S
from kinestream.redact import mask_secrets

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_LIVE_OPTIONS = {"fflags": "nobuffer", "flags": "low_delay"}
_RTSP_OPTIONS = {"rtsp_transport": "tcp", **_LIVE_OPTIONS}


def open_source(
    source: str | Path | int,
    *,
    policy: Policy | None = None,
    mode: CameraMode | None = None,
    fps: float | None = None,
    rotate: int = 0,
    flip: bool = False,
    start_s: float = 0.0,
    end_s: float | None = None,
    reconnect_s: float = DEFAULT_RECONNECT_S,
    wait_s: float | None = None,
) -> FrameSource:
    """Open a source of frames.

    Args:
        source: number of a camera (``0``) or its device path, a video file, an address (``rtsp://``,
            ``http://``, ``udp://``, ...), a folder of pictures, a printf pattern (``shot_%04d.png``), one
            picture, or ``-`` for video on standard input. A path that exists is a path, whatever its name.
        policy: see `kinestream.capture.frame_queue.Policy`; None means ``latest`` for live sources, ``every``
            for files. With ``latest``, standard input is live.
        mode: size and rate to ask a camera for.
        fps: pictures per second of a folder (30 if None) and of raw video.
        rotate: turn the pictures by 90, 180 or 270 degrees clockwise, for a camera that is mounted so.
        flip: mirror them, left to right, after the turn.
        start_s: where to begin in a file, in seconds from its beginning.
        end_s: where to end in it, None for its end.
        reconnect_s: how long a lost live source is looked for; 0 for ever.
        wait_s: how long a camera or address that is not there yet is waited for; 0 for ever, None not at all.

    Raises ``CaptureError`` where it cannot be opened, and ``ValueError`` for impossible arguments.
    """
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise ValueError(f"--start, --end: expected 0 <= start < end, found {start_s:g} and {end_s}")
    return FrameSource(
        _decoder(source, policy, mode, fps, Piece(start_s, end_s)),
        policy=policy,
        orientation=Orientation.from_degrees(rotate, flip=flip),
        reconnect_s=reconnect_s,
        wait_s=wait_s,
    )


def _decoder(
    source: str | Path | int,
    policy: Policy | None,
    mode: CameraMode | None,
    fps: float | None,
    piece: Piece,
) -> Decoder:
    text = str(source)
    number = isinstance(source, int) or (isinstance(source, str) and text.isdecimal())
    path = Path(source).expanduser() if not isinstance(source, int) else Path(text)
    if number or _is_camera(path):
        if number and path.exists():
            log.warning(
                "%s: camera number %s is opened; for the path of that name write ./%s", text, text, text
            )
        if piece != WHOLE:
            raise ValueError(f"--start, --end: {text} is a camera; only files have a beginning and an end")
        return WebcamDecoder(int(text) if number else str(path), mode=mode)
    if text == "-":
        live = policy == "latest"
        options = {"flags": "low_delay"} if live else {}  # nobuffer would lose what was read to probe it
        return AvDecoder(
            STANDARD_INPUT, name="standard input", options=options, live=live, fps=fps, piece=piece
        )
    if path.is_dir() or (path.suffix.lower() in SUFFIXES and path.exists()):
        return PictureDecoder(path, fps=fps, piece=piece)
    if path.exists():
        return AvDecoder(path, live=False, fps=fps, piece=piece)
    if isinstance(source, str) and _ADDRESS.match(text):
        rtsp = text.lower().startswith("rtsp")
        return AvDecoder(
            text,
            name=mask_secrets(text),
            options=_RTSP_OPTIONS if rtsp else _LIVE_OPTIONS,
            live=True if rtsp else None,
            piece=piece,
        )
    if is_pattern(path):
        return PictureDecoder(path, fps=fps, piece=piece)
    raise SourceNotFoundError(
        f"{text}: no such file or folder. A source is a video file, a folder of pictures, an address "
        "(rtsp://host/path), - for standard input or the number of a camera (`kinestream cameras` lists them)"
    )


def _is_camera(path: Path) -> bool:
    """Whether this is a video device, itself or through links such as those below /dev/v4l."""
    return str(path).startswith("/dev/v4l/") or bool(re.match(r"/dev/video\d+$", str(path.resolve())))
