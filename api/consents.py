"""The consent ledger: who agreed to what, who took it back, listed and exported; entries are added, never changed."""

import asyncio
import csv
import io
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.answers import read_records
from api.consent_gate import person_named, users_of
from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS
from api.sessions import IdempotencyKey, SessionPath
from api.sessions_seen import SessionSeen
from operators.consent import NOTICE, NOTICE_VERSION, ConsentRule, PersonAgreed
from schemas.base import Identifier, derive_id
from schemas.meeting import Consent, ConsentMethod, Purpose
from schemas.speech import Utterance

__all__ = ["CSV_COLUMNS", "csv_of", "entry_of", "router"]

router = APIRouter(prefix="/api", tags=["consent"], responses=PROBLEMS)
CSV_COLUMNS = (
    "session_id",
    "recorded_at",
    "participant_id",
    "name",
    "purpose",
    "given",
    "method",
    "how",
    "text_version",
    "recorded_by",
    "entry_id",
)
MOST_SESSIONS = 100_000
_FORMULA = ("=", "+", "-", "@")


class NewConsent(BaseModel):
    """What somebody said to what is done with their words; `participant_id` may be a speaker's name."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "participant_id": "marta",
                "purposes": ["audio", "captions"],
                "given": True,
                "method": "spoken",
                "how": "said yes when the notice was read out",
                "text_version": NOTICE_VERSION,
            }
        },
    )
    participant_id: Identifier
    name: Annotated[str, Field(max_length=500)] = ""
    purposes: Annotated[list[Purpose], Field(min_length=1, max_length=5)]
    given: bool
    method: ConsentMethod = "told"
    how: Annotated[str, Field(max_length=500)] = ""
    text_version: Annotated[str, Field(max_length=500)] = ""


class NewConsents(BaseModel):
    """Entries for the ledger of a session, in order."""

    model_config = ConfigDict(extra="forbid")
    consents: Annotated[list[NewConsent], Field(min_length=1, max_length=200)]


class ConsentEntry(BaseModel):
    """An entry of the ledger."""

    entry_id: str
    session_id: str
    recorded_at: AwareDatetime
    participant_id: str
    name: str
    purposes: tuple[Purpose, ...]
    given: bool
    method: ConsentMethod
    how: str
    text_version: str
    recorded_by: str


class Notice(BaseModel):
    """What everybody should be told, and which wording that is."""

    version: str = NOTICE_VERSION
    text: str = NOTICE


@dataclass(frozen=True, slots=True)
class LedgerShown:
    """The ledger of a session.

    Attributes:
        rule: What happens to those who were not asked; "warn" = it is told, "refuse" = nothing of theirs is taken.
        people: How everybody stands to every purpose now: the participants, and who else was heard.
        missing: Ids of those who were not asked about sound or words, or said no.
        entries: The entries, oldest first.
    """

    rule: ConsentRule
    notice: Notice
    people: tuple[PersonAgreed, ...]
    missing: tuple[str, ...]
    entries: tuple[ConsentEntry, ...]


class Entries(BaseModel):
    """Entries of all sessions, newest session first."""

    entries: list[ConsentEntry]


def entry_of(one: Consent) -> ConsentEntry:
    """Give a record as the ledger shows it."""
    fields = one.model_dump(exclude={"type", "event_id", "created_at"})
    return ConsentEntry(entry_id=one.event_id, recorded_at=one.created_at, **fields)


@router.post("/sessions/{session_id}/consents", status_code=201, response_model=LedgerShown)
async def record_consents(
    request: Request,
    session_id: SessionPath,
    body: NewConsents,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Record that somebody agreed, or took it back: `given: false` holds from now on, also after the session's end."""
    door = door_of(request)
    session = await door.session(session_id, caller)
    base = idempotency_key or uuid.uuid4().hex
    made = [
        Consent(
            **{**one.model_dump(), "participant_id": person_named(session.participants.values(), one.participant_id)},
            session_id=session_id,
            event_id=derive_id(session_id, "consent", base, number),
            created_at=datetime.now(UTC),
            recorded_by=caller.owner_id,
        )
        for number, one in enumerate(body.consents)
    ]
    await door.append(made, "meeting")
    for one in made:
        if not one.given:
            await asyncio.to_thread(door.parts.withdrawn, caller.owner_id, one)
    session = await door.session(session_id, caller)
    return await asyncio.to_thread(_shown, door, session)


@router.get("/sessions/{session_id}/consents", response_model=LedgerShown)
async def list_consents(request: Request, session_id: SessionPath, caller: CurrentCaller) -> Any:
    """Read the ledger of a session: entries, how everybody stands, for whom consent is missing."""
    door = door_of(request)
    session = await door.session(session_id, caller)
    return await asyncio.to_thread(_shown, door, session)


@router.get(
    "/consents",
    response_model=Entries,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def export_consents(
    request: Request,
    caller: CurrentCaller,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Any:
    """Export the entries of all your sessions, those of enrolled voices as well; as CSV a line per purpose."""
    door = door_of(request)
    sessions = await asyncio.to_thread(door.sessions.of_owner, caller.owner_id, MOST_SESSIONS, hidden=True)
    entries = [entry_of(one) for session in sessions for one in session.ledger.entries]
    if form == "csv":
        headers = {"Content-Disposition": 'attachment; filename="consents.csv"'}
        return Response(csv_of(entries), media_type="text/csv; charset=utf-8", headers=headers)
    return Entries(entries=entries)


def csv_of(entries: Iterable[ConsentEntry]) -> str:
    """Give entries as CSV, a line per purpose; a cell that a spreadsheet would compute gets an apostrophe."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(CSV_COLUMNS)
    for one in entries:
        for purpose in one.purposes:
            shown = {**one.model_dump(mode="json"), "purpose": purpose}
            cells = [str(shown[column]) for column in CSV_COLUMNS]
            rows.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return text.getvalue()


def _shown(door: Door, session: SessionSeen) -> LedgerShown:
    ledger, users = session.ledger, users_of(session)
    people = ledger.people(session.participants, _heard(door, session))
    return LedgerShown(
        rule=door.parts.consent,
        notice=Notice(),
        people=people,
        missing=tuple(one.participant_id for one in people if _is_missing(one.purposes, one.participant_id in users)),
        entries=tuple(entry_of(one) for one in ledger.entries),
    )


def _is_missing(agreed: Mapping[Purpose, str], is_user: bool) -> bool:
    needed: tuple[Purpose, ...] = ("audio", "captions", "coaching") if is_user else ("audio", "captions")
    return any(agreed[purpose] != "given" for purpose in needed)


def _heard(door: Door, session: SessionSeen) -> dict[str, str]:
    """Give the names of those who were heard, by id."""
    found: dict[str, str] = {}

    def take(record: Any) -> None:
        if isinstance(record, Utterance) and record.text:
            found[record.speaker_id] = record.speaker_name

    read_records(door, session.session_id, ["utterances"], take)
    return found
