"""When the answers flow looks for the pieces of an answer."""

import time
from datetime import UTC, datetime

from eventlog.inmemory import InMemoryLog
from flows.answering_room import AnsweringRoom
from flows.answers import AnswersLogic
from flows.arrivals import Arrived
from models.fakes import InstantModel, NoPassages
from operators.answering import Answering
from schemas.answers import AnswerDelta
from schemas.questions import Question


def question() -> Question:
    return Question(
        session_id="s",
        event_id="q0",
        created_at=datetime.now(UTC),
        question_id="q",
        text="How many planets are there?",
        kind="wh",
        speaker_id="ann",
        speaker_name="Ann",
        start_s=0.0,
        end_s=1.0,
        utterance_ids=("u",),
        caption_ids=("c",),
        confidence=1.0,
    )


def test_a_first_piece_that_came_between_two_looks_is_handed_on_at_once() -> None:
    room = AnsweringRoom(Answering(NoPassages(), InstantModel()))
    logic = AnswersLogic(room, InMemoryLog(), 1)
    try:
        made, _ = logic.on_batch([Arrived(question(), "questions", 0, time.time())])
        (running,) = logic.sessions["s"].running.values() if not list(made) else (None,)
        if running is not None:  # else the room was quicker than the first look
            end = time.monotonic() + 20
            while running.call.first_s is None and time.monotonic() < end:
                time.sleep(0.001)
            due = logic.notify_at()
            assert due is not None
            assert due <= datetime.now(UTC)
            made, _ = logic.on_notify()
        assert any(isinstance(record, AnswerDelta) for record in made)
    finally:
        room.close()
