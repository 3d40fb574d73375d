"""Compares two runs, or a run with what clients saw: questions found and missed, answers side by side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from api.answers import AnswerBoard, AnswerShown
from eventlog.base import EventLog
from rejoinder.player import percentile
from rejoinder.replay.inputs import everything_of
from schemas.codec import decode
from schemas.errors import SchemaError

__all__ = ["Comparison", "Pair", "Side", "Totals", "compare"]

NEAR_S = 2.0
LEAST_LIKE = 0.5
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Side:
    """One side: its name, the log its answers lie in, and the one its questions lie in (for a shadow, the live one)."""

    name: str
    answers: EventLog
    questions: EventLog


class Pair(BaseModel):
    """A question of both sides, or of one; `likeness` is the share of words two answers have in common, 0-1."""

    session_id: str
    a: AnswerShown | None = None
    b: AnswerShown | None = None
    likeness: float | None = None


class Totals(BaseModel):
    """One side in numbers; milliseconds and tokens, None where nothing was measured."""

    questions: int
    only_here: int
    answered: int
    failed: int
    cited: int
    first_ms_p50: float | None
    total_ms_p50: float | None
    prompt_tokens: int | None
    answer_tokens: int | None


class Comparison(BaseModel):
    """Two sides, question by question."""

    a: str
    b: str
    sessions: list[str]
    both: int
    same_answer: int
    totals_a: Totals
    totals_b: Totals
    pairs: list[Pair]


def compare(a: Side, b: Side, sessions: Sequence[str]) -> Comparison:
    """Compare what two sides made of the same sessions.

    Questions with the same id belong together; of the others, those asked at about the same moment in like words.
    """
    pairs: list[Pair] = []
    for session in sessions:
        pairs += _pairs(session, _rows(a, session), _rows(b, session))
    both = [pair for pair in pairs if pair.a is not None and pair.b is not None]
    return Comparison(
        a=a.name,
        b=b.name,
        sessions=list(sessions),
        both=len(both),
        same_answer=sum(pair.likeness == 1.0 for pair in both),
        totals_a=_totals([pair.a for pair in pairs], [pair.b for pair in pairs]),
        totals_b=_totals([pair.b for pair in pairs], [pair.a for pair in pairs]),
        pairs=pairs,
    )


def _rows(side: Side, session: str) -> list[AnswerShown]:
    board = AnswerBoard()
    # Questions come first, so that an answer of another log always finds its own.
    for log, topic in ((side.questions, "questions"), (side.answers, "answers")):
        for record in everything_of(log, session, [topic]):
            try:
                board.take(decode(topic, record.value))
            except SchemaError:
                continue  # the flows bury it
    return list(board.rows.values())


def _pairs(session: str, rows_a: list[AnswerShown], rows_b: list[AnswerShown]) -> list[Pair]:
    left = {row.question_id: row for row in rows_b}
    found: list[Pair] = []
    unmatched: list[AnswerShown] = []
    for row in rows_a:
        same = left.pop(row.question_id, None)
        if same is None:
            unmatched.append(row)
        else:
            found.append(_pair(session, row, same))
    for row in unmatched:
        near = [other for other in left.values() if _near(row, other)]
        best = max(near, key=lambda other, row=row: likeness(row.question, other.question), default=None)  # type: ignore[misc]
        if best is not None and likeness(row.question, best.question) >= LEAST_LIKE:
            del left[best.question_id]
            found.append(_pair(session, row, best))
        else:
            found.append(Pair(session_id=session, a=row))
    found += [Pair(session_id=session, b=row) for row in left.values()]
    return sorted(found, key=lambda pair: min(row.start_s for row in (pair.a, pair.b) if row is not None))


def _pair(session: str, a: AnswerShown, b: AnswerShown) -> Pair:
    answered = a.status == b.status == "complete"
    same = 1.0 if a.text == b.text else min(0.999, round(likeness(a.text, b.text), 3))
    return Pair(session_id=session, a=a, b=b, likeness=same if answered else None)


def _near(a: AnswerShown, b: AnswerShown) -> bool:
    return a.start_s <= b.end_s + NEAR_S and b.start_s <= a.end_s + NEAR_S


def likeness(one: str, other: str) -> float:
    """Give the share of words that two texts have in common, 0 to 1 (Jaccard).

    >>> likeness("How many are there?", "how many ARE there")
    1.0
    """
    words = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    every = words[0] | words[1]
    return len(words[0] & words[1]) / len(every) if every else 1.0


def _totals(mine: Sequence[AnswerShown | None], others: Sequence[AnswerShown | None]) -> Totals:
    rows = [row for row in mine if row is not None]
    done = [row for row in rows if row.status == "complete"]

    def tokens(values: list[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return Totals(
        questions=len(rows),
        only_here=sum(row is not None and other is None for row, other in zip(mine, others, strict=True)),
        answered=len(done),
        failed=sum(row.status == "failed" for row in rows),
        cited=sum(bool(row.citations) for row in done),
        first_ms_p50=percentile([row.first_delta_ms for row in done if row.first_delta_ms is not None], 0.5),
        total_ms_p50=percentile([row.total_ms for row in done if row.total_ms is not None], 0.5),
        prompt_tokens=tokens([row.prompt_tokens for row in done]),
        answer_tokens=tokens([row.answer_tokens for row in done]),
    )
