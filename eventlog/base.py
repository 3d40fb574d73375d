"""The seam every log is behind: bytes with a key, an id and an offset; no meaning.

Words are Kafka's. A topic is an append-only sequence cut into partitions; a record keeps its offset for
ever; offsets grow within a partition but need not be without gaps. All records of one key lie in one
partition of each topic, in the order in which they were appended.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

__all__ = ["SHARDS", "Appended", "EventLog", "LogReader", "LogRecord", "NewRecord", "Notify", "shard_of"]

SHARDS = 256
"""Keys are spread over this many shards; a partition holds whole shards, and flows keep their state by shard."""


def shard_of(key: str) -> int:
    """Give the shard of a key, the same in every process, 0 to SHARDS - 1.

    >>> shard_of("a") == shard_of("a")
    True
    """
    return zlib.crc32(key.encode()) % SHARDS


@dataclass(frozen=True, slots=True)
class NewRecord:
    """Bytes to append; `at_s` is the producer's wall clock, seconds since 1970.

    `trace` is a W3C ``traceparent`` that travels beside the bytes and means nothing to the log; "" = none.
    """

    topic: str
    key: str
    event_id: str
    value: bytes
    at_s: float
    trace: str = ""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """Bytes as they lie in the log.

    `cursor` is the opaque text from which `read_key` goes on *after* this record.
    """

    topic: str
    partition: int
    offset: int
    key: str
    event_id: str
    value: bytes
    at_s: float
    cursor: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a record lies; `repeat` when its id was there already (the bytes first stored stay)."""

    topic: str
    partition: int
    offset: int
    cursor: str
    repeat: bool


Notify = Callable[[frozenset[str]], None]
"""Called with the keys that got new records, from the log's own thread; must return at once."""


class LogReader(Protocol):
    """One reader of whole partitions, in order, from any position on; used by one thread at a time."""

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Give up to `limit` records with offset >= `start`; [] when none are at hand. Never waits.

        A record whose id lay a little earlier in the same partition is left out.

        Raises:
            OffsetGone: Records at `start` were trimmed, or `start` lies beyond the end.
        """
        ...

    def end(self, topic: str, partition: int) -> int | None:
        """Give the offset after the last record as far as is known without asking; None when nothing is known yet."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait until there may be more for this reader or for one opened beside it; gives whether there may be.

        At most so many seconds. What another process writes may come without an end to the waiting, so who waits looks
        now and then all the same.
        """
        ...

    def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Tell the log how far this reader has come, for those who watch; nothing depends on it."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class EventLog(Protocol):
    """An append-only log of the topics in `schemas.topics`.

    Every method may be called from any thread. All raise `LogUnavailable` when the store cannot be reached
    and `UnknownTopic` for a topic that is not in the table.
    """

    @property
    def far(self) -> bool:
        """Say whether an append waits for another machine, so that it is worth sending the next one meanwhile.

        Such a log refuses the record of an erased key at once, before it sends anything.
        """
        ...

    def append(self, records: Sequence[NewRecord]) -> list[Appended]:
        """Store records, all or none, and wait until they are as durable as the log promises.

        A record whose ``(topic, event_id)`` is there already is not stored again; its result says `repeat`
        and where the first one lies. The order of one call is kept.

        A call that fails because the log cannot be reached may have stored a part; doing it again is safe.

        Raises:
            KeyErased: A key was erased; nothing of the call was stored.
            RecordTooLarge: A value is larger than `schemas.topics.MAX_RECORD_BYTES`.
            ValueError: A key or id is no Unicode text, a time no finite number, or a value not bytes.
        """
        ...

    def submit(self, records: Sequence[NewRecord]) -> "Future[list[Appended]]":
        """Start `append` without waiting; the future has its result or its error."""
        ...

    def reader(self, group: str, beside: LogReader | None = None) -> LogReader:
        """Open a reader of whole partitions; what it commits is known under the name of `group`.

        One opened `beside` another is used by the same thread: they share what they hold, and are waited for together.
        """
        ...

    def load(self, key: str) -> None:
        """Bring a key's records to where `find` and `read_key` give them at once; this may take a while."""
        ...

    def loaded(self, key: str) -> bool:
        """Say whether `find` and `read_key` give this key's records without a wait."""
        ...

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Give up to `limit` records with offset >= `start`, in order; [] when there are none yet.

        It may wait for the store, so it is for batch work; who follows a partition opens a `reader`.

        Raises:
            OffsetGone: Records at `start` were trimmed by retention (an erased session leaves a gap, not this).
        """
        ...

    def read_key(self, key: str, topics: Sequence[str], cursor: str, limit: int) -> list[LogRecord]:
        """Give up to `limit` records of one key from several topics after `cursor`, in one order.

        Every reader sees the same records of a key, each once, whatever its cursor, and each topic in its order. In a
        log with one offset for all topics the order across topics is the same for all as well.

        Raises:
            OffsetGone: The cursor is malformed, was trimmed, or lies beyond the end of the log.
        """
        ...

    def find(self, topic: str, key: str, event_id: str) -> LogRecord | None:
        """Give the record of a key with this id, or None."""
        ...

    def end(self, topic: str, partition: int = 0) -> int:
        """Give the offset after the last record of a partition (0 when it is empty); cheap enough to poll."""
        ...

    def offset_at(self, topic: str, partition: int, at_s: float) -> int:
        """Give the first offset whose `at_s` is at or after a time; `end` when there is none."""
        ...

    def partitions(self, topic: str) -> int:
        """Give the number of partitions of a topic, numbered from 0."""
        ...

    def cursor_start(self) -> str:
        """Give the cursor before the first record."""
        ...

    def cursor_now(self, key: str) -> str:
        """Give the cursor after the last record of a key stored so far."""
        ...

    def cursor_at(self, key: str, at_s: float) -> str:
        """Give the cursor before the first record of a key that was made at or after a wall-clock time."""
        ...

    def erase(self, key: str) -> int:
        """Remove every record of a key from every topic, for good, and refuse it from now on.

        Returns:
            How many records were removed.
        """
        ...

    def erased(self, key: str) -> bool:
        """Say whether a key was erased."""
        ...

    def trim(self, topic: str, before_s: float) -> int:
        """Remove the oldest records of a topic, up to the first that is not older than a time; gives how many.

        A record whose clock had gone back stays until what lies before it is old as well.
        """
        ...

    def notes(self) -> Sequence[str]:
        """Give what whoever runs the log should know although all works; never waits."""
        ...

    def subscribe(self, notify: Notify) -> Callable[[], None]:
        """Have `notify` called after each commit; call what is given back to end it."""
        ...

    def close(self) -> None:
        """Finish what was accepted, then release the store; harmless when called twice."""
        ...
