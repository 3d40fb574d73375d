"""notes + lines said -> minutes: decisions, actions, open questions and more, each line with its utterances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.words import stems_of
from schemas.memory import Note, NoteKind, Said

__all__ = ["MinuteLine", "Minutes", "Phase", "SpokenBy", "minutes_of", "running_summary"]

_SECTIONS: Mapping[NoteKind, str] = {
    "topic": "topics",
    "decision": "decisions",
    "commitment": "actions",
    "open_question": "open_questions",
    "number": "figures",
    "fact": "facts",
    "name": "names",
}
_ORDER: tuple[NoteKind, ...] = ("decision", "commitment", "open_question", "topic", "number", "fact")
ALIKE = 0.8
SUMMARY_LINES = 8


@dataclass(frozen=True, slots=True)
class MinuteLine:
    """A line of the minutes with the utterances that support it; none for a topic that a client set."""

    text: str
    utterance_ids: tuple[str, ...]
    start_s: float | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the meeting and when it began."""

    name: str
    start_s: float
    utterance_id: str


@dataclass(frozen=True, slots=True)
class SpokenBy:
    """What somebody said in all; `role` is inferred from who asks when nobody told it."""

    name: str
    is_user: bool
    lines: int
    words: int
    questions: int
    role: str = ""


@dataclass(frozen=True, slots=True)
class Minutes:
    """The minutes of a meeting."""

    sections: Mapping[str, tuple[MinuteLine, ...]]
    phases: tuple[Phase, ...]
    people: tuple[SpokenBy, ...]


def minutes_of(notes: Sequence[Note], said: Sequence[Said], phases: Sequence[Phase], kind: str) -> Minutes:
    """Give the minutes of what was noted and said; lines that say the same are one, with all their utterances."""
    starts = {line.utterance_id: line.start_s for line in said}
    sections: dict[str, tuple[MinuteLine, ...]] = {}
    for note_kind, name in _SECTIONS.items():
        sections[name] = tuple(_joined([note for note in notes if note.kind == note_kind], starts))
    return Minutes(sections, tuple(phases), tuple(_people(said, kind)))


def running_summary(notes: Sequence[Note]) -> tuple[MinuteLine, ...]:
    """Give at most eight lines on how things stand: what was decided and promised first, the latest of each kind."""
    lines: list[MinuteLine] = []
    for kind in _ORDER:
        of_kind = _joined([note for note in notes if note.kind == kind], {})
        lines += of_kind[-3:]
    return tuple(lines[:SUMMARY_LINES])


def _joined(notes: Sequence[Note], starts: Mapping[str, float]) -> list[MinuteLine]:
    lines: list[tuple[set[str], MinuteLine]] = []
    for note in notes:
        stems = set(stems_of(note.text))
        start_s = min((starts[one] for one in note.utterance_ids if one in starts), default=None)
        fresh = MinuteLine(note.text, note.utterance_ids, start_s)
        for number, (known, line) in enumerate(lines):
            if stems and len(stems & known) >= ALIKE * len(stems | known):
                ids = (*line.utterance_ids, *(one for one in note.utterance_ids if one not in line.utterance_ids))
                lines[number] = known, MinuteLine(line.text, ids, line.start_s)
                break
        else:
            lines.append((stems, fresh))
    return [line for _, line in lines]


def _people(said: Sequence[Said], kind: str) -> list[SpokenBy]:
    counted: dict[str, list[int]] = {}
    users: dict[str, bool] = {}
    for line in said:
        counts = counted.setdefault(line.speaker_name, [0, 0, 0])
        counts[0] += 1
        counts[1] += len(line.text.split())
        counts[2] += line.text.count("?")
        users[line.speaker_name] = users.get(line.speaker_name, False) or line.is_user
    others = [name for name in counted if not users[name]]
    asker = max(others, key=lambda name: counted[name][2], default="")
    roles = _roles(kind)
    return [
        SpokenBy(
            name,
            users[name],
            lines,
            words,
            questions,
            _role(name, asker, roles, is_user=users[name], asks=questions),
        )
        for name, (lines, words, questions) in counted.items()
    ]


def _roles(kind: str) -> tuple[str, str]:
    return {"interview": ("candidate", "interviewer"), "practice": ("health professional", "patient")}.get(
        kind, ("", "")
    )


def _role(name: str, asker: str, roles: tuple[str, str], *, is_user: bool, asks: int) -> str:
    if is_user:
        return roles[0]
    return roles[1] if name == asker and (asks or roles[1] == "patient") else ""
