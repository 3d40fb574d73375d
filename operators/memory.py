"""utterances + meeting -> memory: what is remembered of a conversation, bounded however long it lasts."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from operators.noting import Noted, corrects, defers, may_correct, notes_of
from operators.phases import NO_PHASES, Phases
from schemas.base import Record, derive_id
from schemas.meeting import AgendaMoved, MeetingClosed, MeetingOpened
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
    said = {line.utterance_id: line for line in memory.said if line.utterance_id not in update.said_dropped}
    said.update({line.utterance_id: line for line in update.said})
    notes = {note.note_id: note for note in memory.notes if note.note_id not in update.notes_dropped}
    notes.update({note.note_id: note for note in update.notes_put})
    return Memory(tuple(said.values())[-window_lines:], tuple(notes.values())[-most_notes:])


MOST_LINE_CHARS = 600
RECENT = 6
"""So many utterances back a revision or a correction is still noticed; it bounds what a session's state holds."""
LEAST_REPLY_WORDS = 4


@dataclass(frozen=True, slots=True)
class Remark:
    """A note lately made: its id, who said it, of what kind it is, its sentence."""

    note_id: str
    utterance_id: str
    speaker_id: str
    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class MemoryState:
    """What the next utterance is compared with.

    Attributes:
        pending: The utterance that is not complete yet.
        due: When it counts as complete.
        recent: The notes of the last utterances, which revisions, corrections and replies may change.
        kind: The kind of session.
        phase: The phase of the meeting; "" before the first sign of one.
    """

    pending: Utterance | None = None
    due: float | None = None
    closed: bool = False
    recent: tuple[Remark, ...] = ()
    kind: str = "meeting"
    phase: str = ""


@dataclass(frozen=True, slots=True)
class MemoryOperator:
    """Keeps the lines said and notes by rules: decisions, commitments, names, numbers, facts, open questions, topics.

    Attributes:
        quiet_s: An utterance counts as complete after this long without a further word of it.
        phases: The phrases that tell the phases of a meeting.
    """

    quiet_s: float = 2.0
    phases: Phases = NO_PHASES

    def initial(self) -> MemoryState:
        """Give the state of an unknown session."""
        return MemoryState()

    def step(self, state: MemoryState, record: Record, now_s: float) -> tuple[MemoryState, list[MemoryUpdate]]:
        """Take an utterance revision or a meeting event."""
        match record:
            case MeetingOpened():
                return replace(state, kind=record.kind), []
            case Utterance() if not record.text:
                return self._withdraw(state, record, now_s)
            case Utterance():
                out: list[MemoryUpdate] = []
                if state.pending is not None and state.pending.utterance_id != record.utterance_id:
                    state, out = self._complete(state, now_s)
                return replace(state, pending=record, due=now_s + self.quiet_s), out
            case AgendaMoved():
                note = Note(
                    note_id=derive_id(record.event_id, "note"), kind="topic", text=record.item, utterance_ids=()
                )
                return state, [_update(record.session_id, record.event_id, now_s, notes_put=(note,))]
            case MeetingClosed():
                state, out = self._complete(state, now_s)
                return replace(state, closed=True), out
            case _:
                return state, []

    def _withdraw(self, state: MemoryState, empty: Utterance, now_s: float) -> tuple[MemoryState, list[MemoryUpdate]]:
        """Take back what an utterance said before all its words were withdrawn."""
        if state.pending is not None and state.pending.utterance_id == empty.utterance_id and state.pending.text:
            state = replace(state, pending=None, due=None)
        elif empty.revision == 0 or empty.tentative:
            return state, []  # nothing of it was final yet
        gone = tuple(one.note_id for one in state.recent if one.utterance_id == empty.utterance_id)
        state = replace(state, recent=tuple(one for one in state.recent if one.utterance_id != empty.utterance_id))
        cause = f"{empty.utterance_id}/{empty.revision}/withdrawn"
        dropped = (empty.utterance_id,)
        return state, [_update(empty.session_id, cause, now_s, said_dropped=dropped, notes_dropped=gone)]

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
        made = notes_of(spoken)
        dropped = _dropped(state.recent, spoken, made)
        recent = [one for one in state.recent if one.note_id not in dropped and one.utterance_id != spoken.utterance_id]
        recent += [_remark(one, spoken) for one in made]
        phase = self.phases.phase_of(spoken.text, state.kind)
        update = _update(
            spoken.session_id,
            f"{spoken.utterance_id}/{spoken.revision}",
            now_s,
            said=(line,),
            notes_put=tuple(one.note for one in made),
            notes_dropped=tuple(dropped),
            phase=phase if phase != state.phase else "",
        )
        state = replace(state, pending=None, due=None, recent=tuple(recent[-RECENT:]), phase=phase or state.phase)
        return state, [update]

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


def _remark(noted: Noted, spoken: Utterance) -> Remark:
    note = noted.note
    return Remark(note.note_id, spoken.utterance_id, spoken.speaker_id, note.kind, noted.sentence)


def _dropped(recent: tuple[Remark, ...], spoken: Utterance, made: list[Noted]) -> list[str]:
    """Give the notes that an utterance makes void: its own of before, those it corrects, questions it answers."""
    kept = {one.note.note_id for one in made}
    replies = len(spoken.text.split()) >= LEAST_REPLY_WORDS and not defers(spoken.text)
    correcting = [one.sentence for one in made if may_correct(one.sentence)]
    gone = []
    for one in recent:
        own = one.utterance_id == spoken.utterance_id and one.note_id not in kept
        same = one.speaker_id == spoken.speaker_id and one.utterance_id != spoken.utterance_id
        corrected = same and any(corrects(sentence, one.sentence) for sentence in correcting)
        answered = one.kind == "open_question" and one.speaker_id != spoken.speaker_id and replies
        if own or corrected or answered:
            gone.append(one.note_id)
    return gone


def _update(session_id: str, cause: str, now_s: float, **changes: object) -> MemoryUpdate:
    return MemoryUpdate.model_validate(
        {
            "session_id": session_id,
            "event_id": derive_id(session_id, "memory", cause),
            "created_at": datetime.fromtimestamp(now_s, UTC),
            **changes,
        }
    )
