"""The reader of a log that can be asked directly at no cost."""

from collections.abc import Mapping
from typing import Protocol

from eventlog.base import LogRecord

__all__ = ["DirectReader"]


class _Readable(Protocol):
    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]: ...

    def end(self, topic: str, partition: int = 0) -> int: ...


class DirectReader:
    """Asks the log itself; it stores an id once, so there are no repeats to leave out."""

    def __init__(self, log: _Readable) -> None:
        """Read from `log`."""
        self._log = log

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Give records from an offset on; see `LogReader.read`."""
        return self._log.read(topic, partition, start, limit)

    def end(self, topic: str, partition: int) -> int:
        """Give the offset after the last record."""
        return self._log.end(topic, partition)

    def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Nothing is kept: the flows are in this process."""
        del positions

    def close(self) -> None:
        """Nothing is held."""
