"""A log that grows from another: what lies there is read, what is written goes beside it."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from eventlog.base import Appended, EventLog, LogReader, LogRecord, NewRecord, Notify

__all__ = ["BranchLog"]


class BranchLog:
    """Reads the topics of a trunk and appends to a log of its own, so that the trunk never sees what was tried."""

    def __init__(self, trunk: EventLog, branch: EventLog) -> None:
        """Read from `trunk`, write to `branch`; both stay the caller's to close."""
        self._trunk, self._branch = trunk, branch

    @property
    def far(self) -> bool:
        """Say whether the branch is far."""
        return self._branch.far

    def append(self, records: Sequence[NewRecord]) -> list[Appended]:
        """Store records in the branch; see `EventLog.append`."""
        return self._branch.append(records)

    def submit(self, records: Sequence[NewRecord]) -> "Future[list[Appended]]":
        """Start an append to the branch."""
        return self._branch.submit(records)

    def find(self, topic: str, key: str, event_id: str) -> LogRecord | None:
        """Look in the branch: what was written before is written there."""
        return self._branch.find(topic, key, event_id)

    def notes(self) -> Sequence[str]:
        """Give the trunk's notes."""
        return self._trunk.notes()

    def subscribe(self, notify: Notify) -> Callable[[], None]:
        """Be told of what the branch gets."""
        return self._branch.subscribe(notify)

    def reader(self, group: str, beside: LogReader | None = None) -> LogReader:
        """Open a reader of the trunk, under a name of its own, so that the trunk's flows keep theirs."""
        return self._trunk.reader(f"{group}.branch", beside)

    def load(self, key: str) -> None:
        """Bring a key of the trunk to memory."""
        self._trunk.load(key)

    def loaded(self, key: str) -> bool:
        """Say whether the trunk has a key in memory."""
        return self._trunk.loaded(key)

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Read the trunk; see `EventLog.read`."""
        return self._trunk.read(topic, partition, start, limit)

    def read_key(self, key: str, topics: Sequence[str], cursor: str, limit: int) -> list[LogRecord]:
        """Read a key of the trunk; see `EventLog.read_key`."""
        return self._trunk.read_key(key, topics, cursor, limit)

    def end(self, topic: str, partition: int = 0) -> int:
        """Give the end of a partition of the trunk."""
        return self._trunk.end(topic, partition)

    def offset_at(self, topic: str, partition: int, at_s: float) -> int:
        """Give an offset of the trunk; see `EventLog.offset_at`."""
        return self._trunk.offset_at(topic, partition, at_s)

    def partitions(self, topic: str) -> int:
        """Give the trunk's number of partitions."""
        return self._trunk.partitions(topic)

    def cursor_start(self) -> str:
        """Give the trunk's first cursor."""
        return self._trunk.cursor_start()

    def cursor_now(self, key: str) -> str:
        """Give the trunk's cursor after a key's last record."""
        return self._trunk.cursor_now(key)

    def cursor_at(self, key: str, at_s: float) -> str:
        """Give the trunk's cursor at a time."""
        return self._trunk.cursor_at(key, at_s)

    def erase(self, key: str) -> int:
        """Erase a key from the branch; the trunk is not touched."""
        return self._branch.erase(key)

    def erased(self, key: str) -> bool:
        """Say whether a key was erased from either."""
        return self._trunk.erased(key) or self._branch.erased(key)

    def trim(self, topic: str, before_s: float) -> int:
        """Trim the branch; the trunk is not touched."""
        return self._branch.trim(topic, before_s)

    def close(self) -> None:
        """Both logs are their opener's to close."""
