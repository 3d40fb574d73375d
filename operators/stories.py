"""An answer -> the parts of its story, and a stronger version from what was said and the user's documents."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.sentences import sentences_of
from operators.words import stems_of
from schemas.answers import Citation
from schemas.speech import Utterance

__all__ = ["PARTS", "StarPart", "StrongerLine", "asks_for_story", "star_of", "stronger", "tidied"]

_BEHAVIOURAL = re.compile(
    r"\b(?:tell me about (?:a|an|the) (?:time|situation|conflict|project|mistake)|(?:give|describe) .{0,20}"
    r"(?:example|situation|time)|how did you (?:handle|deal)|walk me through a time)\b",
    re.IGNORECASE,
)
_STAR_CUES = {
    "situation": r"when i was|at the time|back (?:then|in)|last (?:year|month)|in (?:19|20)\d\d|we were|there was|"
    r"the team (?:was|had)|while i",
    "task": r"i (?:had|needed|was asked) to|my (?:job|task|role|goal|responsibility)|the goal was|we (?:had|needed) to|"
    r"i was responsible",
    "action": r"i (?:built|wrote|led|spoke|set up|made|showed|(?!need|want|talk about)\w{3,}ed)",
    "result": r"as a result|in the end|so that|which (?:meant|led)|led to|fell (?:by|from|to)|since then|afterwards|"
    r"the result|(?:reduced|improved|increased|saved|cut|grew)\b.{0,40}\d",
}
_STAR = tuple((part, re.compile(rf"\b(?:{cue})\b", re.IGNORECASE)) for part, cue in _STAR_CUES.items())
PARTS = tuple(_STAR_CUES)
"""The parts of a story in the order in which it is told; STAR, as interview guides call it."""
_ASK: Mapping[str, str] = {
    "situation": "Say when and where it was.",
    "task": "Say what you had to do.",
    "action": "Say what you yourself did.",
    "result": "Say what came of it, with a number if you have one.",
}
_DONE = re.compile(r"(?:built|wrote|led|set up|made|cut|ran|\w{3,}ed)\b", re.IGNORECASE)
_FIGURE = re.compile(r"\d|\bpercent\b")
_HESITATION = re.compile(
    r"\b(?:um+|uh+|erm*|hmm+)\b[ ,.]*|,? ?\b(?:you know|basically|actually|sort of|kind of)\b,?(?= )|"
    r"\b(\w+(?: \w+)?)[ ,]+(?=\1\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class StarPart:
    """A part of a story with the sentence that shows it."""

    part: str
    utterance_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class StrongerLine:
    """A line of a stronger version.

    Attributes:
        part: Which part of a story it tells; "answer" for the sentence that answers, "more" for what adds to it.
        text: The words: the user's own without hesitations, a quote of a document, or what is still to be said.
        source: "said", "resume", or "missing" when neither the answer nor the documents cited hold it.
        utterance_id: Where the user said it.
        citation: The document it is quoted from.
    """

    part: str
    text: str
    source: str
    utterance_id: str | None = None
    citation: Citation | None = None


def asks_for_story(question: str) -> bool:
    """Say whether a question wants a story.

    >>> asks_for_story("Tell me about a time you failed."), asks_for_story("Which database do you use?")
    (True, False)
    """
    return _BEHAVIOURAL.search(question) is not None


def star_of(unit: Sequence[Utterance]) -> tuple[StarPart, ...]:
    """Give the parts of a story that an answer has, each with the first sentence that shows it."""
    found: dict[str, StarPart] = {}
    for utterance in unit:
        for sentence in sentences_of(utterance.text):
            for part, cue in _STAR:
                if part not in found and cue.search(sentence.words):
                    found[part] = StarPart(part, utterance.utterance_id, sentence.words)
    return tuple(found[part] for part in PARTS if part in found)


def stronger(
    question: str, unit: Sequence[Utterance], star: Sequence[StarPart], unused: Sequence[Citation]
) -> tuple[StrongerLine, ...]:
    """Put an answer in a stronger order: nothing is made up, every line was said, is quoted, or is asked for.

    Args:
        question: What was asked.
        unit: The user's utterances that answer it.
        star: The parts of a story found in them; used only when the question asks for a story.
        unused: Quotes of the user's documents that were left unsaid, the best first.
    """
    left = list(unused)
    lines = _story(star, left) if asks_for_story(question) else _direct(question, unit)
    more = [StrongerLine("more", one.quote, "resume", citation=one) for one in left]
    return (*lines, *more)


def _story(star: Sequence[StarPart], left: list[Citation]) -> list[StrongerLine]:
    """Tell the parts in their order; a quote that fits a part that is missing is taken out of `left`."""
    found = {one.part: one for one in star}
    lines: list[StrongerLine] = []
    told: set[tuple[str, str]] = set()
    for part in PARTS:
        if part in found:
            one = found[part]
            if (one.utterance_id, one.quote) not in told:  # one sentence may show two parts
                lines.append(StrongerLine(part, tidied(one.quote), "said", utterance_id=one.utterance_id))
            told.add((one.utterance_id, one.quote))
            continue
        fact = next((fact for fact in left if _fits(fact.quote, part)), None)
        if fact is None:
            lines.append(StrongerLine(part, _ASK[part], "missing"))
        else:
            left.remove(fact)
            lines.append(StrongerLine(part, fact.quote, "resume", citation=fact))
    return lines


def _direct(question: str, unit: Sequence[Utterance]) -> list[StrongerLine]:
    wanted = set(stems_of(question))
    sentences = [(one.utterance_id, part.words) for one in unit for part in sentences_of(one.text)]
    if not sentences:  # too few words to be a sentence
        sentences = [(one.utterance_id, one.text) for one in unit]
    taken_up = [wanted & set(stems_of(words)) for _, words in sentences]
    best = max(range(len(sentences)), key=lambda place: len(taken_up[place]))
    if not taken_up[best]:
        return [StrongerLine("answer", "Say in the first sentence what was asked for.", "missing")]
    utterance_id, words = sentences[best]
    return [StrongerLine("answer", tidied(words), "said", utterance_id=utterance_id)]


def _fits(quote: str, part: str) -> bool:
    """Say whether a line of a resume tells this part: what was done, or what came of it, never where or why."""
    if part == "result":
        return _FIGURE.search(quote) is not None
    return part == "action" and _DONE.match(quote) is not None


def tidied(text: str) -> str:
    """Give words without hesitations and repeats.

    >>> tidied("um, so I I talked to, you know, the drivers.")
    'So I talked to the drivers.'
    """
    clean = _HESITATION.sub("", text).strip()
    return clean[:1].upper() + clean[1:]
