"""utterance -> the notes worth keeping of it, by rules; corrections and open questions among them."""

import re
from dataclasses import dataclass

from operators.injections import is_instruction
from operators.sentences import sentences_of
from operators.support import figures_in
from operators.words import stems_of
from schemas.base import derive_id
from schemas.memory import Note, NoteKind
from schemas.speech import Utterance

__all__ = ["Noted", "corrects", "defers", "may_correct", "notes_of"]

MOST_NOTE_CHARS = 280
MOST_NOTES_EACH = 4
SAME_SUBJECT = 0.4
_NUMBER = re.compile(
    r"(?:[$€£]\s?\d[\d,.]*|\b\d[\d,.]*\s?(?:(?:thousand|million|billion)\s)?(?:%|percent\b|k\b|ms\b|"
    r"seconds?\b|minutes?\b|hours?\b|days?\b|weeks?\b|"
    r"months?\b|years?\b|people\b|users?\b|engineers?\b|requests?\b|euros?\b|dollars?\b|pounds?\b|mg\b|ml\b|gb\b|tb\b)|"
    r"\b(?:19|20)\d\d\b)",
    re.IGNORECASE,
)
_RULES: tuple[tuple[NoteKind, re.Pattern[str]], ...] = (
    (
        "decision",
        re.compile(
            r"\b(?:we(?:'ve| have)? (?:decided|agreed)|it is decided|let's go with|"
            r"we(?:'ll| will) go (?:with|for|ahead)|the decision is|decided:|agreed:|"
            r"(?:that|this|it) is (?:approved|settled)|we approve)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "commitment",
        re.compile(
            r"\b(?i:i|we)(?i:'ll| will| shall|'m going to| am going to| are going to) (?!be honest|say|be able)\w+"
            r"|\b[A-Z]\w+ will (?:send|write|check|ask|bring|prepare|call|talk|deliver|report|look|set|fix|share)\b"
            r"|\b(?i:action item|action for)\b",
        ),
    ),
    (
        "name",
        re.compile(
            r"\b(?:my name is|my name's|i am called|call me|i'm dr\.?|i am dr\.?|this is)\s+[A-Z]\w+", re.IGNORECASE
        ),
    ),
    ("number", _NUMBER),
    (
        "fact",
        re.compile(
            r"\b(?:we use|we run|we have|our team|our stack|i've worked|i have worked|i worked|i work|i live|i've been|"
            r"i have been|i take|i'm allergic|i am allergic|i'm responsible|we're|we are)\b",
            re.IGNORECASE,
        ),
    ),
)
_CORRECTION = re.compile(
    r"\b(?:sorry|no|actually|i mean|i meant|correction|i misspoke|make that|not \w+ but|rather)\b", re.IGNORECASE
)
_DEFERS = re.compile(
    r"\b(?:don't know|do not know|not sure|find out|get back to you|come back to (?:you|that)|"
    r"have to (?:check|ask|look)|"
    r"let me check|no idea|follow up|can't say|cannot say|later)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(r"\?\s*$")


@dataclass(frozen=True, slots=True)
class Noted:
    """A note with the sentence it was made of, to notice corrections."""

    note: Note
    sentence: str


def notes_of(spoken: Utterance) -> list[Noted]:
    """Give the notes of one utterance: at most one per sentence, the first rule that fits; no orders to machines."""
    notes: list[Noted] = []
    for number, one in enumerate(sentences_of(spoken.text)):
        sentence = one.words
        if is_instruction(sentence):
            break
        if _ASKS.search(sentence):
            kind: NoteKind | None = "open_question" if len(stems_of(sentence)) >= 2 else None
        else:
            kind = next((kind for kind, rule in _RULES if rule.search(sentence)), None)
        if kind is None:
            continue
        note = Note(
            note_id=derive_id(spoken.utterance_id, "note", number),
            kind=kind,
            text=f"{spoken.speaker_name}: {sentence}"[:MOST_NOTE_CHARS],
            utterance_ids=(spoken.utterance_id,),
        )
        notes.append(Noted(note, sentence[:MOST_NOTE_CHARS]))
    return notes[:MOST_NOTES_EACH]


def corrects(later: str, earlier: str) -> bool:
    """Say whether a sentence puts an earlier one of the same speaker right: same subject, other figures.

    >>> corrects("Sorry, the budget is 40 thousand euros.", "The budget is 30 thousand euros.")
    True
    >>> corrects("In 2025 we had 60 users.", "In 2024 we had 40 users.")
    False
    """
    # Without a word of correction it may be a series: so many last year, so many now.
    if not may_correct(later):
        return False
    new, old = figures_in(later), figures_in(earlier)
    if not new or not old or new == old:
        return False
    said, before = set(stems_of(later)) - new, set(stems_of(earlier)) - old
    if not before:
        return False
    shared = len(said & before) / len(before)
    return shared >= SAME_SUBJECT


def may_correct(text: str) -> bool:
    """Say whether a sentence holds a word of correction.

    >>> may_correct("Sorry, it is 40."), may_correct("It is 40.")
    (True, False)
    """
    return _CORRECTION.search(text) is not None


def defers(text: str) -> bool:
    """Say whether a reply puts a question off instead of answering it.

    >>> defers("I have to check that and get back to you."), defers("It takes three weeks.")
    (True, False)
    """
    return _DEFERS.search(text) is not None
