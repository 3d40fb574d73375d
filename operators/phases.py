"""utterance -> the phase of the meeting it speaks for; phases depend on the kind of session."""

import re
from collections.abc import Mapping

__all__ = ["PHASES", "phase_of"]

_ANY = {
    "closing": "thank you for your time; thanks for your time; thank you for coming; thanks for coming; next steps; "
    "out of time; nearly at time; wrap up; wrapping up; any last questions; any final questions; "
    "any other questions; "
    "goodbye; bye bye; have a good day; have a nice day; have a great day; have a good evening; "
    "see you next; see you then",
    "small talk": "how are you; nice to meet you; good morning; good afternoon; good evening; "
    "how was your; the weather; "
    "can you hear me; can you see me; thanks for having me; did you find us",
}
PHASES: Mapping[str, Mapping[str, str]] = {
    "interview": {
        "behavioural": "tell me about a time; tell me about yourself; give me an example; "
        "describe a situation; conflict; "
        "disagreed; disagreement; proud; weakness; strength; strengths; failure; feedback; why do you want; "
        "difficult colleague; difficult situation; challenging situation",
        "technical": "database; latency; api; code; algorithm; architecture; design; deploy; "
        "deployment; deployed; test; "
        "tests; testing; scale; queue; cache; python; java; sql; kafka; pipeline; system; outage; bug; complexity",
    },
    "practice": {
        "giving information": "i'll explain; let me explain; this means; you should; you need to; you can take; "
        "the treatment; the leaflet",
        "gathering information": "what brings you; how long have you; can you tell me; do you have; do you take; "
        "do you smoke; do you feel; where does it; any allergies; any pain",
    },
    "meeting": {
        "decisions": "we decided; we have decided; we agreed; we have agreed; let's go with; "
        "action item; action items; "
        "who will; who takes; by monday; by tuesday; by wednesday; by thursday; by friday; by next week",
        "discussion": "i think; the problem; the issue; the question is; the plan; what if; "
        "proposal; option; agenda; "
        "update on",
    },
}
"""Phrases by kind and phase, in the order in which they are tried; a kind that is not here counts as a meeting."""


_Cues = tuple[tuple[str, tuple[str, ...]], ...]


def _split(phases: Mapping[str, str]) -> _Cues:
    return tuple((name, tuple(f" {cue} " for cue in cues.split("; "))) for name, cues in phases.items())


_CUES = {kind: _split({**_ANY, **phases}) for kind, phases in PHASES.items()}
_BREAKS = re.compile(r"[^\w']+")


def phase_of(text: str, kind: str) -> str:
    """Give the phase that an utterance speaks for, else "".

    >>> phase_of("Tell me about a time you failed.", "interview"), phase_of("Yes.", "interview")
    ('behavioural', '')
    """
    # Whole words only, found as plain text between blanks: a fifth of what patterns cost.
    words = f" {_BREAKS.sub(' ', text.lower())} "
    return next((name for name, cues in _CUES.get(kind, _CUES["meeting"]) if any(cue in words for cue in cues)), "")
