"""What can go wrong with a source of frames."""


class CaptureError(Exception):
    """Any fault of a source; the message names the source, what was found and what to do next."""


class SourceNotFoundError(CaptureError, FileNotFoundError):
    """No such file, folder, camera or address."""


class UnreadableSourceError(CaptureError):
    """It exists, but no picture can be decoded from it."""


class SourceLostError(CaptureError):
    """A live source stopped delivering: camera unplugged, stream closed, network gone."""


class FrameTimeoutError(CaptureError, TimeoutError):
    """No frame came within the time the caller allowed."""


class StaleFrameError(CaptureError, TimeoutError):
    """The newest frame is older than the caller allows."""
