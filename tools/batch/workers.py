"""What the coordinator asks of workers, wherever they are."""

from abc import abstractmethod
from contextlib import AbstractContextManager

from kinestream.tools.batch.events import Event
from kinestream.tools.batch.videos import Video


class Workers(AbstractContextManager["Workers"]):
    """Takes videos, one per free worker, and reports what happens. A context manager.

    A worker that dies is replaced; its video is reported as `Died` and is the coordinator's again.
    """

    @property
    @abstractmethod
    def free(self) -> int:
        """Workers without a video."""

    @abstractmethod
    def submit(self, video: Video) -> None:
        """Give a video to a free worker. Raises ``IndexError`` where none is free."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Event]:
        """What happened since the last call; waits up to ``timeout_s`` for something to happen."""

    @abstractmethod
    def close(self) -> None:
        """Stop all workers at once, whatever they do."""

    def __exit__(self, *_: object) -> None:
        self.close()
