"""Sound in, captions out, in the whole engine: through a kill in the middle of a sentence, and by the models' routes."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from eventlog import open_log
from eventlog.records import new_record
from rejoinder.settings import Settings
from tests.flows.test_captions import CHUNK, chunks
from tests.journeys.engine_child import ChildEngine
from tests.models.test_speech import plain
from tests.speech import FIRST, SECOND, THIRD, room
from tests.support import open_session, running, wait_for


def finals(client: httpx.Client, session: str) -> list[str]:
    found = client.get(f"/api/sessions/{session}/captions").json()["captions"]
    return [plain(one["text"]) for one in found]


def test_a_killed_engine_writes_down_every_sentence_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    engine = ChildEngine(folder, speech_model="tiny.en")
    session = open_session(engine.client)
    sound = chunks(room(FIRST, SECOND, THIRD), session=session)
    middle = len(room(FIRST, SECOND, pause_s=1.0)) // CHUNK + 10
    log = open_log(f"sqlite:///{folder}/log.sqlite3")
    begun = 0
    for number, stop in enumerate((middle - 35, middle)):
        log.append([new_record("audio", one) for one in sound[begun:stop]])
        wait_for(lambda said=number + 1: len(finals(engine.client, session)) == said, 60)
        engine.end(signal.SIGKILL)
        engine = ChildEngine(folder, speech_model="tiny.en")
        begun = stop
    log.append([new_record("audio", one) for one in sound[begun:]])
    wait_for(lambda: len(finals(engine.client, session)) == 3, 60)
    said = finals(engine.client, session)
    utterances = wait_for(lambda: log.end("utterances") and log.read("utterances", 0, 0, 999), 20)
    engine.end(signal.SIGTERM)
    log.close()
    assert said == [plain(FIRST), plain(SECOND), plain(THIRD)]
    assert utterances


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    with running(settings) as opened:
        yield opened


def test_models_are_listed_loaded_and_put_away(client: httpx.Client) -> None:
    listed = {one["name"]: one for one in client.get("/api/models").json()["models"]}
    assert listed["tiny.en"] == {
        "name": "tiny.en", "source": "wheel", "loaded": False, "memory_mb": 0, "used_at_s": None
    }  # fmt: skip
    loaded = client.post("/api/models/load", json={"name": "tiny.en"})
    assert loaded.status_code == 200
    assert loaded.json()["loaded"]
    assert client.get("/api/models").json()["models"][0]["memory_mb"] > 50
    assert client.post("/api/models/unload", json={"name": "tiny.en"}).status_code == 200
    assert client.post("/api/models/unload", json={"name": "tiny.en"}).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"), [({"name": "huge"}, 404), ({"name": "/etc"}, 404), ({}, 422), ({"name": "small.en"}, 409)]
)
def test_models_that_cannot_be_had_are_refused(client: httpx.Client, body: dict[str, str], status: int) -> None:
    assert client.post("/api/models/load", json=body).status_code == status


def test_an_engine_that_heard_nothing_is_ready_and_loads_no_model(client: httpx.Client) -> None:
    health = client.get("/api/health").json()
    assert health["ready"]
    assert "captions" in [flow["name"] for flow in health["flows"]]
    assert not any(one["loaded"] for one in client.get("/api/models").json()["models"])
