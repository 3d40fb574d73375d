"""passages -> an answer quoted from them: which sentence answers, how sure that is, and where it stands."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from operators.answer_types import counts, fits
from operators.injections import is_instruction
from operators.ports import Vectors
from operators.quote_weights import RANKING, RANKING_BIAS, SURE_BIAS, SURE_WEIGHTS
from operators.sentences import Sentence, sentences_of
from operators.words import stems_of
from schemas.answers import Citation, Passage

__all__ = [
    "FEATURES",
    "SURENESS",
    "Asked",
    "Candidate",
    "Nearness",
    "Quote",
    "best_quotes",
    "candidates_in",
    "cite",
    "features",
    "headed_of",
    "passage_texts",
    "questions_above",
    "sureness_features",
    "weighed",
    "with_antecedent",
]

ABOVE = 2
LONG, SHORT = 25, 5
"""Words."""

_NAME = re.compile(r"(?<!^)\b[A-Z][A-Za-z]+\b")
_LEANS = re.compile(r"\W*(?:they|it|this|that|these|those|he|she|their|its)\b", re.IGNORECASE)
FEATURES = (
    "words", "query_words", "title", "headed_words", "near_words", "passage_words", "beside", "rank",
    "own_resume", "own_other", "length", "short", "missing_names", "fits", "misfits", "counts", "miscounts",
    "asked_above", "headed", "headed_stands_out", "relevant", "relevant_to_text", "relevant_passage",
    "relevant_stands_out",
)  # fmt: skip
SURENESS = (
    "relevant", "fits", "misfits", "counts", "miscounts", "missing_names", "own_resume", "length", "near_words",
    "words", "asked_above", "headed",
)  # fmt: skip
"""What of the best sentence, beside its score and its leads, says whether it answers at all."""
LEADS = ((1, 3.0), (3, 5.0))
"""The ranks to which the best one's lead is counted, and the lead where there is no such rank."""


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


@dataclass(frozen=True, slots=True)
class Nearness:
    """How near texts are to a question, each list in the order of its texts.

    Attributes:
        headed: Likeness of the query to each of `headed_of`.
        above: Likeness of the query to the question that stands above each sentence, 0 where there is none.
        relevant: Relevance of each of `headed_of` to the query.
        relevant_to_text: The same to the question's own words.
        relevant_passage: Relevance of each passage to the query.
    """

    headed: Sequence[float]
    above: Sequence[float]
    relevant: Sequence[float]
    relevant_to_text: Sequence[float]
    relevant_passage: Sequence[float]


def headed_of(candidates: Sequence[Candidate]) -> list[str]:
    """Give the sentences, each with its heading."""
    return [one.headed for one in candidates]


def passage_texts(passages: Sequence[Passage]) -> list[str]:
    """Give the passages, each with title and heading."""
    return [f"{one.title}: {one.heading}: {one.text}" for one in passages]


def questions_above(candidates: Sequence[Candidate]) -> list[str]:
    """Give for each sentence the question that stands one or two sentences before it, as in a list of questions."""
    found = {}
    for passage in {id(one.passage): one.passage for one in candidates}.values():
        question, since = "", 0
        for sentence in sentences_of(passage.text):
            if sentence.words.rstrip("*_ ").endswith("?"):
                question, since = sentence.words, 0
            else:
                found[id(passage), sentence.start] = question if since < ABOVE else ""
                since += 1
    return [found.get((id(one.passage), one.sentence.start), "") for one in candidates]


def features(asked: Asked, candidates: Sequence[Candidate], near: Nearness) -> Vectors:
    """Give what speaks for each candidate, shape (candidates, 24), columns as in `FEATURES`.

    Args:
        asked: The question.
        candidates: At least one sentence.
        near: How near they are to the question.
    """
    shared = _Shared(asked, candidates)
    names = {name.lower() for name in _NAME.findall(asked.text)} - {"i"}
    rows = np.zeros((len(candidates), len(FEATURES)), np.float32)
    for number, one in enumerate(candidates):
        fitting, counting = fits(asked.text, one.sentence.words), counts(asked.text, one.sentence.words)
        resume, length = one.passage.source == "resume", len(one.sentence.words.split())
        there = f"{one.passage.title} {one.passage.heading} {one.passage.text}".lower()
        rows[number] = (
            *shared.of(number),
            1 / (1 + one.rank),
            asked.about_user and resume,
            asked.about_user and not resume,
            min(length, LONG) / LONG,
            length < SHORT,
            min(sum(name not in there for name in names), 2),
            fitting is True,
            fitting is False,
            counting is True,
            counting is False,
            near.above[number],
            near.headed[number],
            0.0,
            near.relevant[number],
            near.relevant_to_text[number],
            near.relevant_passage[one.rank],
            0.0,
        )
    for column, values in (("headed_stands_out", near.headed), ("relevant_stands_out", near.relevant)):
        found = np.array(values, np.float32)
        rows[:, FEATURES.index(column)] = (found - found.mean()) / (found.std() + 1e-6)
    return rows


