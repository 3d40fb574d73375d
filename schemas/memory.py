"""What is remembered of a conversation."""

from typing import Literal

from schemas.base import Identifier, Record, Seconds, Strict

__all__ = ["MemoryUpdate", "Note", "Said"]


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
    kind: Literal["fact", "commitment", "name", "number", "topic", "open_question"]
    text: str
    utterance_ids: tuple[Identifier, ...]


class MemoryUpdate(Record):
    """The change to a session's memory: lines said, notes put (added or replaced) and notes dropped."""

    type: Literal["memory_update"] = "memory_update"
    said: tuple[Said, ...] = ()
    notes_put: tuple[Note, ...] = ()
    notes_dropped: tuple[Identifier, ...] = ()
