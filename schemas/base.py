"""What every record on a topic has in common, and how its id is made."""

import hashlib
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["Identifier", "Record", "Seconds", "Strict", "derive_id"]

Identifier = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A name that may stand in a key, a path or a log line: 1-200 characters, no control characters."""

Seconds = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
"""Seconds since the first sample or caption of the session (up to 11 days)."""


class Strict(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(Strict):
    """The envelope: what travels on every topic.

    Attributes:
        session_id: The conversation this belongs to; the key of every topic.
        event_id: Identity of this record on its topic. Writing the same id twice stores it once.
        created_at: When the producer made it, aware UTC.
    """

    session_id: Identifier
    event_id: Identifier
    created_at: AwareDatetime


def derive_id(*parts: str | int) -> str:
    """Give the same 32 hex digits for the same parts, always and on every machine.

    Ids downstream of the API are derived from what caused them and never drawn at random, so that work
    done again after a fault writes the same ids and the log drops the repeats.

    >>> derive_id("session-1", "questions", 7)
    'c29aba2279d7e9857a56da425a389054'
    >>> derive_id("ab", "c") == derive_id("a", "bc")
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        piece = str(part).encode("utf-8", "surrogatepass")
        # The length goes first, so that ("ab", "c") and ("a", "bc") differ.
        digest.update(len(piece).to_bytes(4, "big"))
        digest.update(piece)
    return digest.hexdigest()
