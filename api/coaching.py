"""How the user talked in a session, over HTTP."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from api.answers import read_records
from api.consent_gate import check_consent, users_of
from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS
from api.markdown import MARKDOWN_TOO, Form, markdown, plain
from api.sessions import SessionPath
from operators.coaching import AnswerCoaching, Coaching, coach
from operators.stories import StrongerLine
from schemas.answers import Answer
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import Utterance

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["answers"], responses=PROBLEMS)


def _report(door: Door, session_id: str) -> Coaching:
    utterances: dict[str, Utterance] = {}
    questions: dict[str, Question] = {}
    suggested: dict[str, Answer] = {}

    def take(record: Any) -> None:
        match record:
            case Utterance():
                utterances[record.utterance_id] = record
            case Question():
                questions[record.question_id] = record
            case QuestionWithdrawn():
                questions.pop(record.question_id, None)
            case Answer():
                suggested[record.question_id] = record
            case _:
                pass

    read_records(door, session_id, ["utterances", "questions", "answers"], take)
    return coach(sorted(utterances.values(), key=lambda one: one.start_s), list(questions.values()), suggested)


@router.get("/sessions/{session_id}/coaching", response_model=Coaching, responses=MARKDOWN_TOO)
async def get_coaching(request: Request, session_id: SessionPath, caller: CurrentCaller, form: Form = "json") -> Any:
    """Report how you answered: pace, fillers, length, story parts, and a stronger version from your own facts.

    Null = it cannot be told. The same report as a page: `/coaching.html?session=ID`.
    """
    door = door_of(request)
    session = await door.session(session_id, caller)
    check_consent(session, users_of(session), ("coaching",), door.parts.consent)
    report = await asyncio.to_thread(_report, door, session_id)
    return markdown(_markdown(report)) if form == "markdown" else report


def _markdown(report: Coaching) -> str:
    parts = [
        "# How you answered",
        f"- Your share of the talk: {_percent(report.talk_ratio)}\n- Pace: {_number(report.pace_wpm)} words a minute\n"
        f"- Fillers: at least {_number(report.fillers_per_100)} in 100 words\n"
        f"- Longest stretch: {_number(report.longest_monologue_s)} s",
    ]
    return "\n\n".join([*parts, *map(_answer, report.answers)]) + "\n"


def _answer(one: AnswerCoaching) -> str:
    lines = [f"## {plain(one.question)}", "", f"You said: {plain(one.said)}", ""]
    lines.append(f"- {one.length_s:.0f} s, {one.words} words, {_number(one.pace_wpm)} words a minute")
    if one.star_score is not None:
        found = ", ".join(part.part for part in one.star) or "none"
        lines.append(f"- Parts of a story found: {found} ({_percent(one.star_score)})")
    lines += [f"- Stands out: {', '.join(one.flags)}"] if one.flags else []
    lines += ["", "Stronger, from your own facts:", "", *map(_stronger, one.stronger)]
    if one.suggested is not None:
        lines += ["", f"Suggested at the time ({one.suggested.mode}): {plain(one.suggested.text)}"]
    return "\n".join(lines)


def _stronger(line: StrongerLine) -> str:
    told = f"- {line.part}: {plain(line.text)}"
    if line.source == "missing":
        return f"{told} (still missing)"
    return told if line.citation is None else f"{told} ({plain(line.citation.title)})"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{100 * value:.0f} %"
