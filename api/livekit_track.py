"""One participant of a LiveKit room: what they say becomes chunks of the track that bears their name."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice

import structlog

from api.audio_feeding import Doubt, PcmFeed
from api.audio_tracks import Piece, Track
from api.deps import Door
from api.errors import Problem
from api.sessions_seen import SessionSeen
from operators.resampling import Resampler
from operators.stream_clock import StreamClock
from schemas.audio import SAMPLE_RATE_HZ
from schemas.base import derive_id
from schemas.errors import EngineError, KeyErased, LogUnavailable
from schemas.meeting import Participant, ParticipantJoined

__all__ = ["RoomTrack"]

logger = structlog.get_logger("api")

RATE_HZ = 48_000
MOST_WAITING_S, LONGEST_PIECE_S = 60.0, 5.0
RETRY_S, CHECK_S, CLOSE_S = 0.5, 1.0, 3.0


@dataclass(frozen=True, slots=True)
class _Sound:
    """A piece as it came: when it ended, seconds since 1970, and whether a stream begins with it."""

    ended_s: float
    pcm: bytes
    begins: bool

    @property
    def length_s(self) -> float:
        return len(self.pcm) / 2 / RATE_HZ


class RoomTrack:
    """Stores what one participant says, in a task of its own, so that nobody waits for anybody."""

    def __init__(self, door: Door, session: SessionSeen, identity: str, name: str) -> None:
        """Begin to store; `put` gives the sound."""
        self.identity = identity
        self._door, self._session, self._name = door, session, name
        self._track: Track = door.tracks.get(session.session_id, identity)
        self._feed = PcmFeed(self._track, Resampler(RATE_HZ), door.parts.limits.audio, None)
        self._waiting: deque[_Sound] = deque()
        self._waiting_s = 0.0
        self._clock = StreamClock()
        self._begins = True
        self._doubt = Doubt()
        self._told = ""
        self._checked_s = 0.0
        self._more = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    def begin(self) -> None:
        """Say that a stream begins: time since the last one is missing."""
        self._begins = True

    def put(self, ended_s: float, pcm: bytes) -> None:
        """Take a piece that ended at a time, seconds since 1970; while the log cannot store, a minute waits."""
        if self._waiting_s > MOST_WAITING_S:
            self._begins = True
            return
        piece = _Sound(ended_s, pcm, self._begins)
        self._begins = False
        self._waiting.append(piece)
        self._waiting_s += piece.length_s
        self._more.set()

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                await self._store()
            except LogUnavailable as error:
                self._tell(str(error))
            except Problem as problem:
                self._tell(problem.title)
                if problem.status == HTTPStatus.FORBIDDEN:
                    await self._be_deaf()
                    continue
                if problem.status == 422:  # it will never be otherwise
                    return
            except (EngineError, ValueError) as error:
                logger.warning("livekit_track_ended", session_id=self._track.session_id, kind=type(error).__name__)
                return
            else:
                continue
            await asyncio.sleep(RETRY_S)
            self._more.set()

    async def _be_deaf(self) -> None:
        """Drop what waits and what comes until the next try: whoever objects now may not be stored later."""
        self._drop()
        await asyncio.sleep(RETRY_S)
        self._drop()

    def _tell(self, reason: str) -> None:
        """Log once why nothing is stored."""
        if reason != self._told:
            logger.warning("livekit_track_waits", session_id=self._track.session_id, reason=reason)
        self._told = reason

    async def _store(self) -> None:
        """Store what waits.

        Raises:
            LogUnavailable, Problem: Not now.
            KeyErased: The session is over.
        """
        if not self._waiting:
            return
        track = self._track
        async with track.lock:
            self._still_goes_on()
            if track.holder not in (None, self):
                self._drop()
                raise Problem(409, "Somebody else sends a track of this name")
            track.holder, track.let_go = self, self._give_way
            place = await track.load() if track.place is None or not track.begun else track.here
            if place.ended:
                self._drop()
                raise Problem(409, "The track of this name has ended")
            if not track.begun:
                await self._introduce()
                track.participant = self.identity
                track.begin_at(round(max(0.0, self._position_s(self._waiting[0])) * SAMPLE_RATE_HZ))
            self._settle()
            while self._waiting:
                await self._store_some()
        self._told = ""

    def _settle(self) -> None:
        """Let go of pieces which the log has, also when their storing was given up."""
        if count := self._doubt.arrived(self._track.here):
            for _ in range(count):
                self._waiting_s -= self._waiting.popleft().length_s
            self._doubt = Doubt()

    def _still_goes_on(self) -> None:
        if time.monotonic() - self._checked_s < CHECK_S:
            return
        self._checked_s = time.monotonic()
        session = self._door.sessions.find(self._track.session_id)
        if session is None or session.closed_at is not None:
            raise KeyErased("the session is over")

    async def _give_way(self) -> None:
        """Let another sender have the track."""

    def _drop(self) -> None:
        self._waiting.clear()
        self._doubt = Doubt()
        self._waiting_s, self._begins = 0.0, True

    async def _introduce(self) -> None:
        """Tell who it is, if the session does not know them: a track that bears a participant's name is theirs."""
        session = self._door.sessions.find(self._track.session_id) or self._session
        if self.identity in session.participants:
            return
        joined = ParticipantJoined(
            session_id=self._track.session_id,
            event_id=derive_id(self._track.session_id, "livekit", "joined", self.identity),
            created_at=datetime.now(UTC),
            participant=Participant(id=self.identity, name=self._name[:500]),
        )
        await self._door.append([joined], "meeting")

    def _position_s(self, sound: _Sound) -> float:
        """Give where a piece begins by the clock, seconds since the session began."""
        return sound.ended_s - sound.length_s - self._session.opened.created_at.timestamp()

    async def _store_some(self) -> None:
        """Store the oldest piece that waits, with those behind it while there are many."""
        track, first = self._track, self._waiting[0]
        late_s = self._position_s(first) - track.here.sample / SAMPLE_RATE_HZ
        clock, gap_s = self._clock.step(late_s, first.length_s, begins=first.begins)
        if gap_s:
            await track.append(Piece(b"", track.here.next_frame, gap_samples=round(gap_s * SAMPLE_RATE_HZ)))
            # Should the rest fail, what was missing is told already.
            self._waiting[0] = first = _Sound(first.ended_s, first.pcm, begins=False)
        count = self._doubt.again(track.here) or self._together()
        before, number = track.here.sample, track.here.next_frame
        self._doubt = Doubt(number + 1, count)
        await self._feed.store(number, b"".join(sound.pcm for sound in islice(self._waiting, count)))
        self._clock = clock
        self._settle()
        self._door.metrics.audio_seconds.labels("livekit").inc((track.here.sample - before) / SAMPLE_RATE_HZ)

    def _together(self) -> int:
        """Give how many of the pieces that wait are stored as one: up to five seconds of one stream."""
        length_s, count = self._waiting[0].length_s, 1
        for sound in islice(self._waiting, 1, None):
            length_s += sound.length_s
            if sound.begins or length_s > LONGEST_PIECE_S:
                break
            count += 1
        return count

    async def close(self) -> None:
        """Store what waits, if that goes at once, and let go of the track, which its participant may come back to."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._checked_s = 0.0
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._store()
        except (EngineError, Problem, ValueError, TimeoutError) as error:
            logger.warning("livekit_rest_lost", session_id=self._track.session_id, kind=type(error).__name__)
        if self._track.holder is self:
            self._track.holder = self._track.let_go = None
