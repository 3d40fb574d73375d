"""Joins one LiveKit room as a hidden listener and writes what its participants say to its output; run as a script.

It is a process of its own because the SDK ends its process when its native part fails, and because that part decodes
what strangers send. One line of JSON comes in: address and token; the end of the input ends the process. Messages go
out: a letter, 4 bytes length, the body.

- ``T`` every two seconds, a sign of life.
- ``J`` joined.
- ``B`` the sound of a participant begins: JSON with `n` (the number of the stream), `identity`, `name`.
- ``S`` sound: 4 bytes number of the stream, 8 bytes when it ended (double, seconds since 1970), PCM16, mono, 48 kHz.
- ``O`` a stream is over: 4 bytes its number.
- ``W`` something is not listened to, and why; text.
- ``E`` the end, and why; text.
"""

import asyncio
import json
import os
import resource
import struct
import sys
import time
from contextlib import suppress
from typing import Any

from livekit import rtc

__all__ = ["RATE_HZ"]

RATE_HZ = 48_000
PIECE_MS = 100
MOST_WAITING = 600
"""Messages that wait for whoever reads, a minute of one voice; sound beyond that is lost, which its clock tells."""
CLOSE_S, SIGN_S = 2.0, 2.0
RECONNECT_S = 6.0
"""The SDK tries for minutes to come back, and only every few seconds; a new listener is in the room sooner."""

UNHEARD_S = 8.0
"""Of a microphone that is subscribed frames come even when it sends nothing; a subscription can get lost, though."""


