"""Faults a meeting must survive: a restart within an answer, dead servers, damaged records, stalled clients."""

import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from eventlog import open_log
from eventlog.base import NewRecord
from eventlog.records import new_record
from models.local_llm import LocalServer
from rejoinder.engine import Engine
from rejoinder.serving import serving
from rejoinder.settings import Settings
from schemas.codec import decode
from schemas.speech import Caption
from tests.journeys.engine_child import ChildEngine
from tests.support import Follower, complete, open_session, running, say, wait_for


def test_a_restart_in_the_middle_of_an_answer_ends_with_exactly_one_answer(tmp_path: Path) -> None:
    model = LocalServer()
    written = {
        "llm_base_url": model.base_url,
        "llm_model": model.model,
        "llm_max_tokens": 300,
        "llm_first_piece_s": 60.0,
    }
    try:
        engine = ChildEngine(tmp_path, **written)
        session = open_session(engine.client)
        say(
            engine.client, session, ("c1", "ann", 0, 3, "Could you tell me a long story about a ship?")
        ).raise_for_status()
        follower = Follower(engine.client.base_url, session, until="answer_delta")
        wait_for(lambda: "answer_delta" in follower.types(), 60)
        engine.end(signal.SIGKILL)
        engine = ChildEngine(tmp_path, **written | {"llm_max_tokens": 20})
        path = f"/api/sessions/{session}/answers"
        rows = wait_for(
            lambda: [row for row in engine.client.get(path).json()["answers"] if row["status"] != "pending"], 60
        )
        assert [row["status"] for row in rows] == ["complete"]
        assert rows[0]["mode"] == "model"
        engine.client.post(f"/api/sessions/{session}/end").raise_for_status()
        whole = Follower(engine.client.base_url, session)
        whole.thread.join(30)
        engine.end(signal.SIGTERM)
    finally:
        model.stop()
    assert whole.types().count("answer") == 1
    tries = [event["attempt"] for _, event in whole.events if event["type"] == "answer_delta"]
    assert tries == sorted(tries)
    assert len(set(tries)) == 2
    last = "".join(
        event["text"] for _, event in whole.events if event["type"] == "answer_delta" and event["attempt"] == tries[-1]
    )
    assert last == rows[0]["text"]


def test_a_model_that_cannot_be_reached_is_a_failure_that_clients_see(settings: Settings) -> None:
    dead = settings.model_copy(
        update={"llm_base_url": "http://127.0.0.1:9/v1", "llm_model": "m", "llm_deadline_s": 5.0}
    )
    with running(dead) as client:
        reply = client.post("/api/ask", json={"question": "Where do I work?"})
        assert reply.status_code == 503
        assert reply.headers["content-type"] == "application/problem+json"
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "Where do you live?"))
        follower = Follower(client.base_url, session, until="answer_failed")
        wait_for(lambda: "answer_failed" in follower.types(), 30)
        assert follower.events[-1][1]["reason"] == "unavailable"


def test_a_damaged_record_goes_aside_with_the_reason_and_the_flow_goes_on(settings: Settings) -> None:
    log = open_log(settings.log_url)
    log.append([NewRecord("captions", "s", "bad", b'{"v":1,"type":"caption"}', time.time())])
    log.append([NewRecord("captions", "s", "worse", b"\xff\x00", time.time())])
    log.close()
    with running(settings) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "Where do you live?"))
        follower = Follower(client.base_url, session, until="answer")
        wait_for(lambda: "answer" in follower.types())
    log = open_log(settings.log_url)
    letters = [decode("dead-letters", one.value) for one in log.read("dead-letters", 0, 0, 10)]
    log.close()
    assert [(letter.topic, letter.flow) for letter in letters] == [("captions", "utterances")] * 2
    assert "Field required" in letters[0].reason


