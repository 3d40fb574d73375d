"""question + passages -> an answer in the documents' own words: what is said when no language model is configured."""

from collections.abc import Sequence
from dataclasses import dataclass

from operators.conflicts import contradiction, newer_first
from operators.extractive import (
    Asked,
    Candidate,
    Nearness,
    Quote,
    candidates_in,
    cite,
    features,
    headed_of,
    passage_texts,
    questions_above,
    weighed,
    with_antecedent,
)
from operators.ports import PassageSearch
from operators.queries import about_user, core_of
from operators.quote_weights import SURE
from operators.safety import masked
from schemas.answers import Citation, Grounded, Passage
from schemas.questions import Question

__all__ = ["NOT_THERE", "Quoted", "nearness", "quoted_answer", "quotes_for"]

QUOTED = "From your documents: "
NOT_THERE = "That is not in your documents."
NOT_CLEAR = "Your documents hold no clear answer. Nearest: "
POINTED = 0.15
"""Chance from which a quote is pointed to; below it nothing is near."""
BESIDE = 0.5
"""A further quote is shown when its chance is at least this share of the best one's."""
BESIDE_NEAREST = 0.7
"""The same for what is only pointed to."""
MOST_QUOTES = 3
MOST_NEAREST = 2


@dataclass(frozen=True, slots=True)
class Quoted:
    """An answer made of quotes."""

    pieces: tuple[str, ...]
    citations: tuple[Citation, ...]
    grounded: Grounded


async def quotes_for(
    search: PassageSearch, question: Question, query: str, kind: str, found: Sequence[Passage]
) -> list[Quote]:
    """Give the sentences of the passages that may answer, best first, with the chance that each does."""
    candidates = candidates_in(found)
    if not candidates:
        return []
    asked = Asked(core_of(question.text), query, about_user(question.text, kind))
    return weighed(candidates, features(asked, candidates, await nearness(search, asked, candidates, found)))


async def nearness(
    search: PassageSearch, asked: Asked, candidates: Sequence[Candidate], found: Sequence[Passage]
) -> Nearness:
    """Compare the sentences and passages found with a question."""
    headed, above = headed_of(candidates), questions_above(candidates)
    likeness = await search.likeness(asked.query, [*headed, *(one for one in above if one)])
    near_above = iter(likeness[len(headed) :])
    relevant = await search.relevance(asked.query, [*headed, *passage_texts(found)])
    to_text = relevant if asked.query == asked.text else await search.relevance(asked.text, headed)
    return Nearness(
        headed=likeness[: len(headed)],
        above=[next(near_above) if one else 0.0 for one in above],
        relevant=relevant[: len(headed)],
        relevant_to_text=to_text[: len(headed)],
        relevant_passage=relevant[len(headed) :],
    )


def quoted_answer(quotes: Sequence[Quote], question: str) -> Quoted:
    """Give the answer that quotes make; with a chance too low it says that there is none and points to the nearest."""
    if not quotes or quotes[0].score < POINTED:
        return Quoted((NOT_THERE,), (), "none")
    best = quotes[0]
    if best.score < SURE:
        nearest = _whole([one for one in quotes[:MOST_NEAREST] if one.score >= BESIDE_NEAREST * best.score])
        shown = " ".join(f"{_shown(one, question)} [{number}]" for number, one in enumerate(nearest, start=1))
        return Quoted(
            (NOT_CLEAR, shown), tuple(cite(number, one) for number, one in enumerate(nearest, start=1)), "none"
        )
    other = contradiction(best, quotes[1:])
    if other is not None:
        newer, older = newer_first(best, other)
        differing = (
            f"Your documents differ. The newer one ({_named(newer)}): {_shown(newer, question)} [1]",
            f" The older one ({_named(older)}): {_shown(older, question)} [2]",
        )
        return Quoted(differing, (cite(1, newer), cite(2, older)), "fully")
    chosen = _whole([one for one in quotes[:MOST_QUOTES] if one is best or one.score >= BESIDE * best.score])
    pieces = [QUOTED]
    for marker, quote in enumerate(chosen, start=1):
        pieces.append(f"{_shown(quote, question)} [{marker}]" + (" " if marker < len(chosen) else ""))
    return Quoted(tuple(pieces), tuple(cite(number, quote) for number, quote in enumerate(chosen, start=1)), "fully")


def _whole(quotes: Sequence[Quote]) -> list[Quote]:
    """Give quotes that can be understood alone, each stretch of a document once."""
    kept: list[Quote] = []
    for quote in map(with_antecedent, quotes):
        if not any(
            one.passage.document_id == quote.passage.document_id and one.start < quote.end and quote.start < one.end
            for one in kept
        ):
            kept.append(quote)
    return kept


def _shown(quote: Quote, question: str) -> str:
    return masked(quote.text, question)


def _named(quote: Quote) -> str:
    return ", ".join(part for part in (quote.passage.title, quote.passage.dated) if part)
