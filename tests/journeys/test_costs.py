"""A question that needs no answer any more stops costing at once; slow flows tell their clients."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from eventlog import open_log
from eventlog.records import new_record
from rejoinder.settings import Settings
from schemas.questions import Question, QuestionWithdrawn
from tests.models.test_llm import GOOD, Faulty
from tests.support import Follower, open_session, running, say, wait_for


@pytest.fixture
def endless() -> Iterator[Faulty]:
    server = Faulty()
    server.steps = [server.stream(GOOD[:1], hang=True), server.stream(GOOD)]
    yield server
    server.stop()


def with_model(settings: Settings, server: Faulty) -> Settings:
    return settings.model_copy(update={"llm_base_url": server.url, "llm_model": "m", "llm_piece_s": 60.0})


def test_a_cancelled_question_closes_its_call(settings: Settings, endless: Faulty) -> None:
    with running(with_model(settings, endless)) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "Where do you live?"))
        follower = Follower(client.base_url, session, until="answer_failed")
        wait_for(lambda: "answer_delta" in follower.types())
        assert not endless.closed.is_set()
        question = next(event for _, event in follower.events if event["type"] == "question")
        client.post(f"/api/sessions/{session}/questions/{question['question_id']}/cancel").raise_for_status()
        assert endless.closed.wait(5)
        wait_for(lambda: "answer_failed" in follower.types())
        assert follower.events[-1][1]["reason"] == "cancelled"
        rows = client.get(f"/api/sessions/{session}/answers").json()["answers"]
        assert [row["status"] for row in rows] == ["withdrawn"]


def test_a_superseded_question_closes_its_call_and_the_new_one_is_answered(settings: Settings, endless: Faulty) -> None:
    with running(with_model(settings, endless)) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 2, "What is your notice period?"))
        follower = Follower(client.base_url, session, until="answer")
        wait_for(lambda: "answer_delta" in follower.types())
        say(client, session, ("c2", "ann", 2.2, 5, "And could you start earlier?"))
        assert endless.closed.wait(5)
        wait_for(lambda: "answer" in follower.types())
        failed = next(event for _, event in follower.events if event["type"] == "answer_failed")
        assert failed["reason"] == "superseded"
        assert follower.events[-1][1]["text"] == "An apple."


@pytest.mark.parametrize(("withdrawn", "answered"), [(0, True), (None, False)])
def test_a_question_asked_again_after_it_was_withdrawn(
    settings: Settings, withdrawn: int | None, *, answered: bool
) -> None:
    """A flow withdraws a revision, and a later one is answered; a client cancels for good."""
    at = datetime.now(UTC)
    with running(settings) as client:
        session = open_session(client)
        shared = {"session_id": session, "created_at": at, "question_id": "q"}
        records = [
            Question(event_id="q0", text="Where do you live?", **shared),
            QuestionWithdrawn(event_id="w", revision=withdrawn, reason="heard otherwise", **shared),
            Question(event_id="q1", revision=1, text="Where do you work?", **shared),
            Question(event_id="o", text="Which team is it?", **shared | {"question_id": "other"}),
        ]
        with closing(open_log(settings.log_url)) as log:
            for one in records:
                log.append([new_record("questions", one)])

        def rows() -> dict[str, dict[str, Any]]:
            return {one["question_id"]: one for one in client.get(f"/api/sessions/{session}/answers").json()["answers"]}

        wait_for(lambda: rows().get("other", {}).get("status") == "complete")
        if answered:
            wait_for(lambda: rows()["q"]["status"] == "complete")
        assert rows()["q"]["revision"] == 1
        assert (rows()["q"]["status"] == "complete") is answered


def test_a_hanging_answer_holds_up_nobody_else(settings: Settings, endless: Faulty) -> None:
    with running(with_model(settings, endless)) as client:
        one, other = open_session(client), open_session(client)
        say(client, one, ("c1", "ann", 0, 2, "Where do you live?"))
        first = Follower(client.base_url, one, until="answer_delta")
        wait_for(lambda: "answer_delta" in first.types())
        say(client, other, ("c1", "ann", 0, 2, "Where do you work?"))
        second = Follower(client.base_url, other, until="answer")
        wait_for(lambda: "answer" in second.types())
        assert second.events[-1][1]["mode"] == "model"
        assert not endless.closed.is_set() or endless.calls == 2


def test_what_is_remembered_can_be_read(settings: Settings) -> None:
    with running(settings) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 2, "My name is Ann."), ("c2", "me", 3, 5, "I'll send it tomorrow."))
        client.post(f"/api/sessions/{session}/end").raise_for_status()
        memory = wait_for(
            lambda: len((found := client.get(f"/api/sessions/{session}/memory").json())["said"]) == 2 and found
        )
        assert [note["kind"] for note in memory["notes"]] == ["name", "commitment"]
