"""Who agreed to what, by plain calls."""

from datetime import UTC, datetime

from operators.consent import Ledger, Objection
from schemas.meeting import Consent, Participant, Purpose

PEOPLE = {"ann": Participant(id="ann", name="Ann"), "me": Participant(id="me", is_user=True)}


def entry(who: str, *purposes: Purpose, given: bool, name: str = "") -> Consent:
    return Consent(session_id="s", event_id=f"{who}{given}", created_at=datetime(2026, 1, 1, tzinfo=UTC), name=name,
                   participant_id=who, purposes=purposes, given=given, recorded_by="me")  # fmt: skip


def test_the_newest_entry_for_a_purpose_holds_and_none_is_lost() -> None:
    ledger = Ledger()
    ledger.take(entry("ann", "audio", "captions", given=True))
    ledger.take(entry("ann", "captions", given=False))
    assert [ledger.agreed("ann", one) for one in ("audio", "captions", "voice")] == ["given", "withdrawn", "missing"]
    assert len(ledger.entries) == 2
    ledger.take(entry("ann", "captions", given=True))
    assert ledger.agreed("ann", "captions") == "given"


def test_who_withdrew_objects_always_and_who_was_not_asked_only_by_the_rule() -> None:
    ledger = Ledger()
    ledger.take(entry("ann", "captions", given=False))
    ledger.take(entry("me", "captions", given=True))
    withdrew, unasked = Objection("ann", "captions", "withdrawn"), Objection("bob", "captions", "missing")
    assert ledger.objections(["ann", "me", "bob"], ("captions",), "warn") == (withdrew,)
    assert ledger.objections(["ann", "me", "bob"], ("captions",), "refuse") == (withdrew, unasked)


def test_everybody_is_shown_who_takes_part_said_something_or_was_asked() -> None:
    ledger = Ledger()
    ledger.take(entry("guest", "audio", given=False, name="A guest"))
    people = ledger.people(PEOPLE, {"room-speaker-1": "Speaker 1", "ann": "Ann"})
    assert [(one.participant_id, one.name, one.is_user) for one in people] == [
        ("ann", "Ann", False), ("me", "me", True), ("guest", "A guest", False), ("room-speaker-1", "Speaker 1", False)
    ]  # fmt: skip
    assert people[2].purposes["audio"] == "withdrawn"
