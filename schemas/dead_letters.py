"""What could not be read or processed, with the reason, so that nothing is lost silently."""

from typing import Literal

from schemas.base import Identifier, Record

__all__ = ["DeadLetter"]


class DeadLetter(Record):
    """A record that a flow could not decode or process.

    Attributes:
        topic: Where it lay.
        offset: Its offset there; the log still holds it.
        flow: The flow that met it.
        reason: What was wrong, in one line, without any speech text.
        value_base64: The record's bytes, base64 (cut to 64 KiB).
    """

    type: Literal["dead_letter"] = "dead_letter"
    topic: Identifier
    offset: int
    flow: Identifier
    reason: str
    value_base64: str
