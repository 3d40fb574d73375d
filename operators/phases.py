"""utterance -> the phase of the meeting it speaks for; which phases there are depends on the kind of session."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["NO_PHASES", "Phases"]

_BREAKS = re.compile(r"[^\w']+")
ANY, OTHER = "any", "meeting"
"""Phases of every kind, tried first; and the kind that counts for those that are not known."""


@dataclass(frozen=True, slots=True)
class Phases:
    """The phrases that tell phases, by kind of session.

    Attributes:
        cues: Kind -> its phases in the order in which they are tried -> phrases between blanks.
    """

    cues: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]]

    @classmethod
    def of(cls, told: Mapping[str, Mapping[str, Sequence[str]]]) -> "Phases":
        """Make them from kind -> phase -> phrases; those of the kind "any" hold for all, and are tried first."""
        shared = told.get(ANY, {})
        kinds = {kind: {**shared, **own} for kind, own in told.items() if kind != ANY}
        return cls({kind: _split(phases) for kind, phases in {OTHER: shared, **kinds}.items()})

    def phase_of(self, text: str, kind: str) -> str:
        """Give the phase that an utterance speaks for, else "".

        >>> phases = Phases.of({"interview": {"behavioural": ["about a time"]}})
        >>> phases.phase_of("Tell me about a time you failed.", "interview"), phases.phase_of("Yes.", "interview")
        ('behavioural', '')
        """
        # Whole words only, found as plain text between blanks: a fifth of what patterns cost.
        words = f" {_BREAKS.sub(' ', text.lower())} "
        known = self.cues.get(kind, self.cues[OTHER])
        return next((name for name, cues in known if any(cue in words for cue in cues)), "")


def _split(phases: Mapping[str, Sequence[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    # A phrase is compared as an utterance is: lower case, nothing but words and single blanks.
    bare = {name: [" ".join(_BREAKS.sub(" ", cue.lower()).split()) for cue in cues] for name, cues in phases.items()}
    return tuple((name, tuple(f" {cue} " for cue in cues if cue)) for name, cues in bare.items())


NO_PHASES = Phases.of({})
"""Knows no phase."""
