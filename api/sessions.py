"""Open, list, show, end and delete sessions; meeting events."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS, Problem
from api.sessions_seen import SessionSeen
from schemas.base import Identifier, Record, Seconds, derive_id
from schemas.meeting import (
    AgendaMoved,
    MeetingClosed,
    MeetingNoted,
    MeetingOpened,
    Participant,
    ParticipantJoined,
    ParticipantLeft,
    ScreenShared,
)

__all__ = ["IdempotencyKey", "SessionPath", "closing_event", "router"]

router = APIRouter(prefix="/api", tags=["sessions"], responses=PROBLEMS)

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Sending the same request again with the same key does it once."),
]
SessionPath = Annotated[str, Field(min_length=1, max_length=200)]
DELETE_WAIT_S = 2.0


class NewSession(BaseModel):
    """What a session is about; everything is optional."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "kind": "interview",
                "title": "Backend engineer, second round",
                "participants": [
                    {"id": "marta", "name": "Marta", "role": "interviewer"},
                    {"id": "me", "name": "Ravi", "role": "candidate", "is_user": True},
                ],
                "language": "en",
                "collections": ["halden-freight"],
            }
        },
    )
    kind: Annotated[str, Field(max_length=100)] = "meeting"
    title: Annotated[str, Field(max_length=500)] = ""
    participants: Annotated[list[Participant], Field(max_length=200)] = Field(default_factory=list)
    language: Annotated[str, Field(max_length=35)] = "en"
    collections: Annotated[list[Identifier], Field(max_length=50)] = Field(default_factory=list)


class SessionShown(BaseModel):
    """A session as the API shows it."""

    session_id: str
    kind: str
    title: str
    language: str
    collections: list[str]
    participants: list[Participant]
    opened_at: AwareDatetime
    closed_at: AwareDatetime | None = None


class SessionList(BaseModel):
    """Sessions, newest first; `next_before` asks for the page after this one."""

    sessions: list[SessionShown]
    next_before: str | None = None


def shown(session: SessionSeen) -> SessionShown:
    """Give what clients see of a session."""
    opened = session.opened
    return SessionShown(
        session_id=opened.session_id,
        kind=opened.kind,
        title=opened.title,
        language=opened.language,
        collections=list(opened.collections),
        participants=list(session.participants.values()),
        opened_at=opened.created_at,
        closed_at=session.closed_at,
    )


@router.post("/sessions", status_code=201, response_model=SessionShown)
async def open_session(
    request: Request, caller: CurrentCaller, body: NewSession | None = None, idempotency_key: IdempotencyKey = None
) -> Any:
    """Open a session; its id is the key of everything that follows."""
    door, new = door_of(request), body or NewSession()
    session_id = derive_id(caller.owner_id, "session", idempotency_key) if idempotency_key else uuid.uuid4().hex
    if len({person.id for person in new.participants}) != len(new.participants):
        raise Problem(422, "Two participants have the same id")
    if sum(person.is_user for person in new.participants) > 1:
        raise Problem(422, "More than one participant is marked as the user")
    opened = MeetingOpened(
        session_id=session_id,
        event_id=derive_id(session_id, "opened"),
        created_at=datetime.now(UTC),
        owner_id=caller.owner_id,
        kind=new.kind,
        title=new.title,
        participants=tuple(new.participants),
        language=new.language,
        collections=tuple(new.collections),
    )
    await door.append([opened], "meeting")
    return shown(await door.session(session_id, caller))


@router.get("/sessions", response_model=SessionList)
async def list_sessions(
    request: Request,
    caller: CurrentCaller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(max_length=200)] = None,
) -> Any:
    """List your sessions, newest first."""
    found = door_of(request).sessions.of_owner(caller.owner_id, limit + 1, before)
    more = len(found) > limit
    return SessionList(
        sessions=[shown(session) for session in found[:limit]],
        next_before=found[limit - 1].session_id if more else None,
    )


@router.get("/sessions/{session_id}", response_model=SessionShown)
async def show_session(request: Request, session_id: SessionPath, caller: CurrentCaller) -> Any:
    """Show one session."""
    return shown(await door_of(request).session(session_id, caller))


