"""passages -> an answer quoted from them: which sentence answers, how sure that is, and where it stands."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from operators.injections import is_instruction
from operators.ports import Vectors
from operators.quote_weights import BIAS, WEIGHTS
from operators.sentences import Sentence, sentences_of
from operators.words import stems_of
from schemas.answers import Citation, Passage

__all__ = ["Asked", "Candidate", "Quote", "best_quotes", "candidates_in", "cite", "comparable", "features", "weighed"]

_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|"
    r"ninety|hundred|half|third|twice|once)\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b(?:(?:19|20)\d\d|days?|weeks?|months?|years?|hours?|minutes?|seconds?|noon|midnight|january|february|march|april|"
    r"may|june|july|august|september|october|november|december|(?:mon|tues|wednes|thurs|fri|satur|sun)days?)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][a-z]+")
_WANTS = (
    (
        re.compile(
            r"\bhow (?:much|many|expensive)|\b(?:costs?|prices?|salary|budget|dose|revenue|discount|allowance)\b"
        ),
        _NUMBER,
    ),
    (re.compile(r"\bhow (?:long|late|soon|quickly|often)|\bwhen\b|\bwhat year\b"), _TIME),
    (re.compile(r"^\W*(?:and |so )?(?:who|whose|where)\b"), _NAME),
)
FEATURES = ("sentence", "headed", "passage", "words", "query_words", "title", "beside", "beside_near", "rank", "fits",
            "misfits", "own_resume", "own_other", "length")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of a passage; offsets are characters within the document, `score` is how well it answers, 0-1."""

    passage: Passage
    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the query it was searched with, and whether it is about the user."""

    text: str
    query: str
    about_user: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may be quoted, and the rank of its passage."""

    rank: int
    passage: Passage
    sentence: Sentence

    @property
    def headed(self) -> str:
        """Give the sentence with the heading that says what it is about."""
        return f"{self.passage.heading or self.passage.title}: {self.sentence.words}"


def candidates_in(passages: Sequence[Passage]) -> list[Candidate]:
    """Give the sentences that may be quoted: no heading, no question, nothing that gives orders to a machine."""
    found = []
    for rank, passage in enumerate(passages):
        tainted = -1
        for sentence in sentences_of(passage.text):
            line = passage.text.count("\n", 0, sentence.start)
            if is_instruction(sentence.words):
                tainted = line
            asks = sentence.words.rstrip("*_ ").endswith("?")
            if line != tainted and not sentence.heading and not asks:
                found.append(Candidate(rank, passage, sentence))
    return found


def comparable(candidates: Sequence[Candidate], passages: Sequence[Passage]) -> list[str]:
    """Give the texts whose likeness to question and query `features` wants: sentences, headed ones, passages."""
    return [
        *(one.sentence.words for one in candidates),
        *(one.headed for one in candidates),
        *(f"{one.title}: {one.heading}: {one.text}" for one in passages),
    ]