class _Shared:
    """The words that sentences share with the question, rare ones counting more."""

    def __init__(self, asked: Asked, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._wanted, self._query = set(stems_of(asked.text)), set(stems_of(asked.query))
        self._bags = [set(stems_of(one.sentence.words)) for one in candidates]
        seen = Counter(stem for bag in self._bags for stem in bag)
        count = len(candidates)
        self._weight = {stem: math.log(1 + count / (seen[stem] + 0.5)) for stem in self._wanted | self._query}

    def _share(self, bag: set[str], of: set[str]) -> float:
        return sum(self._weight[stem] for stem in bag & of) / (sum(self._weight[stem] for stem in of) or 1.0)

    def of(self, number: int) -> tuple[float, ...]:
        """Give the shares of the question's words: in the sentence, with its title, its neighbours, its passage."""
        bag, passage = self._bags[number], self._candidates[number].passage
        beside = [
            self._bags[other]
            for other in (number - 1, number + 1)
            if 0 <= other < len(self._bags) and self._candidates[other].passage is passage
        ]
        titled = set(stems_of(f"{passage.heading} {passage.title}"))
        return (
            self._share(bag, self._wanted),
            self._share(bag, self._query),
            self._share(titled, self._wanted),
            self._share(bag | titled, self._wanted),
            self._share(bag.union(titled, *beside), self._wanted),
            self._share(titled | set(stems_of(passage.text)), self._wanted),
            max((self._share(other, self._wanted) for other in beside), default=0.0),
        )


def sureness_features(rows: Vectors, scores: Vectors) -> Vectors:
    """Give what says whether the best sentence answers, shape (15,): its score, its leads, and `SURENESS`.

    Args:
        rows: From `features`.
        scores: How well each candidate does, any scale, shape (candidates,).
    """
    order = np.argsort(-scores, kind="stable")
    best = scores[order[0]]
    leads = [best - scores[order[rank]] if rank < len(order) else alone for rank, alone in LEADS]
    return np.array([best, *leads, *(rows[order[0], FEATURES.index(name)] for name in SURENESS)], np.float32)


def weighed(candidates: Sequence[Candidate], rows: Vectors) -> list[Quote]:
    """Give the candidates as quotes, best first.

    The score of the best one is the fitted chance that it answers the question; a further one's is that chance times
    how likely it is the answer, compared with the best one.
    """
    scores: Vectors = rows @ np.array(RANKING, np.float32) + np.float32(RANKING_BIAS)
    sure = float(_chance(sureness_features(rows, scores) @ np.array(SURE_WEIGHTS, np.float32) + np.float32(SURE_BIAS)))
    chances = _chance(scores)
    quotes = [
        replace(_quote(one), score=sure * float(chance / chances.max()))
        for one, chance in zip(candidates, chances, strict=True)
    ]
    return sorted(_distinct(quotes), key=lambda quote: -quote.score)


def _chance(scores: Vectors) -> Vectors:
    chances: Vectors = (1 / (1 + np.exp(-scores))).astype(np.float32)
    return chances


def _quote(one: Candidate) -> Quote:
    start = one.passage.start + one.sentence.start
    return Quote(one.passage, one.sentence.words, start, start + len(one.sentence.words), 0.0)


def with_antecedent(quote: Quote) -> Quote:
    """Give a quote that begins with a pronoun together with the sentence before it in its line: of what it speaks."""
    if not _LEANS.match(quote.text):
        return quote
    text, at = quote.passage.text, quote.start - quote.passage.start
    before = [one.sentence for one in candidates_in([quote.passage]) if one.sentence.end <= at]
    if not before or text[before[-1].end : at].strip(" "):
        return quote
    begin = before[-1].start
    whole = text[begin : at + len(quote.text)]
    return replace(quote, text=whole, start=quote.passage.start + begin)


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
