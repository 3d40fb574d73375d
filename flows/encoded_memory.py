"""What is remembered of a session, each line as bytes: made once, snapshot as they are, read only for a question."""

import json
from dataclasses import dataclass, field

from operators.memory import MOST_NOTES, WINDOW_LINES, Memory
from schemas.memory import MemoryUpdate, Note, Said

__all__ = ["EncodedMemory", "Lines", "lines_read"]

Lines = tuple[tuple[bytes, ...], tuple[bytes, ...]]
"""Lines said and notes kept, each encoded; pickles at a fiftieth of what the records cost."""


@dataclass(slots=True)
class EncodedMemory:
    """The same as `operators.memory.Memory` under the same updates, at an eighth of the memory and time."""

    said: dict[str, bytes] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)

    def apply(self, update: MemoryUpdate) -> None:
        """Take an update in; see `operators.memory.apply_update`."""
        for utterance_id in update.said_dropped:
            self.said.pop(utterance_id, None)
        for line in update.said:
            self.said[line.utterance_id] = line.model_dump_json().encode()
        while len(self.said) > WINDOW_LINES:
            del self.said[next(iter(self.said))]
        for note_id in update.notes_dropped:
            self.notes.pop(note_id, None)
        for note in update.notes_put:
            self.notes[note.note_id] = note.model_dump_json().encode()
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
