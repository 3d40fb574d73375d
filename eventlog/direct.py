"""The reader of a log that can be asked directly at no cost."""

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from eventlog.base import LogReader, LogRecord, Notify

__all__ = ["DirectReader"]


class _Readable(Protocol):
    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]: ...

    def end(self, topic: str, partition: int = 0) -> int: ...

    def subscribe(self, notify: Notify) -> Callable[[], None]: ...


class DirectReader:
    """Asks the log itself; it stores an id once, so there are no repeats to leave out."""

    def __init__(self, log: _Readable, beside: LogReader | None = None) -> None:
        """Read from `log`; readers beside each other are woken together."""
        self._log = log
        self.came: threading.Event = beside.came if isinstance(beside, DirectReader) else threading.Event()
        """Set by every commit of this process."""
        self._end: Callable[[], None] | None = None
        if not isinstance(beside, DirectReader):
            self._end = log.subscribe(lambda _: self.came.set())

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Give records from an offset on; see `LogReader.read`."""
        return self._log.read(topic, partition, start, limit)

    def end(self, topic: str, partition: int) -> int:
        """Give the offset after the last record."""
        return self._log.end(topic, partition)

    def wait(self, seconds: float) -> bool:
        """Wait for a commit of this process."""
        came = self.came.wait(seconds)
        self.came.clear()
        return came

    def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Nothing is kept: the flows are in this process."""
        del positions

    def close(self) -> None:
        """Be told of no more commits."""
        if self._end is not None:
            self._end()
