"""How the user talked in a session, over HTTP."""

import asyncio
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.answers import read_records
from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS
from api.minutes import plain
from api.sessions import SessionPath
from operators.coaching import AnswerCoaching, Coaching, coach
from schemas.answers import Answer, Citation
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import Utterance

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["answers"], responses=PROBLEMS)


class StarShown(BaseModel):
    """A part of a story with the sentence that shows it."""

    part: str
    utterance_id: str
    quote: str


class AnswerCoached(BaseModel):
    """How one question was answered; null = it cannot be told. See `operators.coaching` for each figure."""

    question_id: str
    question: str
    utterance_ids: list[str]
    said: str
    length_s: float
    words: int
    pace_wpm: float | None
    fillers_per_100: float | None
    word_fillers_per_100: float | None
    repairs_per_100: float | None
    direct_after_words: int | None
    ownership: float | None
    specifics_per_100: float | None
    taken_up: float | None
    behavioural: bool
    star: list[StarShown]
    star_score: float | None
    flags: list[str]
    unused_facts: list[Citation]


class CoachingShown(BaseModel):
    """The report; `fillers_lower_bound`: speech recognition drops many fillers, so there were at least these."""

    answers: list[AnswerCoached]
    talk_ratio: float | None
    longest_monologue_s: float | None
    pace_wpm: float | None
    fillers_per_100: float | None
    fillers_lower_bound: bool = True
    flags: list[str]


def _report(door: Door, session_id: str) -> Coaching:
    utterances: dict[str, Utterance] = {}
    questions: dict[str, Question] = {}
    cited: dict[str, tuple[Citation, ...]] = {}

    def take(record: Any) -> None:
        match record:
            case Utterance():
                utterances[record.utterance_id] = record
            case Question():
                questions[record.question_id] = record
            case QuestionWithdrawn():
                questions.pop(record.question_id, None)
            case Answer():
                cited[record.question_id] = record.citations
            case _:
                pass

    read_records(door, session_id, ["utterances", "questions", "answers"], take)
    return coach(sorted(utterances.values(), key=lambda one: one.start_s), list(questions.values()), cited)


@router.get(
    "/sessions/{session_id}/coaching",
    response_model=CoachingShown,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
)
async def get_coaching(
    request: Request,
    session_id: SessionPath,
    caller: CurrentCaller,
    form: Literal["json", "markdown"] = Query("json", alias="format"),
) -> Any:
    """Report how you answered: pace, fillers, length, story parts, facts of yours that were left unsaid."""
    door = door_of(request)
    await door.session(session_id, caller)
    report = await asyncio.to_thread(_report, door, session_id)
    if form == "markdown":
        return Response(_markdown(report), media_type="text/markdown")
    return CoachingShown.model_validate(asdict(report) | {"answers": [_shown(one) for one in report.answers]})


def _shown(one: AnswerCoaching) -> dict[str, Any]:
    return asdict(one) | {"unused_facts": [fact.model_dump() for fact in one.unused_facts]}


def _markdown(report: Coaching) -> str:
    parts = [
        "# How you answered",
        f"- Your share of the talk: {_percent(report.talk_ratio)}\n- Pace: {_number(report.pace_wpm)} words a minute\n"
        f"- Fillers: at least {_number(report.fillers_per_100)} in 100 words\n"
        f"- Longest stretch: {_number(report.longest_monologue_s)} s",
    ]
    for one in report.answers:
        lines = [f"## {plain(one.question)}", "", f"You said: {plain(one.said)}", ""]
        lines.append(f"- {one.length_s:.0f} s, {one.words} words, {_number(one.pace_wpm)} words a minute")
        if one.star_score is not None:
            found = ", ".join(part.part for part in one.star) or "none"
            lines.append(f"- Parts of a story found: {found} ({_percent(one.star_score)})")
        lines += [f"- Stands out: {', '.join(one.flags)}"] if one.flags else []
        lines += [f"- From your resume, left unsaid: {plain(fact.quote)}" for fact in one.unused_facts]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{100 * value:.0f} %"
