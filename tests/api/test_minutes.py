"""Memory and minutes of a real session, and what is remembered of it afterwards."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rejoinder.settings import Settings
from tests.support import Follower, open_session, running, say, wait_for


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("engine")
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, llm="off")) as opened:
        yield opened


def talked(client: httpx.Client) -> str:
    session = open_session(client, title="Planning *April*")
    say(
        client,
        session,
        ("c1", "ann", 0, 3, "Good morning. We have decided to move the launch to the twelfth of May."),
        ("c2", "me", 4, 6, "I'll tell the branches tomorrow."),
        ("c3", "ann", 7, 9, "What does the vendor say about the interface?"),
        ("c4", "me", 10, 12, "I'm not sure, I have to check that."),
    )
    client.post(f"/api/sessions/{session}/end")
    wait_for(lambda: len(client.get(f"/api/sessions/{session}/memory").json()["said"]) == 4)
    return session


def test_minutes_cite_the_utterances_of_every_line(client: httpx.Client) -> None:
    session = talked(client)
    memory: dict[str, Any] = client.get(f"/api/sessions/{session}/memory").json()
    minutes = client.get(f"/api/sessions/{session}/summary").json()
    assert [one["text"] for one in minutes["decisions"]] == [
        "Ann: We have decided to move the launch to the twelfth of May."
    ]
    assert minutes["actions"][0]["text"] == "Me: I'll tell the branches tomorrow."
    assert [one["text"] for one in minutes["open_questions"]] == ["Ann: What does the vendor say about the interface?"]
    known = {line["utterance_id"] for line in memory["said"]}
    lines = [one for name in ("decisions", "actions", "open_questions") for one in minutes[name]]
    assert all(one["utterance_ids"] and set(one["utterance_ids"]) <= known for one in lines)
    assert memory["summary"][0]["text"] == minutes["decisions"][0]["text"]
    assert memory["phase"]
    assert minutes["phases"][0]["name"] == "small talk"


def test_minutes_as_markdown_hold_no_markup_of_the_speakers(client: httpx.Client) -> None:
    reply = client.get(f"/api/sessions/{talked(client)}/summary", params={"format": "markdown"})
    assert reply.headers["content-type"].startswith("text/markdown")
    assert "# Planning \\*April\\*" in reply.text
    assert "## Decisions\n\n- Ann: We have decided" in reply.text


def test_memory_comes_on_the_stream_as_it_changes(client: httpx.Client) -> None:
    session = talked(client)
    follower = Follower(client.base_url, session, until="closed")
    wait_for(lambda: "memory_update" in follower.types())
    update = next(event for _, event in follower.events if event["type"] == "memory_update")
    assert update["said"][0]["text"].startswith("Good morning.")


def test_a_session_is_remembered_only_when_asked_for_and_forgotten_again(client: httpx.Client) -> None:
    session = talked(client)
    question = {"question": "To which day in May was the launch moved?"}
    assert "twelfth" not in client.post("/api/ask", json=question).json()["text"]
    assert client.get("/api/memory").json()["documents"] == []
    assert client.post(f"/api/sessions/{session}/remember").status_code == 201
    assert [one["collection"] for one in client.get("/api/memory").json()["documents"]] == ["past-meetings"]
    answer = client.post("/api/ask", json=question).json()
    assert "twelfth of May" in answer["text"]
    assert answer["citations"][0]["title"].startswith("Planning *April*")
    client.delete(f"/api/sessions/{session}")
    assert client.delete(f"/api/sessions/{session}/remember").status_code == 204
    assert client.delete(f"/api/sessions/{session}/remember").status_code == 404
    assert "twelfth" not in client.post("/api/ask", json=question).json()["text"]


def test_a_session_without_notes_is_not_remembered(client: httpx.Client) -> None:
    session = open_session(client)
    assert client.post(f"/api/sessions/{session}/remember").status_code == 409
    assert client.get(f"/api/sessions/{session}/summary").json()["decisions"] == []
    assert client.get("/api/sessions/none/summary").status_code == 404


def test_a_user_in_danger_gets_help_and_no_answer(client: httpx.Client) -> None:
    answer = client.post("/api/ask", json={"question": "How do I tell them that I want to kill myself?"}).json()
    assert "116 123" in answer["text"]
    assert answer["grounded"] == "none"
    assert answer["citations"] == []


def test_the_report_on_answers_comes_as_json_and_markdown(client: httpx.Client) -> None:
    session = open_session(client, kind="interview")
    say(
        client,
        session,
        ("c1", "ann", 0, 4, "Tell me about a time you solved a hard problem."),
        ("c2", "me", 6, 40, "In 2021 we were losing parcels. I had to find out why. I built a *tracker*."),
    )
    client.post(f"/api/sessions/{session}/end")
    wait_for(lambda: client.get(f"/api/sessions/{session}/coaching").json()["answers"])
    report = client.get(f"/api/sessions/{session}/coaching").json()
    (answer,) = report["answers"]
    assert [one["part"] for one in answer["star"]] == ["situation", "task", "action"]
    assert answer["flags"] == ["no result"]
    assert report["fillers_lower_bound"] is True
    text = client.get(f"/api/sessions/{session}/coaching", params={"format": "markdown"}).text
    assert "built a \\*tracker\\*" in text
    assert "Parts of a story found: situation, task, action (75 %)" in text
