"""questions + memory + meeting -> answers: starts a model call per question and hands its pieces on as they come."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog
from bytewax.operators import StatefulBatchLogic

from eventlog.base import EventLog
from flows.answer_sessions import AnswerSession, Running
from flows.answering_room import AnsweringRoom, Call
from flows.arrivals import Arrived, shard_name
from flows.clock import FlowClock
from flows.encoded_memory import Lines, lines_read
from flows.gone import GoneSessions
from flows.logic import SWEEP_S
from flows.marks import Mark
from flows.piece_file import CLEAR_S, Piece, PieceFile, PieceFolder, Place
from operators.answering import AnswerContext, AnswerDone, AnswerText
from operators.ports import SearchScope
from schemas.answers import Answer, AnswerDelta, AnswerFailed, Cause, answer_id_of
from schemas.base import Record, derive_id
from schemas.errors import EngineError, ModelError, ModelTimeout
from schemas.meeting import MeetingClosed, MeetingOpened
from schemas.memory import MemoryUpdate
from schemas.questions import Question, QuestionWithdrawn

__all__ = ["AnswersLogic", "AnswersOptions", "closing_id"]

logger = structlog.get_logger("flows")

QUICKEST_MS, FIRST_DRAIN_MS = 0.2, 2.0
"""A first piece is looked for after a quarter of the time it has been awaited for, within these bounds."""
DRAIN_MS = 15.0
"""Pieces are looked for this often: below what an eye notices, and 200 sessions cost a quarter of a core."""
FORGET_CLOSED_S = 60.0
"""By the flow's time, as in `flows.logic`: in a backlog a session's memory is read long after its end."""
LOOK_AGAIN_S = 0.25
FORGET_IDLE_S = 24 * 3600.0


def closing_id(answer_id: str) -> str:
    """Give the event id of the one record that closes an answer, whatever closes it."""
    return derive_id(answer_id, "closed")


@dataclass(frozen=True, slots=True)
class AnswersOptions:
    """How questions are answered.

    Attributes:
        since_s: Questions made before this (seconds since 1970) are taken in but not answered.
        finishing: The topics end: wait for the last answers there, and count an answer's time from its turn.
    """

    since_s: float = 0.0
    finishing: bool = False


@dataclass(slots=True)
class AnswersLogic(StatefulBatchLogic[Arrived | Mark, Record | Mark, Place]):
    """One shard of the answers flow.

    Nothing here waits: model and search run in the room's own thread. Unfinished questions are in the
    snapshot; after a fault they are asked again under the next `attempt`, and a question whose answer is
    already closed in the log is not asked again.
    """

    room: AnsweringRoom
    log: EventLog
    attempt: int
    options: AnswersOptions = field(default_factory=AnswersOptions)
    clock: FlowClock | None = None
    file: PieceFile = field(default_factory=lambda: PieceFolder().file(None))
    sessions: dict[str, AnswerSession] = field(default_factory=dict)
    # Sessions of before a restart that nothing was heard of since.
    pieces: dict[str, list[Piece]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    # Only these are looked at when pieces are handed on: a shard may hold many sessions that ask nothing.
    asking: dict[str, AnswerSession] = field(default_factory=dict)
    closed: deque[tuple[float, str]] = field(default_factory=deque)
    gone: GoneSessions = field(default_factory=GoneSessions)
    swept_s: float = field(default_factory=time.time)

    @classmethod
    def builder(
        cls,
        room: AnsweringRoom,
        log: EventLog,
        attempt: int,
        options: AnswersOptions | None = None,
        clock: FlowClock | None = None,
        *,
        folder: PieceFolder | None = None,
    ) -> Callable[[Place | None], "AnswersLogic"]:
        """Give the function that Bytewax calls to make or restore a shard; without a clock, the wall's is used.

        Without a `folder` for its sessions a shard cannot be restored.
        """
        folder = folder or PieceFolder()

        def build(place: Place | None) -> AnswersLogic:
            logic = cls(room, log, attempt, options or AnswersOptions(), clock, folder.file(place))
            logic.pieces = logic.file.restore()
            over = ((pieces[-1][2], one) for one, pieces in logic.pieces.items())
            logic.closed.extend(sorted((closed_s, one) for closed_s, one in over if closed_s is not None))
            for session_id, pieces in list(logic.pieces.items()):
                if pieces[-1][3]:  # questions wait
                    logic._session(session_id)
            return logic

        return build

    def _session(self, session_id: str) -> AnswerSession:
        """Give a session; after a restart it is unpacked at the first record that needs it."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = AnswerSession(session_id)
            if (pieces := self.pieces.pop(session_id, None)) is not None:
                for question, context, lines in session.restore(pieces):
                    self._begin(session, question, context, lines)
            elif session_id in self.gone:
                session.closed_s = self._now_s()
                self.closed.append((session.closed_s, session_id))
        return session

    def on_batch(self, values: list[Arrived | Mark]) -> tuple[Iterable[Record], bool]:
        """Take questions, withdrawals, memory and meeting events in; time is of no matter here."""
        out: list[Record] = []
        self.file.shard = self.file.shard or shard_name(values[0], self.file.shards)
        for arrived in values:
            if isinstance(arrived, Mark):
                continue
            record = arrived.record
            if isinstance(record, MeetingOpened):
                self.gone.opened(record.session_id)
            session = self._session(record.session_id)
            session.touched_s = arrived.at_s
            session.whole |= not isinstance(record, MemoryUpdate)
            self.changed.add(record.session_id)
            match record:
                case Question():
                    self._ask(session, arrived, out)
                case QuestionWithdrawn():
                    self._withdraw(session, record, out)
                case MemoryUpdate():
                    session.remember(record)
                case MeetingOpened():
                    session.opened = record
                case MeetingClosed():
                    self._close(session, record, out)
                case _:
                    pass
            session.offsets[arrived.topic] = arrived.offset
        self._drain(out)
        return out, self.RETAIN

    def _withdraw(self, session: AnswerSession, record: QuestionWithdrawn, out: list[Record]) -> None:
        if session.withdrawn.get(record.question_id, -1) is not None:  # what a client cancelled stays so
            session.withdrawn[record.question_id] = record.revision
        running = session.running.get(record.question_id)
        if running is not None and _is_withdrawn(session, running.question):
            self._stop(session, record.question_id, "cancelled", out)

    def _ask(self, session: AnswerSession, arrived: Arrived, out: list[Record]) -> None:
        question: Question = arrived.record
        running = session.running.get(question.question_id)
        if _is_withdrawn(session, question) or arrived.at_s < self.options.since_s:
            return
        if running is not None:
            if running.question.revision >= question.revision:
                return
            self._stop(session, question.question_id, "superseded", out)
        if self.log.find("answers", question.session_id, closing_id(answer_id_of(question))) is not None:
            return  # answered before the fault; asking again would only cost money
        opened = session.opened
        context = AnswerContext(
            scope=SearchScope(opened.owner_id if opened else "local", opened.collections if opened else ()),
            kind=opened.kind if opened else "meeting",
            language=opened.language if opened else "en",
            causes=(
                Cause(topic="questions", offset=arrived.offset),
                *(Cause(topic=name, offset=at) for name, at in sorted(session.offsets.items()) if name != "questions"),
            ),
        )
        self._begin(session, question, context, session.memory.lines())

    def _begin(self, session: AnswerSession, question: Question, context: AnswerContext, lines: Lines) -> None:
        memory = lines_read(lines)
        call = self.room.start(question, replace(context, said=memory.said, notes=memory.notes))
        session.running[question.question_id] = Running(question, context, call, lines)
        self.asking[session.session_id] = session

    def _stop(self, session: AnswerSession, question_id: str, reason: str, out: list[Record]) -> None:
        running = session.running.pop(question_id, None)
        if running is not None:
            running.call.cancel()
            out.append(self._failed(running, reason))

    def _close(self, session: AnswerSession, closed: MeetingClosed, out: list[Record]) -> None:
        if session.closed_s is None:
            session.closed_s = self._now_s()
            self.closed.append((session.closed_s, session.session_id))
        if closed.reason == "deleted":
            for question_id in list(session.running):
                self._stop(session, question_id, "session_closed", out)

    def _now_s(self) -> float:
        return time.time() if self.clock is None else self.clock.now_s()

    def on_notify(self) -> tuple[Iterable[Record], bool]:
        """Hand on the pieces that came, and forget sessions that are over."""
        out: list[Record] = []
        self._drain(out)
        self._forget_closed()
        now_s = time.time()
        if now_s - self.swept_s > SWEEP_S:
            self.swept_s = now_s
            touched = {one: pieces[-1][1] for one, pieces in self.pieces.items()}
            touched.update((one, session.touched_s) for one, session in self.sessions.items())
            for session_id, touched_s in touched.items():
                if now_s - touched_s > FORGET_IDLE_S and session_id not in self.asking:
                    self._forget(session_id)
        return out, self.RETAIN

    def _forget_closed(self) -> None:
        now_s = self._now_s() if self.closed else 0.0
        while self.closed and now_s - self.closed[0][0] > FORGET_CLOSED_S:
            _, session_id = self.closed.popleft()
            if session_id in self.asking:
                self.closed.append((now_s, session_id))  # looked at again when its last answer may be there
            else:
                self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)
        self.pieces.pop(session_id, None)
        self.changed.add(session_id)
        self.gone.add(session_id)

    def on_eof(self) -> tuple[Iterable[Record], bool]:
        """Where the topics end for good, wait for the answers that are being written."""
        out: list[Record] = []
        while self.options.finishing and self.asking:
            self._drain(out)
            time.sleep(DRAIN_MS / 1000)
        return out, self.RETAIN

    def _drain(self, out: list[Record]) -> None:
        for session_id, session in list(self.asking.items()):
            for question_id, running in list(session.running.items()):
                if running.call.pieces and self._hand_on(running, out):
                    del session.running[question_id]
                    session.whole = True
                    self.changed.add(session_id)
            if not session.running:
                del self.asking[session_id]

    def _hand_on(self, running: Running, out: list[Record]) -> bool:
        """Turn the pieces that came into records; give whether the answer is closed."""
        text = ""
        end: AnswerDone | EngineError | None = None
        running.call.handed_on = True
        while running.call.pieces and end is None:
            piece = running.call.pieces.popleft()
            if isinstance(piece, AnswerText):
                text += piece.text
            else:
                end = piece
        if text:
            out.append(self._delta(running, text))
        if isinstance(end, AnswerDone):
            out.append(self._answer(running, end))
        elif end is not None:
            out.append(self._failed(running, _reason_of(end), str(end)))
        return end is not None

    def _shared(self, running: Running) -> dict[str, str | int | datetime]:
        question = running.question
        return {
            "session_id": question.session_id,
            "created_at": datetime.now(UTC),
            "answer_id": answer_id_of(question),
            "question_id": question.question_id,
            "question_revision": question.revision,
            "attempt": self.attempt,
        }

    def _delta(self, running: Running, text: str) -> AnswerDelta:
        index = running.next_index
        running.next_index += 1
        event_id = derive_id(answer_id_of(running.question), "delta", self.attempt, index)
        return AnswerDelta.model_validate({**self._shared(running), "event_id": event_id, "index": index, "text": text})

    def _answer(self, running: Running, done: AnswerDone) -> Answer:
        call = running.call
        began_s = call.begun_s if self.options.finishing else call.started_s
        return Answer.model_validate(
            {
                **self._shared(running),
                "event_id": closing_id(answer_id_of(running.question)),
                "text": done.text,
                "citations": done.citations,
                "mode": done.mode,
                "model": done.model,
                "finish": done.finish,
                "first_delta_ms": (call.first_s - began_s) * 1000 if call.first_s is not None else None,
                "total_ms": (call.ended_s - began_s) * 1000,
                "prompt_tokens": done.prompt_tokens,
                "answer_tokens": done.answer_tokens,
                "receipt": done.receipt,
                "grounded": done.grounded,
            }
        )

    def _failed(self, running: Running, reason: str, detail: str = "") -> AnswerFailed:
        return AnswerFailed.model_validate(
            {
                **self._shared(running),
                "event_id": closing_id(answer_id_of(running.question)),
                "reason": reason,
                "detail": detail[:500],
            }
        )

    def notify_at(self) -> datetime | None:
        """Say when to look for pieces again: soon while a first piece is awaited."""
        waits = [_drain_ms(running.call) for session in self.asking.values() for running in session.running.values()]
        if waits:
            return datetime.now(UTC) + timedelta(milliseconds=min(waits))
        if self.closed:
            due_s, wall_s = self.closed[0][0] + FORGET_CLOSED_S, time.time()
            # While the flow's clock stands still (a backlog) there is no hurry.
            return datetime.fromtimestamp(due_s if due_s > wall_s else wall_s + LOOK_AGAIN_S, UTC)
        return None if self.file.cleared and not self.changed else datetime.now(UTC) + timedelta(seconds=CLEAR_S)

    def snapshot(self) -> Place:
        """Write the sessions that changed, with the questions that wait for an answer; gives where all of them lie."""
        sessions = self.sessions
        place = self.file.keep({one: sessions[one].piece() if one in sessions else None for one in self.changed})
        self.changed.clear()
        return place


def _drain_ms(call: Call) -> float:
    if call.first_s is not None and not call.handed_on:
        return 0.0  # it came since this was looked at last
    if call.first_s is not None:
        return DRAIN_MS
    return min(FIRST_DRAIN_MS, max(QUICKEST_MS, (time.monotonic() - call.started_s) * 250))


def _reason_of(error: EngineError) -> str:
    if isinstance(error, ModelTimeout):
        return "timeout"
    if isinstance(error, ModelError):
        return str(getattr(error, "reason", "broken"))
    return "broken"


def _is_withdrawn(session: AnswerSession, question: Question) -> bool:
    revision = session.withdrawn.get(question.question_id, -1)
    return revision is None or question.revision <= revision
