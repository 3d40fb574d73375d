"""Questions and their answers so far, memory, and one-off questions."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from api.deps import Caller, CurrentCaller, Door, door_of
from api.errors import PROBLEMS, Problem
from api.sessions import IdempotencyKey, SessionPath
from api.stream import HEADERS
from schemas.answers import Citation, Grounded, answer_id_of
from schemas.base import Identifier, derive_id
from schemas.codec import decode
from schemas.errors import SchemaError
from schemas.feedback import Feedback, Verdict
from schemas.meeting import MeetingOpened
from schemas.questions import Question, QuestionWithdrawn

__all__ = ["AnswerBoard", "AnswerShown", "ask_router", "read_records", "router"]

router = APIRouter(prefix="/api", tags=["answers"], responses=PROBLEMS)
ask_router = APIRouter(prefix="/api", tags=["ask"], responses=PROBLEMS)

READ_BATCH = 2_000
STATUS_OF_FAILURE = {"timeout": 504, "unavailable": 503, "rejected": 502, "broken": 502}


class AnswerShown(BaseModel):
    """A question with what became of it."""

    session_id: str = ""
    question_id: str
    question: str
    asked_by: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    revision: int = 0
    origin: Literal["heard", "asked"] = "heard"
    status: Literal["pending", "complete", "failed", "withdrawn"] = "pending"
    answer_id: str
    text: str = ""
    citations: list[Citation] = Field(default_factory=list)
    mode: Literal["model", "extractive"] | None = None
    grounded: Grounded | None = None
    model: str = ""
    reason: str = ""
    first_delta_ms: float | None = None
    total_ms: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    verdict: Verdict | None = None
    comment: str = ""


class AnswerList(BaseModel):
    """All questions of a session in the order they were asked; `cursor` is where a stream goes on."""

    answers: list[AnswerShown]
    cursor: str


class AnswerBoard:
    """Questions and answers joined, fed record by record."""

    def __init__(self) -> None:
        self.rows: dict[str, AnswerShown] = {}
        self._tries: dict[str, int] = {}
        self._ratings: dict[str, Feedback] = {}

    def rated(self) -> list[AnswerShown]:
        """Give all rows in the order they were asked, each with its newest rating."""
        for row in self.rows.values():
            if (rating := self._ratings.get(row.answer_id)) is not None:
                row.verdict, row.comment = rating.verdict, rating.comment
        return list(self.rows.values())

    def take(self, record: Any) -> None:
        """Take a record of the topics `questions`, `answers` and `feedback`."""
        match record.type:
            case "feedback":
                self._ratings[record.answer_id] = record
            case "question":
                self._question(record)
            case "question_withdrawn":
                if (row := self.rows.get(record.question_id)) is not None and row.status == "pending":
                    row.status, row.reason = "withdrawn", record.reason
            case _:
                self._answer(record)

    def _question(self, question: Question) -> None:
        row = self.rows.get(question.question_id)
        if row is not None and row.revision >= question.revision:
            return
        self.rows[question.question_id] = AnswerShown(
            session_id=question.session_id,
            question_id=question.question_id,
            question=question.text,
            asked_by=question.speaker_name,
            start_s=question.start_s,
            end_s=question.end_s,
            revision=question.revision,
            origin=question.origin,
            answer_id=answer_id_of(question),
        )

    def _answer(self, record: Any) -> None:
        row = self.rows.get(record.question_id)
        if row is None or row.answer_id != record.answer_id:
            return
        if record.type == "answer_delta":
            if row.status != "pending":
                return
            if record.attempt > self._tries.get(record.answer_id, record.attempt):
                row.text = ""
            self._tries[record.answer_id] = record.attempt
            row.text += record.text
        elif record.type == "answer":
            row.status, row.text, row.citations = "complete", record.text, list(record.citations)
            row.mode, row.model, row.grounded = record.mode, record.model, record.grounded
            row.first_delta_ms, row.total_ms = record.first_delta_ms, record.total_ms
            row.prompt_tokens, row.answer_tokens = record.prompt_tokens, record.answer_tokens
        else:
            row.status = "withdrawn" if record.reason == "cancelled" else "failed"
            row.reason = record.reason


@router.get("/sessions/{session_id}/answers", response_model=AnswerList)
async def get_answers(request: Request, session_id: SessionPath, caller: CurrentCaller) -> Any:
    """Read all questions so far, each with its answer and citations."""
    door = door_of(request)
    await door.session(session_id, caller)
    board = AnswerBoard()
    topics = ["questions", "answers", "feedback"]
    cursor = await asyncio.to_thread(read_records, door, session_id, topics, board.take)
    return AnswerList(answers=board.rated(), cursor=cursor)


def read_records(door: Door, session_id: str, topics: list[str], take: Any) -> str:
    """Hand every record of a session's topics to `take`; gives the cursor after the last."""
    cursor = door.parts.log.cursor_start()
    while records := door.parts.log.read_key(session_id, topics, cursor, READ_BATCH):
        cursor = records[-1].cursor
        for lying in records:
            try:
                take(decode(lying.topic, lying.value))
            except SchemaError:
                continue  # the flows bury it
    return cursor


