"""Where flows read and write: a Bytewax source and sink over the event log.

The stock Kafka connectors of Bytewax drop delivery failures and skip records in a few cases, so both ends
are ours and the same for every log (docs/decisions/001-shape.md).
"""

import base64
import heapq
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from eventlog.base import Appended, EventLog, LogReader, LogRecord, NewRecord
from eventlog.records import new_record
from flows.marks import MARGIN_S, Mark, MarkSender, MarkWriter, UpstreamMarks
from schemas.base import Record, derive_id
from schemas.dead_letters import DeadLetter
from schemas.errors import KeyErased, OffsetGone, RecordTooLarge
from schemas.speech import Caption
from schemas.topics import MAX_RECORD_BYTES

__all__ = ["LogSink", "LogSource", "Reading", "ReadingState", "StopFlag", "append_unless_erased"]

logger = structlog.get_logger("flows")

BATCH_RECORDS = 500  # past this a larger batch gains nothing (docs/decisions/001-shape.md)
IDLE_AFTER_S = 1.0
IDLE_POLL_MS = 8.0
DEAD_VALUE_BYTES = 64 * 1024


@dataclass(slots=True)
class StopFlag:
    """Set by the runner; sources end at their next poll."""

    raised: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source reads.

    Attributes:
        poll_ms: How often it looks for more while there is traffic.
        upstream: The marks of the flows before, when time travels with the records; None within one process.
        finishing: End where the topics end now, instead of waiting for more.
    """

    poll_ms: float = 2.0
    upstream: UpstreamMarks | None = None
    finishing: bool = False


@dataclass(slots=True)
class ReadingState:
    """How far one source has come; written by the source, read by clocks and by health.

    Attributes:
        positions: Next offset to read, by topic and partition ("captions/0").
        last_at_s: Producer time of the newest record read, 0 before the first.
        ends: Offset after the last record of each, as far as the log tells without asking.
        unread: Partitions with more to read -> producer time of the last record read of them.
    """

    positions: dict[str, int] = field(default_factory=dict)
    last_at_s: float = 0.0
    ends: dict[str, int] = field(default_factory=dict)
    unread: dict[int, float] = field(default_factory=dict)

    def read_until_s(self) -> float | None:
        """Give the time up to which all was read while there is a backlog; None when there is none."""
        return min(list(self.unread.values()), default=None)


class LogSource(FixedPartitionedSource[LogRecord | Mark, dict[str, int]]):
    """Reads one or several topics of the log in the order in which they were produced.

    Topics that one flow reads together lie in the same partition for the same session, so they are read as
    one: a session's ``opened`` is never overtaken by its first caption, not even in a long backlog.
    """

    def __init__(
        self,
        log: EventLog,
        flow: str,
        topics: Sequence[str],
        reading: ReadingState,
        stop: StopFlag,
        options: Reading,
    ) -> None:
        """Read `topics` for `flow`."""
        self._log, self._topics, self._reading, self._stop, self._options = log, tuple(topics), reading, stop, options
        self._reader = log.reader(f"rejoinder.{flow}")

    def close(self) -> None:
        """Close the reader that all partitions share; called when the flow has ended."""
        self._reader.close()

    def list_parts(self) -> list[str]:
        """Name the partitions, "0", "1", ..."""
        return [str(number) for number in range(max(self._log.partitions(topic) for topic in self._topics))]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, int] | None
    ) -> StatefulSourcePartition[LogRecord | Mark, dict[str, int]]:
        """Open one partition at the position of the snapshot, or at the start."""
        del step_id
        start = resume_state or dict.fromkeys(self._topics, 0)
        return _Partition((self._log, self._reader), int(for_part), start, self._reading, self._stop, self._options)


class _Partition(StatefulSourcePartition[LogRecord | Mark, dict[str, int]]):
    def __init__(
        self,
        log: tuple[EventLog, LogReader],
        partition: int,
        start: dict[str, int],
        reading: ReadingState,
        stop: StopFlag,
        options: Reading,
    ) -> None:
        self._log, self._reader = log
        self._partition, self._next = partition, dict(start)
        self._last: dict[str, int] = {}
        self._reading, self._stop = reading, stop
        self._busy = timedelta(milliseconds=options.poll_ms)
        self._idle = timedelta(milliseconds=max(options.poll_ms, IDLE_POLL_MS))
        self._sender = None
        if options.upstream is not None:
            partitions = max(log[0].partitions(topic) for topic in start)
            self._sender = MarkSender(partition, partitions, options.upstream)
        self._last_at_s = 0.0
        self._finishing = options.finishing
        self._last_found = time.monotonic()
        self._more = True
        for topic, position in self._next.items():
            reading.positions[f"{topic}/{partition}"] = position
        reading.unread[partition] = 0.0

    def next_batch(self) -> Iterable[LogRecord | Mark]:
        if self._stop.raised:
            raise StopIteration
        began_s = time.time()
        batch = self._records()
        if self._finishing and not batch and self._partition not in self._reading.unread:
            raise StopIteration
        if self._sender is None:
            return batch
        caught_up = self._partition not in self._reading.unread
        until_s = began_s - MARGIN_S if caught_up else min(began_s - MARGIN_S, self._last_at_s)
        return [*batch, *self._sender.marks((record.key for record in batch), until_s, self._next)]

    def _records(self) -> list[LogRecord]:
        heads: list[list[LogRecord]] = []
        bounded: float | None = None
        for topic, position in self._next.items():
            end = self._reader.end(topic, self._partition)
            if end is not None:
                self._last[topic] = self._reading.ends[f"{topic}/{self._partition}"] = end
                if end <= position:
                    continue
            found = self._read(topic, position)
            if len(found) == BATCH_RECORDS:
                # Nothing later than this may be given out before the rest of this topic was seen.
                newest = max(record.at_s for record in found)
                bounded = newest if bounded is None else min(bounded, newest)
            if found:
                heads.append(found)
        batch = list(_merged(heads, bounded)) if len(heads) > 1 else (heads[0] if heads else [])
        self._note(batch)
        return batch

    def _read(self, topic: str, position: int) -> list[LogRecord]:
        try:
            return self._reader.read(topic, self._partition, position, BATCH_RECORDS)
        except OffsetGone:
            oldest = self._log.offset_at(topic, self._partition, 0.0)
            logger.warning("records_trimmed_before_read", topic=topic, offset=position, oldest=oldest)
            self._next[topic] = oldest
            return self._reader.read(topic, self._partition, oldest, BATCH_RECORDS)

    def _note(self, batch: Sequence[LogRecord]) -> None:
        for record in batch:
            self._next[record.topic] = record.offset + 1
        self._more = bool(batch)
        if batch:
            self._last_found = time.monotonic()
            # A clock that ran ahead must not make the flow's clock do so.
            newest_s = min(batch[-1].at_s, time.time())
            self._last_at_s = max(self._last_at_s, newest_s)
            self._reading.last_at_s = max(self._reading.last_at_s, newest_s)
            for topic, position in self._next.items():
                self._reading.positions[f"{topic}/{self._partition}"] = position
        # A log that fetches in the background may know of records that are not at hand yet.
        if not batch and all(self._last.get(topic, at + 1) <= at for topic, at in self._next.items()):
            self._reading.unread.pop(self._partition, None)
        else:
            self._reading.unread[self._partition] = self._last_at_s

    def next_awake(self) -> datetime | None:
        if self._more:
            return None
        quiet = time.monotonic() - self._last_found > IDLE_AFTER_S
        return datetime.now(UTC) + (self._idle if quiet else self._busy)

    def snapshot(self) -> dict[str, int]:
        self._reader.commit({(topic, self._partition): position for topic, position in self._next.items()})
        return dict(self._next)


def _merged(heads: list[list[LogRecord]], bound: float | None) -> Iterator[LogRecord]:
    """Merge topics by producer time, up to `bound`; within a topic the log's order stands, whatever its clock."""

    def timed(records: list[LogRecord]) -> Iterator[tuple[float, int, LogRecord]]:
        newest = 0.0
        for record in records:
            newest = max(newest, record.at_s)
            yield newest, record.offset, record

    for at_s, _, record in heapq.merge(*(timed(records) for records in heads)):
        if bound is not None and at_s > bound:
            return
        yield record


