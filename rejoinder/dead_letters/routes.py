"""Dead letters over HTTP, for the operator's key alone: they may hold what somebody said, of any owner."""

import base64
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from api.deps import CurrentOperator
from api.errors import PROBLEMS, Problem
from eventlog.base import EventLog
from rejoinder.dead_letters.letters import DeadLetters, Letter, NoSuchLetter

__all__ = ["dead_letters_router"]

LetterId = Annotated[str, Path(min_length=1, max_length=200)]


class LetterListed(BaseModel):
    """A dead letter without its value."""

    letter_id: str
    session_id: str
    topic: str
    offset: int
    flow: str
    reason: str
    created_at: datetime
    fixed: bool
    redriven: bool


class LetterShown(LetterListed):
    """A dead letter with its value: as text where it is text, always as base64; `whole` unless it was cut."""

    text: str | None
    value_base64: str
    whole: bool
    fix_base64: str | None


class LetterList(BaseModel):
    """Dead letters, newest first."""

    letters: list[LetterListed]


class Fix(BaseModel):
    """A corrected value: the record as JSON with its `v`, as text or object, or its bytes as base64."""

    text: Annotated[str | None, Field(max_length=1_500_000)] = None
    value_base64: Annotated[str | None, Field(max_length=1_900_000)] = None


class RedrivenShown(BaseModel):
    """Where the record lies now; `repeat` when it had been put back before."""

    topic: str
    partition: int
    offset: int
    repeat: bool


def _listed(one: Letter) -> dict[str, Any]:
    letter = one.letter
    return {
        "letter_id": one.letter_id,
        "session_id": letter.session_id,
        "topic": letter.topic,
        "offset": letter.offset,
        "flow": letter.flow,
        "reason": letter.reason,
        "created_at": letter.created_at,
        "fixed": one.fix is not None,
        "redriven": one.redriven,
    }


def text_of(value: bytes) -> str | None:
    """Give a value as text, or None when it is none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _bytes_of(fix: Fix) -> bytes:
    if (fix.text is None) == (fix.value_base64 is None):
        raise Problem(422, "The request is not valid", "send either text or value_base64")
    if fix.text is not None:
        return fix.text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(fix.value_base64 or "", validate=True)
    except ValueError:
        raise Problem(422, "The request is not valid", "value_base64 is not base64") from None


def dead_letters_router(log: EventLog) -> APIRouter:
    """Give the routes over a log."""
    router = APIRouter(prefix="/api/dead-letters", tags=["dead letters"], responses=PROBLEMS)
    letters = DeadLetters(log)

    def shown(letter_id: str) -> LetterShown:
        try:
            one = letters.one(letter_id)
        except NoSuchLetter:
            raise Problem(404, "No such dead letter") from None
        value, whole = letters.value(one)
        return LetterShown(
            **_listed(one),
            text=text_of(value),
            value_base64=base64.b64encode(value).decode(),
            whole=whole,
            fix_base64=base64.b64encode(one.fix).decode() if one.fix is not None else None,
        )

    def fixed(letter_id: str, value: bytes) -> LetterShown:
        try:
            letters.fix(letter_id, value)
        except NoSuchLetter:
            raise Problem(404, "No such dead letter") from None
        return shown(letter_id)

    def redriven(letter_id: str) -> RedrivenShown:
        try:
            done = letters.redrive(letter_id)
        except NoSuchLetter:
            raise Problem(404, "No such dead letter") from None
        return RedrivenShown(topic=done.topic, partition=done.partition, offset=done.offset, repeat=done.repeat)

    @router.get("", response_model=LetterList)
    async def list_letters(
        _: CurrentOperator,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
        *,
        waiting: Annotated[bool, Query(description="Only those that were not put back.")] = False,
    ) -> Any:
        """List dead letters, newest first, without their values."""
        found = await run_in_threadpool(letters.newest, limit, waiting=waiting)
        return {"letters": [_listed(one) for one in found]}

    @router.get("/{letter_id}", response_model=LetterShown)
    async def show_letter(_: CurrentOperator, letter_id: LetterId) -> Any:
        """Show one with its value."""
        return await run_in_threadpool(shown, letter_id)

    @router.post("/{letter_id}/fix", response_model=LetterShown)
    async def fix_letter(_: CurrentOperator, letter_id: LetterId, body: Fix) -> Any:
        """Keep a corrected value; it must be a record of the topic and of the same session (422 otherwise)."""
        return await run_in_threadpool(fixed, letter_id, _bytes_of(body))

    @router.post("/{letter_id}/redrive", response_model=RedrivenShown)
    async def redrive_letter(_: CurrentOperator, letter_id: LetterId) -> Any:
        """Put it back onto its topic, once: a second call changes nothing and says `repeat`."""
        return await run_in_threadpool(redriven, letter_id)

    return router
