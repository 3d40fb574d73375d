"""utterances + meeting -> memory: what is remembered of a conversation, bounded however long it lasts."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from schemas.base import Record, derive_id
from schemas.meeting import AgendaMoved, MeetingClosed
from schemas.memory import MemoryUpdate, Note, Said
from schemas.speech import Utterance

__all__ = ["EMPTY_MEMORY", "Memory", "MemoryOperator", "MemoryState", "apply_update"]

WINDOW_LINES = 24
MOST_NOTES = 60


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of a session: the last lines said, oldest first, and the notes kept, oldest first."""

    said: tuple[Said, ...] = ()
    notes: tuple[Note, ...] = ()


EMPTY_MEMORY = Memory()


def apply_update(
    memory: Memory, update: MemoryUpdate, *, window_lines: int = WINDOW_LINES, most_notes: int = MOST_NOTES
) -> Memory:
    """Give the memory after an update: lines and notes with a known id are replaced, the oldest fall out.

    >>> apply_update(EMPTY_MEMORY, MemoryUpdate(session_id="s", event_id="e", created_at="2026-01-01T00:00:00Z"))
    Memory(said=(), notes=())
    """
    said = {line.utterance_id: line for line in memory.said}
    said.update({line.utterance_id: line for line in update.said})
    # A line without words is one whose words were given to other speakers.
    said = {key: line for key, line in said.items() if line.text}
    notes = {note.note_id: note for note in memory.notes if note.note_id not in update.notes_dropped}
    notes.update({note.note_id: note for note in update.notes_put})
    return Memory(tuple(said.values())[-window_lines:], tuple(notes.values())[-most_notes:])


_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_NUMBER = re.compile(
    r"(?:[$€£]\s?\d[\d,.]*|\b\d[\d,.]*\s?(?:%|percent\b|k\b|ms\b|seconds?\b|minutes?\b|hours?\b|days?\b|weeks?\b|"
    r"months?\b|years?\b|people\b|users?\b|engineers?\b|requests?\b|euros?\b|dollars?\b|pounds?\b|mg\b|ml\b|gb\b|tb\b)|"
    r"\b(?:19|20)\d\d\b)",
    re.IGNORECASE,
)
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "commitment",
        re.compile(
            r"\b(?:i|we)(?:'ll| will| shall|'m going to| am going to| are going to) (?!be honest)\w+", re.IGNORECASE
        ),
    ),
    (
        "name",
        re.compile(
            r"\b(?:my name is|my name's|i am called|call me|i'm dr\.?|i am dr\.?|this is)\s+[A-Z]\w+", re.IGNORECASE
        ),
    ),
    ("number", _NUMBER),
    (
        "fact",
        re.compile(
            r"\b(?:we use|we run|we have|our team|our stack|i've worked|i have worked|i worked|i work|i live|i've been|"
            r"i have been|i take|i'm allergic|i am allergic|i'm responsible|we're|we are)\b",
            re.IGNORECASE,
        ),
    ),
)
MOST_NOTE_CHARS = 280
MOST_LINE_CHARS = 600


@dataclass(frozen=True, slots=True)
class MemoryState:
    """The utterance that is not complete yet, and when it will count as such."""

    pending: Utterance | None = None
    due: float | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class MemoryOperator:
    """Keeps the lines said and notes by rules: commitments, names, numbers, facts and agenda points.

    Attributes:
        quiet_s: An utterance counts as complete after this long without a further word of it.
    """

    quiet_s: float = 2.0

    def initial(self) -> MemoryState:
        """Give the state of an unknown session."""
        return MemoryState()

    def step(self, state: MemoryState, record: Record, now_s: float) -> tuple[MemoryState, list[MemoryUpdate]]:
        """Take an utterance revision or a meeting event."""
        match record:
            case Utterance():
                if not record.text:
                    return self._taken_back(state, record, now_s)
                out: list[MemoryUpdate] = []
                if state.pending is not None and state.pending.utterance_id != record.utterance_id:
                    state, out = self._complete(state, now_s)
                return replace(state, pending=record, due=now_s + self.quiet_s), out
            case AgendaMoved():
                note = Note(
                    note_id=derive_id(record.event_id, "note"), kind="topic", text=record.item, utterance_ids=()
                )
                return state, [_update(record.session_id, record.event_id, now_s, notes=(note,))]
            case MeetingClosed():
                state, out = self._complete(state, now_s)
                return replace(state, closed=True), out
            case _:
                return state, []

    def _taken_back(
        self, state: MemoryState, spoken: Utterance, now_s: float
    ) -> tuple[MemoryState, list[MemoryUpdate]]:
        """Forget an utterance whose words were given to other speakers; one that has no final words yet is nothing."""
        if not spoken.revision or spoken.tentative:
            return state, []
        if state.pending is not None and state.pending.utterance_id == spoken.utterance_id:
            state = replace(state, pending=None, due=None)
        line = Said(
            utterance_id=spoken.utterance_id,
            speaker_name=spoken.speaker_name,
            is_user=spoken.is_user,
            start_s=spoken.start_s,
            text="",
        )
        return state, [_update(spoken.session_id, f"{spoken.utterance_id}/{spoken.revision}", now_s, said=(line,))]

    def _complete(self, state: MemoryState, now_s: float) -> tuple[MemoryState, list[MemoryUpdate]]:
        spoken = state.pending
        if spoken is None:
            return state, []
        line = Said(
            utterance_id=spoken.utterance_id,
            speaker_name=spoken.speaker_name,
            is_user=spoken.is_user,
            start_s=spoken.start_s,
            text=spoken.text[:MOST_LINE_CHARS],
        )
        cause = f"{spoken.utterance_id}/{spoken.revision}"
        update = _update(spoken.session_id, cause, now_s, said=(line,), notes=_notes_of(spoken))
        return replace(state, pending=None, due=None), [update]

    def due_s(self, state: MemoryState) -> float | None:
        """Give when the pending utterance counts as complete."""
        return state.due

    def tick(self, state: MemoryState, now_s: float) -> tuple[MemoryState, list[MemoryUpdate]]:
        """Complete the pending utterance when its speaker has been quiet long enough."""
        if state.due is None or now_s < state.due:
            return state, []
        return self._complete(state, now_s)

    def finished(self, state: MemoryState) -> bool:
        """Say whether the meeting was closed."""
        return state.closed


def _update(
    session_id: str, cause: str, now_s: float, said: tuple[Said, ...] = (), notes: tuple[Note, ...] = ()
) -> MemoryUpdate:
    return MemoryUpdate(
        session_id=session_id,
        event_id=derive_id(session_id, "memory", cause),
        created_at=datetime.fromtimestamp(now_s, UTC),
        said=said,
        notes_put=notes,
    )


def _notes_of(spoken: Utterance) -> tuple[Note, ...]:
    """Give the notes of one utterance: at most one per sentence, the first rule that fits."""
    notes: list[Note] = []
    for number, sentence in enumerate(_SENTENCE.split(spoken.text)):
        if sentence.endswith("?"):
            continue
        for kind, rule in _RULES:
            if rule.search(sentence):
                text = f"{spoken.speaker_name}: {sentence}"[:MOST_NOTE_CHARS]
                note_id = derive_id(spoken.utterance_id, "note", number)
                notes.append(
                    Note.model_validate(
                        {"note_id": note_id, "kind": kind, "text": text, "utterance_ids": (spoken.utterance_id,)}
                    )
                )
                break
    return tuple(notes[:4])
