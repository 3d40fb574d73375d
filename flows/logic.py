"""Runs an operator inside Bytewax: many sessions per key, timers, snapshots, faults."""

import heapq
import itertools
import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from bytewax.operators import StatefulBatchLogic

from eventlog.base import EventLog
from flows.arrivals import Arrived, bury, shard_name
from flows.clock import FlowClock
from flows.gone import GoneSessions
from flows.marks import Mark
from flows.packing import pack, unpack
from flows.piece_file import CLEAR_S, Piece, PieceFile, PieceFolder, Place
from operators.base import Operator
from schemas.base import Record
from schemas.codec import decode
from schemas.hops import HopCounts
from schemas.meeting import MeetingOpened

__all__ = ["OperatorLogic"]

logger = structlog.get_logger("flows")

FORGET_CLOSED_S = 5.0
"""A closed session's state stays this long by the flow's own time, which stands still while something lies unread: what
was said last is still on its way through the topics, and would else begin the session anew."""
FORGET_IDLE_S = 24 * 3600.0
SWEEP_S = 600.0
MAX_TICKS = 16
LOOK_S = 0.005
"""How soon a timer is looked at again that is due and may not fire, since something before it lies unread."""
BACKLOG_S = 1.0
LOOK_BACKLOG_S = 0.1
"""The same in a backlog, whose timers fire before the records that come after them: every shard would be called
hundreds of times a second for nothing."""
MOST_STEPS = 32
"""Of more steps than this within one snapshot the state is written instead."""
ROOM = 2
"""A session's steps may take so many times the bytes of its state before that is written again."""


Step = tuple[str, bytes, float] | float
"""What changed a session: a record of a topic with its bytes and its time, or the time at which a timer fired."""


@dataclass(slots=True)
class _Kept:
    """One session inside a shard; `state` is None while it is only known as it lay in the snapshot.

    `steps` are what changed it since the newest snapshot, None when its state is to be written; so it is when more than
    `room` bytes of steps would follow the last time it was.
    """

    state: Any
    touched_s: float
    due_s: float | None = None
    closed_s: float | None = None
    steps: list[Step] | None = None
    room: int = 0


