"""Figures of retrieval and answers against a set whose answers are known; knows nothing of how they were made."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rejoinder.evaluation.answer_set import Evidence, Item
from schemas.answers import Passage

__all__ = ["Place", "claims_of", "contains", "covers", "is_right", "ndcg", "places_of", "recall", "refuses"]

COVERED = 0.5
"""A stretch counts as found when this much of it lies within one passage: a cut may fall into the middle of it."""
CONTENT_SHARE = 0.6
_WORD = re.compile(r"[^\W_]+(?:[.,'-][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MARKER = re.compile(r"\s*\[(\d{1,2})\]")
_CLAIM = re.compile(r"[^\n]*?(?:[.!?](?:\s*\[\d{1,2}\])*(?=\s|$)|$)", re.MULTILINE)
_REFUSAL = re.compile(
    r"\b(?:not in your documents|no clear answer|nothing on this|nothing about this|"
    r"do(?:es)? not (?:say|hold|mention|contain|state|specify)|"
    r"don't (?:say|mention|contain)|no information|not (?:mentioned|stated|specified|provided|found|given)|"
    r"cannot (?:be )?(?:answer|find|found)|steht nicht|keine angabe)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of a stored document."""

    document_id: str
    start: int
    end: int


def places_of(evidence: Iterable[Evidence], documents: Mapping[str, tuple[str, str]]) -> list[Place]:
    """Give where evidence lies; `documents` maps a name of the set to document id and text."""
    found = []
    for one in evidence:
        document_id, text = documents[one.document]
        start = text.index(one.text)
        found.append(Place(document_id, start, start + len(one.text)))
    return found


def covers(document_id: str, start: int, end: int, place: Place) -> bool:
    """Say whether a stretch of a document holds at least half of a place, or lies wholly within it."""
    if document_id != place.document_id:
        return False
    shared = min(end, place.end) - max(start, place.start)
    return shared >= COVERED * min(place.end - place.start, max(1, end - start))


def _covers(passage: Passage, place: Place) -> bool:
    return covers(passage.document_id, passage.start, passage.end, place)


def recall(found: Sequence[Passage], places: Sequence[Place], most: int) -> float:
    """Give the share of places that the first `most` passages hold."""
    return sum(any(_covers(one, place) for one in found[:most]) for place in places) / len(places)


def ndcg(found: Sequence[Passage], places: Sequence[Place], most: int) -> float:
    """Give normalised discounted cumulative gain: a passage gains 1 when it holds a place no earlier one held."""
    left, gained = list(places), 0.0
    gains = 0
    for rank, passage in enumerate(found[:most], start=1):
        fresh = [place for place in left if _covers(passage, place)]
        if fresh:
            gained += 1 / math.log2(1 + rank)
            left = [place for place in left if place not in fresh]
            gains += 1
    # Two places in one passage are one gain, so the best order has as many gains as were made, plus what is missing.
    best = sum(1 / math.log2(1 + rank) for rank in range(1, min(most, gains + len(left)) + 1))
    return gained / best if best else 0.0


def claims_of(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Give the claims of an answer, one per sentence, with the markers that stand in or right after it.

    >>> claims_of("It pays 350 pounds [1]. It is cold.")
    [('It pays 350 pounds.', (1,)), ('It is cold.', ())]
    """
    claims = []
    for part in _CLAIM.findall(text):
        markers = tuple(int(number) for number in _MARKER.findall(part))
        bare = _MARKER.sub("", part).strip()
        if _WORD.search(bare):
            claims.append((bare, markers))
    return claims


def contains(passage: str, claim: str) -> bool:
    """Say whether a passage holds a claim: all its numbers, and three of five of its longer words."""
    numbers = set(_NUMBER.findall(passage))
    if any(number not in numbers for number in _NUMBER.findall(claim)):
        return False
    there = {word[:5] for word in _WORD.findall(passage.lower())}
    words = [word[:5] for word in _WORD.findall(claim.lower()) if len(word) > 3]
    return not words or sum(word in there for word in words) >= CONTENT_SHARE * len(words)


def refuses(text: str) -> bool:
    """Say whether an answer says that the documents do not hold it."""
    return _REFUSAL.search(text) is not None


def is_right(item: Item, text: str) -> bool:
    """Say whether an answer matches everything that is expected of it."""
    return all(re.search(pattern, text) for pattern in item.expect)
