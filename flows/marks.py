"""How far time has come for sessions whose records pass through other processes.

In one process a flow asks a clock (`flows.clock`). Over several, the sessions of a partition are worked on elsewhere
than the partition is read, and the flow before runs in a process of its own. So time itself travels: a source sends a
`Mark` down the same stream as the records, behind all that were made before it; whoever gets it has got them. At the
end of a flow the sink writes the marks to the topic `progress`, with the offset below which the flow's output for
them lies, and the source of the next flow believes a mark once it has read that far.
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from eventlog.base import SHARDS, Appended, EventLog, LogReader, shard_of
from eventlog.records import new_record
from schemas.base import derive_id
from schemas.codec import decode
from schemas.errors import LogError, SchemaError
from schemas.progress import PROGRESS_KEY, FlowMarks

__all__ = ["Mark", "MarkSender", "MarkWriter", "UpstreamMarks"]

logger = structlog.get_logger("flows")

MARGIN_S = 0.05
"""A record reaches a reader within this time, on a network and with the clocks of several machines."""
QUICK_S, QUICK_FOR_S = 0.025, 15.0
"""Shards with a record in the last 15 s get a mark every 25 ms: a timer is at most that late."""
BUSY_SHARDS = 16
"""With more busy shards in a partition than this, marks come more slowly by as much: at 50 captions a second over all
shards their marks alone, ten thousand a second for each flow, kept a process busy."""
SLOW_S = 1.0
PATIENCE_S = 5.0
"""A flow before that sent nothing for so long has stopped; waiting on for it would hold up what it left."""
POLL_S = 0.005
MOST_UNDER_WAY = 8
"""Marks on their way to the log; past it they wait and become one, so that none pile up while a broker is away."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything of a shard that was made before `at_s`, seconds since 1970, lies before this in the stream."""

    shard: int
    at_s: float


class UpstreamMarks:
    """The newest marks of the flows before, read from the topic `progress`; shared by a worker's partitions."""

    def __init__(self, log: EventLog, flows: Mapping[str, str]) -> None:
        """Follow `flows`: name of each -> the topic it writes."""
        self._log, self._topics = log, dict(flows)
        self._reader: LogReader | None = None
        self._place = 0, 0
        self._next_look = 0.0
        self._guard = threading.Lock()
        self._began = time.monotonic()
        # (flow, shard) -> time, offset below which the output lies, when it came
        self._newest: dict[tuple[str, int], tuple[float, int, float]] = {}
        self._ready: dict[tuple[str, int], float] = {}

    def look(self) -> None:
        """Read what came; cheap enough for every poll."""
        if not self._topics or time.monotonic() < self._next_look:
            return
        with self._guard:
            self._next_look = time.monotonic() + POLL_S
            if self._reader is None:
                partition = shard_of(PROGRESS_KEY) % self._log.partitions("progress")
                self._reader = self._log.reader("rejoinder.marks")
                self._place = partition, self._log.end("progress", partition)
            partition, start = self._place
            found = self._reader.read("progress", partition, start, 500)
            for record in found:
                self._take(record.value)
            if found:
                self._place = partition, found[-1].offset + 1

    def _take(self, value: bytes) -> None:
        try:
            told = decode("progress", value)
        except SchemaError:
            return
        if not isinstance(told, FlowMarks) or told.flow not in self._topics:
            return
        now = time.monotonic()
        partitions = self._log.partitions(self._topics[told.flow])
        for shard, at_s in told.marks.items():
            below = told.below.get(shard % partitions, 0)
            self._newest[told.flow, shard] = at_s, below, now

    def of(self, shard: int, positions: Mapping[str, int]) -> float:
        """Give the time up to which the flows before are done with a shard, as far as `positions` were read."""
        until, now = float("inf"), time.monotonic()
        for flow, topic in self._topics.items():
            place = flow, shard
            known = self._newest.get(place)
            if now - (known[2] if known else self._began) > PATIENCE_S:
                continue
            if known is not None and positions.get(topic, 0) >= known[1]:
                self._ready[place] = known[0]
            until = min(until, self._ready.get(place, 0.0))
        return until

    def close(self) -> None:
        """Close the reader."""
        with self._guard:
            if self._reader is not None:
                self._reader.close()
                self._reader = None


class MarkSender:
    """Makes the marks of one partition of one source."""

    def __init__(self, partition: int, partitions: int, upstream: UpstreamMarks) -> None:
        """Send marks for the shards of `partition`, one of `partitions`."""
        self._shards = range(partition, SHARDS, partitions)
        self._upstream = upstream
        self._busy: dict[int, float] = {}
        self._next_quick = self._next_slow = 0.0

    def marks(self, keys: Iterable[str], until_s: float, positions: Mapping[str, int]) -> list[Mark]:
        """Give the marks that are due; `keys` are those of the records just read, `until_s` what was read up to."""
        self._upstream.look()
        now = time.monotonic()
        for key in keys:
            self._busy[shard_of(key)] = now
        if now < self._next_quick:
            return []
        self._next_quick = now + QUICK_S * max(1.0, len(self._busy) / BUSY_SHARDS)
        if now >= self._next_slow:
            self._next_slow = now + SLOW_S
            shards: Sequence[int] = self._shards
        else:
            self._busy = {shard: at for shard, at in self._busy.items() if now - at < QUICK_FOR_S}
            shards = list(self._busy)
        made = [Mark(shard, min(until_s, self._upstream.of(shard, positions))) for shard in shards]
        return [mark for mark in made if mark.at_s > 0]


class MarkWriter:
    """Tells the flows after how far a worker of this one has come."""

    def __init__(self, log: EventLog, flow: str, worker: int) -> None:
        """Write for worker number `worker` of `flow`."""
        self._log, self._flow, self._worker = log, flow, worker
        self._marks: dict[int, float] = {}
        self._below: dict[int, int] = {}
        self._last = 0.0
        self._began, self._count = time.time_ns(), 0
        self._guard, self._under_way, self._failing = threading.Lock(), 0, False

    def wrote(self, partition: int, offset: int) -> None:
        """Note where a record of the flow lies."""
        self._below[partition] = max(self._below.get(partition, 0), offset + 1)

    def passed(self, marks: Iterable[Mark]) -> None:
        """Note marks behind whose records everything was written; tells them, at most forty times a second."""
        self._marks.update((mark.shard, mark.at_s) for mark in marks)
        now = time.monotonic()
        if not self._marks or now - self._last < QUICK_S * 0.8 or self._under_way >= MOST_UNDER_WAY:
            return
        self._last = now
        self._count += 1
        told = FlowMarks(
            session_id=PROGRESS_KEY,
            event_id=derive_id(self._flow, self._worker, self._began, self._count),
            created_at=datetime.now(UTC),
            flow=self._flow,
            marks=self._marks,
            below=self._below,
        )
        self._marks = {}
        with self._guard:
            self._under_way += 1
        self._log.submit([new_record("progress", told)]).add_done_callback(self._done)

    def _done(self, done: "Future[list[Appended]]") -> None:
        error = done.exception()
        with self._guard:
            self._under_way -= 1
            first, self._failing = not self._failing, error is not None
        if isinstance(error, LogError) and first:
            # Said once, and not forty times a second: the next mark says all this one did.
            logger.warning("marks_not_written", reason=str(error))
