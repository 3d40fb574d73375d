"""Chunks and recordings by POST, on the real engine: what is stored, and what becomes of bad ones."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rejoinder.settings import Settings
from tests.sound import FORMATS, chunks, pieces, recording, sending, tone, whole
from tests.support import open_session, running

MEDIA = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("posts"), port=0, qa_port=0)


@pytest.fixture(scope="module")
def client(place: Settings) -> Iterator[httpx.Client]:
    with running(place) as opened:
        yield opened


def post(
    client: httpx.Client, session: str, content: bytes, kind: str = "audio/pcm", key: str | None = None, **about: object
) -> httpx.Response:
    headers = {"content-type": kind} | ({"Idempotency-Key": key} if key else {})
    return client.post(f"/api/sessions/{session}/audio", content=content, headers=headers, params=about, timeout=60)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_recording_of_every_format_is_decoded_and_stored(client: httpx.Client, place: Settings, kind: str) -> None:
    session = open_session(client)
    reply = post(client, session, recording(kind, 3.0), MEDIA.get(kind, f"audio/{kind}"), track="f", participant="ann")
    assert reply.status_code == 202, reply.text
    assert reply.json()["start_s"] == 0
    assert abs(reply.json()["stored_s"] - 3.0) < 0.06
    found = chunks(place.log_url, session)
    sound = np.frombuffer(whole(found), "<i2").astype(float)
    assert found[-1].last
    assert {one.participant for one in found} == {"ann"}
    spectrum = np.abs(np.fft.rfft(sound[8_000:40_000]))
    assert abs(spectrum.argmax() * 16_000 / 32_000 - 440) < 1
    # Two equal channels become one of the same loudness.
    assert 4_500 < sound[8_000:40_000].std() < 6_500


def test_a_form_with_a_file_is_taken_as_well(client: httpx.Client) -> None:
    session = open_session(client)
    files = {"file": ("talk.flac", recording("flac", 1.0), "audio/flac")}
    reply = client.post(f"/api/sessions/{session}/audio", files=files, params={"start_s": 7})
    assert reply.status_code == 202, reply.text
    assert (reply.json()["start_s"], reply.json()["stored_s"]) == (7, 8)
    assert client.post(f"/api/sessions/{session}/audio", files={"other": b"x"}).status_code == 422


def test_the_same_recording_sent_again_is_stored_once(client: httpx.Client, place: Settings) -> None:
    session, file = open_session(client), recording("ogg", 2.0)
    first, again = (post(client, session, file, "audio/ogg", key="k", track="f") for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert (first.json()["repeat"], again.json()["repeat"]) == (False, True)
    assert first.json()["stored_s"] == again.json()["stored_s"]
    assert len(whole(chunks(place.log_url, session))) == 64_000
    assert post(client, session, recording("ogg", 1.0), "audio/ogg", key="k", track="f").status_code == 409
    assert post(client, session, file, "audio/ogg", key="other", track="f").status_code == 409


def test_chunks_are_numbered_and_repeats_are_harmless(client: httpx.Client, place: Settings) -> None:
    session, parts = open_session(client), pieces(tone(0.5), 3_200)
    for number, part in enumerate(parts):
        for repeat in (False, True):
            reply = post(client, session, part, sequence=number, track="mic", start_s=0)
            assert reply.status_code == 202, reply.text
            assert (reply.json()["repeat"], reply.json()["next"]) == (repeat, number + 1)
    early = post(client, session, parts[0], sequence=9, track="mic")
    assert (early.status_code, early.json()["next"]) == (409, 5)
    assert post(client, session, b"", sequence=5, track="mic", last=True).status_code == 202
    assert post(client, session, parts[0], sequence=6, track="mic").status_code == 409
    assert whole(chunks(place.log_url, session)) == tone(0.5)


def test_chunks_without_a_number_are_told_apart_by_their_key(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    replies = [post(client, session, tone(0.1), key=key, start_s=0) for key in ("a", "a", "b")]
    assert [one.json()["repeat"] for one in replies] == [False, True, False]
    assert whole(chunks(place.log_url, session)) == tone(0.1) * 2


def test_a_chunk_goes_on_after_a_connection_and_not_during_it(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    with sending(client, session) as sender:
        sender.start()
        sender.send([tone(0.1)])
        assert post(client, session, tone(0.2), sequence=1, track="mic").status_code == 409
        sender.tell(type="gap", next=1, duration_s=0)
        sender.hear()
    assert post(client, session, tone(0.2), sequence=1, track="mic").status_code in (202, 409)


@pytest.mark.parametrize("kind", [one for one in FORMATS if one != "webm"])
def test_a_torn_off_recording_is_refused_and_nothing_of_it_is_stored(
    client: httpx.Client, place: Settings, kind: str
) -> None:
    session, file = open_session(client), recording(kind, 3.0)
    reply = post(client, session, file[: len(file) // 2], MEDIA.get(kind, f"audio/{kind}"))
    assert reply.status_code == 422, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["title"] == "The recording cannot be used"
    assert chunks(place.log_url, session) == []


@pytest.mark.parametrize("kind", ["flac", "mp3", "m4a", "mp4"])
def test_a_recording_with_a_damaged_middle_is_refused(client: httpx.Client, place: Settings, kind: str) -> None:
    session, file = open_session(client), bytearray(recording(kind, 3.0))
    middle = len(file) // 2
    file[middle : middle + 500] = bytes(number * 37 % 256 for number in range(500))
    assert post(client, session, bytes(file), MEDIA.get(kind, f"audio/{kind}")).status_code == 422
    assert chunks(place.log_url, session) == []


def test_a_part_that_is_missing_inside_becomes_silence_and_is_told(client: httpx.Client, place: Settings) -> None:
    session, file = open_session(client), bytearray(recording("webm", 3.0))
    middle = len(file) // 2
    file[middle : middle + 500] = bytes(number * 37 % 256 for number in range(500))
    reply = post(client, session, bytes(file), "audio/webm")
    assert reply.status_code == 202, reply.text
    assert 0.02 < reply.json()["missing_s"] < 1.5
    assert abs(reply.json()["stored_s"] - 3.0) < 0.1


BAD_FILES = {
    "empty": b"",
    "text": b"This is no sound at all. " * 100,
    "zip": b"PK\x03\x04" + bytes(4_000),
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "header only": b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80>\x00\x00\x00}\x00\x00",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(2_000),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_recording_gets_a_clear_problem(client: httpx.Client, place: Settings, name: str) -> None:
    session = open_session(client)
    reply = post(client, session, BAD_FILES[name], "audio/wav")
    assert reply.status_code == 422, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert chunks(place.log_url, session) == []


def test_a_small_file_that_unfolds_to_ten_hours_is_refused(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    silence = recording_of_silence(hours=10)
    assert len(silence) < 20_000_000
    reply = post(client, session, silence, "audio/flac")
    assert reply.status_code == 422
    assert "240" in reply.json()["detail"]
    # A header that states less than there is does not help either.
    lying = bytearray(silence)
    lying[21:26] = bytes([lying[21] & 0xF0, 0, 0, 0, 0])
    assert post(client, session, bytes(lying), "audio/flac").status_code == 422
    assert chunks(place.log_url, session) == []


def recording_of_silence(hours: float) -> bytes:
    """Give a FLAC file of silence: few bytes, many samples."""
    import io

    import av

    written = io.BytesIO()
    with av.open(written, "w", format="flac") as file:
        stream = file.add_stream("flac", rate=8_000)
        stream.layout = "mono"
        for number in range(round(hours * 60)):
            frame = av.AudioFrame(format="s16", layout="mono", samples=480_000)
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
            frame.rate, frame.pts = 8_000, number * 480_000
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return written.getvalue()


def test_a_header_that_lies_about_its_rate_is_no_trouble(client: httpx.Client) -> None:
    session = open_session(client)
    for rate, channels in ((0, 1), (4_294_967_295, 1), (16_000, 65_535), (1, 1)):
        head = struct.pack("<HHIIHH", 1, channels, rate, (rate * 2) & 0xFFFFFFFF, 2, 16)
        file = b"RIFF" + struct.pack("<I", 4_036) + b"WAVEfmt " + struct.pack("<I", 16) + head
        file += b"data" + struct.pack("<I", 4_000) + bytes(4_000)
        assert post(client, session, file, "audio/wav", track=f"t{rate}-{channels}").status_code in (202, 422)


@pytest.mark.parametrize(
    "magic", [b"", b"RIFF\x00\x10\x00\x00WAVEfmt ", b"OggS", b"fLaC\x00", b"\x1aE\xdf\xa3", b"ID3\x04"]
)
def test_random_bytes_never_break_the_server(client: httpx.Client, magic: bytes) -> None:
    session = open_session(client)

    @given(tail=st.binary(max_size=2_000))
    @hypothesis_settings(
        max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def run(tail: bytes) -> None:
        assert post(client, session, magic + tail, "audio/wav").status_code in (202, 409, 422)

    run()
    assert client.get("/api/health").json()["ready"]


WRONG = {
    "no type": ({"kind": "application/octet-stream"}, 415),
    "json": ({"kind": "application/json"}, 415),
    "half a sample": ({"content": b"abc"}, 422),
    "unknown rate": ({"rate_hz": 44_000}, 422),
    "no channels": ({"channels": 0}, 422),
    "negative sequence": ({"sequence": -1}, 422),
    "control characters": ({"track": "a\x00b"}, 422),
    "too long": ({"content": bytes(2 * 16_000 * 11)}, 413),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_chunks_get_a_clear_problem(client: httpx.Client, place: Settings, name: str) -> None:
    more, status = WRONG[name]
    session = open_session(client)
    reply = post(client, session, **({"content": b"abcd"} | more))  # type: ignore[arg-type]
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert chunks(place.log_url, session) == []


def test_a_file_that_is_too_large_is_refused_before_it_is_read(client: httpx.Client) -> None:
    head = f"POST /api/sessions/{open_session(client)}/audio HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        raw.sendall(f"{head}Content-Length: 99000000000\r\n\r\n".encode())
        assert b" 413 " in raw.recv(4_096)


def test_a_file_that_does_not_say_its_size_is_counted_as_it_comes(client: httpx.Client) -> None:
    head = f"POST /api/sessions/{open_session(client)}/audio HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
    block = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with suppress(ConnectionError):  # the server may hang up while the rest is on its way
            for _ in range(520):
                raw.sendall(block)
            assert b" 413 " in raw.recv(4_096)
    assert client.get("/api/health/live").status_code == 200
    assert 'route="/api/sessions/{session_id}/audio",status="413"' in client.get("/metrics").text


def test_sound_for_a_session_that_is_over_or_unknown_is_refused(client: httpx.Client) -> None:
    session = open_session(client)
    client.post(f"/api/sessions/{session}/end")
    assert post(client, session, tone(0.1)).status_code == 409
    assert post(client, "nowhere", tone(0.1)).status_code == 404
    session = open_session(client)
    client.delete(f"/api/sessions/{session}")
    assert post(client, session, tone(0.1)).status_code == 404


def test_others_are_served_while_a_long_file_is_decoded(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0)
    with running(settings) as client:
        session, done = open_session(client), threading.Event()

        def upload() -> None:
            post(client, session, recording_of_silence(hours=1), "audio/flac", track="long").raise_for_status()
            done.set()

        thread = threading.Thread(target=upload)
        thread.start()
        answered = 0
        while not done.is_set() and thread.is_alive():
            assert client.get("/api/health/live").status_code == 200
            answered += 1
        thread.join()
        assert done.is_set()
        assert answered > 5
        assert client.get("/metrics").text.count('rejoinder_audio_seconds_total{way="post"} 3600.0') == 1
