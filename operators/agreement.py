"""Successive guesses at the same speech -> the words they agree on (LocalAgreement-2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from operators.ports import TranscriptWord

__all__ = ["Agreement", "agree", "moved"]

NEAR_S = 1.0
OVERLAP_S = 0.1
MOST_REPEATED = 5


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is agreed and what was guessed after it; times are seconds into the session."""

    agreed: tuple[TranscriptWord, ...] = ()
    guess: tuple[TranscriptWord, ...] = ()

    @property
    def end_s(self) -> float:
        """Where the agreed words end; 0 when there are none."""
        return self.agreed[-1].end_s if self.agreed else 0.0

    @property
    def text(self) -> str:
        """The agreed words as text."""
        return "".join(word.text for word in self.agreed).strip()


def agree(before: Agreement, heard: Sequence[TranscriptWord]) -> Agreement:
    """Take a new guess; words that stand in it as they stood in the guess before are agreed from now on.

    >>> one, two = TranscriptWord(" so", 0.0, 0.2, 0.9), TranscriptWord(" far", 0.2, 0.5, 0.9)
    >>> first = agree(Agreement(), (one,))
    >>> first.text, agree(first, (one, two)).text
    ('', 'so')
    """
    fresh = [word for word in heard if word.start_s > before.end_s - OVERLAP_S] if before.agreed else list(heard)
    fresh = fresh[_said_again(before, fresh) :]
    same = 0
    for old, new in zip(before.guess, fresh, strict=False):
        if _plain(old) != _plain(new):
            break
        same += 1
    return Agreement(before.agreed + tuple(fresh[:same]), tuple(fresh[same:]))


def _said_again(before: Agreement, fresh: Sequence[TranscriptWord]) -> int:
    """Count the words at the start of a guess that are the agreed ones once more, their times a little off."""
    if not before.agreed or not fresh or abs(fresh[0].start_s - before.end_s) > NEAR_S:
        return 0
    for size in range(min(MOST_REPEATED, len(before.agreed), len(fresh)), 0, -1):
        if [_plain(word) for word in before.agreed[-size:]] == [_plain(word) for word in fresh[:size]]:
            return size
    return 0


def _plain(word: TranscriptWord) -> str:
    return word.text.strip(" .,?!:;\"'").casefold()


def moved(words: Sequence[TranscriptWord], by_s: float) -> tuple[TranscriptWord, ...]:
    """Give the words with their times shifted."""
    return tuple(replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s) for word in words)
