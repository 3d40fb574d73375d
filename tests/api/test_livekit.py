"""LiveKit rooms: a real server, real participants made with LiveKit's SDK, and what the log has of their sound."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from livekit.api import ListParticipantsRequest, LiveKitAPI, ServerError, TokenVerifier

from api.livekit_access import INSTANCE, LISTENER, LiveKitAccess, LiveKitRooms
from rejoinder.accounts.keys import KeyStore
from rejoinder.livekit import livekit_access
from rejoinder.settings import Settings
from tests.livekit_server.server import KEY, SECRET, LiveKitServer, speaking
from tests.sound import chunks, sending, tone, whole
from tests.support import open_session, running, wait_for

CHILD = Path(__file__).parents[2] / "api" / "livekit_child.py"


@pytest.fixture(scope="module")
def server(livekit_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    started = LiveKitServer(livekit_program, tmp_path_factory.mktemp("livekit")).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def place(server: LiveKitServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("rooms")
    return Settings(
        _env_file=None, data_dir=folder, port=0, qa_port=0, speech_model="off", speakers="off", **server.settings
    )


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


def listeners() -> list[int]:
    """Give the processes of this one that sit in rooms."""
    found = []
    for child in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            parent = int((child / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and b"livekit_child" in (child / "cmdline").read_bytes():
                found.append(int(child.name))
    return found


def test_what_a_participant_says_is_stored_under_their_name(
    client: httpx.Client, place: Settings, server: LiveKitServer, tmp_path: Path
) -> None:
    session = open_session(client)
    client.post(f"/api/sessions/{session}/livekit/token", json={"identity": "host"}).raise_for_status()
    wait_for(lambda: _listeners_of(server, session))  # a token is enough for the engine to be there first
    with speaking(client, session, "zoe", name="Zoë Q.") as zoe:
        assert zoe.given["room"] == session
        assert zoe.told == {"sees": [], "recorded": True}
        listened(place, session, "zoe")
        zoe.do(f"say {sound(tmp_path, 3.0)}")
        wait_for(lambda: loud(stored(place, session, "zoe")).sum() * 0.02 >= 2.85)
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


def test_a_muted_microphone_is_silence_on_the_same_clock(client: httpx.Client, place: Settings, tmp_path: Path) -> None:
    session, file = open_session(client), sound(tmp_path, 1.0)
    with speaking(client, session, "ann") as ann:
        listened(place, session, "ann")
        ann.do(f"say {file}")
        ann.do("mute")
        muted = time.monotonic()
        wait_for(lambda: time.monotonic() - muted > 2)
        ann.do("unmute")
        away_s = time.monotonic() - muted
        ann.do(f"say {file}")
        wait_for(lambda: loud(stored(place, session, "ann")).sum() >= 90)
    speech = loud(stored(place, session, "ann"))
    first = int(speech.argmax())
    again = first + 55 + int(speech[first + 55 :].argmax())
    silent_s = (again - first) * 0.02 - 1.0
    assert away_s - 0.2 < silent_s < away_s + 0.5
    assert not speech[first + 55 : again].any()


def test_what_is_said_without_consent_is_dropped_and_listening_goes_on_once_it_is_given(
    client: httpx.Client, place: Settings, tmp_path: Path
) -> None:
    session = open_session(client)

    def consent(*, given: bool) -> None:
        body = {"consents": [{"participant_id": "ann", "purposes": ["captions"], "given": given}]}
        client.post(f"/api/sessions/{session}/consents", json=body).raise_for_status()

    with speaking(client, session, "ann") as ann:
        listened(place, session, "ann")
        consent(given=False)
        ann.do(f"say {sound(tmp_path, 1.0)}")
        said = time.monotonic()
        wait_for(lambda: time.monotonic() - said > 1)  # all of it has arrived
        consent(given=True)
        listened(place, session, "ann")
        ann.do(f"say {sound(tmp_path, 1.0, 880.0)}")
        wait_for(lambda: loud(stored(place, session, "ann")).sum() >= 45)
    pcm = stored(place, session, "ann")
    first = int(loud(pcm).argmax())
    assert abs(pitch(pcm[first * 640 : (first + 40) * 640]) - 880) < 2
    assert loud(pcm).sum() <= 75, "less than both of a second each"


def test_two_who_speak_at_once_are_two_tracks_on_one_clock(
    client: httpx.Client, place: Settings, tmp_path: Path
) -> None:
    session = open_session(client)
    with speaking(client, session, "ann") as ann, speaking(client, session, "me") as me:
        listened(place, session, "ann")
        listened(place, session, "me")
        ann.begin(f"say {sound(tmp_path, 2.0, 400)}")
        me.begin(f"say {sound(tmp_path, 2.0, 600)}")
        assert (ann.done(), me.done()) == ("", "")
        wait_for(lambda: min(loud(stored(place, session, who)).sum() for who in ("ann", "me")) >= 90)
    begins = []
    for who, hz in (("ann", 400), ("me", 600)):
        pcm, found = stored(place, session, who), chunks(place.log_url, session, who)
        first = int(loud(pcm).argmax())
        assert {one.participant for one in found} == {who}
        assert abs(pitch(pcm[first * 640 : (first + 90) * 640]) - hz) < 1.2
        begins.append(found[0].start_sample / 16_000 - found[0].gap_samples / 16_000 + first * 0.02)
    assert abs(begins[0] - begins[1]) < 0.6


@pytest.mark.parametrize("way", ["leaves", "vanishes", "republishes"])
def test_who_comes_back_goes_on_with_their_track_and_the_time_away_is_a_gap(
    client: httpx.Client, place: Settings, tmp_path: Path, way: str
) -> None:
    session, file = open_session(client), sound(tmp_path, 1.0)
    with ExitStack() as held:
        ann = held.enter_context(speaking(client, session, "ann"))
        listened(place, session, "ann")
        ann.do(f"say {file}")
        spoken = time.monotonic()
        wait_for(lambda: loud(stored(place, session, "ann")).sum() >= 45)
        if way == "republishes":
            ann.do("republish")
        else:
            ann.close(kill=way == "vanishes")
            ann = held.enter_context(speaking(client, session, "ann"))
        listened(place, session, "ann")
        ann.do(f"say {sound(tmp_path, 3.0)}")
        apart_s = time.monotonic() - spoken
        wait_for(lambda: loud(stored(place, session, "ann")).sum() >= 130)
    speech = np.flatnonzero(loud(stored(place, session, "ann")))  # checks that numbers go on and nothing overlaps
    # From end to end: the first moments of who comes back may be lost, and a torn-off voice is drawn out a little.
    assert abs((speech[-1] - speech[0]) * 0.02 - 1.0 - apart_s) < 0.6
    assert {one.last for one in chunks(place.log_url, session)} == {False}
    if way == "leaves":
        assert sum(one.gap_samples for one in chunks(place.log_url, session)) > 4_000


def test_a_session_that_ends_is_left_and_nothing_more_is_stored(
    client: httpx.Client, place: Settings, tmp_path: Path
) -> None:
    session = open_session(client)
    with speaking(client, session, "ann") as ann:
        listened(place, session, "ann")
        wait_for(lambda: 'rejoinder_audio_open{way="livekit"} 1.0' in client.get("/metrics").text)
        client.post(f"/api/sessions/{session}/end").raise_for_status()
        wait_for(lambda: 'rejoinder_audio_open{way="livekit"} 0.0' in client.get("/metrics").text)
        before = len(chunks(place.log_url, session))
        ann.do(f"say {sound(tmp_path, 1.0)}")
        assert len(chunks(place.log_url, session)) == before
    reply = client.post(f"/api/sessions/{session}/livekit/token", json={"identity": "ann"})
    assert reply.status_code == 409


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_listener_that_dies_or_hangs_is_followed_by_another(
    client: httpx.Client, place: Settings, tmp_path: Path, number: int
) -> None:
    session = open_session(client)
    with speaking(client, session, "ann") as ann:
        listened(place, session, "ann")
        dead = listeners()
        for child in dead:
            os.kill(child, number)
        wait_for(lambda: set(listeners()) - set(dead), 60)
        listened(place, session, "ann")
        wait_for(lambda: not set(listeners()) & set(dead), 60)
        ann.do(f"say {sound(tmp_path, 1.0)}")
        wait_for(lambda: loud(stored(place, session, "ann")).sum() >= 45)
    assert sum(one.gap_samples for one in chunks(place.log_url, session)) > 8_000


def test_who_cannot_be_heard_is_told_in_the_log_and_the_others_are_heard(
    client: httpx.Client, place: Settings, server: LiveKitServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_session(client)
    nameless = LiveKitAccess(server.url, KEY, SECRET).token(session, "n" * 201, "", 60)
    with (
        speaking(client, session, "secretive", key="a shared key"),
        speaking(client, session, "nameless", token=nameless),
        speaking(client, session, "ann") as ann,
    ):
        listened(place, session, "ann")
        ann.do(f"say {sound(tmp_path, 1.0)}")
        wait_for(lambda: loud(stored(place, session, "ann")).sum() >= 45)
    said = "".join(capfd.readouterr())
    assert "a track is end-to-end encrypted" in said
    assert "the identity is no name" in said
    assert {one.track for one in chunks(place.log_url, session)} == {"ann"}


def test_another_sender_of_the_same_track_takes_over_and_gives_it_back(
    client: httpx.Client, place: Settings, tmp_path: Path
) -> None:
    session, quiet = open_session(client), bytes(3_200)
    with speaking(client, session, "ann") as ann:
        listened(place, session, "ann")
        with sending(client, session, "ann") as sender:
            first = sender.start()["next"]
            sender.send([tone(0.1, hz=800.0)] * 10, first)
            ann.do(f"say {sound(tmp_path, 1.0)}")
            sender.send([quiet], first + 10)
        listened(place, session, "ann")
        ann.do(f"say {sound(tmp_path, 1.0, 600.0)}")
        wait_for(lambda: loud(stored(place, session, "ann")).sum() >= 50 + 45)
    pcm = np.frombuffer(stored(place, session, "ann"), "<i2")  # checks that numbers go on and nothing overlaps
    heard = [pitch(pcm[at : at + 320].tobytes()) for at in 320 * np.flatnonzero(loud(pcm.tobytes()))]
    assert {round(hz, -2) for hz in heard[2:48]} == {800}
    assert {round(hz, -2) for hz in heard[-40:-3]} == {600}


def test_two_processes_do_not_listen_to_one_room(client: httpx.Client, place: Settings, server: LiveKitServer) -> None:
    session = open_session(client)
    other = LiveKitAccess(server.url, KEY, SECRET, instance="another process")

    async def ask() -> tuple[bool, bool]:
        rooms = LiveKitRooms(other)
        try:
            await rooms.open(session)
            await asyncio.to_thread(wait_for, lambda: _listeners_of(server, session))
            seen = await rooms.listened_elsewhere(session)
        finally:
            await rooms.close()
        mine = LiveKitRooms(livekit_access(place))
        try:
            return seen, await mine.listened_elsewhere(session)
        finally:
            await mine.close()

    assert asyncio.run(ask()) == (True, False)


def test_a_room_that_another_process_listens_to_is_left_alone(
    client: httpx.Client, place: Settings, server: LiveKitServer, tmp_path: Path
) -> None:
    session = open_session(client)
    other = LiveKitAccess(server.url, KEY, SECRET, instance="another process")
    given = json.dumps({"address": server.url, "token": other.listener_token(session)})
    child = subprocess.Popen([sys.executable, "-I", str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stdin is not None
    child.stdin.write(given.encode() + b"\n")
    child.stdin.flush()
    wait_for(lambda: _listeners_of(server, session) == ["another process"])
    with speaking(client, session, "ann") as ann:  # the token has the engine look for the room
        ann.do(f"say {sound(tmp_path, 1.0)}")
        assert _listeners_of(server, session) == ["another process"]
        assert chunks(place.log_url, session) == []
        child.stdin.close()
        assert child.wait(10) == 0
        listened(place, session, "ann")  # the other is gone, so this one takes over


def _listeners_of(server: LiveKitServer, session: str) -> list[str]:
    """Give who listens to a room, as the server knows it."""

    async def ask() -> list[str]:
        api = LiveKitAPI(server.url, KEY, SECRET)
        try:
            found = await api.room.list_participants(ListParticipantsRequest(room=session))
        except ServerError:  # no such room
            return []
        finally:
            await api.aclose()
        return [one.attributes[INSTANCE] for one in found.participants if one.identity == LISTENER]

    return asyncio.run(ask())


def test_a_token_is_for_the_owner_of_an_open_session(server: LiveKitServer, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0, speech_model="off", **server.settings)
    store = KeyStore(tmp_path / "accounts.sqlite3", key_required=True)
    (_, ann), (_, bob) = store.create("a", "ann"), store.create("b", "bob")
    store.close()
    with running(settings, key_required=True) as client:
        own = {"Authorization": f"Bearer {ann}"}
        session = client.post("/api/sessions", json={}, headers=own).json()["session_id"]

        def token(headers: dict[str, str], identity: str = "ann", **more: object) -> httpx.Response:
            body = {"identity": identity} | more
            return client.post(f"/api/sessions/{session}/livekit/token", json=body, headers=headers)

        assert token({}).status_code == 401
        assert token({"Authorization": f"Bearer {bob}"}).status_code == 404
        given = token(own, "ann", name="Ann", valid_s=60)
        assert given.status_code == 201
        claims = TokenVerifier(KEY, SECRET).verify(given.json()["token"])
        assert (claims.identity, claims.name, claims.video.room, claims.video.hidden) == ("ann", "Ann", session, None)
        assert claims.video.room_admin is claims.video.room_list is claims.video.room_create is None
        assert SECRET not in given.text
        for wrong in ({"identity": LISTENER}, {"identity": ""}, {"identity": "a\x00"}, {"valid_s": 5}, {"mood": 1}):
            assert token(own, **wrong).status_code == 422  # type: ignore[arg-type]
        client.delete(f"/api/sessions/{session}", headers=own)
        assert token(own).status_code == 404


def test_without_a_server_that_is_set_a_token_is_a_clear_problem(settings: Settings) -> None:
    with running(settings) as client:
        reply = client.post(f"/api/sessions/{open_session(client)}/livekit/token", json={"identity": "ann"})
    assert (reply.status_code, reply.json()["title"]) == (501, "LiveKit is not set up")
    assert "REJOINDER_LIVEKIT_URL" in reply.json()["detail"]


def test_without_the_extra_a_token_is_a_clear_problem_and_the_engine_goes_on(
    server: LiveKitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "livekit.api", None)
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0, speech_model="off", **server.settings)
    with running(settings) as client:
        reply = client.post(f"/api/sessions/{open_session(client)}/livekit/token", json={"identity": "ann"})
        assert (reply.status_code, reply.json()["detail"]) == (501, "uv sync --extra livekit")
        wait_for(lambda: client.get("/api/health").json()["ready"])


@pytest.mark.parametrize(
    ("wrong", "status"), [({"livekit_url": "ws://127.0.0.1:9"}, 503), ({"livekit_api_secret": "x" * 40}, 502)]
)
def test_a_server_that_is_away_or_refuses_is_a_clear_problem_and_the_engine_goes_on(
    server: LiveKitServer, tmp_path: Path, wrong: dict[str, str], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    given = server.settings | wrong
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0, speech_model="off", **given)
    with running(settings) as client:
        reply = client.post(f"/api/sessions/{open_session(client)}/livekit/token", json={"identity": "ann"})
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
        wait_for(lambda: client.get("/api/health").json()["ready"])
    said = "".join(capfd.readouterr()) + reply.text + repr(settings)
    assert "livekit_rooms_unknown" in said
    assert given["livekit_api_secret"] not in said


@pytest.mark.parametrize(
    "wrong", [{"livekit_url": "ws://a"}, {"livekit_api_key": "k", "livekit_api_secret": "s"}, {"livekit_url": "a b"}]
)
def test_half_of_the_settings_is_an_error_at_the_start(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="livekit"):
        Settings(_env_file=None, **wrong)
