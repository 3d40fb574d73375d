"""Sound over a real WebSocket to the real engine."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from operators.resampling import Resampler
from rejoinder.accounts.keys import KeyStore
from rejoinder.settings import Settings
from tests.sound import chunks, pieces, recording, sending, tone, whole
from tests.support import open_session, running, wait_for


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("sound"), port=0, qa_port=0)


@pytest.fixture(scope="module")
def client(place: Settings) -> Iterator[httpx.Client]:
    with running(place) as opened:
        yield opened


def test_pcm_is_stored_frame_by_frame_and_acknowledged(client: httpx.Client, place: Settings) -> None:
    session, sound = open_session(client), tone(1.0)
    with sending(client, session) as sender:
        ready = sender.start(participant="ann", start_s=2.5)
        assert (ready["next"], ready["track"], ready["stored_s"]) == (0, "mic", 2.5)
        acks = sender.send(pieces(sound, 6_400))
        assert [ack["next"] for ack in acks] == [1, 2, 3, 4, 5]
        assert acks[-1]["stored_s"] == 3.5
        sender.tell(type="end")
        assert sender.hear()["type"] == "ended"
        assert sender.closed()[0] == 1000
    found = chunks(place.log_url, session)
    assert whole(found) == sound
    assert {one.participant for one in found} == {"ann"}
    assert found[0].start_sample == 40_000
    assert [one.last for one in found] == [False] * 5 + [True]


def test_other_rates_become_sixteen_thousand_on_one_sample_clock(client: httpx.Client, place: Settings) -> None:
    session, sound = open_session(client), tone(1.0, 44_100)
    stereo = np.repeat(np.frombuffer(sound, "<i2"), 2).tobytes()
    with sending(client, session) as sender:
        sender.start(rate_hz=44_100, channels=2)
        sender.send(pieces(stereo, 4 * 4_410))
    resampler = Resampler(44_100, 2)
    expected = np.frombuffer(resampler.step(resampler.initial(), stereo)[1], "<i2")
    got = np.frombuffer(whole(chunks(place.log_url, session)), "<i2")
    np.testing.assert_allclose(got, expected, atol=1)
    assert len(got) == 16_000


def test_a_client_that_drops_is_told_what_is_wanted_and_goes_on_without_gap_or_repeat(
    client: httpx.Client, place: Settings
) -> None:
    session, sound = open_session(client), tone(2.0, 48_000)
    frames = pieces(sound, 9_600)
    with sending(client, session) as sender:
        sender.start(rate_hz=48_000)
        sender.send(frames[:7])
        sender.frame(7, frames[7])
        sender.socket.socket.close()  # no goodbye, and nobody hears the last acknowledgement
    with sending(client, session) as sender:
        wanted = sender.start(rate_hz=48_000)["next"]
        assert wanted in (7, 8)
        acks = sender.send(frames[5:], 5)  # two or three more than needed: repeats are harmless
        assert acks[-1]["next"] == 20
    resampler = Resampler(48_000)
    expected = resampler.step(resampler.initial(), sound)[1]
    got = np.frombuffer(whole(chunks(place.log_url, session)), "<i2")
    np.testing.assert_allclose(got, np.frombuffer(expected, "<i2"), atol=1)


@pytest.mark.parametrize("kind", ["webm", "mp4", "ogg"])
def test_a_container_is_decoded_as_it_comes_and_survives_a_drop(
    client: httpx.Client, place: Settings, kind: str
) -> None:
    session = open_session(client)
    frames = pieces(recording(kind, 4.0), 3_000)
    media = {"webm": "audio/webm;codecs=opus", "mp4": "audio/mp4", "ogg": "audio/ogg; codecs=opus"}[kind]
    half = len(frames) // 2
    with sending(client, session) as sender:
        sender.start(format=media)
        acks = sender.send(frames[:half])
        assert 1.0 <= acks[-1]["stored_s"] <= 2.2
        assert acks[-1]["keep"] == 0
    with sending(client, session) as sender:
        assert sender.start(format=media)["next"] == half
        sender.send(frames[half:], half)
        sender.tell(type="end")
        ended = sender.hear()
        assert ended["type"] == "ended"
        assert ended["keep"] == len(frames)
    got = np.frombuffer(whole(chunks(place.log_url, session)), "<i2")
    assert abs(len(got) - 64_000) < 800
    assert _is_one_tone(got)


def _is_one_tone(samples: np.ndarray) -> bool:
    """Say whether a tone of 440 Hz goes through everything: a piece left out or twice breaks its phase."""
    moments = np.arange(len(samples)) / 16_000
    turned = samples * np.exp(-2j * np.pi * 440 * moments)
    short = np.convolve(turned, np.ones(400) / 400, "valid")[1_600:-1_600:400]
    return bool(np.abs(np.diff(np.unwrap(np.angle(short)))).max() < 0.15)


def test_after_a_restart_a_container_is_sent_again_and_nothing_is_stored_twice(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0)
    frames = pieces(recording("webm", 4.0), 3_000)
    with running(settings) as client:
        session = open_session(client)
        with sending(client, session) as sender:
            sender.start(format="audio/webm")
            sender.send(frames[:9])
    before = len(chunks(settings.log_url, session))
    assert before > 3
    with running(settings) as client, sending(client, session) as sender:
        ready = sender.start(format="audio/webm")
        assert (ready["next"], ready["keep"]) == (0, 0)
        sender.send(frames)
        sender.tell(type="end")
        assert sender.hear()["type"] == "ended"
    got = np.frombuffer(whole(chunks(settings.log_url, session)), "<i2")
    assert abs(len(got) - 64_000) < 800
    assert _is_one_tone(got)


def test_recordings_may_follow_each_other_on_a_track(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    frames = pieces(recording("webm", 1.0), 3_000)
    count = len(frames)
    with sending(client, session) as sender:
        sender.start(format="audio/webm")
        sender.send(frames)
        sender.tell(type="recording", frame=count)
        ack = sender.hear()
        assert (ack["next"], ack["keep"]) == (count, count)
        sender.send(frames, count)
        sender.tell(type="recording", frame=count)  # said again, as after a lost connection
        assert sender.hear()["keep"] == count
        sender.tell(type="end")
        sender.hear()
    assert abs(len(whole(chunks(place.log_url, session))) - 2 * 32_000) < 1_600


def test_a_gap_that_the_sender_tells_of_is_silence_and_a_record(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    with sending(client, session) as sender:
        sender.start()
        sender.send([tone(0.1)])
        sender.tell(type="gap", next=6, duration_s=0.5)
        assert sender.hear()["next"] == 6
        sender.send([tone(0.1)], 6)
    found = chunks(place.log_url, session)
    assert [one.gap_samples for one in found] == [0, 8_000, 0]
    assert whole(found) == tone(0.1) + bytes(16_000) + tone(0.1)


def test_frames_ahead_of_the_wanted_one_are_not_taken(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    with sending(client, session) as sender:
        sender.start()
        sender.frame(3, tone(0.1))
        asked = sender.hear()
        assert (asked["type"], asked["next"]) == ("resend", 0)
        assert sender.send([tone(0.1)])[0]["next"] == 1
    assert len(chunks(place.log_url, session)) == 1


def test_the_newest_connection_of_a_track_takes_over(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    with sending(client, session) as old, sending(client, session) as new:
        old.start()
        old.send([tone(0.1)])
        assert new.start()["next"] == 1
        assert old.closed()[0] == 4409
        new.send([tone(0.2)], 1)
    assert whole(chunks(place.log_url, session)) == tone(0.1) + tone(0.2)


def test_two_tracks_of_a_session_do_not_meet(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    with sending(client, session, "mic") as mic, sending(client, session, "tab") as tab:
        mic.start(participant="me")
        tab.start()
        mic.send([tone(0.1)])
        tab.send([tone(0.3)])
    assert whole(chunks(place.log_url, session, "mic")) == tone(0.1)
    assert whole(chunks(place.log_url, session, "tab")) == tone(0.3)


def test_a_session_that_ends_ends_its_connections_and_takes_no_new_ones(client: httpx.Client) -> None:
    session = open_session(client)
    with sending(client, session) as sender:
        sender.start()
        sender.send([tone(0.1)])
        client.post(f"/api/sessions/{session}/end").raise_for_status()

        def refused() -> bool:
            sender.frame(1, tone(0.1))
            return sender.hear()["type"] == "error"

        wait_for(refused)
        assert sender.closed()[0] == 4410
    with sending(client, session) as sender:
        code, said = sender.closed()
    assert code == 4410
    assert said[0]["title"] == "The session has ended"


def test_live_sound_that_comes_far_too_fast_is_refused_and_a_file_is_not(client: httpx.Client) -> None:
    session = open_session(client)
    frame = bytes(2 * 8_000 * 10)
    with sending(client, session, "fast") as sender:
        sender.start(rate_hz=8_000)
        for number in range(40):
            sender.frame(number, frame)
        assert sender.closed()[0] == 4429
    with sending(client, session, "file") as sender:
        sender.start(rate_hz=8_000, live=False)
        assert sender.send([frame] * 40)[-1]["stored_s"] == 400


WRONG_STARTS = {
    "no JSON": ("hello", 4422),
    "no type": ('{"format": "pcm16"}', 4422),
    "unknown format": ('{"type": "start", "format": "midi"}', 4422),
    "unknown rate": ('{"type": "start", "format": "pcm16", "rate_hz": 12345}', 4422),
    "too many channels": ('{"type": "start", "format": "pcm16", "channels": 99}', 4422),
    "bytes": (b"\x00" * 100, 4400),
    "huge": ("x" * 2_000_000, 1009),
}


@pytest.mark.parametrize("name", WRONG_STARTS)
def test_a_wrong_first_message_is_refused_with_a_reason(client: httpx.Client, name: str) -> None:
    message, code = WRONG_STARTS[name]
    with sending(client, open_session(client)) as sender:
        sender.socket.send(message)
        assert sender.closed()[0] == code


WRONG_FRAMES = {
    "no header": (b"\x00\x01", 4400),
    "half a sample": (bytes(8) + b"\x01", 4422),
    "too large": (bytes(8 + 300_000), 4413),
    "too long": (bytes(8 + 16_000 * 11), 4413),
    "far too large": (bytes(100_000_000), 1009),
    "unknown message": ('{"type": "dance"}', 4422),
    "recording in PCM": ('{"type": "recording", "frame": 0}', 4422),
}


@pytest.mark.parametrize("name", WRONG_FRAMES)
def test_a_wrong_frame_ends_the_connection_and_the_track_goes_on(client: httpx.Client, name: str) -> None:
    session = open_session(client)
    message, code = WRONG_FRAMES[name]
    with sending(client, session) as sender:
        sender.start(rate_hz=8_000)
        with suppress(OSError, ConnectionClosed):  # the other side may hang up while the rest is still on its way
            sender.socket.send(message)
        assert sender.closed()[0] in {code, 1006 if len(message) > 1_000_000 else code}
    with sending(client, session) as sender:
        assert sender.start(rate_hz=8_000)["next"] == 0
        assert sender.send([bytes(1_600)])[0]["next"] == 1


@given(content=st.binary(min_size=1, max_size=3_000))
@hypothesis_settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_random_bytes_as_a_container_are_refused_and_leave_nothing(client: httpx.Client, content: bytes) -> None:
    session = open_session(client)
    with sending(client, session) as sender:
        sender.start(format="audio/webm")
        sender.frame(0, content)
        sender.tell(type="end")
        code, said = sender.closed()
    assert code in (1000, 4422)
    assert said


def test_a_damaged_recording_ends_the_connection_keeps_the_good_part_and_the_track_goes_on(
    client: httpx.Client, place: Settings
) -> None:
    session = open_session(client)
    good = pieces(recording("webm", 2.0), 3_000)
    with sending(client, session) as sender:
        sender.start(format="audio/mp4")
        sender.send(pieces(recording("mp4", 2.0), 3_000)[:6])
        sender.frame(6, bytes(range(256)) * 8)
        sender.frame(7, bytes(range(256)) * 8)
        sender.tell(type="end")
        code, said = sender.closed()
        assert code in (4422, 1000)
    kept = len(whole(chunks(place.log_url, session)))
    assert kept > 16_000
    if code == 1000:
        return
    assert said[-1]["title"] == "The recording cannot be decoded"
    with sending(client, session) as sender:
        wanted = sender.start(format="audio/webm")["next"]
        sender.send(good, wanted)
        sender.tell(type="end")
        assert sender.closed()[0] == 1000
    assert len(whole(chunks(place.log_url, session))) > kept + 60_000


def test_a_page_of_another_site_is_refused(client: httpx.Client) -> None:
    with sending(client, open_session(client), origin="https://evil.example") as sender:
        assert sender.closed()[0] == 4403
    port = client.base_url.port
    with sending(client, open_session(client), origin=f"http://127.0.0.1:{port}") as sender:
        assert sender.start()["type"] == "ready"


def test_a_connection_needs_a_key_when_keys_are_needed_and_opens_nothing_of_others(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0)
    store = KeyStore(tmp_path / "accounts.sqlite3", key_required=True)
    (_, ann), (_, bob), (gone, old) = store.create("a", "ann"), store.create("b", "bob"), store.create("c", "ann")
    store.revoke(gone.key_id)
    store.close()
    with running(settings, key_required=True) as client:
        own = {"Authorization": f"Bearer {ann}"}
        session = client.post("/api/sessions", json={}, headers=own).json()["session_id"]
        for headers, code in [
            ({}, 4401),
            ({"Authorization": "Bearer rj_wrong"}, 4401),
            ({"X-API-Key": old}, 4401),
            ({"X-API-Key": bob}, 4404),
        ]:
            with sending(client, session, additional_headers=headers) as sender:
                assert sender.closed()[0] == code
        for track in (f"mic&key={bob}", "mic&key=rj_wrong"):
            with sending(client, session, track) as sender:
                assert sender.closed()[0] in (4401, 4404)
        with sending(client, session, f"mic&key={ann}") as sender:
            assert sender.start()["next"] == 0
        with sending(client, session, additional_headers=own) as sender:
            assert sender.start()["next"] == 0
        with sending(client, "nowhere", additional_headers=own) as sender:
            assert sender.closed()[0] == 4404
