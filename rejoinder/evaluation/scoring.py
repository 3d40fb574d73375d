"""Error rates of words and speakers; the counting itself is that of well-known packages (extra `eval`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rejoinder.evaluation.recordings import Span
from schemas.errors import ModelMissing

__all__ = ["Speakers", "Words", "by_speaker", "cp_words", "invented", "normal", "speaker_errors", "word_errors"]

SILENCE_MARGIN_S = 0.5
"""A word counts as invented when it lies this far from everything anybody said."""


@dataclass(frozen=True, slots=True)
class Words:
    """Word errors against a reference of `reference` words; several may be added up."""

    reference: int = 0
    substituted: int = 0
    deleted: int = 0
    inserted: int = 0

    def __add__(self, other: "Words") -> "Words":
        return Words(
            self.reference + other.reference,
            self.substituted + other.substituted,
            self.deleted + other.deleted,
            self.inserted + other.inserted,
        )

    @property
    def errors(self) -> int:
        """Give the sum of all errors."""
        return self.substituted + self.deleted + self.inserted

    @property
    def rate(self) -> float | None:
        """Give the error rate, percent; None without a reference."""
        return 100 * self.errors / self.reference if self.reference else None


@dataclass(frozen=True, slots=True)
class Speakers:
    """Diarization errors, seconds of speech of `total` seconds; several may be added up."""

    total: float = 0.0
    missed: float = 0.0
    false_alarm: float = 0.0
    confused: float = 0.0

    def __add__(self, other: "Speakers") -> "Speakers":
        return Speakers(
            self.total + other.total,
            self.missed + other.missed,
            self.false_alarm + other.false_alarm,
            self.confused + other.confused,
        )

    @property
    def rate(self) -> float | None:
        """Give the diarization error rate, percent; None without speech."""
        return 100 * (self.missed + self.false_alarm + self.confused) / self.total if self.total else None


def _missing(package: str) -> ModelMissing:
    return ModelMissing(f"measuring needs {package}: uv sync --extra eval")


@cache
def _normalizer() -> Any:
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise _missing("whisper-normalizer") from None
    return EnglishTextNormalizer()


def normal(text: str) -> list[str]:
    """Give the words of a text as Whisper's English normaliser writes them.

    Raises:
        ModelMissing: The extra `eval` is not installed.
    """
    return str(_normalizer()(text)).split()


def word_errors(reference: str, heard: str) -> Words:
    """Count the word errors of a text, after normalising both."""
    return _count(normal(reference), normal(heard))


def _count(reference: Sequence[str], heard: Sequence[str]) -> Words:
    if not reference or not heard:
        return Words(len(reference), 0, len(reference), len(heard))
    try:
        import jiwer
    except ImportError:
        raise _missing("jiwer") from None
    found = jiwer.process_words([" ".join(reference)], [" ".join(heard)])
    return Words(len(reference), found.substitutions, found.deletions, found.insertions)


def by_speaker(spans: Sequence[Span]) -> dict[str, str]:
    """Give what each speaker said, in order."""
    found: dict[str, list[str]] = {}
    for span in sorted(spans, key=lambda span: span.start_s):
        found.setdefault(span.speaker, []).append(span.text)
    return {speaker: " ".join(texts) for speaker, texts in found.items()}


def cp_words(reference: Mapping[str, str], heard: Mapping[str, str]) -> Words:
    """Count word errors with each speaker's words in one text, speakers paired so that the errors are fewest (cpWER).

    Chen et al., "Continuous speech separation", 2020; a speaker of one side without a partner counts as all wrong.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    rows = [normal(text) for text in reference.values()]
    columns = [normal(text) for text in heard.values()]
    size = max(len(rows), len(columns))
    rows += [[] for _ in range(size - len(rows))]
    columns += [[] for _ in range(size - len(columns))]
    counts = [[_count(row, column) for column in columns] for row in rows]
    costs = np.array([[one.errors for one in line] for line in counts]).reshape(size, size)
    total = Words()
    for row, column in zip(*linear_sum_assignment(costs), strict=True):
        total += counts[row][column]
    return total


def speaker_errors(reference: Sequence[Span], heard: Sequence[Span], collar_s: float = 0.0) -> Speakers:
    """Count diarization errors; `collar_s` seconds around each reference boundary are left out on either side."""
    try:
        from pyannote.core import Annotation, Segment, Timeline
        from pyannote.metrics.diarization import DiarizationErrorRate
    except ImportError:
        raise _missing("pyannote.metrics") from None

    def annotation(spans: Sequence[Span]) -> Any:
        made = Annotation()
        for number, span in enumerate(spans):
            if span.end_s > span.start_s:
                made[Segment(span.start_s, span.end_s), number] = span.speaker
        return made

    end_s = max((span.end_s for span in (*reference, *heard)), default=0.0)
    # The package's collar is the whole width of what is left out.
    measure = DiarizationErrorRate(collar=2 * collar_s)
    found = measure(
        annotation(reference), annotation(heard), uem=Timeline([Segment(0, max(end_s, 0.01))]), detailed=True
    )
    return Speakers(found["total"], found["missed detection"], found["false alarm"], found["confusion"])


def invented(turns: Sequence[Span], words: Sequence[Span]) -> int:
    """Count the words that lie where nobody spoke."""
    return sum(
        not any(turn.start_s - SILENCE_MARGIN_S < _middle(word) < turn.end_s + SILENCE_MARGIN_S for turn in turns)
        for word in words
    )


def _middle(span: Span) -> float:
    return (span.start_s + span.end_s) / 2
