"""Where flows read: a Bytewax source over the event log.

The stock Kafka connectors of Bytewax drop delivery failures and skip records in a few cases, so both ends
are ours and the same for every log (docs/decisions/001-shape.md); the other end is `flows.sink`.
"""

import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from eventlog.base import EventLog, LogReader, LogRecord
from flows.marks import MARGIN_S, Mark, MarkSender, UpstreamMarks
from flows.wakes import LateWakes, Rest
from schemas.errors import OffsetGone
from schemas.hops import HopCounts

__all__ = ["FlowsSource", "LogSource", "Read", "Reading", "ReadingState", "StopFlag"]

logger = structlog.get_logger("flows")

BATCH_RECORDS = 500  # past this a larger batch gains nothing (docs/decisions/001-shape.md)
IDLE_AFTER_S = 1.0
IDLE_POLL_MS = 8.0


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
        beside: A reader that the same thread uses.
    """

    poll_ms: float = 2.0
    upstream: UpstreamMarks | None = None
    finishing: bool = False
    beside: LogReader | None = None


@dataclass(slots=True)
class ReadingState:
    """How far one source has come; written by the source, read by clocks and by health.

    Attributes:
        positions: Next offset to read, by topic and partition ("captions/0").
        last_at_s: Producer time of the newest record read, 0 before the first.
        ends: Offset after the last record of each, as far as the log tells without asking.
        unread: Partitions with more to read -> producer time of the last record read of them.
        unwritten: What the flow has made of it and is not in the log yet -> the oldest producer time in it, and the
            wall clock from which on it is surely read by the next flow.
        counts: What the flow has done, for those who watch; the sink counts here as well.
    """

    positions: dict[str, int] = field(default_factory=dict)
    last_at_s: float = 0.0
    ends: dict[str, int] = field(default_factory=dict)
    unread: dict[int, float] = field(default_factory=dict)
    unwritten: dict[int, tuple[float, float]] = field(default_factory=dict)
    counts: HopCounts = field(default_factory=HopCounts)

    def lag(self) -> dict[str, int]:
        """Give the records that are not read yet, by topic and partition, as far as the ends are known."""
        positions = dict(self.positions)
        return {place: max(0, end - positions.get(place, 0)) for place, end in dict(self.ends).items()}

    def read_until_s(self, wall_s: float) -> float | None:
        """Give the time up to which all was read and passed on; None when nothing waits."""
        waiting = list(self.unread.values())
        for number, (at_s, until_s) in list(self.unwritten.items()):
            if until_s < wall_s:
                self.unwritten.pop(number, None)
            else:
                waiting.append(at_s)
        return min(waiting, default=None)


class LogSource:
    """Reads one or several topics of the log for one flow, in the order in which they were produced.

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
        self._reader = log.reader(f"rejoinder.{flow}", options.beside)

    @property
    def reader(self) -> LogReader:
        """What it reads with."""
        return self._reader

    def close(self) -> None:
        """Close the reader that all partitions share; called when the flow has ended."""
        self._reader.close()

    def partitions(self) -> int:
        """Give the number of partitions."""
        return max(self._log.partitions(topic) for topic in self._topics)

    def open(self, partition: int, resume_state: dict[str, int] | None) -> "_Partition":
        """Open one partition at the position of the snapshot, or at the start."""
        start = resume_state or dict.fromkeys(self._topics, 0)
        return _Partition((self._log, self._reader), partition, start, self._reading, self._stop, self._options)


Read = tuple[str, list[LogRecord | Mark]]
"""What was read at once for a flow, with the flow's name."""