@router.post("/sessions/{session_id}/questions/{question_id}/cancel", status_code=202)
async def cancel_question(
    request: Request, session_id: SessionPath, question_id: SessionPath, caller: CurrentCaller
) -> dict[str, str]:
    """Stop answering a question; what the model would still have written is not paid for."""
    door = door_of(request)
    await door.session(session_id, caller)
    board = AnswerBoard()
    await asyncio.to_thread(read_records, door, session_id, ["questions"], board.take)
    if question_id not in board.rows:
        raise Problem(404, "No such question")
    withdrawn = QuestionWithdrawn(
        session_id=session_id,
        event_id=derive_id(question_id, "withdrawn"),
        created_at=datetime.now(UTC),
        question_id=question_id,
    )
    await door.append([withdrawn], "questions")
    return {"question_id": question_id, "status": "withdrawn"}


class Ask(BaseModel):
    """A question put directly."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"question": "Which database did I migrate, and when?"}}
    )
    question: Annotated[str, StringConstraints(min_length=1, max_length=5_000, pattern=r"\S")]
    session_id: SessionPath | None = None
    collections: Annotated[list[Identifier], Field(max_length=50)] = Field(default_factory=list)


@ask_router.post(
    "/ask",
    response_model=AnswerShown,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def ask(
    request: Request, body: Ask, caller: CurrentCaller, idempotency_key: IdempotencyKey = None
) -> Response | AnswerShown:
    """Ask a question, within a session or on its own; JSON, or a stream of events with `Accept: text/event-stream`.

    Within a session all its clients see question and answer.
    """
    door = door_of(request)
    base = idempotency_key or uuid.uuid4().hex
    session_id = await _asked_session(door, caller, body, base)
    question = Question(
        session_id=session_id,
        event_id=derive_id(caller.owner_id, "asked", base),
        created_at=datetime.now(UTC),
        question_id=derive_id(caller.owner_id, "asked", base, "question"),
        text=body.question.strip(),
        origin="asked",
        speaker_name="You",
    )
    before = door.parts.log.cursor_start() if idempotency_key else door.parts.log.cursor_now(session_id)
    await door.append([question], "questions")
    records = _answer_records(door, question, before)
    if "text/event-stream" in request.headers.get("accept", ""):
        return EventSourceResponse(_as_events(records), headers=HEADERS)
    board = AnswerBoard()
    board.take(question)
    async for record in records:
        board.take(record)
        if record.type == "answer_failed":
            status = STATUS_OF_FAILURE.get(record.reason, 502)
            raise Problem(status, "No answer came", record.detail or record.reason, question_id=question.question_id)
    row = board.rows[question.question_id]
    if row.status == "pending":
        raise Problem(504, "The answer takes longer than this request may", question_id=question.question_id)
    return row


async def _asked_session(door: Door, caller: Caller, body: Ask, base: str) -> str:
    """Give the session to ask in; without one, a hidden session is made for this question."""
    if body.session_id is not None:
        if (await door.session(body.session_id, caller)).closed_at is not None:
            raise Problem(409, "The session has ended")
        return body.session_id
    session_id = derive_id(caller.owner_id, "asked", base, "session")
    opened = MeetingOpened(
        session_id=session_id,
        event_id=derive_id(session_id, "opened"),
        created_at=datetime.now(UTC),
        owner_id=caller.owner_id,
        kind="meeting",
        collections=tuple(body.collections),
        hidden=True,
    )
    await door.append([opened], "meeting")
    return session_id


async def _answer_records(door: Door, question: Question, cursor: str) -> AsyncIterator[Any]:
    """Tail the answer of one question until it is closed or the time is up."""
    wanted = answer_id_of(question)
    end = asyncio.get_running_loop().time() + door.parts.limits.ask_s
    with door.waker.waiting(question.session_id) as woken:
        while (left := end - asyncio.get_running_loop().time()) > 0 and not door.stopping.is_set():
            woken.clear()
            for lying in door.parts.log.read_key(question.session_id, ["answers"], cursor, READ_BATCH):
                cursor = lying.cursor
                record = decode("answers", lying.value)
                if record.answer_id != wanted:
                    continue
                yield record
                if record.type != "answer_delta":
                    return
            try:
                async with asyncio.timeout(min(left, 1.0)):
                    await woken.wait()
            except TimeoutError:
                continue


async def _as_events(records: AsyncIterator[Any]) -> AsyncIterator[ServerSentEvent]:
    async for record in records:
        yield ServerSentEvent(json.dumps(record.model_dump(mode="json")), event=record.type)
    yield ServerSentEvent(json.dumps({"type": "end"}), event="end")
