"""What the answers flow knows of one session, and how that is written to snapshots."""

from dataclasses import dataclass, field

from flows.answering_room import Call
from flows.encoded_memory import Encoded, EncodedMemory, Lines, encoded
from flows.packing import pack, unpack
from flows.piece_file import Piece
from operators.answering import AnswerContext
from schemas.meeting import MeetingOpened
from schemas.memory import MemoryUpdate
from schemas.questions import Question

__all__ = ["AnswerSession", "Running", "Waiting"]

Waiting = tuple[Question, AnswerContext, Lines]
"""A question that waits for its answer, as it lies in a snapshot."""


@dataclass(slots=True)
class Running:
    """An answer being written, from a context without and `lines` with what was said; `call` is in no snapshot."""

    question: Question
    context: AnswerContext
    call: Call
    lines: Lines
    next_index: int = 0


@dataclass(slots=True)
class AnswerSession:
    """One session of the answers flow.

    In a snapshot it lies as its packed state, when it was touched, when it was closed and whether questions wait. What
    is remembered grows by a line at a time and is most of it: lines are added to the snapshot before until they have
    grown as large (`room` says how far that is); `whole` says that more became different.
    """

    session_id: str
    opened: MeetingOpened | None = None
    memory: EncodedMemory = field(default_factory=EncodedMemory)
    running: dict[str, Running] = field(default_factory=dict)
    withdrawn: dict[str, int | None] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    touched_s: float = 0.0
    closed_s: float | None = None
    whole: bool = True
    room: int = 0
    added: list[Encoded] = field(default_factory=list)

    def remember(self, update: MemoryUpdate) -> None:
        """Take in what changed of the memory."""
        lines = encoded(update)
        self.memory.take(lines)
        self.added.append(lines)

    def piece(self) -> Piece:
        """Give the session for a snapshot, once for each: what is given is taken for written."""
        adds = not self.whole and self.room > 0
        if adds:
            packed = pack((self.offsets.get("memory", 0), tuple(self.added)))
        else:
            waiting: tuple[Waiting, ...] = tuple(
                (one.question, one.context, one.lines) for one in self.running.values()
            )
            packed = pack((self.opened, self.memory.lines(), waiting, self.withdrawn, self.offsets))
        self.whole, self.room = False, self.room - len(packed) if adds else len(packed)
        self.added.clear()
        return packed, self.touched_s, self.closed_s, bool(self.running), adds

    def restore(self, pieces: list[Piece]) -> tuple[Waiting, ...]:
        """Be what lay in a snapshot; gives the questions that waited."""
        waiting: tuple[Waiting, ...]
        _, self.touched_s, self.closed_s, _, _ = pieces[-1]
        self.opened, remembered, waiting, self.withdrawn, self.offsets = unpack(pieces[0][0])
        self.memory = EncodedMemory.of(remembered)
        for packed, *_ in pieces[1:]:
            self.offsets["memory"], added = unpack(packed)
            for lines in added:
                self.memory.take(lines)
        return waiting
