"""A question that needs no answer any more stops costing at once; slow flows tell their clients."""

from collections.abc import Iterator

import pytest

from rejoinder.settings import Settings
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
