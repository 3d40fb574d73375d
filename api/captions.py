"""Captions in and out."""

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.consent_gate import objections_to, refuse
from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS, Problem
from api.sessions import IdempotencyKey, SessionPath
from api.sessions_seen import SessionSeen
from schemas.base import Identifier, Seconds, derive_id
from schemas.codec import decode
from schemas.speech import MAX_CAPTION_CHARS, Caption, CaptionRecord

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["captions"], responses=PROBLEMS)

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
SECONDS_PER_WORD = 0.4
LONGEST_S = 1_000_000.0


class NewCaption(BaseModel):
    """One caption; a tool that knows only speaker and text may leave out everything else."""

    model_config = ConfigDict(extra="forbid")
    caption_id: Identifier | None = None
    speaker: Identifier | None = None
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    text: Annotated[str, StringConstraints(max_length=MAX_CAPTION_CHARS)]
    final: bool = True
    language: Annotated[str, Field(max_length=35)] | None = None
    track: Identifier | None = None


class NewCaptions(BaseModel):
    """One or many captions of a session, in the order in which they were heard."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "captions": [
                    {
                        "caption_id": "c1",
                        "speaker": "marta",
                        "start_s": 12.4,
                        "end_s": 15.1,
                        "text": "Why did you choose Kafka there?",
                        "final": True,
                    }
                ]
            }
        },
    )
    captions: Annotated[list[NewCaption], Field(min_length=1, max_length=1_000)]


class CaptionAccepted(BaseModel):
    """Where a caption lies; `repeat` when it was there already."""

    caption_id: str
    offset: int
    repeat: bool


class CaptionsAccepted(BaseModel):
    """What was stored; reading after `cursor` gives what follows.

    `left_out` are the captions of those who did not agree to be written down.
    """

    accepted: list[CaptionAccepted]
    cursor: str
    left_out: list[str] = Field(default_factory=list)


class CaptionShown(BaseModel):
    """A caption as stored."""

    caption_id: str
    revision: int
    speaker: str | None
    track: str | None
    start_s: float
    end_s: float
    text: str
    final: bool


class CaptionList(BaseModel):
    """Captions in log order; `cursor` asks for those after them."""

    captions: list[CaptionShown]
    cursor: str


@router.post("/sessions/{session_id}/captions", status_code=202, response_model=CaptionsAccepted)
async def post_captions(
    request: Request,
    session_id: SessionPath,
    body: NewCaptions,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Send captions, partial or final; when this answers, they are stored.

    Sending a caption again is harmless. A final caption with an id that is taken by other text is refused
    (409), and then nothing of the batch is stored. Words of somebody who took back their consent, or by the setting
    `consent` was not asked, are left out; 403 when that leaves none.
    """
    door = door_of(request)
    session = await door.session(session_id, caller)
    if session.closed_at is not None:
        raise Problem(409, "The session has ended")
    captions, left_out = _agreed(door, session, _captions(session, body.captions, idempotency_key))
    _refuse_conflicts(door, captions)
    stored = await door.append(captions, "captions")
    # Somebody else may have stored one of the ids between the look and the append.
    _refuse_conflicts(door, [caption for caption, one in zip(captions, stored, strict=True) if one.repeat])
    door.metrics.captions.inc(sum(not one.repeat for one in stored))
    accepted = [
        CaptionAccepted(caption_id=caption.caption_id, offset=one.offset, repeat=one.repeat)
        for caption, one in zip(captions, stored, strict=True)
    ]
    cursor = max(stored, key=lambda one: one.offset).cursor
    return CaptionsAccepted(accepted=accepted, cursor=cursor, left_out=left_out)


def _agreed(door: Door, session: SessionSeen, captions: list[Caption]) -> tuple[list[Caption], list[str]]:
    """Part the captions that may be stored from the ids of those that may not.

    Raises:
        Problem: 403, none may be.
    """
    objections = {
        speaker: objections_to(session, speaker, ("captions",), door.parts.consent)
        for speaker in {one.speaker for one in captions}
    }
    kept = [one for one in captions if not objections[one.speaker]]
    if not kept:
        refuse([one for found in objections.values() for one in found])
    return kept, [one.caption_id for one in captions if objections[one.speaker]]


