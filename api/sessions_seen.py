"""The list of sessions, read off the topic ``meeting``."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from api.errors import Problem
from eventlog.base import EventLog
from operators.consent import Ledger
from schemas.codec import decode
from schemas.errors import SchemaError
from schemas.meeting import Consent, MeetingClosed, MeetingOpened, Participant, ParticipantJoined

__all__ = ["SessionDirectory", "SessionSeen"]

BATCH = 1_000
MOST_FOUND = 20_000
"""Sessions kept for look-ups; one that was not looked up for long is read again, which is one short read."""


@dataclass(slots=True)
class SessionSeen:
    """One session as its meeting events tell it."""

    opened: MeetingOpened
    participants: dict[str, Participant] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    closed_at: datetime | None = None

    @property
    def session_id(self) -> str:
        """Give its id."""
        return self.opened.session_id


class SessionDirectory:
    """Knows every session of the log; reads only what is new at each look-up."""

    def __init__(self, log: EventLog, most_found: int = MOST_FOUND) -> None:
        """Read nothing yet; a session is read at its first look-up, the whole list when it is first asked for."""
        self._log = log
        self._next: dict[int, int] = dict.fromkeys(range(log.partitions("meeting")), 0)
        self._all: dict[str, SessionSeen] = {}
        self._found: OrderedDict[str, tuple[dict[str, SessionSeen], str]] = OrderedDict()
        self._most_found = most_found
        self._lock = threading.Lock()

    def _follow(self) -> None:
        with self._lock:
            for partition in self._next:
                while self._log.end("meeting", partition) > self._next[partition]:
                    records = self._log.read("meeting", partition, self._next[partition], BATCH)
                    if not records:
                        break
                    for record in records:
                        _take(self._all, record.value)
                        self._next[partition] = record.offset + 1

    def find(self, session_id: str) -> SessionSeen | None:
        """Give a session, or None when there is none or it was erased."""
        if self._log.erased(session_id):
            self._found.pop(session_id, None)
            return None
        with self._lock:
            seen, cursor = self._found.get(session_id, ({}, self._log.cursor_start()))
            while records := self._log.read_key(session_id, ["meeting"], cursor, BATCH):
                cursor = records[-1].cursor
                for record in records:
                    _take(seen, record.value)
            if seen:
                self._found[session_id] = (seen, cursor)
                self._found.move_to_end(session_id)
                if len(self._found) > self._most_found:
                    self._found.popitem(last=False)
        return seen.get(session_id)

    def forget(self, session_id: str) -> None:
        """Forget a session that was erased."""
        with self._lock:
            self._all.pop(session_id, None)
            self._found.pop(session_id, None)

    def owned(self, session_id: str, owner_id: str) -> SessionSeen:
        """Give a session of this owner.

        Raises:
            Problem: 404; another owner's session is not told apart from one that never was.
        """
        session = self.find(session_id)
        if session is None or session.opened.owner_id != owner_id:
            raise Problem(404, "No such session")
        return session

    def of_owner(
        self, owner_id: str, limit: int, before: str | None = None, *, hidden: bool = False
    ) -> list[SessionSeen]:
        """Give an owner's sessions, newest first; those that are not listed only with `hidden`."""
        self._follow()
        found = [
            session
            for session in list(self._all.values())
            if session.opened.owner_id == owner_id
            and (hidden or not session.opened.hidden)
            and not self._log.erased(session.session_id)
        ]
        found.sort(key=lambda session: session.opened.created_at, reverse=True)
        if before is not None:
            places = [place for place, session in enumerate(found) if session.session_id == before]
            found = found[places[0] + 1 :] if places else []
        return found[:limit]


def _take(sessions: dict[str, SessionSeen], value: bytes) -> None:
    """Apply one meeting event to the sessions it may concern."""
    try:
        event = decode("meeting", value)
    except SchemaError:
        return  # the flows bury it
    if isinstance(event, MeetingOpened):
        people = {person.id: person for person in event.participants}
        sessions.setdefault(event.session_id, SessionSeen(event, people))
        return
    session = sessions.get(event.session_id)
    if session is None:
        return
    if isinstance(event, ParticipantJoined):
        session.participants[event.participant.id] = event.participant
    elif isinstance(event, Consent):
        session.ledger.take(event)
    elif isinstance(event, MeetingClosed):
        session.closed_at = event.created_at
