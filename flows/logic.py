"""Runs an operator inside Bytewax: many sessions per key, timers, snapshots, faults."""

import base64
import pickle
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog
from bytewax.operators import StatefulBatchLogic

from eventlog.base import EventLog, LogRecord
from flows.clock import FlowClock
from flows.connectors import DEAD_VALUE_BYTES, append_unless_erased
from flows.marks import Mark
from operators.base import Operator
from schemas.base import Record, derive_id
from schemas.codec import decode
from schemas.dead_letters import DeadLetter
from schemas.errors import SchemaError

__all__ = ["SHARDS", "Arrived", "Decoder", "OperatorLogic", "shard_of"]

logger = structlog.get_logger("flows")

SHARDS = 256
"""Bytewax never forgets a key (it leaves a row per key for ever), so sessions live inside this many keys."""
CLOCKS_AGREE_S = 0.2
"""Clocks of several machines differ by less than this."""
FORGET_CLOSED_S = 5.0
"""A closed session's state stays this long: what was said last is still on its way through the topics."""
FORGET_IDLE_S = 24 * 3600.0
MAX_TICKS = 16


class Arrived(NamedTuple):
    """A record with where it lay and its producer time, seconds since 1970."""

    record: Any
    topic: str
    offset: int
    at_s: float


def shard_of(session_id: str) -> str:
    """Give the Bytewax key of a session, the same in every process.

    >>> shard_of("a") == shard_of("a")
    True
    """
    return str(zlib.crc32(session_id.encode()) % SHARDS)


class Decoder:
    """Turns log records into ``(shard, Arrived)``; what cannot be read goes to ``dead-letters``."""

    def __init__(self, log: EventLog, flow: str) -> None:
        """Decode for `flow`."""
        self._log, self._flow = log, flow

    def __call__(self, batch: list[LogRecord | Mark]) -> Iterable[tuple[str, Arrived | Mark]]:
        """Decode a batch, keeping its order; marks pass through to their shard."""
        good: list[tuple[str, Arrived | Mark]] = []
        # A producer whose clock has jumped ahead must not set timers that wait until the others have caught up.
        latest_s = time.time() + CLOCKS_AGREE_S
        for lying in batch:
            if isinstance(lying, Mark):
                good.append((str(lying.shard), lying))
                continue
            try:
                record = decode(lying.topic, lying.value)
            except SchemaError as error:
                bury(self._log, self._flow, lying.key, lying.topic, lying.offset, str(error), lying.value)
            else:
                good.append(
                    (shard_of(record.session_id), Arrived(record, lying.topic, lying.offset, min(lying.at_s, latest_s)))
                )
        return good


def bury(  # noqa: PLR0913, PLR0917 - one letter has this many lines
    log: EventLog, flow: str, key: str, topic: str, offset: int, reason: str, value: bytes
) -> None:
    """Write a dead letter, once however often the record is met."""
    logger.error("record_buried", flow=flow, topic=topic, offset=offset, reason=reason)
    letter = DeadLetter(
        session_id=key,
        event_id=derive_id(topic, offset, flow, "dead"),
        created_at=datetime.now(UTC),
        topic=topic,
        offset=offset,
        flow=flow,
        reason=reason,
        value_base64=base64.b64encode(value[:DEAD_VALUE_BYTES]).decode(),
    )
    append_unless_erased(log, "dead-letters", [letter])


@dataclass(slots=True)
class _Kept:
    """One session inside a shard; `packed` is its pickled state, made anew only when the state changed."""

    state: Any
    touched_s: float
    due_s: float | None = None
    closed_s: float | None = None
    packed: bytes | None = None


