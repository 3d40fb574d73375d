"""What is remembered of a conversation."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record, Seconds, Strict

__all__ = ["MemoryUpdate", "Note", "NoteKind", "Said"]

NoteKind = Literal["fact", "commitment", "decision", "name", "number", "topic", "open_question"]


class Said(Strict):
    """One completed utterance as the memory keeps it."""

    utterance_id: Identifier
    speaker_name: str
    is_user: bool = False
    start_s: Seconds
    text: str


class Note(Strict):
    """A kept fact with the utterances that support it."""

    note_id: Identifier
    kind: NoteKind
    text: str
    utterance_ids: tuple[Identifier, ...]


class MemoryUpdate(Record):
    """The change to a session's memory.

    Attributes:
        said: Lines said; one with a known utterance replaces what was kept of it.
        said_dropped: Utterances whose words were withdrawn.
        notes_put: Notes added or replaced.
        notes_dropped: Notes that hold no more: withdrawn, corrected, or an open question that was answered.
        phase: The phase of the meeting that begins with this line; "" = as before.
    """

    type: Literal["memory_update"] = "memory_update"
    said: tuple[Said, ...] = ()
    said_dropped: tuple[Identifier, ...] = ()
    notes_put: tuple[Note, ...] = ()
    notes_dropped: tuple[Identifier, ...] = ()
    phase: Annotated[str, Field(max_length=60)] = ""