def features(
    asked: Asked, candidates: Sequence[Candidate], near: Sequence[float], near_query: Sequence[float]
) -> Vectors:
    """Give what speaks for each candidate, shape (candidates, 14), columns as in `FEATURES`.

    Args:
        asked: The question.
        candidates: At least one sentence.
        near: Likeness of the question to each text of `comparable`.
        near_query: The same of the query.
    """
    count = len(candidates)
    wanted, query = set(stems_of(asked.text)), set(stems_of(asked.query))
    bags = [set(stems_of(one.sentence.words)) for one in candidates]
    seen = Counter(stem for bag in bags for stem in bag)
    weight = {stem: math.log(1 + count / (seen[stem] + 0.5)) for stem in wanted | query}

    def share(bag: set[str], of: set[str]) -> float:
        return sum(weight[stem] for stem in bag & of) / (sum(weight[stem] for stem in of) or 1.0)

    wants = next((kind for cue, kind in _WANTS if cue.search(asked.text.lower())), None)
    words = [share(bag, wanted) for bag in bags]
    rows = np.zeros((count, len(FEATURES)), np.float32)
    for number, one in enumerate(candidates):
        beside = [
            other
            for other in (number - 1, number + 1)
            if 0 <= other < count and candidates[other].passage is one.passage
        ]
        fits = wants.search(one.sentence.words) is not None if wants else None
        resume = one.passage.source == "resume"
        rows[number] = (
            near[number],
            near_query[count + number],
            near_query[2 * count + one.rank],
            words[number],
            share(bags[number], query),
            share(set(stems_of(f"{one.passage.heading} {one.passage.title}")), wanted),
            max((words[other] for other in beside), default=0.0),
            max((near[other] for other in beside), default=0.0),
            1 / (1 + one.rank),
            fits is True,
            fits is False,
            asked.about_user and resume,
            asked.about_user and not resume,
            min(len(one.sentence.words.split()), 25) / 25,
        )
    return rows


def weighed(candidates: Sequence[Candidate], rows: Vectors) -> list[Quote]:
    """Give the candidates as quotes, best first; the score is the fitted chance that the sentence answers."""
    chances = 1 / (1 + np.exp(-(rows @ np.array(WEIGHTS, np.float32) + BIAS)))
    quotes = [replace(_quote(one), score=float(chance)) for one, chance in zip(candidates, chances, strict=True)]
    return sorted(_distinct(quotes), key=lambda quote: -quote.score)


def _quote(one: Candidate) -> Quote:
    start = one.passage.start + one.sentence.start
    return Quote(one.passage, one.sentence.words, start, start + len(one.sentence.words), 0.0)


def best_quotes(text: str, passages: Sequence[Passage], most: int = 3, least_score: float = 0.18) -> list[Quote]:
    """Give the sentences that share most words with a text, best first; [] when none shares enough with it.

    A sentence scores by the words it holds, rare ones more (idf over all sentences found), plus a little for its
    neighbours and for the rank of its passage. For questions `weighed` is better; this needs no vectors.
    """
    wanted = set(stems_of(text))
    candidates = candidates_in(passages)
    if not wanted or not candidates:
        return []
    bags = [set(stems_of(one.sentence.words)) for one in candidates]
    seen = Counter(stem for bag in bags for stem in bag & wanted)
    weight = {stem: math.log(1 + len(bags) / (seen[stem] + 0.5)) for stem in wanted}
    # Words that nowhere occur still count against: a question about something else must not look answered.
    total = sum(weight.values())
    own = [sum(weight[stem] for stem in bag & wanted) / total for bag in bags]
    quotes = []
    for number, one in enumerate(candidates):
        if own[number] == 0:
            continue
        near = [
            own[other]
            for other in (number - 1, number + 1)
            if 0 <= other < len(own) and candidates[other].passage is one.passage
        ]
        titled = sum(weight[stem] for stem in wanted & set(stems_of(one.passage.title))) / total
        score = own[number] + 0.25 * max(near, default=0.0) + 0.1 * titled + 0.08 / (1 + one.rank)
        quotes.append(replace(_quote(one), score=score))
    quotes.sort(key=lambda quote: -quote.score)
    good = [quote for quote in quotes if quote.score >= least_score]
    return _distinct([quote for quote in good if quote.score >= 0.45 * good[0].score])[:most]


def _distinct(quotes: Sequence[Quote]) -> list[Quote]:
    return list({quote.text: quote for quote in reversed(quotes)}.values())[::-1]


def cite(marker: int, quote: Quote) -> Citation:
    """Give the citation of a quote."""
    passage = quote.passage
    return Citation(
        marker=marker,
        passage_id=passage.passage_id,
        document_id=passage.document_id,
        title=passage.title,
        source=passage.source,
        quote=quote.text,
        start=quote.start,
        end=quote.end,
    )
