"""pieces of a model's text -> the text that is shown: markers that hold, unsupported claims marked, doses held back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from operators.support import asserts, doses_in, supporter, supports
from operators.words import stems_of
from schemas.answers import Passage

__all__ = ["DOSE_LEFT_OUT", "UNSUPPORTED", "Grounding"]

UNSUPPORTED = "(not in your documents)"
DOSE_LEFT_OUT = "(An amount of medicine was left out here: it is not in your documents. Ask a clinician.)"
_MARKER = re.compile(r"\s*\[(\d{1,2}(?:\s*,\s*\d{1,2})*)\]")
_END = re.compile(r"[.!?…][\"')\]]*(?:\s*\[\d{1,2}(?:\s*,\s*\d{1,2})*\])*(?=\s)|\n")
_HELD = re.compile(r"[\d\[<]")
_FENCE = re.compile(r"</?data>\s*")
LEAK_WORDS = 10
LOOPS = 3
"""A model that says the same sentence for the third time has lost its way."""
LEAST_STEMS = 4


@dataclass(slots=True)
class Grounding:
    """Checks a text sentence by sentence while it is written.

    Words go through as they come. From the first figure or marker of a sentence on, the rest of that sentence is held
    until it is whole: figures and citations are shown only after they were checked.

    Attributes:
        passages: The sources, in the order of their numbers.
        known: What else may support a claim: lines said, notes, the question.
        secret: Text that must not be repeated: the rules of the prompt.
        canary: A mark within the prompt of which no part of an answer may hold anything.
    """

    passages: Sequence[Passage]
    known: str = ""
    secret: str = ""
    canary: str = ""
    claims: int = 0
    unsupported: int = 0
    stopped: bool = False
    _shown: str = ""
    _sentence: str = ""
    _cited: set[int] = field(default_factory=set)
    _said: dict[str, int] = field(default_factory=dict)

    def feed(self, text: str) -> str:
        """Take the next piece; gives what may be shown now."""
        out = ""
        self._sentence += text
        while not self.stopped and (end := _END.search(self._sentence)) is not None:
            whole, self._sentence = self._sentence[: end.end()], self._sentence[end.end() :]
            out += self._finish(whole)
        if not self.stopped:
            out += self._pass_on()
        return out

    def close(self) -> str:
        """Give the rest of the text."""
        if self.stopped or not self._sentence:
            return ""
        whole, self._sentence = self._sentence, ""
        return self._finish(whole)

    def _pass_on(self) -> str:
        """Show what of the unfinished sentence needs no check: words before its first figure or marker."""
        held = _HELD.search(self._sentence)
        upto = held.start() if held is not None else max(0, self._sentence.rfind(" "))
        upto = len(self._sentence[:upto].rstrip())
        if upto <= len(self._shown) or self._leaks(self._sentence):
            return ""
        fresh, self._shown = self._sentence[len(self._shown) : upto], self._sentence[:upto]
        return fresh

    def _finish(self, whole: str) -> str:
        shown, self._shown = self._shown, ""
        if self._leaks(whole):
            self.stopped = True
            return ""
        bare = _FENCE.sub("", _MARKER.sub("", whole))
        sentence = bare.strip()
        tail = whole[len(whole.rstrip()) :]
        given = [int(number) for marker in _MARKER.findall(whole) for number in marker.split(",")]
        self._said[sentence] = self._said.get(sentence, 0) + 1
        if self._said[sentence] >= LOOPS and sentence:
            self.stopped = True
            return ""
        if self._invented_dose(sentence):
            self.claims += 1
            self.unsupported += 1
            held = _HELD.search(whole)
            before = whole[: held.start()].rstrip() if held is not None else ""
            return f"{before[len(shown) :]}{' ' if before else ''}{DOSE_LEFT_OUT}{tail}"
        body = bare.rstrip()
        if not any(char.isalnum() for char in sentence):
            return body[len(shown) :] + tail
        return body[len(shown) :] + self._mark(sentence, given) + tail

    def _mark(self, sentence: str, given: Sequence[int]) -> str:
        if sentence.endswith("?"):
            return ""
        claims = asserts(sentence)
        number = supporter(sentence, self.passages, given)
        if number is not None and (given or claims or len(stems_of(sentence)) >= LEAST_STEMS):
            self.claims += 1
            self._cited.add(number)
            return f" [{number}]"
        if number is not None or not (claims or given) or supports(self.known, sentence):
            return ""
        self.claims += 1
        self.unsupported += 1
        return f" {UNSUPPORTED}"

    def _invented_dose(self, sentence: str) -> bool:
        sources = " ".join([*(one.text for one in self.passages)]).lower()
        return any(dose.lower() not in sources for dose in doses_in(sentence))

    def _leaks(self, text: str) -> bool:
        words = text.lower().split()
        secret = " ".join(self.secret.lower().split())
        runs = (" ".join(words[at : at + LEAK_WORDS]) for at in range(len(words) - LEAK_WORDS + 1))
        marked = bool(self.canary) and self.canary in text
        return marked or (bool(secret) and any(run in secret for run in runs))

    @property
    def cited(self) -> tuple[int, ...]:
        """Give the numbers of the passages that were cited."""
        return tuple(sorted(self._cited))
