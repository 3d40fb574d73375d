"""utterances + questions + answers -> figures on how the user talked, per answer and for the meeting; rules only."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.sentences import sentences_of
from operators.stories import PARTS, StarPart, StrongerLine, asks_for_story, star_of, stronger
from operators.words import stems_of
from schemas.answers import Answer, Citation
from schemas.questions import Question
from schemas.speech import Utterance

__all__ = ["AnswerCoaching", "Coaching", "coach", "fillers_in", "pace_of", "words_in"]

_SOUND_FILLERS = re.compile(r"\b(?:um+|uh+|erm*|er|hmm+|mhm)\b", re.IGNORECASE)
_WORD_FILLERS = re.compile(r"\b(?:you know|basically|actually|literally|sort of|kind of|i mean)\b", re.IGNORECASE)
_REPAIRS = re.compile(r"\b(\w+(?: \w+)?)[ ,]+\1\b|\b(?:i mean|sorry)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_][\w'-]*")
_I = re.compile(r"\bi(?:'ve|'d|'m)? (?!mean\b|think\b|guess\b)\w+", re.IGNORECASE)
_WE = re.compile(r"\bwe(?:'ve|'d|'re)? \w+", re.IGNORECASE)
_FIGURE = re.compile(r"\d|\bpercent\b")
_AMOUNT = re.compile(r"\d[\d.,]*")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][\w+#-]+")
LEAST_S = 5.0
SHORT_S, LONG_S = 30.0, 180.0
MONOLOGUE_S = 120.0


@dataclass(frozen=True, slots=True)
class AnswerCoaching:
    """How the user answered one question; None = it cannot be told from what is there.

    Attributes:
        pace_wpm: Words a minute while speaking.
        fillers_per_100: "um" and the like; a lower bound, since speech recognition drops many.
        word_fillers_per_100: "you know" and the like.
        repairs_per_100: Repeated words and restarts.
        direct_after_words: Words before the first sentence that takes up the question.
        ownership: "I" among "I" and "we" before verbs.
        specifics_per_100: Figures and names.
        taken_up: Share of the question's content words that the answer takes up; no judgement of its quality.
        star: Parts of a story found; only for questions that ask for one.
        star_score: Parts found of four.
        flags: What stands out: "short", "long", "no result", "no figure".
        unused_facts: Quotes from the user's own documents that the suggested answer cited and the user did not say.
        stronger: The answer put in a stronger order, from what was said and those quotes.
        suggested: The answer that the engine suggested meanwhile, with its citations; None when there was none.
    """

    question_id: str
    question: str
    utterance_ids: tuple[str, ...]
    said: str
    length_s: float
    words: int
    pace_wpm: float | None
    fillers_per_100: float | None
    word_fillers_per_100: float | None
    repairs_per_100: float | None
    direct_after_words: int | None
    ownership: float | None
    specifics_per_100: float | None
    taken_up: float | None
    behavioural: bool
    star: tuple[StarPart, ...]
    star_score: float | None
    flags: tuple[str, ...]
    unused_facts: tuple[Citation, ...]
    stronger: tuple[StrongerLine, ...]
    suggested: Answer | None


@dataclass(frozen=True, slots=True)
class Coaching:
    """How the user talked in a meeting; None = it cannot be told.

    Attributes:
        fillers_lower_bound: Speech recognition drops many fillers: there were at least these.
    """

    answers: tuple[AnswerCoaching, ...]
    talk_ratio: float | None
    longest_monologue_s: float | None
    pace_wpm: float | None
    fillers_per_100: float | None
    flags: tuple[str, ...]
    fillers_lower_bound: bool = True


def coach(utterances: Sequence[Utterance], questions: Sequence[Question], suggested: Mapping[str, Answer]) -> Coaching:
    """Give the figures of a meeting.

    Args:
        utterances: The newest revision of each, in the order of their start.
        questions: The newest revision of each question heard.
        suggested: The newest answer that the engine suggested, by question id.
    """
    spoken = [one for one in utterances if one.text]
    asked = sorted((one for one in questions if one.origin == "heard"), key=lambda one: one.end_s)
    answers = []
    for number, question in enumerate(asked):
        until = asked[number + 1].start_s if number + 1 < len(asked) else float("inf")
        unit = [one for one in spoken if one.is_user and question.end_s <= one.start_s < until]
        if unit:
            answers.append(_answer(question, unit, suggested.get(question.question_id)))
    mine = [one for one in spoken if one.is_user]
    total, own = sum(map(_length, spoken)), sum(map(_length, mine))
    longest = _longest(spoken)
    text = " ".join(one.text for one in mine)
    return Coaching(
        answers=tuple(answers),
        talk_ratio=own / total if total and mine else None,
        longest_monologue_s=longest,
        pace_wpm=pace_of(words_in(text), own),
        fillers_per_100=_per_100(fillers_in(text), words_in(text)),
        flags=("long monologue",) if longest is not None and longest > MONOLOGUE_S else (),
    )


def _answer(question: Question, unit: Sequence[Utterance], suggested: Answer | None) -> AnswerCoaching:
    text = " ".join(one.text for one in unit)
    words, length_s = words_in(text), sum(map(_length, unit))
    behavioural = asks_for_story(question.text)
    star = star_of(unit) if behavioural else ()
    wanted, said = set(stems_of(question.text)), set(stems_of(text))
    own, shared = len(_I.findall(text)), len(_WE.findall(text))
    cited = suggested.citations if suggested is not None else ()
    unused = tuple(one for one in cited if one.source == "resume" and _unused(one.quote, said))
    specifics = len(_AMOUNT.findall(text)) + len(_NAME.findall(text))
    return AnswerCoaching(
        question_id=question.question_id,
        question=question.text,
        utterance_ids=tuple(one.utterance_id for one in unit),
        said=text,
        length_s=length_s,
        words=words,
        pace_wpm=pace_of(words, length_s),
        fillers_per_100=_per_100(fillers_in(text), words),
        word_fillers_per_100=_per_100(len(_WORD_FILLERS.findall(text)), words),
        repairs_per_100=_per_100(len(_REPAIRS.findall(text)), words),
        direct_after_words=_direct(text, wanted),
        ownership=own / (own + shared) if own + shared else None,
        specifics_per_100=_per_100(specifics, words),
        taken_up=len(wanted & said) / len(wanted) if wanted else None,
        behavioural=behavioural,
        star=star,
        star_score=len({one.part for one in star}) / len(PARTS) if behavioural else None,
        flags=_flags(text, length_s, star, behavioural=behavioural),
        unused_facts=unused,
        stronger=stronger(question.text, unit, star, unused),
        suggested=suggested,
    )


def _flags(text: str, length_s: float, star: Sequence[StarPart], *, behavioural: bool) -> tuple[str, ...]:
    if not behavioural:
        return ()
    flags = ["short"] if length_s < SHORT_S else ["long"] if length_s > LONG_S else []
    if not any(one.part == "result" for one in star):
        flags.append("no result")
    if not _FIGURE.search(text):
        flags.append("no figure")
    return tuple(flags)


def _direct(text: str, wanted: set[str]) -> int | None:
    before = 0
    for sentence in sentences_of(text):
        if wanted & set(stems_of(sentence.words)):
            return before
        before += words_in(sentence.words)
    return None


def _unused(quote: str, said: set[str]) -> bool:
    stems = set(stems_of(quote))
    return bool(stems) and len(stems & said) < 0.5 * len(stems)


def _longest(spoken: Sequence[Utterance]) -> float | None:
    longest: float | None = None
    begin: float | None = None
    for one in spoken:
        if not one.is_user:
            begin = None
            continue
        begin = one.start_s if begin is None else begin
        longest = max(longest or 0.0, one.end_s - begin)
    return longest


def _length(one: Utterance) -> float:
    return max(0.0, one.end_s - one.start_s)


def fillers_in(text: str) -> int:
    """Count "um" and the like.

    >>> fillers_in("Um, I think, er, yes.")
    2
    """
    return len(_SOUND_FILLERS.findall(text))


def words_in(text: str) -> int:
    """Count the words of a text."""
    return len(_WORD.findall(text))


def pace_of(words: int, length_s: float) -> float | None:
    """Give words a minute; None for less than five seconds of speech."""
    return words / length_s * 60 if length_s >= LEAST_S else None


def _per_100(count: int, words: int) -> float | None:
    return 100 * count / words if words else None