class LogSink(DynamicSink[Any]):
    """Appends what a flow makes to one topic, and captions it corrects to theirs; returns only when the log has it.

    Items are ``(shard, record)``. A record whose session was erased meanwhile is dropped: nothing may be
    kept of it.
    """

    def __init__(self, log: EventLog, topic: str, flow: str = "", *, tells: bool = False) -> None:
        """Write to `topic` of `log`; with `tells`, let flows in other processes know how far `flow` has come."""
        self._log, self._topic, self._flow, self._tells = log, topic, flow, tells

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[Any]:
        """Open the sink of one worker."""
        del step_id, worker_count
        writer = MarkWriter(self._log, self._flow, worker_index) if self._tells else None
        return _SinkPartition(self._log, self._topic, writer)


class _SinkPartition(StatelessSinkPartition[tuple[str, Record | Mark]]):
    def __init__(self, log: EventLog, topic: str, marks: MarkWriter | None) -> None:
        self._log, self._topic, self._marks = log, topic, marks

    def write_batch(self, items: list[tuple[str, Record | Mark]]) -> None:
        records = [item for _, item in items if not isinstance(item, Mark)]
        # A corrected caption goes back to where the caption lies.
        corrected = [one for one in records if isinstance(one, Caption) and self._topic != "captions"]
        if corrected:
            append_unless_erased(self._log, "captions", corrected)
            records = [one for one in records if not isinstance(one, Caption)]
        stored = append_unless_erased(self._log, self._topic, records)
        if self._marks is not None:
            for one in stored:
                self._marks.wrote(one.partition, one.offset)
            self._marks.passed(item for _, item in items if isinstance(item, Mark))