class FlowsSource(FixedPartitionedSource[Read, dict[str, dict[str, int]]]):
    """Reads for all flows of a process.

    Bytewax holds a source up at the end of an epoch until every other one has ended its epoch as well. With a source
    for each flow they drift apart, until the quickest reads but once per epoch: on Kafka a question took 190 ms (p50)
    to be noticed. The partitions of one source begin and end their epochs together.
    """

    def __init__(self, flows: Mapping[str, LogSource], rest: Rest | None = None) -> None:
        """Read for these flows, by name; a lone worker has a place to rest."""
        self._flows, self._rest = dict(flows), rest

    def list_parts(self) -> list[str]:
        """Name the partitions, "0", "1", ..."""
        return [str(number) for number in range(max(source.partitions() for source in self._flows.values()))]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, dict[str, int]] | None
    ) -> StatefulSourcePartition[Read, dict[str, dict[str, int]]]:
        """Open one partition for every flow."""
        del step_id
        state = resume_state or {}
        parts = {name: source.open(int(for_part), state.get(name)) for name, source in self._flows.items()}
        return _PacedPartition(parts) if self._rest is None else _RestingPartition(parts, self._rest)


class _FlowsPartition(StatefulSourcePartition[Read, dict[str, dict[str, int]]]):
    """One partition for every flow."""

    def __init__(self, flows: "dict[str, _Partition]") -> None:
        self._flows = flows
        self._ended: set[str] = set()

    def _look(self, name: str) -> list[Read]:
        try:
            batch = self._flows[name].next_batch()
        except StopIteration:
            self._ended.add(name)
            if len(self._ended) == len(self._flows):
                raise
            return []
        return [(name, batch)] if batch else []

    def snapshot(self) -> dict[str, dict[str, int]]:
        return {name: part.snapshot() for name, part in self._flows.items()}


class _PacedPartition(_FlowsPartition):
    """Looks again after a pause; so it is where several workers must hear each other meanwhile."""

    def __init__(self, flows: "dict[str, _Partition]") -> None:
        super().__init__(flows)
        self._due = dict.fromkeys(flows, 0.0)
        self._wakes = LateWakes()

    def next_batch(self) -> list[Read]:
        found: list[Read] = []
        now = time.monotonic()
        for name in [name for name, due in self._due.items() if due <= now]:
            found += self._look(name)
            self._due[name] = now + self._flows[name].pause_s()
            if name in self._ended:
                del self._due[name]
        if found:
            # What one flow makes of this the next one may find at once.
            self._due = dict.fromkeys(self._due, now)
        self._wakes.allow(0.0 if found else min(self._flows[name].pause_s() for name in self._due))
        return found

    def next_awake(self) -> datetime | None:
        wait_s = min(self._due.values()) - time.monotonic()
        return datetime.now(UTC) + timedelta(seconds=wait_s) if wait_s > 0 else None


class _RestingPartition(_FlowsPartition):
    """Looks after every rest of its worker, and at once for a flow that had something."""

    def __init__(self, flows: "dict[str, _Partition]", rest: Rest) -> None:
        super().__init__(flows)
        self._rest, self._seen = rest, -1

    def next_batch(self) -> list[Read]:
        found: list[Read] = []
        rested = self._seen != self._rest.rests
        self._seen = self._rest.rests
        for name, part in self._flows.items():
            if (rested or not part.pause_s()) and name not in self._ended:
                found += self._look(name)
        self._rest.looked(bool(found), min(part.pause_s() for part in self._flows.values()))
        return found

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC)


class _Partition:
    """One partition of the topics of one flow."""

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
        self._busy_s = options.poll_ms / 1000
        self._idle_s = max(options.poll_ms, IDLE_POLL_MS) / 1000
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

    def next_batch(self) -> list[LogRecord | Mark]:
        if self._stop.raised:
            raise StopIteration
        began_s = time.time()
        batch = self._records()
        if self._finishing and not batch and self._partition not in self._reading.unread:
            raise StopIteration
        if self._sender is None:
            return list(batch)
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

    def pause_s(self) -> float:
        """Give how long to wait before the next look."""
        if self._more:
            return 0.0
        return self._idle_s if time.monotonic() - self._last_found > IDLE_AFTER_S else self._busy_s

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