def _captions(session: SessionSeen, new: Sequence[NewCaption], idempotency_key: str | None) -> list[Caption]:
    now = datetime.now(UTC)
    base = idempotency_key or uuid.uuid4().hex
    heard_s = min(max(0.0, (now - session.opened.created_at).total_seconds()), LONGEST_S)
    made = []
    for number, one in enumerate(new):
        text = _CONTROL.sub("", one.text)
        spoken_s = SECONDS_PER_WORD * len(text.split())
        start_s, end_s = _times(one, heard_s, spoken_s)
        if end_s < start_s:
            raise Problem(422, "The request is not valid", f"captions[{number}]: end_s lies before start_s")
        caption_id = one.caption_id or derive_id(session.session_id, "caption", base, number)
        made.append(
            Caption(
                session_id=session.session_id,
                event_id=_event_id(session.session_id, caption_id, text, start_s, end_s, final=one.final),
                created_at=now,
                caption_id=caption_id,
                speaker=one.speaker,
                track=one.track,
                start_s=start_s,
                end_s=end_s,
                text=text,
                final=one.final,
                language=one.language,
            )
        )
    return made


def _times(one: NewCaption, heard_s: float, spoken_s: float) -> tuple[float, float]:
    """Give start and end; what the sender left out is guessed: heard just now, 0.4 s a word."""
    if one.start_s is not None:
        return one.start_s, one.end_s if one.end_s is not None else min(one.start_s + spoken_s, LONGEST_S)
    end_s = one.end_s if one.end_s is not None else max(heard_s, spoken_s)
    return max(0.0, end_s - spoken_s), end_s


def _event_id(session_id: str, caption_id: str, text: str, start_s: float, end_s: float, *, final: bool) -> str:
    if final:
        return derive_id(session_id, "captions", caption_id, "final")
    return derive_id(session_id, "captions", caption_id, "partial", text, f"{start_s:.3f}", f"{end_s:.3f}")


def _refuse_conflicts(door: Door, captions: Sequence[Caption]) -> None:
    """Refuse final captions whose id is taken by other words, in the log or within the batch."""
    conflicts: list[str] = []
    batch: dict[str, Caption] = {}
    for caption in captions:
        if not caption.final:
            continue
        other = batch.setdefault(caption.caption_id, caption)
        lying = door.parts.log.find("captions", caption.session_id, caption.event_id)
        if lying is not None and isinstance(stored := decode("captions", lying.value), Caption):
            other = stored
        if (other.text, other.speaker) != (caption.text, caption.speaker):
            conflicts.append(caption.caption_id)
    if conflicts:
        raise Problem(409, "Captions with these ids are stored with other words", conflicts=sorted(set(conflicts))[:50])


@router.get("/sessions/{session_id}/captions", response_model=CaptionList)
async def get_captions(
    request: Request,
    session_id: SessionPath,
    caller: CurrentCaller,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 1_000,
    *,
    final: Annotated[bool, Query(description="Only final captions.")] = True,
) -> Any:
    """Read the captions stored so far, each with the speaker known by now.

    A correction of a caption on an earlier page comes by itself, with its `revision`: the highest one counts.
    """
    door = door_of(request)
    await door.session(session_id, caller)
    log = door.parts.log
    at = cursor if cursor is not None else log.cursor_start()
    found: list[CaptionShown] = []
    places: dict[str, int] = {}
    while len(found) < limit:
        records = log.read_key(session_id, ["captions"], at, limit)
        for record in records:
            caption: CaptionRecord = decode("captions", record.value)
            at = record.cursor
            # A final caption without words takes back what was guessed.
            if isinstance(caption, Caption) and (caption.final or not final) and caption.text:
                shown = CaptionShown.model_validate(caption, from_attributes=True)
                if caption.revision and caption.caption_id in places:
                    found[places[caption.caption_id]] = shown
                    continue
                if caption.final:
                    places[caption.caption_id] = len(found)
                found.append(shown)
            if len(found) == limit:
                break
        if not records:
            break
    return CaptionList(captions=found, cursor=at)
