"""Where consent is looked at: before sound or words are taken, and before a report or a memory is made of them."""

from collections.abc import Iterable, Sequence

from api.errors import Problem
from api.sessions_seen import SessionSeen
from operators.consent import UNNAMED_USER, ConsentRule, Objection
from schemas.meeting import Participant, Purpose

__all__ = ["check_consent", "check_sound", "objections_to", "person_named", "refuse", "users_of"]

_SOUND: tuple[Purpose, ...] = ("audio", "captions")
NOBODY = "somebody who is not named"


def person_named(participants: Iterable[Participant], speaker: str) -> str:
    """Give the id of the participant whom a speaker's id or name means; the speaker's own when it is nobody's."""
    people = list(participants)
    found = next((one.id for one in people if one.id == speaker), None)
    return found or next((one.id for one in people if one.name.casefold() == speaker.casefold()), speaker)


def users_of(session: SessionSeen) -> list[str]:
    """Give the ids of the participants who are the user."""
    return [one.id for one in session.participants.values() if one.is_user] or [UNNAMED_USER]


def objections_to(
    session: SessionSeen, speaker: str | None, purposes: Sequence[Purpose], rule: ConsentRule
) -> tuple[Objection, ...]:
    """Give who objects to something being done with what a speaker says.

    Without a speaker it may be anybody's: voices that are mixed cannot be kept apart surely enough, so everybody's
    consent counts.
    """
    ledger = session.ledger
    if speaker is not None:
        return ledger.objections([person_named(session.participants.values(), speaker)], purposes, rule)
    return ledger.objections(ledger.everybody(session.participants) or [NOBODY], purposes, rule)


def check_consent(session: SessionSeen, people: Iterable[str], purposes: Sequence[Purpose], rule: ConsentRule) -> None:
    """Refuse what somebody objects to.

    Raises:
        Problem: 403; `without_consent` names them.
    """
    refuse(session.ledger.objections(people, purposes, rule))


def check_sound(session: SessionSeen, track: str, participant: str | None, rule: ConsentRule) -> None:
    """Refuse sound that somebody objects to, who may be on its track.

    Raises:
        Problem: 403; `without_consent` names them.
    """
    speaker = participant or (track if track in session.participants else None)
    refuse(objections_to(session, speaker, _SOUND, rule))


def refuse(objections: Sequence[Objection]) -> None:
    """Refuse, if there are objections.

    Raises:
        Problem: 403; `without_consent` names them.
    """
    if not objections:
        return
    told = [{"participant_id": one.participant_id, "purpose": one.purpose, "agreed": one.agreed} for one in objections]
    who = ", ".join(dict.fromkeys(f"{one.participant_id} ({one.purpose} {one.agreed})" for one in objections))
    raise Problem(
        403, "Consent is missing", f"{who}; record it with POST /api/sessions/ID/consents", without_consent=told
    )
