"""Sound over WebRTC: a WHIP endpoint (RFC 9725) that a browser or OBS publishes to, with no further server."""

import asyncio
import uuid
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from api.audio_feeding import Doubt, PcmFeed
from api.audio_tracks import Piece, Track, first_sample
from api.consent_gate import check_sound
from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS, Problem
from api.sessions import SessionPath
from operators.resampling import Resampler
from schemas.audio import SAMPLE_RATE_HZ
from schemas.base import Identifier
from schemas.errors import EngineError, KeyErased, LogUnavailable

if TYPE_CHECKING:
    from aiortc import MediaStreamTrack

__all__ = ["router"]

_MISSING: dict[int | str, dict[str, Any]] = {501: {**PROBLEMS[502], "description": "Not Implemented"}}
router = APIRouter(prefix="/api", tags=["audio"], responses=PROBLEMS | _MISSING)
logger = structlog.get_logger("api")

SDP = "application/sdp"
MOST_SDP = 100_000
MOST_PEERS = 64
PIECE_S, LONGEST_PIECE_S, MOST_WAITING_S = 0.1, 5.0, 60.0
FIRST_FRAME_S, QUIET_S = 30.0, 30.0
GAP_S = 0.06


@router.post(
    "/sessions/{session_id}/whip",
    status_code=201,
    response_class=PlainTextResponse,
    responses={201: {"description": "The answer", "content": {SDP: {"schema": {"type": "string"}}}}},
    openapi_extra={"requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}},
)
async def publish_whip(
    request: Request,
    session_id: SessionPath,
    caller: CurrentCaller,
    track: Annotated[Identifier | None, Query(description="The name of the track.")] = None,
    participant: Annotated[Identifier | None, Query(description="Whose voice it is.")] = None,
) -> Response:
    """Publish over WebRTC (WHIP): an SDP offer in, the answer out; `DELETE` of the `Location` ends it.

    The first audio track is taken, video is declined. All ICE candidates are in offer and answer: there is no trickle,
    so `PATCH` gives 405.
    """
    door = door_of(request)
    session = await door.session(session_id, caller)
    if session.closed_at is not None:
        raise Problem(409, "The session has ended")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != SDP:
        raise Problem(415, "The offer is not SDP", f"Content-Type is {SDP}")
    offer = await request.body()
    if len(offer) > MOST_SDP:
        raise Problem(413, "The offer is too large")
    if len(door.peers) >= MOST_PEERS:
        raise Problem(503, "Too many peers publish", headers={"Retry-After": "10"})
    resource = uuid.uuid4().hex
    taken = door.tracks.get(session_id, track or f"webrtc-{resource[:8]}")
    async with taken.lock:
        place = await taken.load()
        if place.ended or taken.holder is not None:
            raise Problem(409, "The track has ended, or somebody sends it", "publish to a track of another name")
        taken.participant = participant or taken.participant
        check_sound(session, taken.name, taken.participant, door.parts.consent)
        if not taken.begun:
            taken.begin_at(first_sample(None, session.opened.created_at))
        peer = _Peer(door, taken, resource)
        taken.holder = peer
    async with AsyncExitStack() as held:
        held.push_async_callback(peer.close)
        answer = await peer.answer(offer.decode("utf-8", "replace"))
        held.pop_all()  # it lives on
    location = f"/api/sessions/{session_id}/whip/{resource}"
    return PlainTextResponse(answer, 201, {"Location": location}, media_type=SDP)


@router.delete("/sessions/{session_id}/whip/{resource_id}", response_class=Response)
async def end_whip(request: Request, session_id: SessionPath, resource_id: str, caller: CurrentCaller) -> Response:
    """End what was published."""
    door = door_of(request)
    await door.session(session_id, caller)
    peer = door.peers.get(resource_id)
    if peer is None or peer.session_id != session_id:
        raise Problem(404, "No such publication")
    await peer.close()
    return Response(status_code=200)


@dataclass(frozen=True, slots=True)
class _Part:
    """Sound as it came, or how many samples (16 kHz) were lost on their way."""

    pcm: bytes
    missing: int = 0


class _Peer:
    """One connection over WebRTC and the task that stores its sound."""

    def __init__(self, door: Door, track: Track, resource: str) -> None:
        try:
            from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
        except ImportError:
            raise Problem(501, "WebRTC is not installed", "uv sync --extra webrtc") from None
        self._door, self._track, self._resource = door, track, resource
        self.session_id = track.session_id
        # Without servers of one's own nobody outside is asked: addresses of this machine are enough on one network.
        servers = [RTCIceServer(urls=one) for one in door.parts.ice_servers]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._task: asyncio.Task[None] | None = None
        self._coming = bytearray()
        self._waiting: deque[_Part] = deque()
        self._doubt = Doubt()
        self._feed: PcmFeed | None = None
        self._closed = False
        door.peers[resource] = self
        door.metrics.audio_open.labels("webrtc").inc()

    async def answer(self, offer: str) -> str:
        """Give the SDP answer to an offer.

        Raises:
            Problem: 400 not an offer, 422 no audio in it.
        """
        from aiortc import InvalidAccessError, InvalidStateError, RTCSessionDescription

        connection = self._connection
        connection.on("track", self._began)
        connection.on("connectionstatechange", self._changed)
        try:
            await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            kinds = [one.kind for one in connection.getTransceivers()]
            for one in connection.getTransceivers():
                one.direction = "recvonly" if one.kind == "audio" else "inactive"
            if "audio" not in kinds:
                raise Problem(422, "The offer has no audio")
            await connection.setLocalDescription(await connection.createAnswer())
        except (ValueError, LookupError, AttributeError, TypeError, AssertionError, OSError) as error:
            raise Problem(400, "The offer cannot be used", f"it is no valid SDP: {type(error).__name__}") from None
        except (InvalidAccessError, InvalidStateError) as error:
            raise Problem(400, "The offer cannot be used", str(error)) from None
        return str(connection.localDescription.sdp)

    def _began(self, media: "MediaStreamTrack") -> None:
        if media.kind == "audio" and self._task is None:
            self._task = asyncio.ensure_future(self._pump(media))

    async def _changed(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            await self.close()

    async def _pump(self, media: "MediaStreamTrack") -> None:
        """Store the sound of a track until it ends."""
        from aiortc.mediastreams import MediaStreamError

        expected: float | None = None
        try:
            async with asyncio.timeout(FIRST_FRAME_S) as patience:
                while True:
                    frame: Any = await media.recv()
                    patience.reschedule(asyncio.get_running_loop().time() + QUIET_S)
                    if self._feed is None:
                        resampler = Resampler(frame.sample_rate, len(frame.layout.channels))
                        self._feed = PcmFeed(self._track, resampler, self._door.parts.limits.audio, None)
                    at_s = float(frame.time)
                    if expected is not None and at_s - expected > GAP_S:
                        self._cut()
                        self._waiting.append(_Part(b"", round((at_s - expected) * SAMPLE_RATE_HZ)))
                    expected = at_s + frame.samples / frame.sample_rate
                    self._coming += frame.to_ndarray().tobytes()
                    if len(self._coming) >= self._bytes(PIECE_S):
                        self._cut()
                        await self._store()
        except (MediaStreamError, TimeoutError):
            pass
        except (EngineError, Problem, ValueError) as error:
            logger.warning("webrtc_ended", session_id=self.session_id, kind=type(error).__name__)
        # This task is the one that `close` waits for, so it only asks for it.
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self.close()))

    def _bytes(self, seconds: float) -> int:
        assert self._feed is not None  # noqa: S101 - the first frame made it
        return self._feed.bytes_of(seconds)

    def _cut(self) -> None:
        """Let what came so far wait to be stored."""
        if self._coming:
            self._waiting.append(_Part(bytes(self._coming)))
            self._coming.clear()

    async def _store(self, *, last: bool = False) -> None:
        """Store what waits; while the log cannot, it goes on waiting, up to a minute of sound."""
        if await self._is_over():
            raise KeyErased("the session is over")
        async with self._track.lock:
            try:
                if self._track.place is None:
                    await self._track.load()
                self._settle()
                while self._waiting and self._feed is not None:
                    await self._store_some(self._feed)
                if last:
                    await self._track.append(Piece(b"", self._track.here.next_frame, last=True))
            except (LogUnavailable, Problem) as error:
                if isinstance(error, Problem) and error.status == HTTPStatus.FORBIDDEN:
                    self._waiting.clear()  # whoever objects now may not be stored later
                    raise
                held = sum(len(one.pcm) for one in self._waiting)
                if last or (held and held > self._bytes(MOST_WAITING_S)):
                    raise

    async def _store_some(self, feed: PcmFeed) -> None:
        """Store the oldest part that waits, with those behind it while there are many."""
        place, first = self._track.here, self._waiting[0]
        count = self._doubt.again(place) or self._together()
        self._doubt = Doubt(place.next_frame + 1, count)
        if first.missing:
            await self._track.append(Piece(b"", place.next_frame + 1, gap_samples=first.missing))
        else:
            await feed.store(place.next_frame, b"".join(part.pcm for part in islice(self._waiting, count)))
            stored_s = (self._track.here.sample - place.sample) / SAMPLE_RATE_HZ
            self._door.metrics.audio_seconds.labels("webrtc").inc(stored_s)
        self._settle()

    def _together(self) -> int:
        """Give how many of the parts that wait are stored as one: up to five seconds of sound, or one gap."""
        size, count = len(self._waiting[0].pcm), 1
        for part in islice(self._waiting, 1, None):
            size += len(part.pcm)
            if self._waiting[0].missing or part.missing or size > self._bytes(LONGEST_PIECE_S):
                break
            count += 1
        return count

    def _settle(self) -> None:
        """Let go of what the log has, also when its storing was given up."""
        if count := self._doubt.arrived(self._track.here):
            for _ in range(count):
                self._waiting.popleft()
            self._doubt = Doubt()

    async def _is_over(self) -> bool:
        session = self._door.sessions.find(self.session_id)
        return session is None or session.closed_at is not None

    async def close(self) -> None:
        """End the connection and the track; harmless when called twice."""
        if self._closed:
            return
        self._closed = True
        self._door.peers.pop(self._resource, None)
        self._door.metrics.audio_open.labels("webrtc").dec()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.close()
        self._cut()
        try:
            try:
                await self._store(last=self._track.begun)
            except Problem:  # what was given up before may have arrived meanwhile, and then the rest goes
                await self._store(last=self._track.begun)
        except (EngineError, Problem) as error:
            logger.warning("webrtc_rest_lost", session_id=self.session_id, kind=type(error).__name__)
        if self._track.holder is self:
            self._track.holder = None
