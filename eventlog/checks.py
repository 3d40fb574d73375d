"""What every log does with records it cannot take and with subscribers that fail."""

import math
from collections.abc import Iterable, Sequence

import structlog

from eventlog.base import NewRecord, Notify
from schemas.errors import RecordTooLarge, UnknownTopic
from schemas.topics import MAX_RECORD_BYTES, topic_named

__all__ = ["tell", "what_is_wrong"]

logger = structlog.get_logger("eventlog")


def what_is_wrong(records: Sequence[NewRecord]) -> Exception | None:
    """Give why records cannot be stored, None when they can; so a bad one fails its own call and no other.

    An unknown topic is an `UnknownTopic`; a key or id that is empty or no Unicode text, a time that is no
    number, or a value that is not bytes is a `ValueError`; a value that is too large is a `RecordTooLarge`.
    """
    for record in records:
        try:
            topic_named(record.topic)
        except UnknownTopic as error:
            return error
        for name, text in (("key", record.key), ("event_id", record.event_id)):
            if not isinstance(text, str) or not text or (not text.isascii() and _has_surrogate(text)):
                return ValueError(f"the {name} of a record must be Unicode text")
        if not isinstance(record.at_s, int | float) or not math.isfinite(record.at_s):
            return ValueError("the time of a record must be a finite number")
        if not isinstance(record.value, bytes):
            return ValueError("the value of a record must be bytes")
        if len(record.value) > MAX_RECORD_BYTES:
            return RecordTooLarge(f"a record of {len(record.value):,} bytes; at most {MAX_RECORD_BYTES:,} are taken")
    return None


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def tell(subscribers: Iterable[Notify], keys: frozenset[str]) -> None:
    """Call every subscriber; one that fails is logged and takes neither the log nor the others with it."""
    for notify in subscribers:
        try:
            notify(keys)
        except Exception:
            logger.exception("subscriber_failed")