@dataclass(slots=True)
class OperatorLogic(StatefulBatchLogic[Arrived | Mark, Record | Mark, dict[str, bytes]]):
    """One shard of an operator's sessions.

    Time inside the operator is the producer time of its records, so the same log gives the same outputs
    however fast it is read; timers between two records fire before the later one, in replay as live.
    """

    flow: str
    operator: Operator[Any, Any, Any]
    clock: FlowClock | None
    log: EventLog
    finishing: bool = False
    sessions: dict[str, _Kept] = field(default_factory=dict)

    @classmethod
    def builder(
        cls,
        flow: str,
        operator: Operator[Any, Any, Any],
        clock: FlowClock | None,
        log: EventLog,
        *,
        finishing: bool = False,
    ) -> Callable[[dict[str, bytes] | None], "OperatorLogic"]:
        """Give the function that Bytewax calls to make or restore a shard; without a clock, marks tell the time."""

        def build(snapshot: dict[str, bytes] | None) -> OperatorLogic:
            logic = cls(flow, operator, clock, log, finishing)
            for session_id, packed in (snapshot or {}).items():
                state, touched_s, closed_s = pickle.loads(packed)  # noqa: S301 - our own snapshot
                logic.sessions[session_id] = _Kept(state, touched_s, operator.due_s(state), closed_s, packed)
            return logic

        return build

    def on_batch(self, values: list[Arrived | Mark]) -> tuple[Iterable[Record | Mark], bool]:
        """Step every record; a record the operator fails on is buried and its state stays as it was."""
        out: list[Record | Mark] = []
        for arrived in values:
            if isinstance(arrived, Mark):
                for kept in self.sessions.values():
                    self._tick(kept, arrived.at_s, out)
                out.append(arrived)
                continue
            session_id = arrived.record.session_id
            session = self.sessions.get(session_id)
            if session is None:
                session = self.sessions[session_id] = _Kept(self.operator.initial(), arrived.at_s)
            self._tick(session, arrived.at_s, out)
            self._step(session, arrived, out)
        return out, self.RETAIN

    def _step(self, kept: _Kept, arrived: Arrived, out: list[Record | Mark]) -> None:
        try:
            state, made = self.operator.step(kept.state, arrived.record, arrived.at_s)
        except Exception as error:
            reason = f"{type(error).__name__} in {self.flow}"
            value = arrived.record.model_dump_json().encode()
            bury(self.log, self.flow, arrived.record.session_id, arrived.topic, arrived.offset, reason, value)
            return
        self._keep(kept, state, arrived.at_s)
        out.extend(made)

    def _tick(self, kept: _Kept, until_s: float, out: list[Record | Mark]) -> None:
        for _ in range(MAX_TICKS):
            if kept.due_s is None or kept.due_s > until_s:
                return
            state, made = self.operator.tick(kept.state, kept.due_s)
            before = kept.due_s
            self._keep(kept, state, kept.touched_s)
            out.extend(made)
            if kept.due_s is not None and kept.due_s <= before:
                logger.error("timer_did_not_advance", flow=self.flow)
                kept.due_s = None

    def _keep(self, kept: _Kept, state: Any, at_s: float) -> None:
        if state is not kept.state:
            kept.state, kept.packed, kept.due_s = state, None, self.operator.due_s(state)
        kept.touched_s = at_s
        if kept.closed_s is None and self.operator.finished(state):
            kept.closed_s, kept.packed = time.time(), None

    def on_eof(self) -> tuple[Iterable[Record | Mark], bool]:
        """Where the topics end for good, fire the timers that are still pending."""
        out: list[Record | Mark] = []
        if self.finishing:
            for kept in self.sessions.values():
                self._tick(kept, float("inf"), out)
        return out, self.RETAIN

    def on_notify(self) -> tuple[Iterable[Record | Mark], bool]:
        """Fire the timers that are due and forget sessions that are over."""
        out: list[Record | Mark] = []
        now_s, wall_s = self.clock.now_s() if self.clock is not None else None, time.time()
        for session_id, kept in list(self.sessions.items()):
            if now_s is not None:
                self._tick(kept, now_s, out)
            over = kept.closed_s is not None and wall_s - kept.closed_s >= FORGET_CLOSED_S
            if over or wall_s - kept.touched_s > FORGET_IDLE_S:
                del self.sessions[session_id]
        return out, self.RETAIN

    def notify_at(self) -> datetime | None:
        """Give the earliest timer of the shard."""
        times: list[float] = []
        if self.clock is not None:
            times += [kept.due_s for kept in self.sessions.values() if kept.due_s is not None]
        times += [kept.closed_s + FORGET_CLOSED_S for kept in self.sessions.values() if kept.closed_s is not None]
        if not times:
            return None
        # While the flow's clock stands still (a backlog), looking again every few milliseconds is enough.
        earliest = min(times)
        wall_s = time.time()
        return datetime.fromtimestamp(earliest if earliest > wall_s else wall_s + 0.005, UTC)

    def snapshot(self) -> dict[str, bytes]:
        """Give the pickled sessions; only those that changed are pickled anew."""
        for kept in self.sessions.values():
            if kept.packed is None:
                kept.packed = pickle.dumps((kept.state, kept.touched_s, kept.closed_s), pickle.HIGHEST_PROTOCOL)
        return {session_id: kept.packed for session_id, kept in self.sessions.items() if kept.packed is not None}
