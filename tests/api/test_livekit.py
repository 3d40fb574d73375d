"""LiveKit rooms: a real server, real participants made with LiveKit's SDK, and what the log has of their sound."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from rejoinder.settings import Settings
from tests.livekit_server.server import LiveKitServer, speaking
from tests.sound import chunks, tone, whole
from tests.support import open_session, running, wait_for


@pytest.fixture(scope="module")
def server(livekit_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    started = LiveKitServer(livekit_program, tmp_path_factory.mktemp("livekit")).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def place(server: LiveKitServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("rooms")
    return Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, speech_model="off", speakers="off", **server.settings)


@pytest.fixture(scope="module")
def client(place: Settings) -> Iterator[httpx.Client]:
    with running(place) as opened:
        yield opened


def sound(folder: Path, seconds: float, hz: float = 440.0) -> str:
    file = folder / f"{hz:g}-{seconds:g}.pcm"
    file.write_bytes(tone(seconds, 48_000, hz))
    return str(file)


def loud(pcm: bytes) -> np.ndarray:
    """Say for each 20 ms whether there is sound in it."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return samples[: len(samples) // 320 * 320].reshape(-1, 320).std(axis=1) > 1_000


def pitch(pcm: bytes) -> float:
    """Give the strongest frequency, Hz."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples))


def stored(place: Settings, session: str, track: str) -> bytes:
    found = chunks(place.log_url, session, track)
    return whole(found) if found else b""


def listened(place: Settings, session: str, track: str) -> None:
    """Wait until the engine hears a participant: what they said before is lost, as in every such room."""
    before = len(chunks(place.log_url, session, track))
    wait_for(lambda: len(chunks(place.log_url, session, track)) > before + 2)


def test_what_a_participant_says_is_stored_under_their_name(
    client: httpx.Client, place: Settings, tmp_path: Path
) -> None:
    session = open_session(client)
    with speaking(client, session, "zoe", name="Zoë Q.") as zoe:
        assert zoe.given["room"] == session
        assert zoe.told == {"sees": [], "recorded": True}
        listened(place, session, "zoe")
        zoe.do(f"say {sound(tmp_path, 3.0)}")
        wait_for(lambda: loud(stored(place, session, "zoe")).sum() >= 140)
        people = client.get(f"/api/sessions/{session}").json()["participants"]
    assert ("zoe", "Zoë Q.") in [(one["id"], one["name"]) for one in people]
    found = chunks(place.log_url, session)
    assert {(one.track, one.participant, one.last) for one in found} == {("zoe", "zoe", False)}
    assert found[0].start_sample > 0
    pcm = whole(found)
    speech = loud(pcm)
    first = int(speech.argmax())
    assert 2.85 <= speech.sum() * 0.02 <= 3.1
    assert speech[first : first + 140].all()
    assert abs(pitch(pcm[first * 640 : (first + 140) * 640]) - 440) < 1
    assert sum(one.gap_samples for one in found) == 0
