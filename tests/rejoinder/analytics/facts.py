"""A small but whole conversation as records, and a log that holds it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from eventlog.base import NewRecord
from eventlog.records import new_record
from eventlog.sqlite import SqliteLog
from schemas.answers import Answer, AnswerDelta, AnswerFailed, answer_id_of
from schemas.base import Record, derive_id
from schemas.feedback import Feedback
from schemas.meeting import AgendaMoved, Consent, MeetingClosed, MeetingOpened, Participant, ParticipantLeft
from schemas.memory import MemoryUpdate, Note
from schemas.nudges import Nudge
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import AudioGap, Caption, SpeakerTurn, TranscriptionLag, Utterance
from schemas.usage import Usage

BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class Talk:
    """Makes the records of one session, each a second after the one before."""

    def __init__(self, session_id: str = "s1", owner: str = "local", began: datetime = BEGAN) -> None:
        self.session_id, self.owner, self.began = session_id, owner, began
        self.records: list[tuple[str, Record]] = []

    def add(self, topic: str, kind: type[Record], at_s: float, /, **fields: Any) -> Any:
        number = len(self.records)
        record = kind(
            session_id=self.session_id,
            event_id=fields.pop("event_id", derive_id(self.session_id, topic, number)),
            created_at=self.began + timedelta(seconds=at_s),
            **fields,
        )
        self.records.append((topic, record))
        return record

    def new(self) -> list[NewRecord]:
        return [new_record(topic, record) for topic, record in self.records]


def conversation(session_id: str = "s1", owner: str = "local", began: datetime = BEGAN) -> Talk:
    """Give a session with two speakers, three questions (answered, failed, withdrawn) and what goes with them."""
    talk = Talk(session_id, owner, began)
    people = (Participant(id="ann", name="Ann", role="interviewer"), Participant(id="me", name="Me", is_user=True))
    talk.add("meeting", MeetingOpened, 0, owner_id=owner, kind="interview", title="First", participants=people)
    talk.add("meeting", AgendaMoved, 0.5, item="Databases", at_s=0.5)
    shared = {"caption_id": "c1", "speaker": "ann", "start_s": 1.0, "end_s": 3.0}
    talk.add("captions", Caption, 1, text="Which", final=False, **shared)
    talk.add("captions", Caption, 3, text="Which database?", **shared)
    talk.add("speaker-turns", SpeakerTurn, 3, turn_id="t1", speaker="ann", start_s=1.0, end_s=3.0)
    said = {"speaker_id": "ann", "speaker_name": "Ann", "start_s": 1.0, "utterance_id": "u1"}
    talk.add("utterances", Utterance, 3.1, text="Which", end_s=2.0, caption_ids=("c1",), **said)
    talk.add("utterances", Utterance, 3.2, text="Which database?", revision=1, end_s=3.0, caption_ids=("c1",), **said)
    me = {"speaker_id": "me", "speaker_name": "Me", "is_user": True, "utterance_id": "u2"}
    talk.add("utterances", Utterance, 9, text="We use Postgres and like it a lot", start_s=4.0, end_s=8.0, **me)
    first = talk.add("questions", Question, 3.3, question_id="q1", text="Which?", kind="wh", speaker_id="ann")
    second = talk.add("questions", Question, 3.5, question_id="q1", revision=1, text="Which database?", kind="wh")
    third = talk.add("questions", Question, 5.0, question_id="q2", text="And why?", kind="wh", origin="asked")
    talk.add("questions", Question, 6.0, question_id="q3", text="Ready?", kind="yes_no")
    talk.add("questions", QuestionWithdrawn, 6.5, question_id="q3", reason="cancelled")

    def about(question: Question) -> dict[str, Any]:
        return {
            "answer_id": answer_id_of(question),
            "question_id": question.question_id,
            "question_revision": question.revision,
        }

    talk.add("answers", AnswerFailed, 3.5, reason="superseded", **about(first))
    talk.add("answers", AnswerDelta, 3.8, index=0, text="Post", **about(second))
    talk.add("answers", AnswerDelta, 4.0, index=1, text="gres", **about(second))
    talk.add("answers", Answer, 4.1, text="Postgres", mode="model", model="m", first_delta_ms=290.0, total_ms=590.0,
             prompt_tokens=100, answer_tokens=7, **about(second))  # fmt: skip
    rated = {"answer_id": answer_id_of(second), "question_id": second.question_id}
    talk.add("feedback", Feedback, 8.0, verdict="useful", comment="Right.", **rated)
    talk.add("answers", AnswerFailed, 6.0, reason="timeout", **about(third))
    note = Note(note_id="n1", kind="topic", text="Databases", utterance_ids=("u1",))
    fact = Note(note_id="n2", kind="fact", text="uses Postgres", utterance_ids=("u2",))
    talk.add("memory", MemoryUpdate, 9, notes_put=(note, fact))
    talk.add("usage", Usage, 4.1, what="answer_tokens", amount=7, model="m", cause_id="x")
    talk.add("captions", AudioGap, 9.1, track="mic", start_s=8.2, end_s=9.0)
    talk.add("captions", TranscriptionLag, 9.2, track="mic", behind_s=2.5)
    talk.add("captions", TranscriptionLag, 9.3, track="mic", behind_s=0)
    agreed = {"participant_id": "me", "recorded_by": owner, "method": "spoken", "name": "Me", "how": "nodded twice"}
    talk.add("meeting", Consent, 9.1, purposes=("captions", "coaching"), given=True, **agreed)
    talk.add("nudges", Nudge, 9.2, kind="fast", text="Slow down.", measured=181.5, utterance_ids=("u2",), at_s=8.0)
    talk.add("nudges", Nudge, 9.3, kind="no_result", text="Say what came of it.", utterance_ids=("u2",), at_s=8.0)
    talk.add("meeting", Consent, 9.4, purposes=("coaching",), given=False, **agreed)
    talk.add("meeting", ParticipantLeft, 9.5, participant_id="ann", at_s=9.5)
    talk.add("meeting", MeetingClosed, 10)
    return talk


def log_with(path: Path, *talks: Talk) -> SqliteLog:
    """Give a log that holds these sessions."""
    log = SqliteLog(path / "log.sqlite3")
    for talk in talks:
        log.append(talk.new())
    return log