def test_a_client_that_does_not_read_is_cut_and_harms_nobody(settings: Settings) -> None:
    with running(settings.model_copy(update={"stalled_s": 1.0})) as client:
        session = open_session(client)
        words = "word " * 1800
        for number in range(60):
            say(
                client, session, *[(f"c{number}-{n}", "me", number, number + 1, words) for n in range(10)]
            ).raise_for_status()
        stalled = socket.socket()
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", client.base_url.port))
        stalled.sendall(f"GET /api/sessions/{session}/stream HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        healthy = Follower(client.base_url, session)
        wait_for(lambda: "rejoinder_streams_cut_total 1.0" in client.get("/metrics").text, 30)
        client.post(f"/api/sessions/{session}/end")
        healthy.thread.join(30)
        with stalled, pytest.raises(ConnectionResetError):
            _read_all(stalled)
    assert healthy.types().count("caption") == 600
    assert healthy.types()[-1] == "end"


def _read_all(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


@pytest.mark.parametrize(("start", "shown"), [("start", 2), ("-5m", 2), ("now", 0)])
def test_a_stream_begins_where_it_is_asked_to(settings: Settings, start: str, shown: int) -> None:
    with running(settings) as client:
        session = open_session(client)
        say(client, session, ("c1", "me", 0, 1, "one"), ("c2", "me", 1, 2, "two"))
        follower = Follower(client.base_url, session, start)
        wait_for(lambda: "rejoinder_streams_open 1.0" in client.get("/metrics").text)
        client.post("/api/meeting-events", json={"session_id": session, "events": [{"type": "agenda", "item": "x"}]})
        wait_for(lambda: "agenda" in follower.types())
        assert follower.types().count("caption") == shown
        assert client.get(f"/api/sessions/{session}/stream?from=!").status_code == 422
        ahead = Follower(client.base_url, session, "99999999")
        wait_for(lambda: "agenda" in ahead.types())
        assert ahead.types()[0] == "resync"


def test_cors_is_off_unless_set(settings: Settings) -> None:
    origin = {"Origin": "https://meet.example"}
    with running(settings.model_copy(update={"cors_origins": ["https://meet.example"]})) as client:
        assert (
            client.get("/api/sessions", headers=origin).headers["access-control-allow-origin"] == "https://meet.example"
        )
    with running(settings) as client:
        assert "access-control-allow-origin" not in client.get("/api/sessions", headers=origin).headers


def test_a_second_engine_on_the_same_data_is_refused(settings: Settings) -> None:
    from rejoinder.engine import Engine
    from schemas.errors import LogUnavailable

    with running(settings), pytest.raises(LogUnavailable, match="another Rejoinder"):
        Engine(settings)


def test_health_of_a_child_is_ready(tmp_path: Path) -> None:
    engine = ChildEngine(tmp_path)
    assert engine.client.get("/api/health").json()["ready"]
    engine.end(signal.SIGTERM)
    with pytest.raises(httpx.TransportError):
        httpx.get(str(engine.client.base_url), timeout=2, trust_env=False)
    assert engine.child.returncode == 0


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_that_jumps_holds_up_no_answer(settings: Settings, jump_s: float) -> None:
    with Engine(settings) as engine, serving(engine) as served:
        client = httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=20, trust_env=False)
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "Which database do you use?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1)
        jumped = caption_made(session, "c2", "Where do you keep the backups?", time.time() + jump_s)
        engine.log.append([new_record("captions", jumped)])
        wait_for(lambda: complete(client, session) == 2)
        # The clock is right again.
        say(client, session, ("c3", "me", 20, 21, "In a cellar.")).raise_for_status()
        say(client, session, ("c4", "ann", 30, 33, "Who looks after them at night?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 3)
        rows = client.get(f"/api/sessions/{session}/answers").json()["answers"]
        assert [row["question"] for row in rows] == [
            "Which database do you use?",
            "Where do you keep the backups?",
            "Who looks after them at night?",
        ]
        client.close()


def caption_made(session: str, identity: str, text: str, at_s: float) -> Caption:
    return Caption(
        session_id=session,
        event_id=f"{session}-{identity}",
        created_at=datetime.fromtimestamp(at_s, UTC),
        caption_id=identity,
        speaker="ann",
        start_s=10,
        end_s=13,
        text=text,
    )
