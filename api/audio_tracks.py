"""Tracks: where each stands, read off the log, and the one way in which sound is appended to it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from anyio import CapacityLimiter

from api.audio_decoding import Decoder
from api.audio_limits import AudioLimits
from api.errors import Problem
from api.tracing import current_trace
from eventlog.base import Appended, EventLog, NewRecord
from eventlog.records import new_record
from operators.resampling import Resampler, ResamplerState
from schemas.audio import LAST_SAMPLE, SAMPLE_RATE_HZ, AudioChunk
from schemas.base import derive_id
from schemas.codec import decode
from schemas.errors import SchemaError

__all__ = ["Piece", "Place", "Track", "Tracks", "check_within", "first_sample"]

LOOK_BACK_S = (60.0, 900.0, 6 * 3600.0)
READ_BATCH = 500
MOST_KEPT = 1_000
APPEND_S = 15.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a track stands: all of it can be read off its last chunk.

    Attributes:
        sequence: Of the next chunk.
        sample: Index of the next sample, counted from the session's first.
        next_frame: The sequence number that is wanted of the sender next.
        recording_frame: Where the container began that is being decoded, if one is.
        recording_samples: Samples stored of that container.
        ended: The track is over.
        cursor: After the last chunk.
    """

    sequence: int = 0
    sample: int = 0
    next_frame: int = 0
    recording_frame: int | None = None
    recording_samples: int = 0
    ended: bool = False
    participant: str | None = None
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound to append and what it means for the sender.

    Attributes:
        pcm: 16 kHz mono PCM16, possibly none.
        next_frame: The sequence number wanted next once this is stored.
        gap_samples: Samples that are missing before it.
        recording_frame: Where the container began that it was decoded from.
        last: The track ends with it.
    """

    pcm: bytes
    next_frame: int
    gap_samples: int = 0
    recording_frame: int | None = None
    last: bool = False


class Track:
    """One track of one session; whoever appends holds `lock`."""

    def __init__(self, log: EventLog, session_id: str, name: str, allow: "Allow" = lambda track: None) -> None:
        """Know nothing yet; `load` reads. Sound is stored only if `allow` lets it be."""
        self._allow = allow
        self.session_id, self.name = session_id, name
        self.lock = asyncio.Lock()
        self.place: Place | None = None
        self.begun = False
        self.participant: str | None = None
        self.holder: object | None = None
        self.let_go: Callable[[], Awaitable[None]] | None = None
        self.pcm: tuple[Resampler, ResamplerState] | None = None
        self.decoder: Decoder | None = None
        self.skip_samples = 0
        self.allowed_s, self.allowed_at = 0.0, 0.0
        self._log = log

    @property
    def here(self) -> Place:
        """Give where the track stands; `load` comes first.

        Raises:
            Problem: 503, an append went wrong meanwhile and only the log knows.
        """
        if self.place is None:
            raise Problem(503, "The log did not store the last piece", "connect again and go on from there")
        return self.place

    def begin_at(self, sample: int) -> None:
        """Set where the first sample lies, before anything is appended.

        Raises:
            Problem: 422, it lies beyond what a session may last.
        """
        check_within(sample)
        self.place = replace(self.here, sample=sample)

    async def load(self) -> Place:
        """Give where the track stands, after what another process may have appended meanwhile."""
        place = await asyncio.to_thread(self._read)
        if self.place is None or place.sequence != self.place.sequence:
            self.forget()
            self.place = place
        self.begun = place.sequence > 0
        self.participant = self.participant or place.participant
        return self.here

    def _read(self) -> Place:
        if self.place is not None and self.place.cursor:
            found = self._after(self.place.cursor)
            return self.place if found is None else found
        for back_s in LOOK_BACK_S:
            found = self._after(self._log.cursor_at(self.session_id, time.time() - back_s))
            if found is not None:
                return found
        return Place()

    def _after(self, cursor: str) -> Place | None:
        """Give the place after the last chunk of this track that lies after a cursor; None when there is none."""
        last: AudioChunk | None = None
        at = cursor
        while records := self._log.read_key(self.session_id, ["audio"], cursor, READ_BATCH):
            cursor = records[-1].cursor
            for lying in records:
                try:
                    chunk: AudioChunk = decode("audio", lying.value)
                except SchemaError:
                    continue  # the flows bury it
                if chunk.track == self.name and (last is None or chunk.sequence >= last.sequence):
                    last, at = chunk, lying.cursor
        return None if last is None else _place_after(last, at)

    def forget(self) -> None:
        """Drop what is known only here: the next to append starts from the log."""
        self.place, self.pcm, self.skip_samples = None, None, 0
        self.drop_decoder()

    def drop_decoder(self) -> None:
        """End the child that decodes, without the rest."""
        if self.decoder is not None:
            self.decoder.close()
            self.decoder = None

    def drop_if_idle(self) -> None:
        """End the decoder unless its sender has come back."""
        if self.holder is None and not self.lock.locked():
            self.drop_decoder()

    async def append(self, *pieces: Piece, event_ids: tuple[str | None, ...] = ()) -> Appended:
        """Append pieces, all or none, and wait until the log has them; gives where the last lies.

        Raises:
            LogUnavailable: The log cannot store now, or takes too long; nothing may be acknowledged.
            Problem: 409, another sender appended to this track; 403, somebody who may be heard objects.
        """
        if any(piece.pcm for piece in pieces):
            self._allow(self)
        records, place = [], self.here
        for number, piece in enumerate(pieces):
            chunk, place = self._chunk(place, piece, event_ids[number] if event_ids else None)
            records.append(new_record("audio", chunk, current_trace()))
        stored = await self._stored(records)
        if any(one.repeat for one in stored):
            # Another process took this place first, or a write that was given up arrived after all.
            self.forget()
            raise Problem(409, "Another sender appended to this track", "ask where it stands, and go on from there")
        self.place, self.begun = replace(place, cursor=stored[-1].cursor), True
        return stored[-1]

    async def _stored(self, records: list[NewRecord]) -> list[Appended]:
        done = False
        try:
            async with asyncio.timeout(APPEND_S):
                stored = await asyncio.wrap_future(self._log.submit(records))
            done = True
        except TimeoutError:
            raise Problem(503, "The log is slow", "nothing was acknowledged; try again", {"Retry-After": "2"}) from None
        finally:
            if not done:  # it may be stored or not: only the log knows
                self.forget()
        return stored

    def _chunk(self, place: Place, piece: Piece, event_id: str | None) -> tuple[AudioChunk, Place]:
        samples, start = len(piece.pcm) // 2, place.sample + piece.gap_samples
        check_within(start + samples)
        same = piece.recording_frame is not None and piece.recording_frame == place.recording_frame
        chunk = AudioChunk(
            session_id=self.session_id,
            event_id=event_id or derive_id(self.session_id, "audio", self.name, place.sequence),
            created_at=datetime.now(UTC),
            track=self.name,
            sequence=place.sequence,
            start_sample=start,
            pcm=piece.pcm,
            last=piece.last,
            participant=self.participant,
            gap_samples=piece.gap_samples,
            next_frame=piece.next_frame,
            recording_frame=piece.recording_frame,
            recording_samples=(place.recording_samples if same else 0) + samples
            if piece.recording_frame is not None
            else 0,
        )
        return chunk, _place_after(chunk, place.cursor)

    def take_allowance(self, seconds: float, pace: float, burst_s: float) -> bool:
        """Spend seconds of what a live sender may send; it grows at `pace` times real time up to `burst_s`."""
        now = time.monotonic()
        if not self.allowed_at:
            self.allowed_s = burst_s
        else:
            self.allowed_s = min(burst_s, self.allowed_s + pace * (now - self.allowed_at))
        self.allowed_at = now
        if seconds > self.allowed_s:
            return False
        self.allowed_s -= seconds
        return True


def _place_after(chunk: AudioChunk, cursor: str) -> Place:
    return Place(
        sequence=chunk.sequence + 1,
        sample=chunk.start_sample + len(chunk.pcm) // 2,
        next_frame=chunk.next_frame if chunk.next_frame is not None else chunk.sequence + 1,
        recording_frame=chunk.recording_frame,
        recording_samples=chunk.recording_samples,
        ended=chunk.last,
        participant=chunk.participant,
        cursor=cursor,
    )


Allow = Callable[[Track], None]


class Tracks:
    """The tracks that this process has to do with."""

    def __init__(self, log: EventLog, limits: AudioLimits, allow: Allow = lambda track: None) -> None:
        """Know none yet; `allow` raises a problem when sound of a track may not be stored now."""
        self._log, self._allow = log, allow
        # Threads that wait for decoders, apart from the default ones, which are few and which others need.
        self.decoding = CapacityLimiter(limits.decoders)
        self.files = CapacityLimiter(limits.files_at_once)
        self._tracks: OrderedDict[tuple[str, str], Track] = OrderedDict()

    def get(self, session_id: str, name: str) -> Track:
        """Give a track, known or new."""
        track = self._tracks.pop((session_id, name), None) or Track(self._log, session_id, name, self._allow)
        self._tracks[session_id, name] = track
        while len(self._tracks) > MOST_KEPT:
            self._drop_oldest_idle()
        return track

    def _drop_oldest_idle(self) -> None:
        # What is dropped is read off the log again when its sender comes back.
        key = next((key for key, one in self._tracks.items() if one.holder is None and not one.lock.locked()), None)
        if key is None:
            return
        self._tracks.pop(key).forget()

    def forget(self, session_id: str) -> None:
        """Forget what nobody is sending of a session that was erased; a sender is told so with its next piece."""
        for key in [key for key in self._tracks if key[0] == session_id]:
            if self._tracks[key].holder is None and not self._tracks[key].lock.locked():
                self._tracks.pop(key).forget()

    def running_decoders(self) -> int:
        """Give how many containers are being decoded; one is a process each."""
        return sum(one.decoder is not None for one in self._tracks.values())

    def close(self) -> None:
        """End what runs for any track."""
        for track in self._tracks.values():
            track.drop_decoder()


def check_within(sample: int) -> None:
    """Check that a sample lies within what a session may last.

    Raises:
        Problem: 422, it lies beyond.
    """
    if sample > LAST_SAMPLE:
        raise Problem(422, "The sound lies beyond what a session may last", f"{LAST_SAMPLE / SAMPLE_RATE_HZ:g} s")


def first_sample(start_s: float | None, opened_at: datetime, length_s: float = 0.0) -> int:
    """Give the sample at which a track begins: where its sender says, else so far into the session as it is now."""
    if start_s is None:
        start_s = max(0.0, (datetime.now(UTC) - opened_at).total_seconds() - length_s)
    return round(start_s * SAMPLE_RATE_HZ)
