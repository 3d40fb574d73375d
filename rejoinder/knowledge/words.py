"""The words of one owner's passages, ready to be searched: BM25 over all, narrowed to a scope by a mask."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from operators.ports import SearchScope
from operators.words import stems_of
from schemas.answers import Passage

__all__ = ["Indexed", "WordIndex", "index_text", "profiles_and_rest"]

_YEAR = re.compile(r"\b((?:19|20)\d\d)\b")
_PERIOD = re.compile(
    r"\b((?:19|20)\d\d)\s*(?:-|–|—|to|until)\s*(?:[a-z]{3,9}\.?\s+)?((?:19|20)\d\d|present|now|today|current)",
    re.IGNORECASE,
)

Indexed = tuple[Passage, list[str]]
"""A passage with its stems."""


def index_text(passage: Passage) -> str:
    """Give what a passage is found by: its words, and the title and headings that say what they are about."""
    return ": ".join(part for part in (passage.title, passage.heading, passage.text) if part)


def profiles_and_rest(scope: SearchScope) -> tuple[list[str], list[str]]:
    """Give the resumes that a scope names among its collections, and the other collections; empty = all of them."""
    profiles = [one for one in scope.collections if one == "resume" or one.startswith("resume-")]
    return profiles, [one for one in scope.collections if one not in profiles]


def _allows(profiles: list[str], rest: list[str], passage: Passage) -> bool:
    named = profiles if passage.source == "resume" else rest
    return not named or passage.collection in named


class WordIndex:
    """BM25 over the passages of one owner; made anew when a document comes or goes."""

    def __init__(self, indexed: Sequence[Indexed], version: str) -> None:
        """Index passages with their stems; `version` is the identity of the documents."""
        self.version = version
        self.passages = tuple(passage for passage, _ in indexed)
        self.by_id = {passage.passage_id: number for number, passage in enumerate(self.passages)}
        self._resume = np.array([one.source == "resume" for one in self.passages], bool)
        self._index: Any = None
        self._masks: dict[tuple[str, ...], Any] = {}
        if self.passages:
            import bm25s

            self._index = bm25s.BM25()
            # An empty list of words breaks the index; a word that nobody asks for does not.
            self._index.index([stems or ["\x00"] for _, stems in indexed], show_progress=False)

    def mask(self, scope: SearchScope) -> Any:
        """Give which passages a scope allows, one bool each."""
        known = self._masks.get(scope.collections)
        if known is None:
            profiles, rest = profiles_and_rest(scope)
            allowed = [_allows(profiles, rest, one) for one in self.passages]
            known = self._masks[scope.collections] = np.array(allowed, bool)
        return known

    def matching(self, query: str, scope: SearchScope, most: int, *, resume_only: bool = False) -> list[int]:
        """Give the numbers of the passages that share words with a query, best first."""
        wanted = stems_of(query)
        if self._index is None or not wanted:
            return []
        allowed = self.mask(scope) & self._resume if resume_only else self.mask(scope)
        scores = np.where(allowed, self._index.get_scores(wanted), 0.0)
        best = np.argsort(-scores, kind="stable")[:most]
        return [int(number) for number in best if scores[number] > 0]

    def in_years_of(self, query: str, scope: SearchScope) -> list[str]:
        """Give the passages of the resume whose dated position covers a year that the query names."""
        years = [int(year) for year in _YEAR.findall(query)]
        return [
            one.passage_id
            for one, allowed in zip(self.passages, self.mask(scope), strict=True)
            if allowed and one.source == "resume" and any(_covers(one, year) for year in years)
        ]


def _covers(passage: Passage, year: int) -> bool:
    period = _PERIOD.search(passage.heading) or _PERIOD.search(passage.text)
    if period is None:
        return False
    begin, until = period.group(1), period.group(2)
    return int(begin) <= year <= (int(until) if until.isdigit() else 9999)
