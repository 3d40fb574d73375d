"""text -> its sentences, each with its place."""

import re
from dataclasses import dataclass

__all__ = ["Sentence", "sentences_of"]

_ABBREVIATED = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|No|vs|etc|approx|e\.g|i\.e|z\.B|Nr|bzw|[A-Z])\.)$")
_END = re.compile(r"[.!?…]+[\"'”’)*]*(?=\s|$)")
_LIST = re.compile(r"^[ \t]*(?:[-*•+]|\d{1,2}[.)])[ \t]+")
LEAST_CHARS = 12


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence; ``text[start:end] == words`` of the text it was taken from. `heading`: it is one, by its marks."""

    words: str
    start: int
    end: int
    heading: bool = False


def sentences_of(text: str) -> list[Sentence]:
    """Give the sentences of a text; a line break ends one, an abbreviation does not.

    >>> [one.words for one in sentences_of("Ask Dr. Moss. It pays 3.50 a day!")]
    ['Ask Dr. Moss.', 'It pays 3.50 a day!']
    """
    found: list[Sentence] = []
    at = 0
    for line in text.splitlines(keepends=True):
        begin = at
        if marked := _LIST.match(line):
            begin += marked.end()
        heading = line.lstrip().startswith("#")
        for end in [*_ends(line), len(line)]:
            stop = at + end
            if stop > begin:
                _put(found, text, begin, stop, heading=heading)
                begin = stop
        at += len(line)
    return found


def _ends(line: str) -> list[int]:
    return [match.end() for match in _END.finditer(line) if not _ABBREVIATED.search(line[: match.end()])]


def _put(found: list[Sentence], text: str, begin: int, stop: int, *, heading: bool) -> None:
    while begin < stop and text[begin] in " \t\n\r#>|*":
        begin += 1
    while stop > begin and text[stop - 1] in " \t\n\r|":
        stop -= 1
    if stop - begin >= LEAST_CHARS:
        found.append(Sentence(text[begin:stop], begin, stop, heading))
