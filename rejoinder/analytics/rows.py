"""What each record means for the tables."""

from collections.abc import Callable
from typing import Any

from schemas.answers import Answer, AnswerDelta, AnswerFailed
from schemas.dead_letters import DeadLetter
from schemas.feedback import Feedback
from schemas.meeting import (
    AgendaMoved,
    Consent,
    MeetingClosed,
    MeetingNoted,
    MeetingOpened,
    Participant,
    ParticipantJoined,
    ParticipantLeft,
    ScreenShared,
)
from schemas.memory import MemoryUpdate
from schemas.nudges import Nudge
from schemas.progress import FlowBeat
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import AudioGap, Caption, SpeakerTurn, TranscriptionLag, Utterance
from schemas.usage import Usage

__all__ = ["Rows"]

Row = tuple[Any, ...]
_EVERY_REVISION = 2**53
_LATEST_US = 253_402_300_799_000_000
"""The end of the year 9999, microseconds: a producer's broken clock must not make a time no database holds."""


class Rows:
    """Gathers the rows of many records, table by table, until they are written.

    Speech and question texts are left out unless `texts` says so; topics of a meeting are kept as they are.
    """

    def __init__(self, run_id: str, *, texts: bool) -> None:
        """Gather for one run."""
        self._run, self._texts = run_id, texts
        self.tables: dict[str, list[Row]] = {}
        self.deleted: set[str] = set()
        self.count = 0
        self._makers: dict[type, Callable[[Any, float], None]] = {
            MeetingOpened: self._opened,
            MeetingClosed: self._closed,
            ParticipantJoined: self._joined,
            ParticipantLeft: self._left,
            ScreenShared: self._shared,
            AgendaMoved: self._agenda,
            MeetingNoted: self._noted,
            Consent: self._consent,
            Caption: self._caption,
            AudioGap: self._gap,
            TranscriptionLag: self._late,
            SpeakerTurn: self._turn,
            Utterance: self._utterance,
            Question: self._question,
            QuestionWithdrawn: self._withdrawn,
            AnswerDelta: self._delta,
            Answer: self._answer,
            AnswerFailed: self._failed,
            MemoryUpdate: self._memory,
            Nudge: self._nudge,
            Usage: self._usage,
            DeadLetter: self._letter,
            Feedback: self._feedback,
            FlowBeat: self._beat,
        }

    def add(self, record: Any, at_s: float) -> None:
        """Add what a record means; one of a kind that says nothing here is passed over."""
        make = self._makers.get(type(record))
        if make is not None:
            make(record, min(max(at_s * 1e6, 0.0), _LATEST_US))
            self.count += 1

    def _put(self, table: str, *row: Any) -> None:
        self.tables.setdefault(table, []).append((self._run, *row))

    def _said(self, text: str) -> str | None:
        return text if self._texts else None

    def _opened(self, one: MeetingOpened, at: float) -> None:
        shared = one.owner_id, one.kind, one.title, one.language, one.hidden, len(one.collections)
        self._put("sessions", one.session_id, *shared, at, None, None)
        for person in {person.id: person for person in one.participants}.values():
            self._person(one, at, person)

    def _person(self, one: Any, at: float, person: Participant) -> None:
        order = 0, at, one.event_id
        self._put("participants", one.session_id, person.id, *order, person.name, person.role, person.is_user)

    def _closed(self, one: MeetingClosed, at: float) -> None:
        if one.reason == "deleted":
            self.deleted.add(one.session_id)
            return
        self._put("sessions", one.session_id, None, None, None, None, None, None, None, at, one.reason)

    def _event(self, one: Any, at: float, participant_id: str | None, name: str, active: bool | None = None) -> None:
        order = 0, at, one.event_id
        self._put(
            "meeting_events", one.session_id, one.event_id, *order, one.type, participant_id, one.at_s, name, active
        )

    def _joined(self, one: ParticipantJoined, at: float) -> None:
        self._person(one, at, one.participant)
        self._event(one, at, one.participant.id, "")

    def _left(self, one: ParticipantLeft, at: float) -> None:
        self._event(one, at, one.participant_id, "")

    def _shared(self, one: ScreenShared, at: float) -> None:
        self._event(one, at, one.participant_id, one.title, one.active)

    def _agenda(self, one: AgendaMoved, at: float) -> None:
        self._event(one, at, None, one.item)

    def _noted(self, one: MeetingNoted, at: float) -> None:
        self._event(one, at, None, one.name)

    def _consent(self, one: Consent, at: float) -> None:
        # Names, the words of whoever recorded it and the notice stay in the ledger alone.
        order = 0, at, one.event_id
        said = one.participant_id, one.given, one.method
        for purpose in one.purposes:
            self._put("consents", one.session_id, one.event_id, purpose, *order, *said)

    def _caption(self, one: Caption, at: float) -> None:
        text, order = one.text, 1 + one.revision if one.final else 0
        self._put(
            "captions", one.session_id, one.caption_id, order, at, one.event_id, one.speaker, one.track,
            one.start_s, one.end_s, len(text.split()), len(text), one.final, one.language,
            bool(one.words),
        )  # fmt: skip

    def _gap(self, one: AudioGap, at: float) -> None:
        order = 0, at, one.event_id
        self._put("audio_gaps", one.session_id, one.event_id, *order, one.track, one.start_s, one.end_s)

    def _late(self, one: TranscriptionLag, at: float) -> None:
        self._put("caption_lag", one.session_id, one.track, at // 60e6 * 60e6, one.behind_s)

    def _turn(self, one: SpeakerTurn, at: float) -> None:
        order = one.revision, at, one.event_id
        times = one.start_s, one.end_s
        self._put("speaker_turns", one.session_id, one.turn_id, *order, one.speaker, one.track, *times, one.frozen)

    def _utterance(self, one: Utterance, at: float) -> None:
        text = one.text
        self._put(
            "utterances", one.session_id, one.utterance_id, one.revision, at, one.event_id, one.speaker_id,
            one.speaker_name, one.role, one.is_user, one.start_s, one.end_s, len(text.split()), len(text),
            len(one.caption_ids), self._said(text),
        )  # fmt: skip

    def _question(self, one: Question, at: float) -> None:
        self._put(
            "questions", one.session_id, one.question_id, one.revision, 0, at, one.event_id, one.kind, one.origin,
            one.speaker_id, one.start_s, one.end_s, one.confidence, len(one.text.split()), len(one.caption_ids),
            self._said(one.text),
        )  # fmt: skip

    def _withdrawn(self, one: QuestionWithdrawn, at: float) -> None:
        last = _EVERY_REVISION if one.revision is None else one.revision
        self._put("withdrawals", one.session_id, one.question_id, last, at, one.event_id, one.reason)

    def _delta(self, one: AnswerDelta, at: float) -> None:
        self._put("answer_texts", one.session_id, one.answer_id, at, at, one.index + 1, one.attempt + 1)

    def _answer(self, one: Answer, at: float) -> None:
        receipt = one.receipt
        made = (len(receipt.passages), len(one.text), receipt.prompt_version, receipt.model_hash) if receipt else (
            None, len(one.text), None, None)  # fmt: skip
        self._put(
            "answers", one.session_id, one.answer_id, one.attempt, at, one.event_id, one.question_id,
            one.question_revision, "answered", one.mode, one.model, one.finish, None, one.first_delta_ms, one.total_ms,
            one.prompt_tokens, one.answer_tokens, len(one.citations), *made,
        )  # fmt: skip

    def _failed(self, one: AnswerFailed, at: float) -> None:
        self._put(
            "answers", one.session_id, one.answer_id, one.attempt, at, one.event_id, one.question_id,
            one.question_revision, "failed", None, None, None, one.reason, *[None] * 9,
        )  # fmt: skip

    def _memory(self, one: MemoryUpdate, at: float) -> None:
        order = 0, at, one.event_id
        put = {note.note_id: note for note in one.notes_put}
        for note in put.values():
            text = note.text if note.kind == "topic" else self._said(note.text)
            self._put("notes", one.session_id, note.note_id, *order, note.kind, len(note.utterance_ids), False, text)
        for note_id in set(one.notes_dropped) - put.keys():
            self._put("notes", one.session_id, note_id, *order, None, None, True, None)

    def _nudge(self, one: Nudge, at: float) -> None:
        order, spoken = (0, at, one.event_id), len(one.utterance_ids)
        self._put("nudges", one.session_id, one.event_id, *order, one.kind, one.measured, spoken, one.at_s)

    def _usage(self, one: Usage, at: float) -> None:
        order = 0, at, one.event_id
        self._put("usage", one.session_id, one.event_id, *order, one.what, one.amount, one.model, one.cause_id)

    def _feedback(self, one: Feedback, at: float) -> None:
        order, text = (0, at, one.event_id), one.comment
        self._put("feedback", one.session_id, one.answer_id, *order, one.verdict, len(text), self._said(text))

    def _letter(self, one: DeadLetter, at: float) -> None:
        order = 0, at, one.event_id
        self._put("dead_letters", one.session_id, one.event_id, *order, one.topic, one.offset, one.flow, one.reason)

    def _beat(self, one: FlowBeat, at: float) -> None:
        behind = sum(max(0, end - one.positions.get(place, 0)) for place, end in one.ends.items())
        minute = at // 60e6 * 60e6
        self._put("flow_lag", one.flow, one.member, minute, one.behind_s, behind, one.members)
