"""Bad sound over every way in: a clear error for its sender, and the session goes on."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from rejoinder.settings import Settings
from tests.api.test_audio_posts import post, recording_of_silence
from tests.sound import chunks, pieces, recording, sending, tone, whole
from tests.support import open_session, running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        _env_file=None, data_dir=tmp_path_factory.mktemp("bad"), port=0, qa_port=0, speech_model="off", speakers="off"
    )


@pytest.fixture(scope="module")
def client(place: Settings) -> Iterator[httpx.Client]:
    with running(place) as opened:
        yield opened


def goes_on(client: httpx.Client, session: str) -> None:
    """Check that the session takes sound on another track."""
    reply = post(client, session, tone(0.1), track="after", start_s=0)
    assert reply.status_code == 202, reply.text


@pytest.mark.parametrize("start_s", [999_000.5, 1_000_000])
def test_a_track_that_begins_beyond_all_sessions_is_refused(client: httpx.Client, start_s: float) -> None:
    session = open_session(client)
    reply = post(client, session, tone(0.1), track="late", start_s=start_s)
    assert reply.status_code == 422, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    with sending(client, session, "late") as sender:
        sender.tell(type="start", format="pcm16", start_s=start_s)
        code, said = sender.closed()
    assert (code, said[-1]["type"]) == (4422, "error")
    goes_on(client, session)


def test_gaps_that_add_up_to_more_than_a_session_can_last_are_refused(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    with sending(client, session) as sender:
        sender.start()
        sender.send([tone(0.1)])
        for number in range(2, 20):
            sender.tell(type="gap", next=number, duration_s=24 * 3600)
        code, said = sender.closed()
    assert (code, said[-1]["type"]) == (4422, "error")
    assert len(chunks(place.log_url, session)) == 1 + 11
    goes_on(client, session)


def test_numbers_at_the_end_of_what_a_frame_can_say_are_no_trouble(client: httpx.Client, place: Settings) -> None:
    session, last = open_session(client), 2**63 - 1
    with sending(client, session) as sender:
        sender.start()
        sender.frame(2**64 - 1, tone(0.1))
        assert sender.hear()["type"] == "resend"
        sender.tell(type="gap", next=last, duration_s=0)
        assert sender.hear()["next"] == last
        assert sender.send([tone(0.1)], last)[0]["next"] == last + 1
        assert sender.send([tone(0.1)], 0)[0]["next"] == last + 1  # numbers that go back are repeats
    assert whole(chunks(place.log_url, session)) == tone(0.1)


def test_ten_hours_of_silence_in_a_live_container_are_refused(client: httpx.Client, place: Settings) -> None:
    session, silence = open_session(client), recording_of_silence(hours=10)
    with sending(client, session) as sender:
        sender.start(format="audio/flac", live=False)
        for number, frame in enumerate(pieces(silence, 100_000)):
            sender.frame(number, frame)
        sender.tell(type="end")
        code, said = sender.closed()
    assert code == 4422
    assert said[-1]["type"] == "error"
    assert sum(len(one.pcm) for one in chunks(place.log_url, session)) <= 2 * 16_000 * 3600 * 4
    goes_on(client, session)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_clipped_sound_keeps_its_signs(client: httpx.Client, place: Settings, rate: int) -> None:
    session = open_session(client)
    square = np.where(np.arange(rate) * 200 // rate % 2, -32_768, 32_767).astype("<i2")
    assert post(client, session, square.tobytes(), rate_hz=rate, start_s=0).status_code == 202
    got = np.frombuffer(whole(chunks(place.log_url, session)), "<i2").astype(float)
    # A sum that ran over would turn a sample around; a filter only rings at the edges.
    assert 195 <= np.count_nonzero(np.diff(np.sign(got[np.abs(got) > 5_000]))) <= 206
    assert (np.abs(got) > 25_000).mean() > 0.7


@pytest.mark.parametrize(
    ("path", "kind"), [("audio", "audio/pcm"), ("whip", "application/sdp"), ("livekit/token", "application/json")]
)
def test_a_hundred_megabytes_are_refused_by_every_way_in(client: httpx.Client, path: str, kind: str) -> None:
    session = open_session(client)
    content = bytes(100_000_000)
    try:
        reply = client.post(f"/api/sessions/{session}/{path}", content=content, headers={"content-type": kind})
    except httpx.WriteError:  # it hung up while the rest was still on its way
        reply = None
    assert reply is None or reply.status_code == 413, reply.text
    goes_on(client, session)


def test_a_recording_that_would_end_beyond_all_sessions_leaves_nothing(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    reply = post(client, session, recording("flac", 5.0), "audio/flac", start_s=998_998)
    assert reply.status_code == 422, reply.text
    assert chunks(place.log_url, session) == []
    goes_on(client, session)


def test_two_peers_do_not_publish_one_track_and_a_connection_does_not_lose_it(
    client: httpx.Client, place: Settings
) -> None:
    session = open_session(client)
    with sending(client, session, "mic") as sender:
        sender.start()
        sender.send([tone(0.1)])
        headers = {"content-type": "application/sdp"}
        reply = client.post(f"/api/sessions/{session}/whip", content=b"v=0", headers=headers, params={"track": "mic"})
        assert (reply.status_code, "track" in reply.json()["title"]) == (409, True)
        assert sender.send([tone(0.1)], 1)[0]["next"] == 2
    assert whole(chunks(place.log_url, session)) == tone(0.1) * 2
