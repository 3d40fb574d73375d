"""What could not be read or processed, with the reason, so that nothing is lost silently; and what was put right."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record

__all__ = ["DeadLetter", "DeadLetterFix", "DeadLetterRecord", "DeadLetterRedriven"]


class DeadLetter(Record):
    """A record that a flow could not decode or process.

    Attributes:
        topic: Where it lay.
        offset: Its offset there; the log still holds it. -1 = it was never stored.
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


class DeadLetterFix(Record):
    """What is put back in place of a dead letter's value; of several the last counts.

    Attributes:
        letter_id: Event id of the dead letter.
        value_base64: The bytes of a record that can be read, base64.
    """

    type: Literal["dead_letter_fix"] = "dead_letter_fix"
    letter_id: Identifier
    value_base64: str


class DeadLetterRedriven(Record):
    """A dead letter was put back onto its topic.

    Attributes:
        redrive_id: The id under which it was put back; letters of several flows about one record share it.
        topic: Where it lies now.
        partition: Its partition there.
        offset: Its offset there.
    """

    type: Literal["dead_letter_redriven"] = "dead_letter_redriven"
    redrive_id: Identifier
    topic: Identifier
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]


DeadLetterRecord = Annotated[DeadLetter | DeadLetterFix | DeadLetterRedriven, Field(discriminator="type")]
