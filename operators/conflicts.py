"""Two sentences from two documents that say the same thing with other figures."""

import re
from collections.abc import Sequence

from operators.extractive import Quote
from operators.words import stems_of

__all__ = ["contradiction", "newer_first"]

_FIGURE = re.compile(
    r"\d+(?:[.,:]\d+)*|\b(?:jan(?:uary)?|feb(?:ruary)?|march|april|june|july|august|sept(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)\b",
    re.IGNORECASE,
)
LEAST_SHARED = 0.6


def _frame(text: str) -> set[str]:
    return set(stems_of(_FIGURE.sub(" ", text)))


def contradiction(best: Quote, others: Sequence[Quote]) -> Quote | None:
    """Give the quote from another document that says the same with other figures; None when there is none."""
    figures, frame = set(_FIGURE.findall(best.text.lower())), _frame(best.text)
    if not figures or len(frame) < 2:
        return None
    for other in others:
        if other.passage.document_id == best.passage.document_id:
            continue
        theirs, said = set(_FIGURE.findall(other.text.lower())), _frame(other.text)
        shared = len(frame & said) / max(1, min(len(frame), len(said)))
        if theirs and theirs != figures and len(said) >= 2 and shared >= LEAST_SHARED:
            return other
    return None


def newer_first(one: Quote, other: Quote) -> tuple[Quote, Quote]:
    """Give two quotes, that of the later document first; equal dates keep their order."""
    return (one, other) if one.passage.dated >= other.passage.dated else (other, one)
