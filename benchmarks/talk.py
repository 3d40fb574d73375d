"""Conversations for benchmarks: sessions that talk at a meeting's pace, with questions, notes and small talk.

Every session says a caption every three seconds of its own time, whatever their number, so a block of captions costs
the same work however many sessions it is spread over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from eventlog.base import NewRecord
from eventlog.records import new_record
from schemas.meeting import MeetingClosed, MeetingOpened, Participant
from schemas.speech import Caption

EVERY_S = 3.0
"""Twenty captions a minute, as of people who talk without a pause."""

LINES: tuple[tuple[str, str], ...] = (
    ("ann", "Thank you for joining us today, it is good to have you here."),
    ("ann", "Let me say a few words about the team and what we work on."),
    ("ann", "We have twelve engineers in two cities and we run about forty services."),
    ("me", "That is larger than what I was used to in the last place."),
    ("ann", "So tell me about the largest system you have operated yourself?"),
    ("me", "It was a payment pipeline that took in 900 requests in a second at its peak."),
    ("me", "Most of the time went into making failures boring and easy to see."),
    ("ann", "Right, that matches what we try to do over here as well."),
    ("ann", "And the next topic is how the work gets planned from week to week."),
    ("me", "I usually keep a short list and talk it through with the others on Monday."),
    ("ann", "Good, we do much the same with a board that everybody can see."),
    ("me", "I will send you the notes of the migration once we are done here."),
    ("ann", "When could you start if we made you an offer this month?"),
    ("me", "My notice is two months, so the beginning of spring at the earliest."),
    ("ann", "That would suit us well since the budget begins then."),
    ("me", "It also gives me the time to hand everything over properly."),
    ("ann", "There is one more thing that I wanted to go through with you."),
    ("ann", "The on call rota has one week in six and it is paid on top."),
    ("me", "We had the same arrangement and it worked out fine for all of us."),
    ("ann", "Then I think that we have covered everything that was on my list."),
)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Sessions that talk together: `count` of them, named after `name`, from the wall-clock second `began_s` on."""

    name: str
    count: int
    began_s: float

    def session(self, place: int) -> str:
        """Give the id of a session."""
        return f"{self.name}-{place}"

    def opened(self, place: int) -> NewRecord:
        """Give the start of a session."""
        session, people = self.session(place), (Participant(id="ann", name="Ann"), Participant(id="me", is_user=True))
        at = datetime.fromtimestamp(self.began_s + EVERY_S * place / self.count, UTC)
        opened = MeetingOpened(
            session_id=session, event_id=f"{session}-o", created_at=at, owner_id="bench", participants=people
        )
        return new_record("meeting", opened)

    def closed(self, place: int, number: int) -> NewRecord:
        """Give the end of a session, after its caption of that number."""
        session = self.session(place)
        at = datetime.fromtimestamp(self.at_s(place, number) + 1.0, UTC)
        return new_record("meeting", MeetingClosed(session_id=session, event_id=f"{session}-z", created_at=at))

    def at_s(self, place: int, number: int) -> float:
        """Give when a caption is made; the sessions of a crowd speak evenly one after the other."""
        return self.began_s + EVERY_S * (number + 1 + place / self.count)

    def caption(self, place: int, number: int) -> NewRecord:
        """Give a caption of a session."""
        session = self.session(place)
        speaker, text = LINES[(number + 7 * place) % len(LINES)]
        caption = Caption(
            session_id=session,
            event_id=f"{session}-{number}",
            created_at=datetime.fromtimestamp(self.at_s(place, number), UTC),
            caption_id=f"c{number}",
            speaker=speaker,
            start_s=number * EVERY_S,
            end_s=number * EVERY_S + 2.4,
            text=text,
        )
        return new_record("captions", caption)

    def captions(self, first: int, last: int) -> Iterator[NewRecord]:
        """Give captions number `first` to `last` - 1, counted over all sessions in the order of time."""
        for one in range(first, last):
            yield self.caption(one % self.count, one // self.count)
