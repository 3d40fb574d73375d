"""The log as a list: for tests and examples; nothing survives the process."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from itertools import takewhile

from eventlog.base import Appended, LogReader, LogRecord, NewRecord, Notify
from eventlog.checks import tell, what_is_wrong
from eventlog.direct import DirectReader
from schemas.errors import KeyErased, LogError, LogUnavailable, OffsetGone
from schemas.topics import TOPICS, topic_named

__all__ = ["InMemoryLog"]


class InMemoryLog:
    """An event log that behaves as the embedded one, without a file."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.RLock()
        self._records: list[LogRecord] = []
        self._by_id: dict[tuple[str, str], LogRecord] = {}
        self._ends = dict.fromkeys(TOPICS, 0)
        self._trimmed: dict[str, int] = {}
        self._last = 0
        self._erased: set[str] = set()
        self._subscribers: tuple[Notify, ...] = ()
        self._closed = False

    far = False
    """An append is over within a millisecond."""

    def append(self, records: Sequence[NewRecord]) -> list[Appended]:
        """Store records; see `EventLog.append`."""
        with self._lock:
            self._open()
            wrong = what_is_wrong(records)
            if wrong is not None:
                raise wrong
            for record in records:
                if record.key in self._erased:
                    raise KeyErased(f"session {record.key} was erased")
            stored = [self._store(record) for record in records]
        if records:
            tell(self._subscribers, frozenset(record.key for record in records))
        return stored

    def _store(self, new: NewRecord) -> Appended:
        old = self._by_id.get((new.topic, new.event_id))
        if old is not None:
            return Appended(old.topic, 0, old.offset, old.cursor, repeat=True)
        self._last += 1
        cursor = str(self._last)
        kept = LogRecord(new.topic, 0, self._last, new.key, new.event_id, new.value, new.at_s, cursor, new.trace)
        self._records.append(kept)
        self._by_id[new.topic, new.event_id] = kept
        self._ends[new.topic] = self._last + 1
        return Appended(new.topic, 0, self._last, cursor, repeat=False)

    def submit(self, records: Sequence[NewRecord]) -> "Future[list[Appended]]":
        """Append at once; the future is done when this returns."""
        future: Future[list[Appended]] = Future()
        try:
            future.set_result(self.append(records))
        except (LogError, ValueError) as error:
            future.set_exception(error)
        return future

    def _open(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed")

    def _from(self, offset: int) -> int:
        return bisect_left(self._records, offset, key=lambda record: record.offset)

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Give records from an offset on; see `EventLog.read`."""
        del partition
        topic_named(topic)
        with self._lock:
            self._open()
            if 0 < start <= self._trimmed.get(topic, 0):
                raise OffsetGone(f"records up to {self._trimmed[topic]} were trimmed")
            return self._take((r for r in self._records[self._from(start) :] if r.topic == topic), limit)

    def read_key(self, key: str, topics: Sequence[str], cursor: str, limit: int) -> list[LogRecord]:
        """Give a session's records after a cursor; see `EventLog.read_key`."""
        for topic in topics:
            topic_named(topic)
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            raise OffsetGone("not a cursor of this log")
        after = int(cursor)
        with self._lock:
            self._open()
            if after > self._last:
                raise OffsetGone("the cursor lies beyond the end of this log")
            gone = max((self._trimmed.get(topic, 0) for topic in topics), default=0)
            if 0 < after < gone:
                raise OffsetGone(f"records up to {gone} were trimmed")
            later = self._records[self._from(after + 1) :]
            return self._take((r for r in later if r.key == key and r.topic in topics), limit)

    @staticmethod
    def _take(records: Iterable[LogRecord], limit: int) -> list[LogRecord]:
        taken: list[LogRecord] = []
        for record in records:
            if len(taken) == limit:
                break
            taken.append(record)
        return taken

    def find(self, topic: str, key: str, event_id: str) -> LogRecord | None:
        """Give the record with an id; see `EventLog.find`."""
        topic_named(topic)
        with self._lock:
            self._open()
            found = self._by_id.get((topic, event_id))
        return found if found is not None and found.key == key else None

    def end(self, topic: str, partition: int = 0) -> int:
        """Give the offset after a topic's last record; see `EventLog.end`."""
        del partition
        topic_named(topic)
        return self._ends[topic]

    def offset_at(self, topic: str, partition: int, at_s: float) -> int:
        """Give the first offset at or after a time; see `EventLog.offset_at`."""
        with self._lock:
            found = [r.offset for r in self._records if r.topic == topic and r.at_s >= at_s]
        return found[0] if found else self.end(topic, partition)

    def reader(self, group: str, beside: LogReader | None = None) -> DirectReader:
        """Open a reader; see `EventLog.reader`."""
        del group
        return DirectReader(self, beside)

    def load(self, key: str) -> None:
        """Every record is at hand already."""

    def loaded(self, key: str) -> bool:
        """Give True."""
        del key
        return True

    def partitions(self, topic: str) -> int:
        """Give 1."""
        topic_named(topic)
        return 1

    def cursor_start(self) -> str:
        """Give the cursor before the first record."""
        return "0"

    def cursor_now(self, key: str) -> str:
        """Give the cursor after the last record."""
        del key
        return str(self._last)

    def cursor_at(self, key: str, at_s: float) -> str:
        """Give the cursor before the first record at or after a time."""
        with self._lock:
            found = [record.offset for record in self._records if record.at_s >= at_s]
        return str(found[0] - 1) if found else self.cursor_now(key)

    def erase(self, key: str) -> int:
        """Remove a session for good; see `EventLog.erase`."""
        with self._lock:
            self._open()
            self._erased.add(key)
            removed = self._drop(lambda record: record.key == key)
        tell(self._subscribers, frozenset({key}))
        return removed

    def _drop(self, wanted: Callable[[LogRecord], bool]) -> int:
        kept = [record for record in self._records if not wanted(record)]
        removed = len(self._records) - len(kept)
        self._records = kept
        self._by_id = {(record.topic, record.event_id): record for record in kept}
        return removed

    def erased(self, key: str) -> bool:
        """Say whether a session was erased."""
        return key in self._erased

    def trim(self, topic: str, before_s: float) -> int:
        """Remove the oldest records of a topic; see `EventLog.trim`."""
        topic_named(topic)
        with self._lock:
            self._open()
            own = [record for record in self._records if record.topic == topic]
            old = list(takewhile(lambda record: record.at_s < before_s, own))
            if not old:
                return 0
            last = self._trimmed[topic] = old[-1].offset
            return self._drop(lambda record: record.topic == topic and record.offset <= last)

    def notes(self) -> Sequence[str]:
        """Give nothing: nobody else changes this log."""
        return ()

    def subscribe(self, notify: Notify) -> Callable[[], None]:
        """Call `notify` after each append; see `EventLog.subscribe`."""
        with self._lock:
            self._subscribers = (*self._subscribers, notify)

        def end() -> None:
            with self._lock:
                self._subscribers = tuple(other for other in self._subscribers if other is not notify)

        return end

    def close(self) -> None:
        """Refuse further use."""
        self._closed = True
