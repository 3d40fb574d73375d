"""Unsure questions are confirmed by a language model: a no withdraws them, everything else lets them stay."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.responses import JSONResponse

from eventlog.inmemory import InMemoryLog
from flows.arrivals import Arrived
from flows.confirming import ConfirmedLogic, ConfirmingRoom
from flows.logic import OperatorLogic
from flows.marks import Mark
from models.llm import ChatOptions, ChatServer
from models.local_llm import LocalServer
from operators.confirming import NOT_CONFIRMED, Confirming, confirming_prompt, verdict_of
from operators.ports import Message, ModelPiece
from operators.questions import QuestionsOperator
from schemas.meeting import MeetingOpened
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import Utterance
from tests.llm_server import Faulty, chunk

AT = datetime(2026, 1, 1, tzinfo=UTC)
AT_S = AT.timestamp()


@pytest.fixture
def server() -> Iterator[Faulty]:
    faulty = Faulty()
    yield faulty
    faulty.stop()


@pytest.fixture
def rooms() -> Iterator[Callable[..., ConfirmingRoom]]:
    made: list[ConfirmingRoom] = []

    def room(url: str, deadline_s: float = 20.0, below: float = 1.0) -> ConfirmingRoom:
        options = ChatOptions(
            base_url=url, model="m", temperature=0, max_tokens=8, first_piece_s=60, piece_s=60, attempts=1
        )
        made.append(ConfirmingRoom(ChatServer(options), Confirming(below, deadline_s)))
        return made[-1]

    yield room
    for one in made:
        one.close()


def says(server: Faulty, word: str) -> None:
    server.steps = [server.stream([chunk(word), chunk("", "stop"), "data: [DONE]\n\n"])]


def said(number: int, text: str, at_s: float, revision: int = 0, now_s: float | None = None) -> Arrived:
    heard = Utterance(
        session_id="s",
        event_id=f"u{number}.{revision}",
        created_at=AT,
        utterance_id=f"u{number}",
        revision=revision,
        speaker_id="sam",
        speaker_name="Sam",
        start_s=at_s,
        end_s=at_s + 1,
        text=text,
        caption_ids=(f"c{number}.{revision}",),
    )
    return Arrived(heard, "utterances", number, AT_S + (at_s if now_s is None else now_s))


def shard(room: ConfirmingRoom) -> ConfirmedLogic:
    build = OperatorLogic.builder("questions", QuestionsOperator(), None, InMemoryLog())
    logic = ConfirmedLogic.builder(build, room)(None)
    opened = MeetingOpened(session_id="s", event_id="o", created_at=AT, owner_id="me")
    logic.on_batch([Arrived(opened, "meeting", 0, AT_S)])
    return logic


def asked(logic: ConfirmedLogic) -> Question:
    made, _ = logic.on_batch([said(1, "So why do you use Kafka?", 1.0), Mark(0, AT_S + 2.0)])
    questions = [one for one in made if isinstance(one, Question)]
    assert len(questions) == 1, "a question goes out before anybody confirmed it"
    return questions[0]


def waited(logic: ConfirmedLogic) -> list[Any]:
    """Give what the shard makes once no verdict is awaited any more."""
    out: list[Any] = []
    end_s = time.monotonic() + 60
    while logic.notify_at() is not None and time.monotonic() < end_s:
        out += logic.on_notify()[0]
        time.sleep(0.005)
    assert logic.notify_at() is None
    return out


def reached(server: Faulty) -> None:
    end_s = time.monotonic() + 60
    while server.calls == 0 and time.monotonic() < end_s:
        time.sleep(0.005)
    assert server.calls == 1


def test_a_no_withdraws_the_question_and_the_operator_knows(
    server: Faulty, rooms: Callable[..., ConfirmingRoom]
) -> None:
    says(server, "No.")
    logic = shard(rooms(server.url))
    question = asked(logic)
    withdrawn = waited(logic)
    assert [(type(one), one.question_id, one.revision) for one in withdrawn] == [
        (QuestionWithdrawn, question.question_id, 0)
    ]
    assert withdrawn[0].reason == NOT_CONFIRMED
    # What the operator took back is not gone on with: the next words are a question of their own.
    made, _ = logic.on_batch([said(2, "And how long did that take?", 2.2), Mark(0, AT_S + 9.0)])
    assert [one.question_id != question.question_id for one in made if isinstance(one, Question)] == [True]
    waited(logic)


def test_a_yes_or_idle_talk_lets_the_question_stay(server: Faulty, rooms: Callable[..., ConfirmingRoom]) -> None:
    for word in ("Yes", "I would rather say nothing about this"):
        says(server, word)
        logic = shard(rooms(server.url))
        asked(logic)
        assert waited(logic) == []


def test_a_silent_server_a_broken_one_and_none_let_it_stay(
    server: Faulty, rooms: Callable[..., ConfirmingRoom]
) -> None:
    server.steps = [server.stream([], hang=True)]
    silent = shard(rooms(server.url, deadline_s=0.2))
    asked(silent)
    assert waited(silent) == []
    assert server.calls <= 1, "its answer did not come in time, or a slow machine did not get as far as asking"
    server.steps = [lambda: JSONResponse({"error": {"message": "no"}}, 500)]
    for url in (server.url, "http://127.0.0.1:9/v1"):
        logic = shard(rooms(url))
        asked(logic)
        assert waited(logic) == []


def test_a_sure_question_is_never_asked_about(server: Faulty, rooms: Callable[..., ConfirmingRoom]) -> None:
    says(server, "No.")
    logic = shard(rooms(server.url, below=0.1))
    asked(logic)
    assert (logic.notify_at(), server.calls) == (None, 0)


def test_a_verdict_on_an_earlier_revision_is_of_no_interest(
    server: Faulty, rooms: Callable[..., ConfirmingRoom]
) -> None:
    server.steps = [server.stream([], hang=True)]
    logic = shard(rooms(server.url))
    first = asked(logic)
    reached(server)
    says(server, "Yes")
    made, _ = logic.on_batch(
        [said(1, "So why do you use Kafka? And why not Pulsar?", 1.0, 1, 2.2), Mark(0, AT_S + 9.0)]
    )
    again = next(one for one in made if isinstance(one, Question))
    assert waited(logic) == []
    assert again.event_id != first.event_id


def test_a_withdrawal_of_another_question_changes_nothing() -> None:
    operator = QuestionsOperator()
    state = operator.initial()
    other = QuestionWithdrawn(session_id="s", event_id="x", created_at=AT, question_id="other", revision=0)
    assert operator.step(state, other, AT_S) == (state, [])


def test_a_real_model_is_asked_in_words_it_can_answer(rooms: Callable[..., ConfirmingRoom]) -> None:
    question = asked(shard(rooms("http://127.0.0.1:9/v1")))
    assert question.text in confirming_prompt(question)[1].text
    server = LocalServer()
    try:
        heard = Overheard(ChatServer(ChatOptions(base_url=server.base_url, model="m", temperature=0, max_tokens=8)))
        room = ConfirmingRoom(heard, Confirming(1.0, 60.0))
        verdict = room.ask(question).result(60)
        # A model of 135M is no judge; but the room must read its words as anybody else would.
        assert heard.text
        assert verdict is verdict_of(heard.text)
        assert room.running == 0
        room.close()
    finally:
        server.stop()


class Overheard:
    """A real model, and what it said: the same words come twice only where the server computes them alike."""

    def __init__(self, model: ChatServer) -> None:
        self._model, self.text = model, ""
        self.name, self.fingerprint, self.aclose = model.name, model.fingerprint, model.aclose

    async def generate(self, messages: Sequence[Message]) -> AsyncGenerator[ModelPiece, None]:
        async with aclosing(self._model.generate(messages)) as pieces:
            async for piece in pieces:
                self.text += piece.text
                yield piece
