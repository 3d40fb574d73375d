"""Where flows write: a Bytewax sink over the event log."""

import base64
import itertools
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from eventlog.base import Appended, EventLog, NewRecord
from eventlog.records import new_record
from flows.connectors import ReadingState
from flows.marks import Mark, MarkWriter
from flows.traced import Traced, parted
from schemas.base import Record, derive_id
from schemas.dead_letters import DeadLetter
from schemas.errors import KeyErased, RecordTooLarge
from schemas.speech import Caption
from schemas.topics import MAX_RECORD_BYTES

__all__ = ["DEAD_VALUE_BYTES", "LogSink", "append_unless_erased"]

logger = structlog.get_logger("flows")

DEAD_VALUE_BYTES = 64 * 1024
MOST_UNDER_WAY = 64
"""Appends of one partition on their way together; more gain nothing, and what waits stays small."""
SEEN_AFTER_S = 0.02
"""Ten polls: what is in the log is read by the next flow within this time."""


@dataclass(slots=True)
class _UnderWay:
    """One append on its way; `marks` may be told once it and all before it are stored."""

    number: int
    records: list[NewRecord]
    stored: "Future[list[Appended]] | None"
    marks: list[Mark]
    sent_s: float = 0.0


class LogSink(FixedPartitionedSink[Any, None]):
    """Appends what a flow makes to one topic, and captions it corrects to theirs; a snapshot waits for all of it.

    Items are ``(shard, record)``. A record whose session was erased meanwhile is dropped: nothing may be
    kept of it.
    """

    def __init__(self, log: EventLog, topic: str, flow: str, reading: ReadingState, *, tells: bool = False) -> None:
        """Write to `topic` of `log`; with `tells`, let flows in other processes know how far `flow` has come."""
        self._log, self._topic, self._flow, self._reading, self._tells = log, topic, flow, reading, tells
        self._numbers = itertools.count()
        self._marks: MarkWriter | None = None
        self._guard = threading.Lock()

    def list_parts(self) -> list[str]:
        """Name the partitions, as the log has them."""
        return [f"{number:05}" for number in range(self._log.partitions(self._topic))]

    def part_fn(self, item_key: str) -> int:
        """Give the partition of a shard, the one in which the log keeps its sessions."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Any, None]:
        """Open the sink of one partition; nothing is kept of it between runs."""
        del step_id, resume_state
        with self._guard:
            if self._tells and self._marks is None:
                # One writer for the process: each may tell forty times a second.
                self._marks = MarkWriter(self._log, self._flow, int(for_part))
        return _SinkPartition((self._log, self._topic), self._reading, self._numbers, self._marks)


class _SinkPartition(StatefulSinkPartition[Record | Traced | Mark, None]):
    """Sends appends off one behind the other.

    Waiting for each would hold up every flow of the worker for a round trip to the broker, two hundred times a second
    at fifty captions (`benchmarks/results/hops.json`).
    """

    def __init__(
        self,
        place: tuple[EventLog, str],
        reading: ReadingState,
        numbers: "itertools.count[int]",
        marks: MarkWriter | None,
    ) -> None:
        self._log, self._topic = place
        self._reading, self._numbers, self._marks = reading, numbers, marks
        self._under_way: deque[_UnderWay] = deque()
        self._guard = threading.Lock()

    def write_batch(self, items: list[Record | Traced | Mark]) -> None:
        self._settle(most=MOST_UNDER_WAY)
        # A corrected caption goes back to where the caption lies.
        records = [
            new_record("captions" if isinstance(record, Caption) else self._topic, record, trace)
            for record, trace in map(parted, items)
            if not isinstance(record, Mark)
        ]
        marks = [item for item in items if isinstance(item, Mark)] if self._marks is not None else []
        if not records and not marks:
            return
        one = _UnderWay(next(self._numbers), records, None, marks)
        if records:
            if self._log.far:
                self._reading.unwritten[one.number] = min(record.at_s for record in records), float("inf")
            one.sent_s = time.perf_counter()
            one.stored = self._log.submit(records)
        with self._guard:
            self._under_way.append(one)
        # What is refused at once is done again before anything later is sent.
        self._settle(most=MOST_UNDER_WAY if self._log.far else 0)
        if one.stored is not None and self._log.far:
            one.stored.add_done_callback(self._pass_on)

    def _pass_on(self, _: object = None) -> None:
        """Take what is stored from the front and tell its marks; called from the log's thread as well."""
        with self._guard:
            while self._under_way:
                one = self._under_way[0]
                if one.stored is not None and (not one.stored.done() or one.stored.exception() is not None):
                    return
                self._under_way.popleft()
                self._note(one, one.stored.result() if one.stored is not None else [])

    def _note(self, one: _UnderWay, stored: Sequence[Appended]) -> None:
        counts = self._reading.counts
        if stored:
            counts.store.add(time.perf_counter() - one.sent_s)
        for place in stored:
            into = counts.repeats if place.repeat else counts.written
            into[place.topic] = into.get(place.topic, 0) + 1
        if one.number in self._reading.unwritten:
            at_s, _ = self._reading.unwritten[one.number]
            self._reading.unwritten[one.number] = at_s, time.time() + SEEN_AFTER_S
        if self._marks is not None:
            for place in stored:
                if place.topic == self._topic:
                    self._marks.wrote(place.partition, place.offset)
            self._marks.passed(one.marks)

    def _settle(self, most: int) -> None:
        """Wait until at most `most` appends are under way, none of the others failed.

        Raises:
            LogUnavailable: One cannot be stored now; the flow stops and resumes from its snapshot.
        """
        while True:
            self._pass_on()
            with self._guard:
                one = self._under_way[0] if self._under_way else None
                many = len(self._under_way) > most
            if one is None or one.stored is None:
                return
            if one.stored.done() and one.stored.exception() is not None:
                self._again(one)
            elif many:
                one.stored.exception()  # waits; an append ends by itself when the log does not answer
            else:
                return

    def _again(self, one: _UnderWay) -> None:
        """Store what can be of an append that was refused; what came after it waits, so that order holds."""
        assert one.stored is not None  # noqa: S101 - only what was sent can have been refused
        error = one.stored.exception()
        self._forget(one)
        if not isinstance(error, KeyErased | RecordTooLarge):
            assert error is not None  # noqa: S101
            raise error
        stored = append_new_unless_erased(self._log, one.records)
        with self._guard:
            self._note(one, stored)

    def _forget(self, one: _UnderWay) -> None:
        with self._guard:
            self._under_way.popleft()

    def snapshot(self) -> None:
        self._settle(most=0)

    def close(self) -> None:
        pass


def append_unless_erased(log: EventLog, topic: str, records: Sequence[Record]) -> list[Appended]:
    """Append records and wait for the log; leave out those of sessions that were erased and those too large to store.

    Returns:
        Where the others lie.

    Raises:
        LogUnavailable: The log cannot store now; the flow stops and resumes from its snapshot.
    """
    return append_new_unless_erased(log, [new_record(topic, record) for record in records])


def append_new_unless_erased(log: EventLog, waiting: list[NewRecord]) -> list[Appended]:
    """Do what `append_unless_erased` does for records that are encoded."""
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
