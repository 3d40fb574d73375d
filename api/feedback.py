"""Ratings of answers: a record in the log for each, the newest counts."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.answers import AnswerBoard, read_records
from api.deps import CurrentCaller, door_of
from api.errors import PROBLEMS, Problem
from api.sessions import IdempotencyKey, SessionPath
from schemas.base import derive_id
from schemas.feedback import MAX_COMMENT_CHARS, Feedback, Verdict

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["answers"], responses=PROBLEMS)


class NewFeedback(BaseModel):
    """What you think of an answer."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"verdict": "wrong", "comment": "in 1883"}})
    verdict: Verdict
    comment: Annotated[str, Field(max_length=MAX_COMMENT_CHARS)] = ""


class FeedbackStored(NewFeedback):
    """The rating as it was stored."""

    answer_id: str
    question_id: str
    cursor: str


@router.post("/sessions/{session_id}/answers/{answer_id}/feedback", status_code=201, response_model=FeedbackStored)
async def rate_answer(
    request: Request,
    session_id: SessionPath,
    answer_id: SessionPath,
    body: NewFeedback,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Rate an answer as useful or wrong, also after the session's end; the newest rating counts."""
    door = door_of(request)
    await door.session(session_id, caller)
    board = AnswerBoard()
    await asyncio.to_thread(read_records, door, session_id, ["questions", "answers"], board.take)
    row = next((one for one in board.rows.values() if one.answer_id == answer_id), None)
    if row is None:
        raise Problem(404, "No such answer")
    if row.status != "complete":
        raise Problem(409, "There is no whole answer to rate")
    rating = Feedback(
        session_id=session_id,
        event_id=derive_id(caller.owner_id, "feedback", answer_id, idempotency_key or uuid.uuid4().hex),
        created_at=datetime.now(UTC),
        answer_id=answer_id,
        question_id=row.question_id,
        verdict=body.verdict,
        comment=body.comment.strip(),
    )
    (stored,) = await door.append([rating], "feedback")
    return FeedbackStored(
        answer_id=answer_id,
        question_id=row.question_id,
        verdict=rating.verdict,
        comment=rating.comment,
        cursor=stored.cursor,
    )
