"""Where flows read and write: a Bytewax source and sink over the event log.

The stock Kafka connectors of Bytewax drop delivery failures and skip records in a few cases, so both ends
are ours and the same for every log (docs/decisions/001-shape.md).
"""

import heapq
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from eventlog.base import EventLog, LogReader, LogRecord
from eventlog.records import new_record
from schemas.base import Record
from schemas.errors import KeyErased, OffsetGone

__all__ = ["LogSink", "LogSource", "ReadingState", "StopFlag", "append_unless_erased"]

logger = structlog.get_logger("flows")

BATCH_RECORDS = 500  # past this a larger batch gains nothing (docs/decisions/001-shape.md)
IDLE_AFTER_S = 1.0
IDLE_POLL_MS = 8.0


@dataclass(slots=True)
class StopFlag:
    """Set by the runner; sources end at their next poll."""

    raised: bool = False


@dataclass(slots=True)
class ReadingState:
    """How far one source has come; written by the source, read by clocks and by health.

    Attributes:
        positions: Next offset to read, by topic and partition ("captions/0").
        last_at_s: Producer time of the newest record read, 0 before the first.
        caught_up: Whether the last poll found nothing more to read.
        ends: Offset after the last record of each, as far as the log tells without asking.
    """

    positions: dict[str, int] = field(default_factory=dict)
    last_at_s: float = 0.0
    caught_up: bool = False
    ends: dict[str, int] = field(default_factory=dict)


class LogSource(FixedPartitionedSource[LogRecord, dict[str, int]]):
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
        poll_ms: float = 2.0,
    ) -> None:
        """Read `topics` for `flow`, looking for more every `poll_ms` while there is traffic."""
        self._log, self._topics, self._reading, self._stop, self._poll_ms = log, tuple(topics), reading, stop, poll_ms
        self._reader = log.reader(f"rejoinder.{flow}")

    def close(self) -> None:
        """Close the reader that all partitions share; called when the flow has ended."""
        self._reader.close()

    def list_parts(self) -> list[str]:
        """Name the partitions, "0", "1", ..."""
        return [str(number) for number in range(max(self._log.partitions(topic) for topic in self._topics))]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, int] | None
    ) -> StatefulSourcePartition[LogRecord, dict[str, int]]:
        """Open one partition at the position of the snapshot, or at the start."""
        del step_id
        start = resume_state or dict.fromkeys(self._topics, 0)
        return _Partition((self._log, self._reader), int(for_part), start, self._reading, self._stop, self._poll_ms)


class _Partition(StatefulSourcePartition[LogRecord, dict[str, int]]):
    def __init__(
        self,
        log: tuple[EventLog, LogReader],
        partition: int,
        start: dict[str, int],
        reading: ReadingState,
        stop: StopFlag,
        poll_ms: float,
    ) -> None:
        self._log, self._reader = log
        self._partition, self._next = partition, dict(start)
        self._last: dict[str, int] = {}
        self._reading, self._stop = reading, stop
        self._busy, self._idle = timedelta(milliseconds=poll_ms), timedelta(milliseconds=max(poll_ms, IDLE_POLL_MS))
        self._last_found = time.monotonic()
        self._more = True
        for topic, position in self._next.items():
            reading.positions[f"{topic}/{partition}"] = position

    def next_batch(self) -> Iterable[LogRecord]:
        if self._stop.raised:
            raise StopIteration
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
            self._reading.last_at_s = max(self._reading.last_at_s, batch[-1].at_s)
            for topic, position in self._next.items():
                self._reading.positions[f"{topic}/{self._partition}"] = position
        # A log that fetches in the background may know of records that are not at hand yet.
        self._reading.caught_up = not batch and all(
            self._last.get(topic, position + 1) <= position for topic, position in self._next.items()
        )

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
    """Appends what a flow makes to one topic; returns only when the log has it.

    Items are ``(shard, record)``. A record whose session was erased meanwhile is dropped: nothing may be
    kept of it.
    """

    def __init__(self, log: EventLog, topic: str) -> None:
        """Write to `topic` of `log`."""
        self._log, self._topic = log, topic

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[Any]:
        """Open the sink of one worker."""
        del step_id, worker_index, worker_count
        return _SinkPartition(self._log, self._topic)


class _SinkPartition(StatelessSinkPartition[tuple[str, Record]]):
    def __init__(self, log: EventLog, topic: str) -> None:
        self._log, self._topic = log, topic

    def write_batch(self, items: list[tuple[str, Record]]) -> None:
        append_unless_erased(self._log, self._topic, [record for _, record in items])


def append_unless_erased(log: EventLog, topic: str, records: Sequence[Record]) -> None:
    """Append records and wait for the log; leave out those of sessions that were erased.

    Raises:
        LogUnavailable: The log cannot store now; the flow stops and resumes from its snapshot.
    """
    waiting = [new_record(topic, record) for record in records]
    while waiting:
        try:
            log.append(waiting)
        except KeyErased:
            kept = [new for new in waiting if not log.erased(new.key)]
            if len(kept) == len(waiting):
                raise
            waiting = kept
        else:
            return
