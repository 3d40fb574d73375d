"""Every route on the real engine: what it answers, to whom, and to bad input."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from eventlog.records import new_record
from rejoinder.accounts.keys import KeyStore
from rejoinder.engine import Engine
from rejoinder.serving import serving
from rejoinder.settings import Settings
from schemas.codec import decode
from tests.support import Follower, open_session, running, say, wait_for


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("engine")
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0)) as opened:
        yield opened


def test_a_session_is_opened_listed_ended_and_deleted(client: httpx.Client) -> None:
    session = open_session(client, title="First", kind="interview")
    assert client.get(f"/api/sessions/{session}").json()["title"] == "First"
    assert session in [one["session_id"] for one in client.get("/api/sessions").json()["sessions"]]
    assert client.post(f"/api/sessions/{session}/end").json()["closed_at"]
    assert say(client, session, ("c", "ann", 0, 1, "late")).status_code == 409
    assert client.delete(f"/api/sessions/{session}").status_code == 204
    for path in ("", "/captions", "/answers", "/stream", "/memory"):
        assert client.get(f"/api/sessions/{session}{path}").status_code == 404
    assert client.delete(f"/api/sessions/{session}").status_code == 404


def test_the_same_idempotency_key_opens_one_session(client: httpx.Client) -> None:
    keys = {"Idempotency-Key": "once"}
    one, other = (client.post("/api/sessions", json={}, headers=keys).json()["session_id"] for _ in range(2))
    assert one == other


def test_captions_sent_twice_are_stored_once(client: httpx.Client) -> None:
    session = open_session(client)
    first, again = (say(client, session, ("c1", "ann", 0, 1, "Hello.")) for _ in range(2))
    assert first.status_code == again.status_code == 202
    assert [one["repeat"] for one in first.json()["accepted"] + again.json()["accepted"]] == [False, True]
    assert len(client.get(f"/api/sessions/{session}/captions").json()["captions"]) == 1


def test_other_words_under_the_same_id_are_refused_and_nothing_of_the_batch_is_stored(client: httpx.Client) -> None:
    session = open_session(client)
    say(client, session, ("c1", "ann", 0, 1, "Hello."))
    refused = say(client, session, ("c2", "ann", 1, 2, "New."), ("c1", "ann", 0, 1, "Other."))
    assert refused.status_code == 409
    assert refused.json()["conflicts"] == ["c1"]
    assert [one["caption_id"] for one in client.get(f"/api/sessions/{session}/captions").json()["captions"]] == ["c1"]


def test_a_tool_that_knows_only_speaker_and_text_is_welcome_and_its_retry_harmless(client: httpx.Client) -> None:
    session = open_session(client)
    body = {"captions": [{"speaker": "Ann", "text": "hello there"}, {"speaker": "Me", "text": "hi"}]}
    for _ in range(2):
        reply = client.post(f"/api/sessions/{session}/captions", json=body, headers={"Idempotency-Key": "k"})
        assert reply.status_code == 202, reply.text
    assert len(client.get(f"/api/sessions/{session}/captions").json()["captions"]) == 2


def test_a_thousand_captions_go_in_one_batch_and_one_more_does_not(client: httpx.Client) -> None:
    session = open_session(client)
    many = [(f"c{n}", "me", n, n + 1, f"word {n}") for n in range(1001)]
    assert say(client, session, *many).status_code == 422
    assert say(client, session, *many[:1000]).status_code == 202
    assert len(client.get(f"/api/sessions/{session}/captions").json()["captions"]) == 1000


BAD = {
    "empty batch": ({"captions": []}, 422),
    "negative time": ({"captions": [{"text": "x", "start_s": -1, "end_s": 1}]}, 422),
    "reversed times": ({"captions": [{"text": "x", "start_s": 2, "end_s": 1}]}, 422),
    "wrong type": ({"captions": [{"text": 5}]}, 422),
    "not a list": ({"captions": "x"}, 422),
    "unknown field": ({"captions": [{"text": "x", "mood": 1}]}, 422),
    "long text": ({"captions": [{"text": "x" * 10_001}]}, 422),
    "control characters in the id": ({"captions": [{"text": "x", "caption_id": "a\x00b"}]}, 422),
    "huge body": ({"captions": [{"text": "x" * 10_000_000}]}, 413),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_captions_get_a_clear_problem(client: httpx.Client, name: str) -> None:
    body, status = BAD[name]
    reply = client.post(f"/api/sessions/{open_session(client)}/captions", json=body)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["status"] == status
    assert len(reply.text) < 5_000


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff\xfe{}", b'{"captions": ["\xff"]}', b"[" * 50_000, b'{"captions": ' + b'{"a":' * 20_000, b"NaN"],
    ids=["half", "wrong mark", "invalid utf-8", "deep list", "deep object", "nan"],
)
def test_bodies_that_are_no_json_get_a_clear_problem(client: httpx.Client, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    session = open_session(client)
    for path in (f"/api/sessions/{session}/captions", "/api/sessions", "/api/ask", "/api/knowledge", "/api/resume"):
        reply = client.post(path, content=content, headers=headers)
        assert reply.status_code in (400, 422), (path, reply.text)
        assert reply.headers["content-type"] == "application/problem+json"


def test_unknown_sessions_are_not_found(client: httpx.Client) -> None:
    assert say(client, "nowhere", ("c", "a", 0, 1, "x")).status_code == 404
    event = {"session_id": "nowhere", "events": [{"type": "agenda", "item": "x"}]}
    assert client.post("/api/meeting-events", json=event).status_code == 404
    assert client.post("/api/ask", json={"question": "x y z", "session_id": "nowhere"}).status_code == 404


def test_meeting_events_are_kept_in_order(client: httpx.Client) -> None:
    session = open_session(client)
    events = [
        {"type": "joined", "participant": {"id": "zoe", "name": "Zoe"}},
        {"type": "agenda", "item": "Design"},
        {"type": "shared", "title": "slides"},
        {"type": "noted", "name": "mark", "detail": {"at": 1}},
        {"type": "left", "participant_id": "zoe"},
        {"type": "closed"},
    ]
    reply = client.post("/api/meeting-events", json={"session_id": session, "events": events})
    assert reply.status_code == 202, reply.text
    follower = Follower(client.base_url, session)
    follower.thread.join(15)
    shown = [
        kind for kind in follower.types() if kind in {"joined", "agenda", "shared", "noted", "left", "closed", "end"}
    ]
    assert shown == ["joined", "agenda", "shared", "noted", "left", "closed", "end"]
    missing = {"session_id": open_session(client), "events": [{"type": "joined"}]}
    assert client.post("/api/meeting-events", json=missing).status_code == 422


def test_ask_answers_from_the_documents_and_a_deleted_one_is_never_cited_again(client: httpx.Client) -> None:
    text = "The cafeteria opens at seven. Employees get 27 days of paid leave each year."
    added = client.post("/api/knowledge", json={"collection": "hr", "title": "Leave", "text": text})
    assert added.status_code == 201, added.text
    question = {"question": "How many days of paid leave do employees get?", "collections": ["hr"]}
    answer = client.post("/api/ask", json=question).json()
    assert answer["mode"] == "extractive"
    cited = answer["citations"][0]
    assert "27 days" in cited["quote"]
    whole = client.get(f"/api/knowledge/{cited['document_id']}").json()["text"]
    assert whole[cited["start"] : cited["end"]] == cited["quote"]
    assert client.delete(f"/api/knowledge/{cited['document_id']}").status_code == 204
    assert client.post("/api/ask", json=question).json()["citations"] == []


def test_ask_streams_when_asked_to(client: httpx.Client) -> None:
    with client.stream(
        "POST", "/api/ask", json={"question": "Is there tea?"}, headers={"Accept": "text/event-stream"}
    ) as reply:
        text = "".join(reply.iter_text())
    assert "event: answer\r\n" in text
    assert text.rstrip().endswith('{"type": "end"}')


def test_a_resume_is_read_shown_and_deleted(client: httpx.Client) -> None:
    assert client.get("/api/resume").status_code == 404
    resume = "Jo Doe\n\nExperience\nBaker at Brot 2010 - 2014\n- Baked 300 loaves a day.\n\nSkills\nFlour, Salt\n"
    stored = client.post("/api/resume", json={"text": resume})
    assert stored.status_code == 201, stored.text
    shown = client.get("/api/resume").json()
    assert (shown["name"], shown["experiences"][0]["organisation"], shown["skills"]) == (
        "Jo Doe",
        "Brot",
        ["Flour", "Salt"],
    )
    work = [{"position": "Cook", "name": "Inn", "startDate": "2015"}]
    client.post("/api/resume", json={"basics": {"name": "Jo"}, "work": work}).raise_for_status()
    assert "Cook, Inn" in client.get("/api/resume").json()["text"]
    assert client.delete("/api/resume").status_code == 204
    assert client.get("/api/resume").status_code == 404


def test_health_and_metrics_tell_of_the_flows(client: httpx.Client) -> None:
    health = client.get("/api/health")
    assert health.status_code == 200
    always, listening = {"utterances", "questions", "memory", "answers"}, {"captions", "speaker_turns"}
    assert {flow["name"] for flow in health.json()["flows"]} == always | listening
    assert all(flow["alive"] for flow in health.json()["flows"])
    text = client.get("/metrics").text
    assert 'rejoinder_flow_alive{flow="answers"} 1.0' in text
    assert "rejoinder_requests_total" in text


def test_the_other_port_has_questions_and_resume_only(tmp_path: Path) -> None:
    from rejoinder.engine import Engine

    engine = Engine(Settings(_env_file=None, data_dir=tmp_path))
    paths = engine.apps()[1].openapi()["paths"]
    engine.stop()
    assert {"/api/ask", "/api/resume", "/api/knowledge", "/api/health"} <= set(paths)
    assert "/api/sessions" not in paths


def test_every_route_needs_a_key_when_keys_are_needed_and_shows_nothing_of_others(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0)
    store = KeyStore(tmp_path / "accounts.sqlite3", key_required=True)
    (_, ann), (_, bob), (gone, old) = store.create("a", "ann"), store.create("b", "bob"), store.create("c", "ann")
    store.revoke(gone.key_id)
    store.close()
    with running(settings, key_required=True) as client:
        own = {"Authorization": f"Bearer {ann}"}
        session = client.post("/api/sessions", json={}, headers=own).json()["session_id"]
        document = client.post("/api/knowledge", json={"text": "secret of ann"}, headers=own).json()["document_id"]
        open_to_all = {"/api/health", "/api/health/live", "/metrics"}
        schema = client.get("/api/openapi.json").json()
        agreed = {"participant_id": "x", "purposes": ["audio"], "given": True}
        bodies: dict[str, dict[str, object]] = {
            "token": {"identity": "x"},
            "consents": {"consents": [agreed]},
            "feedback": {"verdict": "wrong"},
        }
        for path, methods in schema["paths"].items():
            if path in open_to_all:
                continue
            real = (
                path.replace("{session_id}", session).replace("{document_id}", document).replace("{question_id}", "q")
            )
            for method in methods:
                for headers in ({}, {"Authorization": "Bearer rj_wrong"}, {"X-API-Key": old}):
                    reply = client.request(method, real, headers=headers, json={})
                    assert reply.status_code == 401, (method, path)
                if "{session_id}" in path or "{document_id}" in path:
                    body = bodies.get(path.rpartition("/")[2], {"captions": [{"text": "x"}]})
                    reply = client.request(method, real, headers={"X-API-Key": bob}, json=body)
                    assert reply.status_code == 404, (method, path)
        assert client.get("/api/sessions", headers={"X-API-Key": bob}).json()["sessions"] == []
        assert "secret" not in json.dumps(client.get("/api/knowledge", headers={"X-API-Key": bob}).json())
        assert wait_for(lambda: client.get(f"/api/sessions/{session}", headers=own).status_code == 200)


def test_a_caption_whose_speaker_was_corrected_is_listed_once_with_the_newest(settings: Settings) -> None:
    with Engine(settings) as engine, serving(engine) as served:
        address = f"http://127.0.0.1:{served.port}"
        with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
            session = open_session(client)
            say(client, session, ("c1", "ann", 0, 1, "Good morning."), ("c2", "ann", 1, 2, "Shall we begin?"))
            lying = engine.log.read_key(session, ["captions"], engine.log.cursor_start(), 1)
            first = decode("captions", lying[0].value)
            corrected = first.model_copy(update={"event_id": "r1", "revision": 1, "speaker": "bob"})
            engine.log.append([new_record("captions", corrected)])
            listed = client.get(f"/api/sessions/{session}/captions").json()
            assert [(one["caption_id"], one["speaker"]) for one in listed["captions"]] == [("c1", "bob"), ("c2", "ann")]
            again = client.get(f"/api/sessions/{session}/captions", params={"cursor": listed["cursor"]}).json()
            assert again["captions"] == []
