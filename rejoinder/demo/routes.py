"""Lets the page play a bundled meeting into a new session."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS, Problem
from api.sessions import closing_event
from rejoinder.demo.meetings import Meeting, load_meeting
from rejoinder.knowledge.store import KnowledgeStore
from schemas.base import derive_id
from schemas.errors import LogError
from schemas.meeting import Consent, MeetingOpened, Participant
from schemas.speech import Caption

__all__ = ["demo_router"]

AT_ONCE = 2


class PlayDemo(BaseModel):
    """Which meeting to play, and how many times faster than it was recorded."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"meeting": "interview", "speed": 8}})
    meeting: Literal["interview", "practice"] = "interview"
    speed: Annotated[float, Field(ge=0.5, le=200)] = 8.0


class DemoStarted(BaseModel):
    """The session the meeting is played into."""

    session_id: str
    title: str
    length_s: float


def demo_router(store: KnowledgeStore) -> APIRouter:
    """Give the route that plays a bundled meeting."""
    router = APIRouter(prefix="/api", tags=["demo"], responses=PROBLEMS)
    playing: set[asyncio.Task[None]] = set()

    @router.post("/demo", status_code=201, response_model=DemoStarted)
    async def play_demo(request: Request, caller: CurrentCaller, body: PlayDemo | None = None) -> Any:
        """Play a bundled meeting into a new session of yours; its documents are added to your knowledge base."""
        door, wanted = door_of(request), body or PlayDemo()
        if len(playing) >= AT_ONCE:
            raise Problem(429, "Two demo meetings are playing already", headers={"Retry-After": "30"})
        meeting = load_meeting(wanted.meeting)
        await run_in_threadpool(_add_documents, store, caller.owner_id, meeting)
        now = datetime.now(UTC)
        session_id = derive_id(caller.owner_id, "demo", wanted.meeting, now.isoformat())
        opened = MeetingOpened(
            session_id=session_id,
            event_id=derive_id(session_id, "opened"),
            created_at=now,
            owner_id=caller.owner_id,
            kind=meeting.kind,
            title=meeting.title,
            participants=tuple(Participant.model_validate(person) for person in meeting.participants),
            language=meeting.language,
            collections=(meeting.collection,),
        )
        await door.append([opened, *_consents(opened)], "meeting")
        task = asyncio.ensure_future(_play(door, session_id, meeting, wanted.speed))
        playing.add(task)
        task.add_done_callback(playing.discard)
        return DemoStarted(session_id=session_id, title=meeting.title, length_s=meeting.length_s)

    return router


def _consents(opened: MeetingOpened) -> list[Consent]:
    return [
        Consent(
            session_id=opened.session_id,
            event_id=derive_id(opened.session_id, "consent", one.id),
            created_at=opened.created_at,
            participant_id=one.id,
            purposes=("audio", "captions", "coaching", "remembering"),
            given=True,
            method="written",
            how="a talk written for the demo; nobody real speaks",
            recorded_by=opened.owner_id,
        )
        for one in opened.participants
    ]


def _add_documents(store: KnowledgeStore, owner_id: str, meeting: Meeting) -> None:
    have = {(one.collection, one.title): one.text for one in store.documents(owner_id)}
    for document in meeting.documents:
        # The demo's resume stays beside the user's own, as a document of the demo's collection.
        if have.get((meeting.collection, document.title)) != document.text:
            store.add(owner_id, meeting.collection, document.title, document.text)


async def _play(door: Door, session_id: str, meeting: Meeting, speed: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        for number, one in enumerate(meeting.captions):
            left = one["end_s"] / speed - (loop.time() - began)
            if left > 0:
                await asyncio.sleep(left)
            if door.stopping.is_set():
                return
            caption = Caption(
                session_id=session_id,
                event_id=derive_id(session_id, "captions", "demo", number),
                created_at=datetime.now(UTC),
                **one,
            )
            await door.append([caption], "captions")
        await asyncio.sleep(1.0)
        await door.append([closing_event(session_id, "ended")], "meeting")
    except LogError:
        return  # the session was deleted, or the engine is stopping