@dataclass(slots=True)
class OperatorLogic(StatefulBatchLogic[Arrived | Mark, Record | Mark, Place]):
    """One shard of an operator's sessions.

    Time inside the operator is the producer time of its records, so the same log gives the same outputs
    however fast it is read; timers between two records fire before the later one, in replay as live.

    A shard holds many sessions, and every call costs what it touches: timers lie in a heap, sessions that are over in
    a queue, and a snapshot writes of the sessions that changed what changed them, now and then their state: to pack
    that cost an eighth of a caption. Operators are pure: a restart that takes the same steps comes to the same state.
    """

    flow: str
    operator: Operator[Any, Any, Any]
    clock: FlowClock | None
    log: EventLog
    finishing: bool = False
    file: PieceFile = field(default_factory=lambda: PieceFolder().file(None))
    sessions: dict[str, _Kept] = field(default_factory=dict)
    # Sessions of before a restart that nothing was heard of since, as they lay.
    pieces: dict[str, list[Piece]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    # A timer that was moved leaves its old entry behind, which is passed over when its time comes.
    timers: list[tuple[float, str]] = field(default_factory=list)
    closed: list[tuple[float, str]] = field(default_factory=list)
    gone: GoneSessions = field(default_factory=GoneSessions)
    swept_s: float = field(default_factory=time.time)
    counts: HopCounts = field(default_factory=HopCounts)

    @classmethod
    def builder(  # noqa: PLR0913 - all that a shard runs with
        cls,
        flow: str,
        operator: Operator[Any, Any, Any],
        clock: FlowClock | None,
        log: EventLog,
        *,
        folder: PieceFolder | None = None,
        finishing: bool = False,
        counts: HopCounts | None = None,
    ) -> Callable[[Place | None], "OperatorLogic"]:
        """Give the function that Bytewax calls to make or restore a shard; without a clock, marks tell the time.

        Without a `folder` for its sessions a shard cannot be restored.
        """
        folder = folder or PieceFolder()

        def build(place: Place | None) -> OperatorLogic:
            logic = cls(flow, operator, clock, log, finishing, folder.file(place))
            logic.counts = counts or logic.counts
            logic.pieces = logic.file.restore()
            for session_id, pieces in logic.pieces.items():
                _, touched_s, due_s, closed_s, _ = pieces[-1]
                logic.sessions[session_id] = _Kept(None, touched_s, due_s, closed_s)
                if due_s is not None:
                    logic.timers.append((due_s, session_id))
            heapq.heapify(logic.timers)
            over = ((kept.closed_s, one) for one, kept in logic.sessions.items() if kept.closed_s is not None)
            logic.closed.extend(sorted(over))  # a sorted list is a heap
            return logic

        return build

    def on_batch(self, values: list[Arrived | Mark]) -> tuple[Iterable[Record | Mark], bool]:
        """Step every record; a record the operator fails on is buried and its state stays as it was."""
        out: list[Record | Mark] = []
        self.file.shard = self.file.shard or shard_name(values[0], self.file.shards)
        for arrived in values:
            if isinstance(arrived, Mark):
                self._fire(arrived.at_s, out)
                self._forget_closed(arrived.at_s)
                self._sweep()
                out.append(arrived)
                continue
            session_id = arrived.record.session_id
            kept = self.sessions.get(session_id)
            if kept is None:
                kept = self._begin(session_id, arrived)
            self._tick(session_id, kept, arrived.at_s, out)
            self._step(session_id, kept, arrived, out)
        return out, self.RETAIN

    def _begin(self, session_id: str, arrived: Arrived) -> _Kept:
        kept = self.sessions[session_id] = _Kept(self.operator.initial(), arrived.at_s)
        if isinstance(arrived.record, MeetingOpened):
            self.gone.opened(session_id)
        elif session_id in self.gone:
            # In a backlog the flow before fires timers of a session after its end was passed on.
            kept.closed_s = arrived.at_s
            heapq.heappush(self.closed, (arrived.at_s, session_id))
            self.changed.add(session_id)
        return kept

    def _step(self, session_id: str, kept: _Kept, arrived: Arrived, out: list[Record | Mark]) -> None:
        state = self._state(session_id, kept)
        try:
            state, made = self.operator.step(state, arrived.record, arrived.at_s)
        except Exception as error:
            reason = f"{type(error).__name__} in {self.flow}"
            value = arrived.record.model_dump_json().encode()
            self.counts.buried[arrived.topic] = self.counts.buried.get(arrived.topic, 0) + 1
            bury(self.log, self.flow, arrived.record.session_id, arrived.topic, arrived.offset, reason, value)
            return
        self._keep(session_id, kept, state, arrived.at_s, (arrived.topic, arrived.value, arrived.at_s))
        out.extend(made)

    def _state(self, session_id: str, kept: _Kept) -> Any:
        """Give a session's state; after a restart it is unpacked at the first record that needs it."""
        if kept.state is None:
            whole, *later = self.pieces.pop(session_id)
            kept.state = unpack(whole[0])
            for step in itertools.chain.from_iterable(unpack(one[0]) for one in later):
                kept.state = self._again(kept.state, step)
        return kept.state

    def _again(self, state: Any, step: Step) -> Any:
        if not isinstance(step, tuple):
            return self.operator.tick(state, step)[0]
        topic, value, at_s = step
        return self.operator.step(state, decode(topic, value), at_s)[0]

    def _fire(self, until_s: float, out: list[Record | Mark]) -> None:
        """Fire the timers that are due up to a time."""
        due: dict[str, None] = {}
        while self.timers and self.timers[0][0] <= until_s:
            due[heapq.heappop(self.timers)[1]] = None
        for session_id in due:
            if (kept := self.sessions.get(session_id)) is not None:
                self._tick(session_id, kept, until_s, out)

    def _tick(self, session_id: str, kept: _Kept, until_s: float, out: list[Record | Mark]) -> None:
        for _ in range(MAX_TICKS):
            if kept.due_s is None or kept.due_s > until_s:
                return
            before = kept.due_s
            state, made = self.operator.tick(self._state(session_id, kept), before)
            self._keep(session_id, kept, state, kept.touched_s, before)
            out.extend(made)
            if kept.due_s is not None and kept.due_s <= before:
                logger.error("timer_did_not_advance", flow=self.flow)
                kept.due_s = None

    def _keep(self, session_id: str, kept: _Kept, state: Any, at_s: float, step: Step) -> None:
        if state is not kept.state:
            if kept.steps is not None:
                kept.steps.append(step)
                if len(kept.steps) > MOST_STEPS or (isinstance(step, tuple) and not step[1]):
                    kept.steps = None
            kept.state, before, kept.due_s = state, kept.due_s, self.operator.due_s(state)
            self.changed.add(session_id)
            if kept.due_s is not None and kept.due_s != before:
                heapq.heappush(self.timers, (kept.due_s, session_id))
        kept.touched_s = at_s
        if kept.closed_s is None and self.operator.finished(state):
            kept.closed_s = at_s
            heapq.heappush(self.closed, (at_s, session_id))
            self.changed.add(session_id)

    def on_eof(self) -> tuple[Iterable[Record | Mark], bool]:
        """Where the topics end for good, fire the timers that are still pending."""
        out: list[Record | Mark] = []
        if self.finishing:
            self._fire(float("inf"), out)
        return out, self.RETAIN

    def on_notify(self) -> tuple[Iterable[Record | Mark], bool]:
        """Fire the timers that are due and forget sessions that are over."""
        out: list[Record | Mark] = []
        if self.clock is not None:
            now_s = self.clock.now_s()
            self._fire(now_s, out)
            self._forget_closed(now_s)
        self._sweep()
        return out, self.RETAIN

    def _sweep(self) -> None:
        """Forget, now and then, sessions that nobody closed."""
        wall_s = time.time()
        if wall_s - self.swept_s > SWEEP_S:
            self.swept_s = wall_s
            for session_id, kept in list(self.sessions.items()):
                if wall_s - kept.touched_s > FORGET_IDLE_S:
                    self._forget(session_id)

    def _forget_closed(self, now_s: float) -> None:
        while self.closed and now_s - self.closed[0][0] >= FORGET_CLOSED_S:
            self._forget(heapq.heappop(self.closed)[1])

    def _forget(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)
        self.pieces.pop(session_id, None)
        self.changed.add(session_id)
        self.gone.add(session_id)

    def notify_at(self) -> datetime | None:
        """Give the earliest timer of the shard."""
        if self.clock is None:
            return None  # marks tell the time
        while self.timers and not self._pending(*self.timers[0]):
            heapq.heappop(self.timers)
        times = [self.timers[0][0]] if self.timers else []
        if self.closed:
            times.append(self.closed[0][0] + FORGET_CLOSED_S)
        wall_s = time.time()
        if self.changed or not self.file.cleared:
            times.append(wall_s + CLEAR_S)
        if not times:
            return None
        earliest = min(times)
        if earliest <= wall_s:
            # The flow's clock stands still: for a moment, while what just came is read, or all through a backlog.
            backlog = wall_s - self.clock.now_s() > BACKLOG_S
            earliest = wall_s + (LOOK_BACKLOG_S if backlog else LOOK_S)
        return datetime.fromtimestamp(earliest, UTC)

    def _pending(self, due_s: float, session_id: str) -> bool:
        kept = self.sessions.get(session_id)
        return kept is not None and kept.due_s == due_s

    def snapshot(self) -> Place:
        """Write the sessions that changed; gives where all of them lie."""
        changed: dict[str, Piece | None] = {}
        for session_id in self.changed:
            kept = self.sessions.get(session_id)
            if kept is None:
                changed[session_id] = None
            elif kept.state is not None:  # else it is as it lay
                changed[session_id] = _piece(kept)
        self.changed.clear()
        return self.file.keep(changed)


def _piece(kept: _Kept) -> Piece:
    """Pack a session: the steps that it took, or its state when those are not known or would grow larger."""
    packed = pickle.dumps(kept.steps, pickle.HIGHEST_PROTOCOL) if kept.steps is not None else b""
    if adds := 0 < len(packed) <= kept.room:
        kept.room -= len(packed)
    else:
        packed = pack(kept.state)
        kept.room = ROOM * len(packed)
    kept.steps = []
    return packed, kept.touched_s, kept.due_s, kept.closed_s, adds
