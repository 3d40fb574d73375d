"""From what a client sends to pieces of 16 kHz mono: PCM through a resampler, containers through a decoder."""

import re
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field, field_validator

from api.audio_decoding import Decoder, RecordingRefused
from api.audio_limits import AudioLimits
from api.audio_tracks import Piece, Place, Track
from api.deps import Door
from api.errors import Problem
from operators.resampling import Resampler
from schemas.audio import SAMPLE_RATE_HZ
from schemas.base import Identifier, Seconds

__all__ = ["Doubt", "Feed", "Format", "PcmFeed", "feed_for"]

_CONTAINER = re.compile(r"(audio|video)/(webm|ogg|mp4|x-matroska|mpeg|aac|flac|wav)( *;.*)?")


class Format(BaseModel):
    """What a sender sends: PCM16 of a rate, or recordings of a media type such as a browser makes them."""

    model_config = ConfigDict(extra="forbid")
    format: Annotated[str, Field(max_length=100)]
    rate_hz: int = SAMPLE_RATE_HZ
    channels: int = 1
    participant: Identifier | None = None
    start_s: Seconds | None = None
    live: bool = True

    @field_validator("format")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "pcm16" and not _CONTAINER.fullmatch(value):
            raise ValueError("pcm16, or a media type such as audio/webm;codecs=opus, audio/ogg, audio/mp4")
        return value


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is being stored for a sender that keeps nothing: when it is given up, it may be in the log or not.

    Tried again it has to be the same and no more, because what arrives late takes the place of the second try.

    Attributes:
        frame: The number that is wanted next once the log has it; 0 = nothing is in doubt.
        count: How many of the pieces that wait it is made of.
    """

    frame: int = 0
    count: int = 0

    def arrived(self, place: Place) -> int:
        """Give how many of the pieces that wait the log has after all."""
        return self.count if self.count and place.next_frame >= self.frame else 0

    def again(self, place: Place) -> int:
        """Give how many pieces have to be tried again together; 0 = as many as one likes."""
        return self.count if self.frame == place.next_frame + 1 else 0


class Feed(Protocol):
    """Turns frames into chunks of one track, whose lock its caller holds."""

    async def resume(self) -> None:
        """Make ready to go on where the track stands."""
        ...

    async def take(self, number: int, body: bytes) -> None:
        """Take the frame that is wanted; when this returns, the log has what it completed.

        Raises:
            Problem: The frame cannot be used, or comes too fast.
            LogUnavailable: The log cannot store now.
        """
        ...

    async def next_recording(self, frame: int) -> None:
        """End the recording so far; the next begins with this frame."""
        ...

    async def finish(self) -> None:
        """Store what is still inside."""
        ...


def feed_for(format_: Format, track: Track, door: Door) -> Feed:
    """Give the feed for a format.

    Raises:
        Problem: 422, the rate or the channels are not known.
    """
    limits = door.parts.limits.audio
    pace = limits.pace if format_.live else None
    if format_.format == "pcm16":
        try:
            return PcmFeed(track, Resampler(format_.rate_hz, format_.channels), limits, pace)
        except ValueError as error:
            raise Problem(422, "The start message is not valid", str(error)) from None
    return _ContainerFeed(track, door, pace)


def _spend(track: Track, seconds: float, limits: AudioLimits, pace: float | None) -> None:
    # A frame costs something however short it is, so that a flood of tiny ones is one as well.
    if pace is not None and not track.take_allowance(max(seconds, 0.01), pace, limits.burst_s):
        headers = {"Retry-After": str(max(1, round(seconds / pace)))}
        raise Problem(429, "Live sound comes faster than real time", "send files as files, or with live false", headers)


class PcmFeed:
    """PCM16: one frame is one chunk."""

    def __init__(self, track: Track, resampler: Resampler, limits: AudioLimits, pace: float | None) -> None:
        """Feed a track; `pace` times real time is the fastest, None = as fast as it is stored."""
        self._track, self._resampler, self._limits, self._pace = track, resampler, limits, pace

    def bytes_of(self, seconds: float) -> int:
        """Give how many bytes so much sound has."""
        return self._resampler.frame_bytes * round(self._resampler.rate_hz * seconds)

    async def resume(self) -> None:
        """Drop what a container left behind."""
        track = self._track
        track.drop_decoder()
        track.place = replace(track.here, recording_frame=None, recording_samples=0)

    async def take(self, number: int, body: bytes) -> None:
        """Take a frame; see `Feed.take`."""
        await self.store(number, body)

    async def store(self, number: int, body: bytes, event_id: str | None = None) -> None:
        """Take a frame; the chunk has an id of its own when one is given."""
        track, resampler = self._track, self._resampler
        seconds = resampler.seconds(len(body))
        if seconds > self._limits.frame_s:
            raise Problem(413, "The frame is too long", f"at most {self._limits.frame_s:g} s")
        _spend(track, seconds, self._limits, self._pace)
        same = track.pcm is not None and track.pcm[0] == resampler
        state = track.pcm[1] if track.pcm is not None and same else resampler.initial()
        try:
            state, pcm = resampler.step(state, body)
        except ValueError as error:
            raise Problem(422, "The frame is not PCM16 of this format", str(error)) from None
        await track.append(Piece(pcm, number + 1), event_ids=(event_id,) if event_id else ())
        track.pcm = resampler, state

    async def next_recording(self, frame: int) -> None:
        """Refuse: PCM has no recordings."""
        del frame
        raise Problem(422, "The message is not valid", "PCM has no recordings")

    async def finish(self) -> None:
        """Do nothing: nothing waits inside."""


class _ContainerFeed:
    """Containers: what a frame completes is a chunk; frames are kept by the sender until their recording is over."""

    def __init__(self, track: Track, door: Door, pace: float | None) -> None:
        self._track, self._door, self._pace = track, door, pace
        self._limits = door.parts.limits.audio

    async def resume(self) -> None:
        track = self._track
        place = track.here
        if place.recording_frame is not None and (track.decoder is None or track.decoder.closed):
            # The decoder is gone: the recording is sent once more from its beginning, and what is stored of it is
            # passed over.
            track.skip_samples = place.recording_samples
            track.place = replace(place, next_frame=place.recording_frame)

    async def take(self, number: int, body: bytes) -> None:
        track = self._track
        _spend(track, 0.0, self._limits, self._pace)
        if track.decoder is None:
            if self._door.tracks.running_decoders() >= self._limits.decoders:
                raise Problem(503, "Too many recordings are decoded", "try again, or send PCM")
            track.decoder = await to_thread.run_sync(Decoder, self._limits.decode, limiter=self._door.tracks.decoding)
        if track.here.recording_frame is None:
            track.skip_samples = 0
            track.place = replace(track.here, recording_frame=number, recording_samples=0)
        pcm = await self._decoded(body)
        _spend(track, len(pcm) / 2 / SAMPLE_RATE_HZ, self._limits, self._pace)
        if pcm:
            await self._store(pcm, number + 1, track.here.recording_frame)
        else:
            track.place = replace(track.here, next_frame=number + 1)

    async def _decoded(self, body: bytes | None) -> bytes:
        """Give the sound that a frame completes, or the rest (None), without what is stored already."""
        track = self._track
        assert track.decoder is not None  # noqa: S101 - its callers look
        try:
            if body is None:
                pcm = await to_thread.run_sync(track.decoder.finish, limiter=self._door.tracks.decoding)
            else:
                pcm = await to_thread.run_sync(track.decoder.feed, body, limiter=self._door.tracks.decoding)
        except RecordingRefused as refused:
            track.drop_decoder()
            # The good part stays; the sender may begin a new recording.
            await track.append(Piece(b"", track.here.next_frame))
            raise Problem(422, "The recording cannot be decoded", str(refused)) from None
        passed = min(track.skip_samples, len(pcm) // 2)
        track.skip_samples -= passed
        return pcm[2 * passed :]

    async def _store(self, pcm: bytes, next_frame: int, recording: int | None) -> None:
        size = round(2 * SAMPLE_RATE_HZ * self._limits.frame_s)
        pieces = [pcm[at : at + size] for at in range(0, len(pcm), size)]
        frame = self._track.here.next_frame
        numbered = [(one, frame if one is not pieces[-1] else next_frame) for one in pieces]
        await self._track.append(*(Piece(one, number, recording_frame=recording) for one, number in numbered))

    async def next_recording(self, frame: int) -> None:
        place = self._track.here
        if frame == place.recording_frame:
            return  # told once more after a lost connection
        if frame != place.next_frame:
            raise Problem(409, "The recording does not begin with the frame that is wanted", f"{place.next_frame}")
        await self.finish()

    async def finish(self) -> None:
        track = self._track
        if track.here.recording_frame is None:
            return
        pcm = await self._decoded(None) if track.decoder is not None else b""
        track.decoder = None
        if pcm:
            await self._store(pcm, track.here.next_frame, track.here.recording_frame)
        # Says that nothing of this recording is wanted ever again.
        await track.append(Piece(b"", track.here.next_frame))
