"""A participant of a LiveKit room, in a process of its own as the SDK ends its process when its native part fails.

The first line of the input is JSON: `url`, `token`, and `key` for end-to-end encryption, or "" for none. Then come
commands, each answered with a line: ``join``, ``say PATH`` (int16, mono, 48 kHz), ``mute``, ``unmute``, ``republish``,
``leave``.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
from livekit import rtc


class Participant:
    def __init__(self, url: str, token: str, key: str) -> None:
        self._url, self._token, self._key = url, token, key
        self._room = rtc.Room()
        self._source = rtc.AudioSource(48_000, 1)
        self._track = rtc.LocalAudioTrack.create_audio_track("mic", self._source)
        self._publication: rtc.LocalTrackPublication | None = None

    async def join(self) -> str:
        options = rtc.RoomOptions(auto_subscribe=False)
        if self._key:
            options.encryption = rtc.E2EEOptions(rtc.KeyProviderOptions(shared_key=self._key.encode()))
        await self._room.connect(self._url, self._token, options)
        await self._publish()
        return json.dumps({"sees": list(self._room.remote_participants), "recorded": self._room.is_recording})

    async def _publish(self) -> None:
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        self._publication = await self._room.local_participant.publish_track(self._track, options)

    async def say(self, path: str) -> str:
        sound = np.frombuffer(Path(path).read_bytes(), np.int16)
        for at in range(0, len(sound), 480):
            part = sound[at : at + 480]
            await self._source.capture_frame(rtc.AudioFrame(part.tobytes(), 48_000, 1, len(part)))
        await self._source.wait_for_playout()
        return ""

    async def mute(self) -> str:
        self._track.mute()
        return ""

    async def unmute(self) -> str:
        self._track.unmute()
        return ""

    async def republish(self) -> str:
        assert self._publication is not None
        await self._room.local_participant.unpublish_track(self._publication.sid)
        self._track = rtc.LocalAudioTrack.create_audio_track("mic", self._source)
        await self._publish()
        return ""

    async def leave(self) -> str:
        await self._room.disconnect()
        return ""


async def main() -> None:
    given = json.loads(await asyncio.to_thread(sys.stdin.readline))
    participant = Participant(**given)
    while words := (await asyncio.to_thread(sys.stdin.readline)).split():
        told = await getattr(participant, words[0])(*words[1:])
        print(f"done {told}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
