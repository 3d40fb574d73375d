"""Every topic -> a row writer: the flow that fills the analytics.

It is an extra reader: it runs apart from the other flows, looks a few times a second, and writes many rows at once.
What a record means for the rows does not depend on the order in which records come, so topics are read one after the
other without merging them by time.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

import bytewax.operators as op
import structlog
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from eventlog.base import EventLog, LogReader, LogRecord
from flows.arrivals import bury
from flows.connectors import StopFlag
from flows.wakes import LateWakes
from schemas.codec import decode
from schemas.errors import LogError, OffsetGone, SchemaError

__all__ = ["ANALYTICS_TOPICS", "AnalyticsReading", "Fact", "Pace", "RowWriter", "analytics_dataflow"]

logger = structlog.get_logger("flows")

ANALYTICS_TOPICS = (
    "meeting", "captions", "speaker-turns", "utterances", "questions", "memory", "answers", "usage", "progress",
    "dead-letters", "nudges", "feedback",
)  # fmt: skip
"""All but `audio`: its records are samples, which say nothing that captions, turns and usage do not say shorter."""
NAME = "analytics"
BATCH_RECORDS = 2_000
GENTLE_RECORDS = 200
BREATH_RECORDS, BREATH_S = 16, 5e-5
"""A thread that computes holds the interpreter for 5 ms when others want it, each time they want it: beside live flows
it lets go by itself every few records."""
BUSY_SHARE, BUSY_LOOK_S = 0.08, 0.5
"""The part of the time it works while the live flows are behind, and how often it looks whether they still are."""
QUIET_S = 10.0
"""What lies before an end may be no record for us (an erased session, a repeat on a broker): after so long without one,
there is none."""


class Fact(NamedTuple):
    """A decoded record and when its producer made it, seconds since 1970."""

    record: Any
    at_s: float


class Read(NamedTuple):
    """Records of one topic and partition, and the offset after them."""

    place: str
    lying: list[LogRecord]
    reached: int


class RowWriter(Protocol):
    """Turns facts into rows and keeps them; called by one thread."""

    def take(self, facts: Sequence[Fact], place: str, reached: int) -> None:
        """Take the facts of a place ("captions/0") up to an offset; they may be written later, never in part.

        Raises:
            LogError: They cannot be stored now; whatever was not flushed is given again.
        """
        ...

    def flush(self) -> None:
        """Write what was taken, and how far it reaches, all or nothing.

        Raises:
            LogError: It cannot be stored now.
        """
        ...

    def reached(self) -> Mapping[str, int]:
        """Give the offset up to which each place is stored."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How eagerly the flow reads.

    Attributes:
        look_s: Seconds between two looks when there was nothing to read.
        share: The part of the time it may work while there is a backlog, 0-1; less than 1 leaves the rest of a
            process its turn.
        busy: Says whether the live flows of this process are behind; then nearly all of the time is theirs. Asked only
            where `share` is less than 1.
        finishing: End where the topics end, instead of waiting for more.
        buries: Write a dead letter for what cannot be read. Whoever reads again what was read once leaves it.
    """

    look_s: float = 0.25
    share: float = 1.0
    busy: Callable[[], bool] = lambda: False
    finishing: bool = False
    buries: bool = True


@dataclass(slots=True)
class AnalyticsReading:
    """How far the flow has come, for those who watch: next offset and end by place, and the newest record's time."""

    positions: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    last_at_s: float = 0.0
    unreadable: int = 0

    def behind(self) -> int:
        """Give how many offsets lie between what was read and the ends."""
        return sum(max(0, end - self.positions.get(place, 0)) for place, end in self.ends.items())


class _Source(FixedPartitionedSource[Read, dict[str, int]]):
    """Reads all topics, partition by partition."""

    def __init__(
        self, log: EventLog, reader: LogReader, writer: RowWriter, reading: AnalyticsReading, stop: StopFlag, pace: Pace
    ) -> None:
        self._log, self._reader, self._reading, self._stop, self._pace = log, reader, reading, stop, pace
        self._stored = dict(writer.reached())

    def list_parts(self) -> list[str]:
        return [str(number) for number in range(max(self._log.partitions(topic) for topic in ANALYTICS_TOPICS))]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, int] | None
    ) -> StatefulSourcePartition[Read, dict[str, int]]:
        del step_id
        partition = int(for_part)
        topics = [topic for topic in ANALYTICS_TOPICS if partition < self._log.partitions(topic)]
        start = {f"{topic}/{partition}": self._stored.get(f"{topic}/{partition}", 0) for topic in topics}
        if resume_state is not None:
            # Rows that were put back from a copy, or made anew, are older than the snapshot: they decide.
            start = {place: min(at, resume_state.get(place, 0)) for place, at in start.items()}
        return _Partition((self._log, self._reader), start, self._reading, self._stop, self._pace)


