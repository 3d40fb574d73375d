"""Whether a passage holds what a sentence claims."""

import re
from collections.abc import Sequence

from operators.words import stems_of
from schemas.answers import Passage

__all__ = ["asserts", "doses_in", "figures_in", "supporter", "supports"]

_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")
_DOSE = re.compile(
    r"\b\d+(?:[.,]\d+)?\s*(?:mg|mcg|µg|ug|g|grams?|milligrams?|micrograms?|ml|millilit(?:er|re)s?|units?|iu|tablets?|"
    r"pills?|capsules?|drops?|puffs?|sprays?)\b(?:\s*/\s*(?:kg|day|dose))?",
    re.IGNORECASE,
)
_PROPER = re.compile(r"(?<=[a-z,;] )(?:[A-Z][\w-]+|[A-Z]{2,})")
_ASKS = re.compile(r"\?\s*$")
SHARED = 0.5
LEAST_STEMS = 2


def figures_in(text: str) -> set[str]:
    """Give the numbers of a text, as they are written.

    >>> sorted(figures_in("500 mg, up to 4 times [2]"))
    ['2', '4', '500']
    """
    return {figure.strip(".,:") for figure in _FIGURE.findall(text)}


def doses_in(text: str) -> list[str]:
    """Give the amounts of medicine that a text names.

    >>> doses_in("Take 500 mg or 2 tablets, at 8 o'clock")
    ['500 mg', '2 tablets']
    """
    return [match.group() for match in _DOSE.finditer(text)]


def asserts(sentence: str) -> bool:
    """Say whether a sentence claims a fact that can be wrong: it holds a figure or a name, and asks nothing."""
    if _ASKS.search(sentence) or not any(char.isalpha() for char in sentence):
        return False
    return bool(_FIGURE.search(sentence) or _PROPER.search(sentence))


def supports(text: str, sentence: str) -> bool:
    """Say whether a text holds what a sentence says: all its figures and names, and half of its content words.

    >>> supports("Standby pays 350 pounds a week.", "It pays 350 pounds for standby.")
    True
    >>> supports("Standby pays 350 pounds a week.", "It pays 400 pounds for standby.")
    False
    """
    if figures_in(sentence) - figures_in(text):
        return False
    lower = text.lower()
    if any(name.lower() not in lower for name in _PROPER.findall(sentence)):
        return False
    said = set(stems_of(_FIGURE.sub(" ", sentence)))
    there = set(stems_of(text))
    return len(said) >= LEAST_STEMS and len(said & there) >= SHARED * len(said)


def supporter(sentence: str, passages: Sequence[Passage], first: Sequence[int] = ()) -> int | None:
    """Give the number, from 1, of a passage that supports a sentence: one of `first` if any does, else the best."""
    order: list[int] = [*(number for number in first if 1 <= number <= len(passages)), *range(1, len(passages) + 1)]
    for number in order:
        passage = passages[number - 1]
        if supports(f"{passage.title} {passage.heading} {passage.text}", sentence):
            return number
    return None
