"""Finds dead letters, keeps corrected values for them, and puts them back onto their topic once."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from eventlog.base import EventLog, LogRecord, NewRecord, shard_of
from eventlog.records import new_record
from schemas.base import derive_id
from schemas.codec import decode
from schemas.dead_letters import DeadLetter, DeadLetterFix, DeadLetterRedriven
from schemas.errors import OffsetGone, SchemaError
from schemas.topics import TOPICS

__all__ = ["DeadLetters", "Letter", "NoSuchLetter", "Redriven"]

TOPIC = "dead-letters"
NEVER_BACK = (TOPIC, "progress")
BATCH = 500
CUT_BYTES = 64 * 1024
"""A letter holds this much of its value; whether it is whole, only the log can tell."""


class NoSuchLetter(LookupError):
    """There is no dead letter with this id."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as the log holds it now.

    Attributes:
        letter: The record.
        fix: The corrected value that waits to be put back, if any.
        placed: Where it was put back, if it was.
    """

    letter: DeadLetter
    fix: bytes | None = None
    placed: DeadLetterRedriven | None = None

    @property
    def redriven(self) -> bool:
        """Say whether it was put back."""
        return self.placed is not None

    @property
    def letter_id(self) -> str:
        """Give its id."""
        return self.letter.event_id

    @property
    def redrive_id(self) -> str:
        """Give the id under which it is put back; see `redrive_id_of`."""
        return redrive_id_of(self.letter)


@dataclass(frozen=True, slots=True)
class Redriven:
    """Where a dead letter lies now; `repeat` when it had been put back before."""

    topic: str
    partition: int
    offset: int
    repeat: bool


def redrive_id_of(letter: DeadLetter) -> str:
    """Give the id under which a letter is put back: the log stores an id once.

    Two flows that met the same record have written two letters, and the record is put back once for both.
    """
    if letter.offset < 0:
        return derive_id("redriven", letter.event_id)
    return derive_id("redriven", letter.topic, letter.session_id, letter.offset)


class DeadLetters:
    """The topic ``dead-letters`` of a log, for whoever runs the engine; nothing is kept beside the log."""

    def __init__(self, log: EventLog) -> None:
        """Look at `log`."""
        self._log = log

    def _records(self) -> Iterator[DeadLetter | DeadLetterFix | DeadLetterRedriven]:
        for partition in range(self._log.partitions(TOPIC)):
            at = self._log.offset_at(TOPIC, partition, 0.0)
            while found := self._log.read(TOPIC, partition, at, BATCH):
                for lying in found:
                    try:
                        yield decode(TOPIC, lying.value)
                    except SchemaError:  # written by something newer, or by somebody else
                        continue
                at = found[-1].offset + 1

    def _all(self) -> Iterator[Letter]:
        """Give all letters, in the order in which they lie."""
        kept: dict[str, DeadLetter] = {}
        fixes: dict[str, bytes] = {}
        placed: dict[str, DeadLetterRedriven] = {}
        for record in self._records():
            if isinstance(record, DeadLetterFix):
                fixes[record.letter_id] = base64.b64decode(record.value_base64)
            elif isinstance(record, DeadLetterRedriven):
                placed.setdefault(record.redrive_id, record)
            else:
                kept.setdefault(record.event_id, record)
        for letter in kept.values():
            yield Letter(letter, fixes.get(letter.event_id), placed.get(redrive_id_of(letter)))

    def newest(self, limit: int = 200, *, waiting: bool = False) -> list[Letter]:
        """Give the newest letters, newest first; with `waiting` only those that were not put back."""
        found = [one for one in self._all() if not (waiting and one.redriven)]
        return sorted(found, key=lambda one: one.letter.created_at, reverse=True)[:limit]

    def one(self, letter_id: str) -> Letter:
        """Give a letter.

        Raises:
            NoSuchLetter: There is none with this id, or it was kept long enough.
        """
        for one in self._all():
            if one.letter_id == letter_id:
                return one
        raise NoSuchLetter(f"no dead letter {letter_id!r}; see: rejoinder dead-letters list")

    def value(self, one: Letter) -> tuple[bytes, bool]:
        """Give the bytes as they lay, and whether they are whole."""
        letter = one.letter
        lying = self._lying(letter)
        if lying is not None:
            return lying.value, True
        kept = base64.b64decode(letter.value_base64)
        return kept, len(kept) < CUT_BYTES

    def _lying(self, letter: DeadLetter) -> LogRecord | None:
        if letter.offset < 0 or letter.topic not in TOPICS:
            return None
        partition = shard_of(letter.session_id) % self._log.partitions(letter.topic)
        try:
            found = self._log.read(letter.topic, partition, letter.offset, 1)
        except OffsetGone:
            return None
        if found and found[0].offset == letter.offset and found[0].key == letter.session_id:
            return found[0]
        return None

    def fix(self, letter_id: str, value: bytes) -> Letter:
        """Keep a corrected value, to be put back by `redrive`.

        Raises:
            NoSuchLetter: There is none with this id.
            SchemaError: The value is no record of the topic, or not one of this session.
            KeyErased: The session was erased; nothing may be kept of it.
        """
        one = self.one(letter_id)
        self._check(one.letter, value)
        kept = DeadLetterFix(
            session_id=one.letter.session_id,
            event_id=derive_id("fix", letter_id, base64.b64encode(value).decode(), time.time_ns()),
            created_at=datetime.now(UTC),
            letter_id=letter_id,
            value_base64=base64.b64encode(value).decode(),
        )
        self._log.append([new_record(TOPIC, kept)])
        return replace(one, fix=value)

    @staticmethod
    def _check(letter: DeadLetter, value: bytes) -> None:
        if letter.topic in NEVER_BACK or letter.topic not in TOPICS:
            raise SchemaError(f"nothing is put back onto {letter.topic}")
        record = decode(letter.topic, value)
        if record.session_id != letter.session_id:
            raise SchemaError(f"session_id: the record belongs to the session {letter.session_id}")

    def redrive(self, letter_id: str) -> Redriven:
        """Put a letter back onto its topic, with its corrected value where there is one; a second time changes nothing.

        The record keeps the id that it carries, so what other flows have made of it already is made again under the
        same ids and is left out by the log. It comes at the end of the topic, as if it had been made now.

        Raises:
            NoSuchLetter: There is none with this id.
            SchemaError: The value cannot be read as it is, or is not whole: it must be corrected first.
            KeyErased: The session was erased.
        """
        one = self.one(letter_id)
        letter = one.letter
        if one.placed is not None:
            return Redriven(letter.topic, one.placed.partition, one.placed.offset, repeat=True)
        value, whole = (one.fix, True) if one.fix is not None else self.value(one)
        if not whole:
            raise SchemaError("the log holds this value no longer, and the letter only its beginning")
        self._check(letter, value)
        new = NewRecord(letter.topic, letter.session_id, one.redrive_id, value, time.time())
        # Should the note be lost to a fault, the log knows the id all the same (Kafka: as long as it is a recent one).
        placed = self._log.append([new])[0]
        note = DeadLetterRedriven(
            session_id=letter.session_id,
            event_id=derive_id(one.redrive_id, "noted"),
            created_at=datetime.now(UTC),
            redrive_id=one.redrive_id,
            topic=placed.topic,
            partition=placed.partition,
            offset=placed.offset,
        )
        self._log.append([new_record(TOPIC, note)])
        return Redriven(placed.topic, placed.partition, placed.offset, placed.repeat)