@router.post("/sessions/{session_id}/end", response_model=SessionShown)
async def end_session(request: Request, session_id: SessionPath, caller: CurrentCaller) -> Any:
    """End a session: no more captions are taken; everything stays readable."""
    door = door_of(request)
    session = await door.session(session_id, caller)
    if session.closed_at is None:
        await door.append([closing_event(session_id, "ended")], "meeting")
    return shown(await door.session(session_id, caller))


@router.delete("/sessions/{session_id}", status_code=204)
async def delete_session(request: Request, session_id: SessionPath, caller: CurrentCaller) -> Response:
    """End a session and erase everything stored of it, for good."""
    door = door_of(request)
    await door.session(session_id, caller)
    stored = await door.append([closing_event(session_id, "deleted")], "meeting")
    await _flows_passed(door, stored[0].offset)
    await asyncio.to_thread(door.parts.log.erase, session_id)
    door.pages.forget()
    return Response(status_code=204)


def closing_event(session_id: str, reason: Literal["ended", "deleted"]) -> MeetingClosed:
    """Give the event that ends a session; the same one however often it is ended."""
    return MeetingClosed(
        session_id=session_id,
        event_id=derive_id(session_id, "closed", reason),
        created_at=datetime.now(UTC),
        reason=reason,
    )


async def _flows_passed(door: Door, offset: int) -> None:
    """Wait, two seconds at most, until the flows know that the session is over and have let go of it."""
    end = asyncio.get_running_loop().time() + DELETE_WAIT_S
    while asyncio.get_running_loop().time() < end:
        if all(flow.position > offset or not flow.alive for flow in door.parts.engine.flows()):
            return
        await asyncio.sleep(0.01)


class NewMeetingEvent(BaseModel):
    """Something that happened around the talk."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["joined", "left", "shared", "agenda", "noted", "closed"]
    at_s: Seconds | None = None
    participant: Participant | None = None
    participant_id: Identifier | None = None
    title: Annotated[str, Field(max_length=500)] = ""
    active: bool = True
    item: Annotated[str, Field(max_length=500)] = ""
    name: Identifier | None = None
    detail: dict[str, JsonValue] = Field(default_factory=dict)


class MeetingEvents(BaseModel):
    """Events of one session, in order."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"session_id": "5f0c...", "events": [{"type": "agenda", "item": "System design", "at_s": 600}]}
        },
    )
    session_id: SessionPath
    events: Annotated[list[NewMeetingEvent], Field(min_length=1, max_length=100)]


class EventsAccepted(BaseModel):
    """Where the events lie."""

    offsets: list[int]
    cursor: str


@router.post("/meeting-events", status_code=202, response_model=EventsAccepted)
async def post_meeting_events(
    request: Request, body: MeetingEvents, caller: CurrentCaller, idempotency_key: IdempotencyKey = None
) -> Any:
    """Tell what happened: joined, left, shared, agenda, noted, closed."""
    door = door_of(request)
    session = await door.session(body.session_id, caller)
    if session.closed_at is not None:
        raise Problem(409, "The session has ended")
    base = idempotency_key or uuid.uuid4().hex
    records = [_event(body.session_id, base, number, event) for number, event in enumerate(body.events)]
    stored = await door.append(records, "meeting")
    return EventsAccepted(offsets=[one.offset for one in stored], cursor=stored[-1].cursor)


def _event(session_id: str, base: str, number: int, event: NewMeetingEvent) -> Record:
    shared: dict[str, Any] = {
        "session_id": session_id,
        "event_id": derive_id(session_id, "meeting", base, number),
        "created_at": datetime.now(UTC),
    }
    if event.type == "closed":
        return closing_event(session_id, "ended")
    shared["at_s"] = event.at_s
    match event.type:
        case "joined":
            return ParticipantJoined(**shared, participant=_needed(event.participant, "participant"))
        case "left":
            return ParticipantLeft(**shared, participant_id=_needed(event.participant_id, "participant_id"))
        case "shared":
            return ScreenShared(**shared, participant_id=event.participant_id, title=event.title, active=event.active)
        case "agenda":
            return AgendaMoved(**shared, item=event.item)
        case _:
            return MeetingNoted(**shared, name=_needed(event.name, "name"), detail=event.detail)


def _needed(value: Any, field: str) -> Any:
    if value is None:
        raise Problem(422, "The request is not valid", f"this kind of event needs {field!r}")
    return value
