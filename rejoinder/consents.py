"""The consent ledger as commands use it: entries of sessions, and of enrolled voices, which belong to no session."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from api.consent_gate import person_named
from api.sessions_seen import SessionDirectory, SessionSeen
from eventlog.base import EventLog
from eventlog.records import new_record
from schemas.base import Record, derive_id
from schemas.meeting import Consent, ConsentMethod, MeetingOpened, Purpose

__all__ = ["ConsentBook", "NoSuchSession"]

EVERYTHING = 1_000_000


class NoSuchSession(ValueError):
    """There is none with this id."""


class ConsentBook:
    """Reads and adds entries of one owner, in the log that the engine uses as well."""

    def __init__(self, log: EventLog, owner_id: str) -> None:
        """Use a log."""
        self._log, self._owner_id = log, owner_id
        self._sessions = SessionDirectory(log)

    def entries(self, session_id: str | None = None) -> list[Consent]:
        """Give the entries of one session, or of all with those of enrolled voices, newest session first.

        Raises:
            NoSuchSession: The owner has none with this id.
        """
        sessions = (
            [self._session(session_id)]
            if session_id
            else self._sessions.of_owner(self._owner_id, EVERYTHING, hidden=True)
        )
        return [one for session in sessions for one in session.ledger.entries]

    def record(
        self,
        session_id: str,
        participant: str,
        purposes: Sequence[Purpose],
        *,
        given: bool,
        method: ConsentMethod = "told",
        how: str = "",
    ) -> Consent:
        """Add an entry to a session's ledger.

        Raises:
            NoSuchSession: The owner has none with this id.
        """
        session = self._session(session_id)
        consent = Consent(
            session_id=session_id,
            event_id=derive_id(session_id, "consent", uuid.uuid4().hex),
            created_at=datetime.now(UTC),
            participant_id=person_named(session.participants.values(), participant),
            purposes=tuple(purposes),
            given=given,
            method=method,
            how=how,
            recorded_by=self._owner_id,
        )
        self._append(consent)
        return consent

    def enrolment(self) -> str:
        """Give the id of the session that only holds the consents of enrolled voices; begun with the first."""
        session_id = derive_id(self._owner_id, "enrolled voices")
        if self._sessions.find(session_id) is None:
            opened = MeetingOpened(
                session_id=session_id,
                event_id=derive_id(session_id, "opened"),
                created_at=datetime.now(UTC),
                owner_id=self._owner_id,
                kind="enrolment",
                title="Enrolled voices",
                hidden=True,
            )
            self._append(opened)
        return session_id

    def _append(self, record: Record) -> None:
        self._log.append([new_record("meeting", record)])

    def _session(self, session_id: str) -> SessionSeen:
        found = self._sessions.find(session_id)
        if found is None or found.opened.owner_id != self._owner_id:
            raise NoSuchSession(f"no session {session_id} of {self._owner_id}")
        return found
