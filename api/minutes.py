"""What is remembered of a session, and its minutes, over HTTP."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from api.answers import read_records
from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS
from api.markdown import MARKDOWN_TOO, Form, markdown, plain
from api.sessions import SessionPath
from operators.minutes import MinuteLine, Minutes, Phase, SpokenBy, minutes_of, running_summary
from schemas.meeting import MeetingOpened
from schemas.memory import MemoryUpdate, Note, Said

__all__ = ["Remembered", "markdown_of", "remembered", "router"]

router = APIRouter(prefix="/api", tags=["answers"], responses=PROBLEMS)
_TITLES = {
    "topics": "Topics",
    "decisions": "Decisions",
    "actions": "Actions",
    "open_questions": "Open questions",
    "figures": "Figures",
    "facts": "Facts",
    "names": "Names",
}


class MemoryShown(BaseModel):
    """What is remembered: the lines said, the notes kept, how things stand, and the phase of the meeting."""

    said: list[Said]
    notes: list[Note]
    summary: tuple[MinuteLine, ...]
    phase: str


class SummaryShown(BaseModel):
    """The minutes of a session; every line cites the utterances it rests on."""

    session_id: str
    title: str
    kind: str
    topics: tuple[MinuteLine, ...]
    decisions: tuple[MinuteLine, ...]
    actions: tuple[MinuteLine, ...]
    open_questions: tuple[MinuteLine, ...]
    figures: tuple[MinuteLine, ...]
    facts: tuple[MinuteLine, ...]
    names: tuple[MinuteLine, ...]
    phases: tuple[Phase, ...]
    people: tuple[SpokenBy, ...]


class Remembered:
    """Memory of a whole session, fed record by record of the topics `meeting` and `memory`."""

    def __init__(self) -> None:
        self.opened: MeetingOpened | None = None
        self.said: dict[str, Said] = {}
        self.notes: dict[str, Note] = {}
        self.phases: list[Phase] = []

    def take(self, record: Any) -> None:
        """Take a record."""
        if isinstance(record, MeetingOpened):
            self.opened = record
        if not isinstance(record, MemoryUpdate):
            return
        for utterance_id in record.said_dropped:
            self.said.pop(utterance_id, None)
        self.said.update({line.utterance_id: line for line in record.said})
        for note_id in record.notes_dropped:
            self.notes.pop(note_id, None)
        self.notes.update({note.note_id: note for note in record.notes_put})
        if record.phase and record.said:
            self.phases.append(Phase(record.phase, record.said[0].start_s, record.said[0].utterance_id))

    def minutes(self) -> Minutes:
        """Give the minutes of what was taken in."""
        kind = self.opened.kind if self.opened else "meeting"
        return minutes_of(list(self.notes.values()), list(self.said.values()), self.phases, kind)


def remembered(door: Door, session_id: str) -> Remembered:
    """Read a session's memory from the log; blocking."""
    found = Remembered()
    read_records(door, session_id, ["meeting", "memory"], found.take)
    return found


@router.get("/sessions/{session_id}/memory", response_model=MemoryShown)
async def get_memory(request: Request, session_id: SessionPath, caller: CurrentCaller) -> Any:
    """Read what is remembered of a session: every line said, the notes kept with their utterances, and a summary."""
    door = door_of(request)
    await door.session(session_id, caller)
    found = await asyncio.to_thread(remembered, door, session_id)
    notes = list(found.notes.values())
    return MemoryShown(
        said=list(found.said.values()),
        notes=notes,
        summary=tuple(running_summary(notes)),
        phase=found.phases[-1].name if found.phases else "",
    )


@router.get("/sessions/{session_id}/summary", response_model=SummaryShown, responses=MARKDOWN_TOO)
async def get_summary(request: Request, session_id: SessionPath, caller: CurrentCaller, form: Form = "json") -> Any:
    """Read the minutes of a session so far: decisions, actions, open questions; each line cites its utterances."""
    door = door_of(request)
    await door.session(session_id, caller)
    found = await asyncio.to_thread(remembered, door, session_id)
    minutes = found.minutes()
    title = (found.opened.title if found.opened else "") or "Minutes"
    if form == "markdown":
        return markdown(markdown_of(minutes, title))
    return SummaryShown.model_validate(
        {
            "session_id": session_id,
            "title": title,
            "kind": found.opened.kind if found.opened else "meeting",
            **minutes.sections,
            "phases": minutes.phases,
            "people": minutes.people,
        }
    )


def markdown_of(minutes: Minutes, title: str) -> str:
    """Give minutes as Markdown; an empty section is left out."""
    parts = [f"# {plain(title)}"]
    for name, lines in minutes.sections.items():
        if lines:
            shown = [f"- {plain(line.text)}{_at(line.start_s)}" for line in lines]
            parts.append(f"## {_TITLES[name]}\n\n" + "\n".join(shown))
    if minutes.phases:
        shown = [f"- {phase.name}{_at(phase.start_s)}" for phase in minutes.phases]
        parts.append("## Phases\n\n" + "\n".join(shown))
    return "\n\n".join(parts) + "\n"


def _at(start_s: float | None) -> str:
    return "" if start_s is None else f" ({int(start_s) // 60}:{int(start_s) % 60:02})"
