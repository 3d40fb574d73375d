"""The table of topics: name -> record type, key and retention."""

from dataclasses import dataclass
from typing import Any

from schemas.answers import AnswerRecord
from schemas.audio import AudioChunk
from schemas.dead_letters import DeadLetterRecord
from schemas.errors import UnknownTopic
from schemas.feedback import Feedback
from schemas.meeting import MeetingEvent
from schemas.memory import MemoryUpdate
from schemas.nudges import Nudge
from schemas.progress import ProgressRecord
from schemas.questions import QuestionRecord
from schemas.speech import CaptionRecord, SpeakerTurn, Utterance
from schemas.usage import Usage

__all__ = ["MAX_RECORD_BYTES", "SHOWN_TOPICS", "TOPICS", "Topic", "topic_named"]

MAX_RECORD_BYTES = 4_000_000
"""Largest value of a record; twice the largest request, so nothing that was accepted can be too large."""

HOUR_S = 3600
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        name: As in the log.
        holds: The record type, or the union told apart by ``type``.
        written_by: The flow that writes it, or "api"; "nobody yet" = it is kept for a meter that is not built.
        retention_s: How long records are kept after they were written; None = until the session is erased.
        note: What it is for, one line.
    """

    name: str
    holds: Any
    written_by: str
    retention_s: int | None
    note: str


# Every topic is keyed by session_id, so the order of a session's records holds within a topic.
# Logs and cursors know a topic by its place here: a new one goes to the end.
TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("audio", AudioChunk, "api", 6 * HOUR_S, "sound as it arrived"),
        Topic(
            "captions", CaptionRecord, "captions", None, "text heard; gaps of sound, lag; the api adds what tools send"
        ),
        Topic("speaker-turns", SpeakerTurn, "speaker_turns", None, "who held the floor"),
        Topic("utterances", Utterance, "utterances", None, "one speaker's words between two boundaries"),
        Topic("meeting", MeetingEvent, "api", None, "opened, joined, left, shared, agenda, noted, consent, closed"),
        Topic("questions", QuestionRecord, "questions", None, "what was asked; the api adds what clients ask"),
        Topic("memory", MemoryUpdate, "memory", None, "lines kept and notes changed"),
        Topic("answers", AnswerRecord, "answers", None, "answer deltas, answers, failures"),
        Topic("usage", Usage, "nobody yet", None, "metered seconds and tokens"),
        Topic("progress", ProgressRecord, "every flow", HOUR_S, "how far flows in processes of their own have come"),
        Topic("dead-letters", DeadLetterRecord, "every flow", 30 * DAY_S, "records that could not be processed"),
        Topic("nudges", Nudge, "nudges", None, "hints to the user about their own talk, while it goes on"),
        Topic("feedback", Feedback, "api", None, "what users think of answers"),
    )
}

SHOWN_TOPICS: tuple[str, ...] = ("meeting", "captions", "questions", "answers", "memory", "nudges", "feedback")
"""What a client of a session sees on its stream."""


def topic_named(name: str) -> Topic:
    """Find a topic of the table.

    Raises:
        UnknownTopic: No such topic.
    """
    try:
        return TOPICS[name]
    except KeyError:
        raise UnknownTopic(f"no topic {name!r}; there are {', '.join(TOPICS)}") from None
