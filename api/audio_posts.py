"""Sound over HTTP: a chunk of PCM, or a whole recording, with `POST`."""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile

from api.audio_decoding import RecordingRefused, decode_file
from api.audio_feeding import PcmFeed
from api.audio_tracks import Piece, Track, check_within, first_sample
from api.consent_gate import check_sound
from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS, Problem
from api.sessions import IdempotencyKey, SessionPath
from api.sessions_seen import SessionSeen
from operators.resampling import Resampler
from schemas.audio import SAMPLE_RATE_HZ
from schemas.base import Identifier, Seconds, derive_id
from schemas.codec import decode

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["audio"], responses=PROBLEMS)

READ_BYTES = 1 << 16
PIECE_BYTES = 2 * SAMPLE_RATE_HZ
PIECES_AT_ONCE = 30
PCM_TYPE = "audio/pcm"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}
_TYPES = ("wav", "flac", "mpeg", "mp4", "ogg", "webm")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            PCM_TYPE: _BINARY,
            **{f"audio/{kind}": _BINARY for kind in _TYPES},
            "multipart/form-data": {"schema": _FORM},
        },
    }
}


class AudioAccepted(BaseModel):
    """What was stored.

    Attributes:
        track: The track it lies on.
        next: The sequence number that is wanted next.
        start_s: Where it begins, seconds since the session began.
        stored_s: Where the track ends now, seconds since the session began.
        missing_s: Seconds that were missing inside a recording and became silence.
        repeat: It was there already.
        cursor: The position after it in the log.
    """

    track: str
    next: int
    start_s: float
    stored_s: float
    missing_s: float = 0.0
    repeat: bool = False
    cursor: str


class AudioQuery(BaseModel):
    """What a request says of the sound it carries."""

    track: Identifier | None = None
    participant: Identifier | None = None
    start_s: Seconds | None = None
    sequence: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    rate_hz: int = SAMPLE_RATE_HZ
    channels: int = 1
    last: bool = False