class _Output:
    """Messages to the parent, which may be slow: a minute of sound waits, and never the room."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._messages: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()

    def put(self, letter: bytes, body: bytes) -> None:
        if letter == b"S" and self._messages.qsize() >= MOST_WAITING:
            return
        self._messages.put_nowait((letter, body))

    async def run(self) -> None:
        while True:
            letter, body = await self._messages.get()
            await asyncio.to_thread(self._write, letter + len(body).to_bytes(4, "big") + body)
            self._messages.task_done()

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(self._descriptor, left) :]

    async def written(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._messages.join(), CLOSE_S)


class _Listener:
    """The room and the streams of its participants."""

    def __init__(self, output: _Output) -> None:
        self.over = asyncio.Event()
        self.room = rtc.Room()
        self._output = output
        self._streams: dict[str, tuple[rtc.AudioStream, asyncio.Task[None]]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._count = 0
        self._apart_s: float | None = None
        self._heard: dict[str, float] = {}
        self._encrypted: set[str] = set()
        self.room.on("track_published", self._published)
        self.room.on("track_subscribed", self._subscribed)
        self.room.on("track_unsubscribed", self._unsubscribed)
        self.room.on("disconnected", self._disconnected)
        self.room.on("reconnected", self._ask)

    async def join(self, address: str, token: str) -> None:
        # Never cancelled: the SDK ends the process when a connect is.
        await self.room.connect(address, token, rtc.RoomOptions(auto_subscribe=False))
        self._output.put(b"J", b"")
        self._ask()

    def _ask(self) -> None:
        """Ask for every microphone that is not heard."""
        for participant in self.room.remote_participants.values():
            for publication in participant.track_publications.values():
                if publication.sid not in self._streams:
                    self._published(publication, participant)

    async def watch(self) -> None:
        """Show life, and end when the room is out of reach or a microphone in it stays unheard."""
        while not self.over.is_set():
            self._output.put(b"T", b"")
            if reason := self._amiss(time.monotonic()):
                self.end(reason)
            await asyncio.sleep(SIGN_S)

    def _amiss(self, now_s: float) -> str:
        """Say what has been wrong for too long."""
        if self.room.connection_state == rtc.ConnectionState.CONN_RECONNECTING:
            self._apart_s = self._apart_s or now_s
            return "the room is out of reach" if now_s - self._apart_s > RECONNECT_S else ""
        self._apart_s = None
        self._heard = {sid: self._heard.get(sid, now_s) for sid in self._open()}
        heard = [now_s - since_s <= UNHEARD_S for since_s in self._heard.values()]
        # One that cannot be heard at all must not cost the sound of those that can.
        return "" if not heard or any(heard) else "nobody is heard"

    def _open(self) -> list[str]:
        """Give the microphones that should be heard; of a muted one nothing has to come."""
        return [
            publication.sid
            for participant in self.room.remote_participants.values()
            for publication in participant.track_publications.values()
            if _is_open_microphone(publication) and not publication.muted
        ]

    def _published(self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        """Ask for the sound of a microphone, and for nothing else."""
        if not _is_microphone(publication):
            return
        if not _is_open_microphone(publication):
            if publication.sid not in self._encrypted:
                self._encrypted.add(publication.sid)
                self._output.put(b"W", b"a track is end-to-end encrypted")
            return
        publication.set_subscribed(True)

    def _subscribed(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        if track.kind != rtc.TrackKind.KIND_AUDIO:
            return
        self._end(publication.sid)
        self._count += 1
        told = {"n": self._count, "identity": participant.identity, "name": participant.name}
        self._output.put(b"B", json.dumps(told).encode())
        stream = rtc.AudioStream(
            track, capacity=MOST_WAITING, sample_rate=RATE_HZ, num_channels=1, frame_size_ms=PIECE_MS
        )
        passing = self._pass_on(stream, self._count, publication.sid)
        self._streams[publication.sid] = stream, asyncio.ensure_future(passing)

    async def _pass_on(self, stream: rtc.AudioStream, number: int, sid: str) -> None:
        try:
            async for event in stream:
                self._heard[sid] = time.monotonic()
                head = struct.pack(">Id", number, time.time())
                self._output.put(b"S", head + bytes(event.frame.data.cast("B")))
        finally:
            self._output.put(b"O", number.to_bytes(4, "big"))

    def _unsubscribed(self, track: Any, publication: rtc.RemoteTrackPublication, participant: Any) -> None:
        del track, participant
        self._end(publication.sid)

    def _end(self, sid: str) -> None:
        found = self._streams.pop(sid, None)
        if found is not None:
            found[1].cancel()
            # Of itself a stream goes on for ever.
            closing = asyncio.ensure_future(_closed(found[0]))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _disconnected(self, reason: Any) -> None:
        self.end(str(rtc.DisconnectReason.Name(reason)).lower())

    def end(self, reason: str) -> None:
        """End for a reason; the first one counts."""
        if not self.over.is_set():
            self._output.put(b"E", reason.encode()[:300])
            self.over.set()


def _is_microphone(publication: rtc.RemoteTrackPublication) -> bool:
    microphones = (rtc.TrackSource.SOURCE_MICROPHONE, rtc.TrackSource.SOURCE_UNKNOWN)
    return publication.kind == rtc.TrackKind.KIND_AUDIO and publication.source in microphones


def _is_open_microphone(publication: rtc.RemoteTrackPublication) -> bool:
    return _is_microphone(publication) and publication.encryption_type == rtc.EncryptionType.NONE


async def _closed(stream: rtc.AudioStream) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stream.aclose(), CLOSE_S)


def _watch_input(over: asyncio.Event) -> None:
    """Set `over` once the parent closes the input, or dies."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(0, 1_000):
            loop.remove_reader(0)
            over.set()

    loop.add_reader(0, look)


async def main(output: _Output) -> None:
    """Listen until the room, the parent or the parent's interest ends."""
    given = json.loads(await asyncio.to_thread(sys.stdin.buffer.readline))
    listener = _Listener(output)
    writing, living = asyncio.ensure_future(output.run()), asyncio.ensure_future(listener.watch())
    _watch_input(listener.over)
    try:
        await listener.join(given["address"], given["token"])
    except rtc.ConnectError as error:
        listener.end(f"the room cannot be joined: {error}")
    waiting = [asyncio.ensure_future(listener.over.wait()), writing]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    living.cancel()
    if not writing.done():
        await output.written()
    with suppress(TimeoutError):
        await asyncio.wait_for(listener.room.disconnect(), CLOSE_S)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whatever a library prints must not come between the messages.
    kept = os.dup(1)
    os.dup2(2, 1)
    asyncio.run(main(_Output(kept)))
    os._exit(0)  # threads that read or that belong to the native part are not waited for
