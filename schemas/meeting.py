"""What happened around the talk."""

from typing import Annotated, Literal, get_args

from pydantic import Field, JsonValue

from schemas.base import Identifier, Record, Seconds, Strict

__all__ = [
    "PURPOSES",
    "AgendaMoved",
    "Consent",
    "ConsentMethod",
    "MeetingClosed",
    "MeetingEvent",
    "MeetingNoted",
    "MeetingOpened",
    "Participant",
    "ParticipantJoined",
    "ParticipantLeft",
    "Purpose",
    "ScreenShared",
]

ShortText = Annotated[str, Field(max_length=500)]


class Participant(Strict):
    """Somebody in the session; exactly one may be the user whom the engine helps."""

    id: Identifier
    name: ShortText = ""
    role: ShortText = ""
    is_user: bool = False


class MeetingOpened(Record):
    """The session began.

    Attributes:
        owner_id: Whose session it is; documents of this owner only are searched.
        kind: "interview", "meeting", "practice" or another word of the client's.
        collections: The knowledge collections to search; empty = all of the owner's.
        hidden: A session made for one question only; it is not listed.
    """

    type: Literal["opened"] = "opened"
    owner_id: Identifier
    kind: ShortText = "meeting"
    title: ShortText = ""
    participants: Annotated[tuple[Participant, ...], Field(max_length=200)] = ()
    language: ShortText = "en"
    collections: Annotated[tuple[Identifier, ...], Field(max_length=50)] = ()
    hidden: bool = False


class ParticipantJoined(Record):
    """Somebody came in, or their name or role became known."""

    type: Literal["joined"] = "joined"
    participant: Participant
    at_s: Seconds | None = None


class ParticipantLeft(Record):
    """Somebody went."""

    type: Literal["left"] = "left"
    participant_id: Identifier
    at_s: Seconds | None = None


class ScreenShared(Record):
    """A screen or document was shown or taken away."""

    type: Literal["shared"] = "shared"
    participant_id: Identifier | None = None
    title: ShortText = ""
    active: bool = True
    at_s: Seconds | None = None


class AgendaMoved(Record):
    """The meeting moved on to another point."""

    type: Literal["agenda"] = "agenda"
    item: ShortText
    at_s: Seconds | None = None


class MeetingNoted(Record):
    """Anything else a client wants kept in order with the talk."""

    type: Literal["noted"] = "noted"
    name: Identifier
    detail: Annotated[dict[str, JsonValue], Field(default_factory=dict)]
    at_s: Seconds | None = None


Purpose = Literal["audio", "captions", "coaching", "voice", "remembering"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
"""What somebody may agree to: their sound is stored; their words are written down; they are coached on their talk; they
are known by their voice; the minutes are kept for later sessions."""
ConsentMethod = Literal["told", "spoken", "written", "click", "invitation"]


class Consent(Record):
    """Somebody agreed to what is done with what they say, or took that back; the newest for a purpose holds.

    Attributes:
        participant_id: Who: the id of a participant, or the name under which a caption tool knows a speaker.
        name: How to call them.
        purposes: What for.
        given: Whether they agreed; False = they refused or withdrew.
        method: How they said so; "told" = whoever runs the session says so.
        how: What they agreed to or how, in the words of whoever recorded it.
        text_version: Which wording of the notice they were shown; "" when none.
        recorded_by: The owner whose key recorded it.
    """

    type: Literal["consent"] = "consent"
    participant_id: Identifier
    name: ShortText = ""
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=5)]
    given: bool
    method: ConsentMethod = "told"
    how: ShortText = ""
    text_version: ShortText = ""
    recorded_by: Identifier


class MeetingClosed(Record):
    """The session ended; no more captions are accepted."""

    type: Literal["closed"] = "closed"
    reason: Literal["ended", "deleted"] = "ended"


MeetingEvent = Annotated[
    MeetingOpened
    | ParticipantJoined
    | ParticipantLeft
    | ScreenShared
    | AgendaMoved
    | MeetingNoted
    | Consent
    | MeetingClosed,
    Field(discriminator="type"),
]
