"""Sound for tests: tones, recordings of many formats made by PyAV, and a real WebSocket client."""

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.audio_tracks import Track
from api.errors import Problem
from eventlog import open_log
from eventlog.base import Appended, NewRecord
from schemas.audio import AudioChunk
from schemas.codec import decode
from tests.support import wait_for

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}
FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    "wav": ("wav", "pcm_s16le", {}),
    "flac": ("flac", "flac", {}),
    "mp3": ("mp3", "libmp3lame", {}),
    "m4a": ("ipod", "aac", {}),
    "mp4": ("mp4", "aac", FRAGMENTED),
    "ogg": ("ogg", "libopus", {}),
    "webm": ("webm", "libopus", {"live": "1"}),
}


def tone(seconds: float, rate_hz: int = 16_000, hz: float = 440.0) -> bytes:
    """Give a tone as mono PCM16."""
    moments = np.arange(round(seconds * rate_hz)) / rate_hz
    return (8_000 * np.sin(2 * np.pi * hz * moments)).round().astype("<i2").tobytes()


def recording(kind: str, seconds: float = 3.0, rate_hz: int = 48_000) -> bytes:
    """Give a stereo recording with a tone in it."""
    container, codec, options = FORMATS[kind]
    written = io.BytesIO()
    with av.open(written, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        stream.layout = "stereo"
        samples = np.repeat(np.frombuffer(tone(seconds, rate_hz), "<i2"), 2)
        for at in range(0, len(samples), 9_600):
            frame = av.AudioFrame.from_ndarray(samples[None, at : at + 9_600], format="s16", layout="stereo")
            frame.rate, frame.pts = rate_hz, at // 2
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return written.getvalue()


def pieces(content: bytes, size: int) -> list[bytes]:
    """Cut bytes."""
    return [content[at : at + size] for at in range(0, len(content), size)]


class Sender:
    """One real connection that sends sound."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def tell(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self) -> dict[str, Any]:
        return dict(json.loads(self.socket.recv(20)))

    def frame(self, number: int, body: bytes) -> None:
        self.socket.send(number.to_bytes(8, "big") + body)

    def start(self, **more: Any) -> dict[str, Any]:
        self.tell(**({"type": "start", "format": "pcm16", "start_s": 0} | more))
        return self.hear()

    def send(self, frames: list[bytes], first: int = 0) -> list[dict[str, Any]]:
        """Send frames, each after the acknowledgement of the one before; gives the acknowledgements."""
        heard = []
        for number, body in enumerate(frames, first):
            self.frame(number, body)
            heard.append(self.hear())
        return heard

    def closed(self) -> tuple[int, list[dict[str, Any]]]:
        """Give the code with which the other side closes, and what it said before."""
        heard = []
        try:
            while True:
                heard.append(self.hear())
        except ConnectionClosed as closed:
            return (closed.rcvd.code if closed.rcvd else 1006), heard


@contextmanager
def sending(client: httpx.Client, session: str, track: str = "mic", **more: Any) -> Iterator[Sender]:
    """Open a connection."""
    url = f"ws://127.0.0.1:{client.base_url.port}/api/sessions/{session}/audio?track={track}"
    with connect(url, proxy=None, compression=None, max_size=None, **more) as socket:
        yield Sender(socket)


def chunks(log: Any, session: str, track: str | None = None) -> list[AudioChunk]:
    """Give the chunks of a session as they lie in the log."""
    opened = open_log(log) if isinstance(log, str) else log
    cursor, found = opened.cursor_start(), []
    while lying := opened.read_key(session, ["audio"], cursor, 500):
        cursor = lying[-1].cursor
        found += [decode("audio", one.value) for one in lying]
    if isinstance(log, str):
        opened.close()
    return [one for one in found if track in (None, one.track)]


def give_up_storing(log: Path, monkeypatch: pytest.MonkeyPatch, times: int = 2) -> None:
    """Keep a log from being written until storing was given up so often; what was given up arrives after that."""
    given_up: list[int] = []
    stored = Track._stored

    async def watched(track: Track, records: list[NewRecord]) -> list[Appended]:
        try:
            return await stored(track, records)
        except Problem:
            given_up.append(len(records))
            raise

    locked = sqlite3.connect(log, isolation_level=None, timeout=10)
    with monkeypatch.context() as impatient:
        impatient.setattr(Track, "_stored", watched)
        impatient.setattr("api.audio_tracks.APPEND_S", 0.3)
        locked.execute("BEGIN IMMEDIATE")
        wait_for(lambda: len(given_up) >= times)
        locked.execute("ROLLBACK")
    locked.close()


def hiss(seconds: float, rate: int) -> bytes:
    """Give noise as PCM16: no part of it is like another."""
    return np.random.default_rng(1).normal(0, 6_000, int(seconds * rate)).clip(-32_000, 32_000).astype("<i2").tobytes()


def loud_s(found: list[AudioChunk]) -> float:
    """Give how much of a track is no silence; checks that its numbers and samples go on."""
    samples = np.frombuffer(whole(found), "<i2").astype(float) if found else np.zeros(0)
    return float((samples[: len(samples) // 320 * 320].reshape(-1, 320).std(axis=1) > 1_000).sum() * 0.02)


def said_again_s(found: list[AudioChunk]) -> float:
    """Give how much of what is no silence lies there twice, byte by byte; what a receiver makes up is never alike."""
    samples = np.frombuffer(whole(found), "<i2")
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)  # sound comes in multiples of 10 ms
    loud = [frame.tobytes() for frame in frames if frame.astype(float).std() > 1_000]
    return (len(loud) - len(set(loud))) * 0.01


def whole(found: list[AudioChunk]) -> bytes:
    """Give the sound of chunks on their sample clock, with silence where some is missing; checks that none overlap."""
    given, at = b"", found[0].start_sample - found[0].gap_samples
    for number, chunk in enumerate(found):
        assert chunk.sequence == number
        assert chunk.start_sample - chunk.gap_samples == at
        given += bytes(2 * chunk.gap_samples) + chunk.pcm
        at = chunk.start_sample + len(chunk.pcm) // 2
    return given
