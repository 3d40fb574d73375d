"""passages -> an answer quoted from them: what is said when no language model is configured."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.answers import Citation, Passage

__all__ = ["Quote", "best_quotes", "cite", "stems_of"]

_STOP = frozenset(
    [
        "a",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "how",
        "i",
        "i'm",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "of",
        "on",
        "or",
        "our",
        "she",
        "should",
        "so",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "up",
        "us",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
        "yours",
        "about",
        "tell",
        "give",
        "us",
        "walk",
        "through",
        "please",
        "just",
        "like",
        "time",
        "something",
        "really",
        "very",
        "much",
        "some",
        "more",
        "most",
        "also",
        "us",
        "let",
        "know",
        "want",
        "need",
        "make",
        "get",
        "got",
        "go",
        "going",
        "doing",
        "thing",
        "things",
        "example",
        "describe",
        "explain",
        "talk",
        "little",
        "bit",
        "kind",
        "sort",
        "well",
        "okay",
        "right",
    ]
)
_WORD = re.compile(r"[a-z0-9][a-z0-9'+#.-]*", re.IGNORECASE)
_SENTENCE = re.compile(r"[^\n.!?]+(?:[.!?](?=\S)[^\n.!?]*)*[.!?]*")
MIN_SENTENCE_CHARS = 15


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of a passage; offsets are characters within the document."""

    passage: Passage
    text: str
    start: int
    end: int
    score: float


def stems_of(text: str) -> list[str]:
    """Give the content words of a text, lower case and cut to a crude stem.

    >>> stems_of("How often are the bandages changed?")
    ['often', 'bandag', 'chang']
    """
    stems = []
    for word in _WORD.findall(text.lower().replace("’", "'")):
        bare = word.strip(".'-").removesuffix("'s")
        if bare and bare not in _STOP:
            stems.append(_stem(bare))
    return stems


def _stem(word: str) -> str:
    for ending in (
        "ations",
        "ation",
        "ings",
        "ing",
        "ies",
        "ied",
        "edly",
        "ers",
        "es",
        "ed",
        "er",
        "ly",
        "s",
        "e",
        "y",
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _sentences(passage: Passage) -> list[tuple[int, str]]:
    found = []
    for match in _SENTENCE.finditer(passage.text):
        text = match.group().strip(" \t-*#>|")
        # A heading names what follows; quoted on its own it answers nothing.
        if len(text) >= MIN_SENTENCE_CHARS and not match.group().lstrip().startswith("#"):
            found.append((match.start() + match.group().index(text), text))
    return found


def best_quotes(question: str, passages: Sequence[Passage], most: int = 3, least_score: float = 0.18) -> list[Quote]:
    """Give the sentences that best fit a question, best first; [] when none shares enough with it.

    A sentence scores by the question's words it holds, rare ones more (idf over all sentences found), plus a
    little for its neighbours and for the rank of its passage.
    """
    wanted = set(stems_of(question))
    sentences = [(rank, passage, at, text) for rank, passage in enumerate(passages) for at, text in _sentences(passage)]
    if not wanted or not sentences:
        return []
    bags = [set(stems_of(text)) for _, _, _, text in sentences]
    seen = Counter(stem for bag in bags for stem in bag & wanted)
    weight = {stem: math.log(1 + len(bags) / (seen[stem] + 0.5)) for stem in wanted}
    # Words that nowhere occur still count against: a question about something else must not look answered.
    total = sum(weight.values())
    own = [sum(weight[stem] for stem in bag & wanted) / total for bag in bags]
    quotes = []
    for number, (rank, passage, at, text) in enumerate(sentences):
        if own[number] == 0:
            continue
        near = [
            own[other]
            for other in (number - 1, number + 1)
            if 0 <= other < len(own) and sentences[other][1].passage_id == passage.passage_id
        ]
        titled = sum(weight[stem] for stem in wanted & set(stems_of(passage.title))) / total
        score = own[number] + 0.25 * max(near, default=0.0) + 0.1 * titled + 0.08 / (1 + rank)
        start = passage.start + at
        quotes.append(Quote(passage, text, start, start + len(text), score))
    quotes.sort(key=lambda quote: -quote.score)
    good = [quote for quote in quotes if quote.score >= least_score]
    kept = [quote for quote in good if quote.score >= 0.45 * good[0].score][:most]
    return _distinct(kept)


def _distinct(quotes: Sequence[Quote]) -> list[Quote]:
    seen: set[str] = set()
    return [quote for quote in quotes if not (quote.text in seen or seen.add(quote.text))]  # type: ignore[func-returns-value]


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
