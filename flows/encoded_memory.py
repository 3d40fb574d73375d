"""What is remembered of a session, each line as bytes: made once, snapshot as they are, read only for a question."""

import json
from dataclasses import dataclass, field

from operators.memory import MOST_NOTES, WINDOW_LINES, Memory
from schemas.memory import MemoryUpdate, Note, Said

__all__ = ["Encoded", "EncodedMemory", "Lines", "encoded", "lines_read"]

Lines = tuple[tuple[bytes, ...], tuple[bytes, ...]]
"""Lines said and notes kept, each encoded; pickles at a fiftieth of what the records cost."""
Named = tuple[tuple[str, bytes], ...]
Encoded = tuple[tuple[str, ...], Named, tuple[str, ...], Named]
"""An update: utterances dropped, lines said with their ids, notes dropped, notes put with their ids."""


def encoded(update: MemoryUpdate) -> Encoded:
    """Give an update with its lines encoded."""
    said = tuple((line.utterance_id, line.model_dump_json().encode()) for line in update.said)
    notes = tuple((note.note_id, note.model_dump_json().encode()) for note in update.notes_put)
    return update.said_dropped, said, update.notes_dropped, notes


@dataclass(slots=True)
class EncodedMemory:
    """The same as `operators.memory.Memory` under the same updates, at an eighth of the memory and time."""

    said: dict[str, bytes] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)

    def take(self, update: Encoded) -> None:
        """Take an encoded update in; see `operators.memory.apply_update`."""
        said_dropped, said, notes_dropped, notes = update
        for utterance_id in said_dropped:
            self.said.pop(utterance_id, None)
        self.said.update(said)
        while len(self.said) > WINDOW_LINES:
            del self.said[next(iter(self.said))]
        for note_id in notes_dropped:
            self.notes.pop(note_id, None)
        self.notes.update(notes)
        while len(self.notes) > MOST_NOTES:
            del self.notes[next(iter(self.notes))]

    @classmethod
    def of(cls, lines: Lines) -> "EncodedMemory":
        """Give the memory of such lines."""
        said = {json.loads(one)["utterance_id"]: one for one in lines[0]}
        return cls(said, {json.loads(one)["note_id"]: one for one in lines[1]})

    def lines(self) -> Lines:
        """Give what is remembered now."""
        return tuple(self.said.values()), tuple(self.notes.values())


def lines_read(lines: Lines) -> Memory:
    """Give the records of lines."""
    said = tuple(Said.model_validate_json(one) for one in lines[0])
    return Memory(said, tuple(Note.model_validate_json(one) for one in lines[1]))
