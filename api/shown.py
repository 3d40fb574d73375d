"""What clients are shown of a record: decoded and encoded once, however many clients follow its session."""

import json
from collections import OrderedDict
from dataclasses import dataclass

from eventlog.base import LogRecord
from schemas.codec import decode
from schemas.errors import SchemaError

__all__ = ["Shown", "ShownRecords"]

MOST_BYTES = 16_000_000
"""Clients of a session read the same records within seconds of each other; what is older is made again."""
COST = 400


@dataclass(frozen=True, slots=True)
class Shown:
    """A record as clients see it, and of its fields those that a stream must know.

    Attributes:
        type: The record's type, which is the name of the event.
        data: The record as JSON.
        text: The piece of an answer_delta, else "".
    """

    type: str
    data: bytes
    text: str = ""
    answer_id: str = ""
    question_id: str = ""
    attempt: int = 0
    reason: str = ""

    def continues(self, before: "Shown") -> bool:
        """Say whether this is a piece of the same try at the same answer as the one before."""
        same = before.answer_id == self.answer_id and before.attempt == self.attempt
        return before.type == "answer_delta" and same

    def event(self, cursor: str, text: str) -> bytes:
        """Give the server-sent event with this id; `text` is that of the pieces sent together."""
        data = self.data
        if text != self.text:
            data = json.dumps({**json.loads(data), "text": text}).encode()
        return b"id: %b\r\nevent: %b\r\ndata: %b\r\n\r\n" % (cursor.encode(), self.type.encode(), data)


class ShownRecords:
    """The records shown lately; used in the event loop only."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Keep about `most_bytes`."""
        self._most, self._held = most_bytes, 0
        self._known: OrderedDict[tuple[str, int, int], Shown | None] = OrderedDict()

    def of(self, lying: LogRecord) -> Shown | None:
        """Give what is shown of a record; None when it cannot be read (the flows bury it)."""
        place = lying.topic, lying.partition, lying.offset
        if place in self._known:
            return self._known[place]
        made = self._known[place] = _made(lying)
        self._held += _cost(made)
        while self._held > self._most:
            self._held -= _cost(self._known.popitem(last=False)[1])
        return made

    def forget(self) -> None:
        """Forget everything, as when a session is erased."""
        self._known.clear()
        self._held = 0


def _cost(shown: Shown | None) -> int:
    return COST + (len(shown.data) if shown is not None else 0)


def _made(lying: LogRecord) -> Shown | None:
    try:
        record = decode(lying.topic, lying.value)
    except SchemaError:
        return None
    fields = record.__dict__  # asking a record for a field it lacks takes longer than all the rest
    return Shown(
        type=record.type,
        data=record.__pydantic_serializer__.to_json(record),
        text=record.text if record.type == "answer_delta" else "",
        answer_id=fields.get("answer_id", ""),
        question_id=fields.get("question_id", ""),
        attempt=fields.get("attempt", 0),
        reason=str(fields.get("reason", "")),
    )