@router.post("/sessions/{session_id}/audio", status_code=202, response_model=AudioAccepted, openapi_extra=_BODY)
async def post_audio(
    request: Request,
    session_id: SessionPath,
    caller: CurrentCaller,
    about: Annotated[AudioQuery, Query()],
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Send sound: raw PCM16 as `audio/pcm`, or a whole recording (wav, flac, mp3, m4a, ogg, webm); 202 = it is stored.

    A recording is taken whole or not at all. Sent again with the same Idempotency-Key it goes on where it stopped.
    """
    door = door_of(request)
    session = await door.session(session_id, caller)
    if session.closed_at is not None:
        raise Problem(409, "The session has ended")
    check_sound(session, about.track or "", about.participant, door.parts.consent)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == PCM_TYPE:
        return await _Posting(door, session, about, idempotency_key).chunk(await request.body())
    if not kind.startswith(("audio/", "video/")) and kind not in ("multipart/form-data", "application/ogg"):
        raise Problem(415, "Say what it is", f"{PCM_TYPE}, the media type of a recording, or a form with a file")
    posting = _Posting(door, session, about, idempotency_key)
    if kind != "multipart/form-data":
        return await posting.recording(request.stream())
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Problem(422, "The request is not valid", "the form has no file named 'file'")
        return await posting.recording(_parts(file))


async def _parts(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(READ_BYTES):
        yield piece


class _Posting:
    """One request that brings sound."""

    def __init__(self, door: Door, session: SessionSeen, about: AudioQuery, key: str | None) -> None:
        self._door, self._session, self._about, self._key = door, session, about, key
        self._limits = door.parts.limits.audio

    async def chunk(self, body: bytes) -> AudioAccepted:
        """Store one chunk of PCM.

        Raises:
            Problem: It is not the one that is wanted, or no such PCM.
        """
        about, track = self._about, self._track(self._about.track or "microphone")
        try:
            resampler = Resampler(about.rate_hz, about.channels)
        except ValueError as error:
            raise Problem(422, "The request is not valid", str(error)) from None
        async with track.lock:
            await track.load()
            event_id = self._id(track, hashlib.sha256(body)) if self._key and about.sequence is None else None
            if event_id is not None and (found := self._stored(track, event_id)) is not None:
                return found
            wanted = track.here.next_frame
            if about.sequence is not None and about.sequence < wanted:
                return self._accepted(track, track.here.sample, repeat=True)
            if about.sequence is not None and about.sequence > wanted:
                raise Problem(409, "A chunk before this one is wanted", f"sequence {wanted}", next=wanted)
            start = self._begin(track, resampler.seconds(len(body)))
            feed = PcmFeed(track, resampler, self._limits, self._limits.pace)
            await feed.resume()
            await feed.store(wanted, body, event_id)
            if about.last:
                await track.append(Piece(b"", track.here.next_frame, last=True))
            return self._accepted(track, start)

    def _track(self, name: str) -> Track:
        return self._door.tracks.get(self._session.session_id, name)

    def _id(self, track: Track, digest: Any) -> str:
        return derive_id(track.session_id, "audio", track.name, "key", str(self._key), digest.hexdigest())

    def _begin(self, track: Track, length_s: float) -> int:
        """Set where a new track begins, and whose it is; gives the next sample."""
        if track.here.ended:
            raise Problem(409, "The track has ended", "send it on a track of another name")
        if track.holder is not None:
            raise Problem(409, "A connection sends this track")
        track.participant = self._about.participant or track.participant
        if not track.begun:
            track.begin_at(first_sample(self._about.start_s, self._session.opened.created_at, length_s))
        return track.here.sample

    def _stored(self, track: Track, event_id: str) -> AudioAccepted | None:
        lying = self._door.parts.log.find("audio", track.session_id, event_id)
        if lying is None:
            return None
        return self._accepted(track, decode("audio", lying.value).start_sample, repeat=True)

    def _accepted(self, track: Track, start: int, **more: Any) -> AudioAccepted:
        place = track.here
        if not more.get("repeat"):
            self._door.metrics.audio_seconds.labels("post").inc((place.sample - start) / SAMPLE_RATE_HZ)
        return AudioAccepted(
            track=track.name,
            next=place.next_frame,
            start_s=start / SAMPLE_RATE_HZ,
            stored_s=place.sample / SAMPLE_RATE_HZ,
            cursor=place.cursor or self._door.parts.log.cursor_start(),
            **more,
        )

    async def recording(self, parts: AsyncIterator[bytes]) -> AudioAccepted:
        """Decode a whole recording, then store it.

        Raises:
            Problem: 413 too large, 422 it cannot be decoded; nothing was stored.
        """
        digest, size = hashlib.sha256(), 0
        with tempfile.TemporaryFile() as spool:
            async for part in parts:
                digest.update(part)
                size += len(part)
                if size > self._limits.upload_bytes:
                    raise Problem(413, "The file is too large", f"at most {self._limits.upload_bytes} bytes")
                _written(spool, part)
            spool.flush()
            spool.seek(0)
            track = self._track(self._about.track or f"file-{digest.hexdigest()[:12]}")
            event_id = self._id(track, digest)
            async with track.lock:
                await track.load()
                resumed = track.begun and self._door.parts.log.find("audio", track.session_id, event_id) is not None
                if resumed and track.here.ended:
                    return self._stored(track, event_id) or self._accepted(track, 0, repeat=True)
                if track.begun and not resumed:
                    raise Problem(409, "The track has sound already", "send the file on a track of another name")
                return await self._decode_and_store(track, spool, event_id, resumed=resumed)

    async def _decode_and_store(self, track: Track, spool: IO[bytes], event_id: str, *, resumed: bool) -> AudioAccepted:
        try:
            sound, missing_s = await to_thread.run_sync(
                decode_file, spool, self._limits.decode, limiter=self._door.tracks.files
            )
        except RecordingRefused as refused:
            raise Problem(422, "The recording cannot be used", str(refused)) from None
        except OSError as error:
            raise Problem(503, "There is no room to decode the file", error.strerror or "") from None
        with sound:
            start = track.here.sample
            if resumed:
                lying = self._door.parts.log.find("audio", track.session_id, event_id)
                first = decode("audio", lying.value).start_sample if lying is not None else start
                sound.seek(2 * (start - first))
                start = first
            else:
                start = self._begin_file(track)
                check_within(start + sound.seek(0, os.SEEK_END) // 2)
                sound.seek(0)
            await self._store(track, sound, None if resumed else event_id)
        return self._accepted(track, start, missing_s=missing_s)

    def _begin_file(self, track: Track) -> int:
        track.participant = self._about.participant or track.participant
        track.begin_at(round((self._about.start_s or 0.0) * SAMPLE_RATE_HZ))
        return track.here.sample

    async def _store(self, track: Track, sound: IO[bytes], first_id: str | None) -> None:
        """Append the sound second by second, the last piece ends the track."""
        over = False
        while not over:
            batch = sound.read(PIECE_BYTES * PIECES_AT_ONCE)
            over = len(batch) < PIECE_BYTES * PIECES_AT_ONCE
            cut = [batch[at : at + PIECE_BYTES] for at in range(0, len(batch), PIECE_BYTES)]
            pieces = [Piece(one, track.here.next_frame + number + 1) for number, one in enumerate(cut)]
            if over:
                pieces.append(Piece(b"", track.here.next_frame + len(cut), last=True))
            ids = [first_id if number == 0 else None for number in range(len(pieces))]
            await track.append(*pieces, event_ids=tuple(ids))
            first_id = None


def _written(spool: IO[bytes], part: bytes) -> None:
    try:
        spool.write(part)
    except OSError as error:
        raise Problem(503, "There is no room for the file", error.strerror or "", {"Retry-After": "30"}) from None
