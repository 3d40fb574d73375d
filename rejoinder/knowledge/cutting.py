"""Cuts documents into passages along their structure, and says where in the document a passage stands."""

import bisect
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from schemas.answers import Passage
from schemas.base import derive_id

__all__ = ["CUT_VERSION", "Document", "Piece", "cut", "passage_of", "passages_of"]

CUT_VERSION = 2
"""Grows when the same document is cut elsewhere: the vectors are then made anew."""
PIECE_WORDS = 110
"""Long enough for a fact with its context, short enough for the embedder's 256 tokens."""
LEAST_WORDS = 12
"""A section shorter than this stands with the one after it: a heading alone answers nothing."""
HEAD_CHARS = 400

_MARKED = re.compile(r"^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_CAPITALS = re.compile(r"^\s*[A-Z][A-Z &/-]{3,40}:?\s*$")
_RESUME_HEADING = re.compile(
    r"^\s*\**\s*(?:summary|profile|about(?: me)?|objective|(?:work |professional )?experience|employment(?: history)?|"
    r"work history|career|education|training|(?:technical |core )?skills|projects|publications|certifications?|"
    r"certificates|languages|awards|interests|volunteering|references|contact)\s*\**\s*:?\s*$",
    re.IGNORECASE,
)
_YEAR = r"(?:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\s+)?(?:19|20)\d\d"
_PERIOD = re.compile(rf"{_YEAR}\s*(?:-|–|—|to|until)\s*(?:{_YEAR}|present|now|today|current)", re.IGNORECASE)
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_STATED = re.compile(
    r"\b(?:updated|version|valid from|effective|dated|date|as of|stand|gültig ab)\b[^\n]{0,24}?"
    rf"(?:(\d{{4}})-(\d\d)-(\d\d)|(\d{{1,2}})\s+({'|'.join(_MONTHS)})\s+(\d{{4}}))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of one owner."""

    document_id: str
    owner_id: str
    collection: str
    title: str
    source: Literal["resume", "knowledge"]
    text: str
    added_at: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage's place in its document: ``document.text[start:end] == text``."""

    passage_id: str
    text: str
    start: int
    end: int


@functools.cache
def _chunker() -> Callable[..., Any]:
    from semchunk.semchunk import chunkerify

    return chunkerify(lambda text: len(text.split()), PIECE_WORDS, memoize=False)


def cut(document: Document) -> list[Piece]:
    """Cut a document into passages of at most about 110 words; none reaches over a heading or a dated position."""
    pieces = []
    for start, end in _sections(document):
        section = document.text[start:end]
        if not section.strip():
            continue
        texts, places = _chunker()(section, offsets=True)
        pieces += [
            Piece(derive_id(document.document_id, start + begin, start + until), text, start + begin, start + until)
            for text, (begin, until) in zip(texts, places, strict=True)
        ]
    return pieces


def passages_of(document: Document) -> list[Passage]:
    """Give all passages of a document; see `passage_of`."""
    outline = _outline(document)
    return [_passage(document, piece.start, piece.end, outline) for piece in cut(document)]


def passage_of(document: Document, start: int, end: int) -> Passage:
    """Give a stretch of a document as a passage, with the headings above it and the document's date."""
    return _passage(document, start, end, _outline(document))


Outline = tuple[list[int], list[str]]
"""Where lines under a new heading begin, and the headings above them."""


def _passage(document: Document, start: int, end: int, outline: Outline) -> Passage:
    places, paths = outline
    below = bisect.bisect_right(places, start)
    # A passage that begins with its heading stands under it.
    while below < len(places) and places[below] < end and not _content(document, start, places[below]):
        below += 1
    return Passage(
        passage_id=derive_id(document.document_id, start, end),
        document_id=document.document_id,
        collection=document.collection,
        title=document.title,
        heading=paths[below - 1] if below else "",
        dated=_dated(document),
        source=document.source,
        text=document.text[start:end],
        start=start,
        end=end,
    )


def _content(document: Document, start: int, end: int) -> bool:
    """Say whether more stands between two places than headings and a name."""
    lines = document.text[start:end].splitlines()
    return sum(len(line.split()) for line in lines if _level(document, line) is None) >= LEAST_WORDS


def _outline(document: Document) -> Outline:
    above: dict[int, str] = {}
    places, paths = [], []
    for at, line in _lines(document.text):
        if (found := _level(document, line)) is None:
            continue
        level, words = found
        above = {depth: one for depth, one in above.items() if depth < level} | {level: words}
        shown = [one for _, one in sorted(above.items()) if one and one != document.title]
        places.append(at)
        paths.append(" > ".join(shown))
    return places, paths


def _lines(text: str) -> list[tuple[int, str]]:
    lines, at = [], 0
    for line in text.splitlines(keepends=True):
        lines.append((at, line))
        at += len(line)
    return lines


def _level(document: Document, line: str) -> tuple[int, str] | None:
    """Give how deep a heading lies and its words; None when the line is none."""
    if marked := _MARKED.match(line):
        return len(marked.group(1)), marked.group(2).strip("* ")
    resume = document.source == "resume"
    if _CAPITALS.match(line) or (resume and _RESUME_HEADING.match(line)):
        return 2, line.strip("*: \t\n")
    if resume and _PERIOD.search(line) and len(line.split()) <= 20:
        return 3, line.strip(" *#-\t\n")
    return None


def _sections(document: Document) -> list[tuple[int, int]]:
    """Give the stretches between headings, each with its heading; very short ones joined with the next."""
    starts = [at for at, line in _lines(document.text) if _level(document, line) is not None]
    bounds = sorted({0, *starts, len(document.text)})
    sections: list[tuple[int, int]] = []
    begin = bounds[0]
    for end in bounds[1:]:
        if len(document.text[begin:end].split()) >= LEAST_WORDS or end == bounds[-1]:
            sections.append((begin, end))
            begin = end
    return sections


def _dated(document: Document) -> str:
    """Give the day a document says it is of, else the day it was added, as YYYY-MM-DD."""
    stated = _STATED.search(document.text[:HEAD_CHARS])
    if stated is None:
        return document.added_at[:10]
    if stated.group(1):
        return "-".join(stated.group(1, 2, 3))
    return f"{stated.group(6)}-{_MONTHS.index(stated.group(5).lower()) + 1:02}-{int(stated.group(4)):02}"