class _Partition(StatefulSourcePartition[Read, dict[str, int]]):
    def __init__(
        self,
        log: tuple[EventLog, LogReader],
        start: dict[str, int],
        reading: AnalyticsReading,
        stop: StopFlag,
        pace: Pace,
    ) -> None:
        self._log, self._reader = log
        self._next, self._reading, self._stop, self._pace = start, reading, stop, pace
        self._awake_s = self._last_found_s = self._began_s = time.monotonic()
        self._spent_s = time.thread_time()
        self._wakes = LateWakes()
        self._most = BATCH_RECORDS if pace.share >= 1.0 else GENTLE_RECORDS
        reading.positions.update(start)

    def next_batch(self) -> list[Read]:
        if self._stop.raised:
            raise StopIteration
        now = time.monotonic()
        if self._rests(now):
            return []
        found = [read for place in self._next if (read := self._read(place)) is not None]
        for read in found:
            self._next[read.place] = self._reading.positions[read.place] = read.reached
            self._reading.last_at_s = max(self._reading.last_at_s, read.lying[-1].at_s)
        if found:
            self._last_found_s = now
        elif self._pace.finishing and self._at_the_end(now - self._last_found_s):
            raise StopIteration
        self._awake_s = now if found else now + self._pace.look_s
        self._wakes.allow(0.0 if found else self._pace.look_s)
        return found

    def _rests(self, now: float) -> bool:
        """Say whether the work of the last batch, all of which this thread did, has not been slept off yet."""
        if self._pace.share >= 1.0:
            return False
        # What follows a batch runs in this thread before the next call, so its own clock knows it all.
        spent = time.thread_time() - self._spent_s
        until = self._began_s + spent / self._pace.share
        if now >= until and self._pace.busy():
            until = min(self._began_s + spent / BUSY_SHARE, now + BUSY_LOOK_S)
        if now < until:
            self._awake_s = until
            return True
        self._began_s, self._spent_s = now, time.thread_time()
        return False

    def _read(self, place: str) -> Read | None:
        topic, _, partition = place.rpartition("/")
        position = self._next[place]
        end = self._reader.end(topic, int(partition))
        if end is not None:
            self._reading.ends[place] = end
            if end <= position:
                return None
        try:
            lying = self._reader.read(topic, int(partition), position, self._most)
        except OffsetGone:
            oldest = self._log.offset_at(topic, int(partition), 0.0)
            logger.warning("records_trimmed_before_read", topic=topic, offset=position, oldest=oldest)
            self._next[place] = oldest
            lying = self._reader.read(topic, int(partition), oldest, self._most)
        return Read(place, lying, lying[-1].offset + 1) if lying else None

    def _at_the_end(self, quiet_s: float) -> bool:
        ends = self._reading.ends
        if quiet_s > QUIET_S and all(place in ends for place in self._next):
            return True
        return all(ends.get(place, at + 1) <= at for place, at in self._next.items())

    def next_awake(self) -> datetime | None:
        wait_s = self._awake_s - time.monotonic()
        return datetime.now(UTC) + timedelta(seconds=wait_s) if wait_s > 0 else None

    def snapshot(self) -> dict[str, int]:
        self._reader.commit({_split(place): position for place, position in self._next.items()})
        return dict(self._next)


def _split(place: str) -> tuple[str, int]:
    topic, _, partition = place.rpartition("/")
    return topic, int(partition)


class _Decoder:
    """Decodes batch by batch; what cannot be read goes to `dead-letters`, once however often it is met."""

    def __init__(self, log: EventLog, reading: AnalyticsReading, pace: Pace) -> None:
        self._log, self._reading, self._buries, self._gentle = log, reading, pace.buries, pace.share < 1.0

    def __call__(self, batch: list[Read]) -> Iterable[tuple[str, tuple[list[Fact], str, int]]]:
        return [(NAME, (self._facts(read), read.place, read.reached)) for read in batch]

    def _facts(self, read: Read) -> list[Fact]:
        facts: list[Fact] = []
        for number, lying in enumerate(read.lying):
            if self._gentle and number % BREATH_RECORDS == 0:
                time.sleep(BREATH_S)
            try:
                facts.append(Fact(decode(lying.topic, lying.value), lying.at_s))
            except SchemaError as error:
                self._reading.unreadable += 1
                if self._buries:
                    bury(
                        self._log, NAME, lying.key, lying.topic, lying.offset, str(error), lying.value, unreadable=True
                    )
        return facts


class _Sink(FixedPartitionedSink[tuple[list[Fact], str, int], None]):
    """Hands facts to the writer; a snapshot is taken only when the writer has stored them."""

    def __init__(self, writer: RowWriter) -> None:
        self._writer = writer

    def list_parts(self) -> list[str]:
        return [NAME]

    def part_fn(self, item_key: str) -> int:
        del item_key
        return 0

    def build_part(
        self, step_id: str, for_part: str, resume_state: None
    ) -> StatefulSinkPartition[tuple[list[Fact], str, int], None]:
        del step_id, for_part, resume_state
        return _SinkPartition(self._writer)


class _SinkPartition(StatefulSinkPartition[tuple[list[Fact], str, int], None]):
    def __init__(self, writer: RowWriter) -> None:
        self._writer = writer

    def write_batch(self, items: list[tuple[list[Fact], str, int]]) -> None:
        for facts, place, reached in items:
            self._writer.take(facts, place, reached)

    def snapshot(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        try:
            self._writer.flush()
        except LogError as error:  # what is not stored is read again at the next start
            logger.warning("rows_left_for_the_next_start", reason=str(error))


def analytics_dataflow(
    log: EventLog, reader: LogReader, writer: RowWriter, reading: AnalyticsReading, stop: StopFlag, pace: Pace
) -> Dataflow:
    """Give the flow: every topic of `log` -> `writer`."""
    flow = Dataflow("rejoinder-analytics")
    lying = op.input("in", flow, _Source(log, reader, writer, reading, stop, pace))
    facts = op.flat_map_batch(f"{NAME}-decode", lying, _Decoder(log, reading, pace))
    op.output(f"{NAME}-out", facts, _Sink(writer))
    return flow
