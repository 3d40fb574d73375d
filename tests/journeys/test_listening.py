"""Sound in, captions out, in the whole engine: through kills in the middle of a sentence; the routes of models."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from rejoinder.settings import Settings
from schemas.audio import AudioChunk
from tests.flows.test_captions import CHUNK, chunks
from tests.journeys.engine_child import ChildEngine
from tests.models.test_speech import plain
from tests.speech import FIRST, SECOND, THIRD, room
from tests.support import open_session, running, wait_for


def finals(client: httpx.Client, session: str) -> list[str]:
    found = client.get(f"/api/sessions/{session}/captions").json()["captions"]
    return [plain(one["text"]) for one in found]


def speak(log: EventLog, sound: list[AudioChunk], spoken: list[int], stop: threading.Event) -> None:
    """Send sound at twice its pace, whatever becomes of the engine."""
    for number, one in enumerate(sound):
        log.append([new_record("audio", one)])
        spoken.append(number)
        if stop.wait(0.05):
            return


@pytest.mark.timeout(240)
def test_an_engine_killed_twice_while_somebody_speaks_writes_down_every_sentence_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    engine = ChildEngine(folder, speech_model="tiny.en", speech_stalled_s=60)
    session = open_session(engine.client)
    sound = chunks(room(FIRST, SECOND, THIRD), session=session)
    log = open_log(f"sqlite:///{folder}/log.sqlite3")
    spoken: list[int] = []
    stop = threading.Event()
    speaker = threading.Thread(target=speak, args=(log, sound, spoken, stop))
    speaker.start()
    try:
        first, second = len(room(FIRST)) // CHUNK, len(room(FIRST, SECOND)) // CHUNK
        for middle in (first + 10, second + 10):
            wait_for(lambda here=middle: len(spoken) > here, 60)
            engine.end(signal.SIGKILL)
            engine = ChildEngine(folder, speech_model="tiny.en", speech_stalled_s=60)
        wait_for(lambda now=engine.client: len(finals(now, session)) == 3, 90)
        said = finals(engine.client, session)
        ids = [one.event_id for one in log.read("captions", 0, 0, 9_999)]
        assert said == [plain(FIRST), plain(SECOND), plain(THIRD)]
        assert len(ids) == len(set(ids))
        wait_for(lambda: log.end("utterances"), 20)
    finally:
        stop.set()
        speaker.join()
        engine.end(signal.SIGTERM)
        log.close()


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
