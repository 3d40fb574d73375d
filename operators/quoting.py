"""question + passages -> an answer in the documents' own words: what is said when no language model is configured."""

from collections.abc import Sequence
from dataclasses import dataclass

from operators.conflicts import contradiction, newer_first
from operators.extractive import Asked, Quote, candidates_in, cite, comparable, features, weighed
from operators.ports import PassageSearch
from operators.queries import about_user, core_of
from operators.safety import masked
from schemas.answers import Citation, Grounded, Passage
from schemas.questions import Question

__all__ = ["NOT_THERE", "Quoted", "quoted_answer", "quotes_for"]

QUOTED = "From your documents: "
NOT_THERE = "That is not in your documents."
NOT_CLEAR = "Your documents hold no clear answer. Nearest: "
SURE = 0.35
"""Chance from which a quote counts as an answer; below it is only pointed to; chosen on the dev questions."""
POINTED = 0.05
BESIDE = 0.3
"""A further quote is shown when its chance is at least this share of the best one's."""
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
    text = core_of(question.text)
    asked = Asked(text, query, about_user(question.text, kind))
    texts = comparable(candidates, found)
    near = await search.likeness(text, texts)
    near_query = near if query == text else await search.likeness(query, texts)
    return weighed(candidates, features(asked, candidates, near, near_query))


def quoted_answer(quotes: Sequence[Quote], question: str) -> Quoted:
    """Give the answer that quotes make; with a chance too low it says that there is none and points to the nearest."""
    if not quotes or quotes[0].score < POINTED:
        return Quoted((NOT_THERE,), (), "none")
    best = quotes[0]
    if best.score < SURE:
        nearest = quotes[:MOST_NEAREST]
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
    chosen = [one for one in quotes[:MOST_QUOTES] if one is best or one.score >= BESIDE * best.score]
    pieces = [QUOTED]
    for marker, quote in enumerate(chosen, start=1):
        pieces.append(f"{_shown(quote, question)} [{marker}]" + (" " if marker < len(chosen) else ""))
    return Quoted(tuple(pieces), tuple(cite(number, quote) for number, quote in enumerate(chosen, start=1)), "fully")


def _shown(quote: Quote, question: str) -> str:
    return masked(quote.text, question)


def _named(quote: Quote) -> str:
    return ", ".join(part for part in (quote.passage.title, quote.passage.dated) if part)
