"""question + what was said -> what to search for: follow-ups with the lines they lean on, and whose facts are meant."""

import re
from collections.abc import Sequence

from operators.injections import question_without_instructions
from operators.words import stems_of
from schemas.memory import Note, Said
from schemas.questions import Question

__all__ = ["about_user", "core_of", "is_followup", "lines_before", "queries_of"]

_LEANS = re.compile(
    r"\b(?:it|its|this|that|those|these|they|them|their|theirs|he|she|him|her|his|ones?|there|then|same|such|both|"
    r"former|latter|else)\b",
    re.IGNORECASE,
)
_JOINS = re.compile(
    r"^\W*(?:and|but|or|so|what about|how about|how come|why|why not|which ones?|in which|since when)\b", re.IGNORECASE
)
_OPENING = re.compile(r"\b(?:is|are|was|were) there\b|\b(?:it|that) (?:is|was|takes?) (?:to|that)\b", re.IGNORECASE)
_YOU = re.compile(r"\b(?:you|your|yours|yourself|you've|you're|you'd)\b", re.IGNORECASE)
_AUXILIARY = r"(?:should|do|does|did|can|could|is|are|was|were|will|would)"
_ASKS = re.compile(
    rf"\b(?:what|how|when|where|why|who|which)(?: (?:often|long|much|many|soon|high))? {_AUXILIARY}\b"
    rf"|\b{_AUXILIARY} (?:i|you|we|it|they|there)\b",
    re.IGNORECASE,
)
_PUNCTUATED = re.compile(r"[.?!,;]\s")
_LONG, _LEAST = 12, 5
_LINES = 2
_ALONE = 3
"""Fewer content words than this say too little to be searched for."""
_MOST_CHARS = 400


def core_of(text: str) -> str:
    """Give what a question asks, without orders to a machine and without the talk before it in raw speech.

    >>> core_of("oh those look like my mother's never mind what should i eat to help the skin heal")
    'what should i eat to help the skin heal'
    """
    text = question_without_instructions(text)
    if len(text.split()) <= _LONG or _PUNCTUATED.search(text):
        return text
    starts = [match.start() for match in _ASKS.finditer(text) if len(text[match.start() :].split()) >= _LEAST]
    return text[starts[-1] :] if starts else text


def is_followup(text: str) -> bool:
    """Say whether a question leans on what was said before it.

    >>> is_followup("And how long does it last?"), is_followup("How long is the probation period?")
    (True, False)
    """
    words = len(stems_of(text))
    joins = words < _ALONE and _JOINS.search(text) is not None
    return words < 2 or joins or _LEANS.search(_OPENING.sub("", text)) is not None


def lines_before(question: Question, said: Sequence[Said]) -> list[str]:
    """Give the last lines before a question without the names of their speakers, oldest first."""
    if question.preceding:
        return [line.partition(": ")[2] or line for line in question.preceding[-_LINES:]]
    return [line.text for line in said if line.text.strip() != question.text.strip()][-_LINES:]


def queries_of(question: Question, said: Sequence[Said], notes: Sequence[Note] = ()) -> tuple[str, ...]:
    """Give what to search for, the query that counts most first.

    A follow-up of few words is searched for with the lines before it, or with notes when there are none. One that says
    more counts more by itself, so that a line that has nothing to do with it cannot hide what it asks.
    """
    text = core_of(question.text)
    if not is_followup(text):
        return (text,)
    before = lines_before(question, said)
    if not before:
        wanted = set(stems_of(text))
        before = [note.text for note in notes if wanted & set(stems_of(note.text))][-_LINES:]
    if not before:
        return (text,)
    whole = " ".join([*(line[:_MOST_CHARS] for line in before), text])
    return (text, whole) if len(stems_of(text)) >= _ALONE else (whole,)


def about_user(text: str, kind: str) -> bool:
    """Say whether a question asks the user about themselves, whose facts are in the resume.

    >>> about_user("What did you do in 2017?", "interview"), about_user("What uptime do you offer?", "meeting")
    (True, False)
    """
    return kind == "interview" and _YOU.search(text) is not None