def append_unless_erased(log: EventLog, topic: str, records: Sequence[Record]) -> list[Appended]:
    """Append records and wait for the log; leave out those of sessions that were erased and those too large to store.

    Returns:
        Where the others lie.

    Raises:
        LogUnavailable: The log cannot store now; the flow stops and resumes from its snapshot.
    """
    waiting = [new_record(topic, record) for record in records]
    while waiting:
        try:
            return log.append(waiting)
        except KeyErased:
            kept = [new for new in waiting if not log.erased(new.key)]
            if len(kept) == len(waiting):
                raise
            waiting = kept
        except RecordTooLarge:
            kept = [new for new in waiting if len(new.value) <= MAX_RECORD_BYTES]
            if len(kept) == len(waiting):
                raise
            for new in waiting:
                if len(new.value) > MAX_RECORD_BYTES:
                    _bury_large(log, new)
            waiting = kept
    return []


def _bury_large(log: EventLog, new: NewRecord) -> None:
    """Say in `dead-letters` that a flow made a record no log takes; the flow goes on."""
    logger.error("record_too_large", topic=new.topic, size=len(new.value))
    letter = DeadLetter(
        session_id=new.key,
        event_id=derive_id(new.topic, new.event_id, "too large"),
        created_at=datetime.now(UTC),
        topic=new.topic,
        offset=-1,
        flow=new.topic,
        reason=f"a record of {len(new.value)} bytes is larger than the log takes; it was never stored",
        value_base64=base64.b64encode(new.value[:DEAD_VALUE_BYTES]).decode(),
    )
    append_unless_erased(log, "dead-letters", [letter])
