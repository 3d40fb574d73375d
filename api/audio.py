"""Sound over a WebSocket: numbered frames in, acknowledged once the log has them."""

import asyncio
import time
from contextlib import suppress
from typing import Annotated, Literal
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from api.audio_feeding import Feed, Format, feed_for
from api.audio_tracks import Piece, Track, first_sample
from api.consent_gate import check_sound
from api.deps import Door, caller_on, door_of
from api.errors import Problem, problem_of
from api.query_names import refuse_unknown_query
from api.sessions import SessionPath
from schemas.audio import SAMPLE_RATE_HZ
from schemas.base import Identifier
from schemas.errors import EngineError

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["audio"])
logger = structlog.get_logger("api")

HEADER_BYTES = 8
CHECK_EVERY_S = 1.0
MOST_AHEAD = 2_000
TRY_AGAIN, RESTARTING, MOST_REASON = 1013, 1012, 120


class Start(Format):
    """The first message: what the frames hold, and whose they are."""

    type: Literal["start"]


class Gap(BaseModel):
    """Frames that the sender lost: the next one is `next`, and so much time passed meanwhile."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["gap"]
    next: Annotated[int, Field(ge=0, lt=2**63)]
    duration_s: Annotated[float, Field(ge=0, le=24 * 3600, allow_inf_nan=False)]


class Recording(BaseModel):
    """A new recording (container) begins with this frame."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["recording"]
    frame: Annotated[int, Field(ge=0, lt=2**63)]


class End(BaseModel):
    """Nothing more comes on this track."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["end"]


_START = TypeAdapter(Start)
_MESSAGE: TypeAdapter[Gap | Recording | End] = TypeAdapter(
    Annotated[Gap | Recording | End, Field(discriminator="type")]
)


@router.websocket("/sessions/{session_id}/audio")
async def audio_socket(
    socket: WebSocket,
    session_id: SessionPath,
    track: Annotated[Identifier, Query(description="The name of the input, such as microphone.")] = "microphone",
) -> None:
    """Take the sound of one track."""
    await socket.accept()
    door = door_of(socket)
    gauge = door.metrics.audio_open.labels("websocket")
    connection = _Connection(socket, door, door.tracks.get(session_id, track))
    gauge.inc()
    door.audio_connections += 1
    try:
        await connection.run()
    except WebSocketDisconnect:
        pass
    except Problem as problem:
        await _refuse(socket, problem)
    except EngineError as error:
        await _refuse(socket, problem_of(error))
    finally:
        door.audio_connections -= 1
        gauge.dec()
        connection.leave()


async def _refuse(socket: WebSocket, problem: Problem) -> None:
    """Say what is wrong, then close: 4000 + the HTTP status, or "try again later"."""
    if socket.client_state is not WebSocketState.CONNECTED or socket.application_state is not WebSocketState.CONNECTED:
        return
    code = TRY_AGAIN if problem.status == 503 else 4000 + problem.status
    text = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    told = {"type": "error", "status": problem.status, "title": problem.title, "detail": problem.detail}
    # The other side may be gone at any moment.
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_json(told | problem.extra)
        await socket.close(code, text.encode()[:MOST_REASON].decode(errors="ignore"))


def _refuse_foreign_page(socket: WebSocket, origins: tuple[str, ...]) -> None:
    """Refuse a page of another site: browsers let any page open a WebSocket to this machine."""
    origin = socket.headers.get("origin")
    if origin is None or origin in origins or urlsplit(origin).netloc == socket.headers.get("host"):
        return
    raise Problem(403, "Not allowed", "this page is of another origin; add it to REJOINDER_CORS_ORIGINS")


class _Connection:
    """One client that sends one track."""

    def __init__(self, socket: WebSocket, door: Door, track: Track) -> None:
        self._socket, self._door, self._track = socket, door, track
        self._feed: Feed | None = None
        self._start = Start(type="start", format="pcm16")
        self._checked_at = 0.0
        self._ahead = 0

    async def run(self) -> None:
        """Talk to the client until it or the track ends."""
        await self._begin()
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            async with self._track.lock:
                await self._still_allowed()
                if (content := message.get("bytes")) is not None:
                    await self._frame(content)
                elif await self._told(message.get("text") or ""):
                    return

    async def _begin(self) -> None:
        door, track = self._door, self._track
        refuse_unknown_query(self._socket)
        _refuse_foreign_page(self._socket, door.parts.cors_origins)
        caller = caller_on(self._socket)
        session = await door.session(track.session_id, caller)
        if session.closed_at is not None:
            raise Problem(410, "The session has ended")
        if door.audio_connections > door.parts.limits.audio.connections:
            raise Problem(503, "Too many connections send sound")
        self._start = start = await self._first_message()
        async with track.lock:
            before, track.holder, track.let_go = track.let_go, self, self._give_way
            if before is not None:
                await before()
            place = await track.load()
            track.participant = start.participant or track.participant
            check_sound(session, track.name, track.participant, door.parts.consent)
            if not track.begun:
                track.begin_at(first_sample(start.start_s, session.opened.created_at))
            self._feed = feed_for(start, track, door)
            await self._feed.resume()
            place = track.here
        told = {"session_id": track.session_id, "track": track.name, "ended": place.ended, **self._standing()}
        await self._socket.send_json({"type": "ready", **told})
        if place.ended:
            await self._socket.close(1000, "the track has ended")
            raise WebSocketDisconnect(1000)

    async def _first_message(self) -> Start:
        try:
            async with asyncio.timeout(self._door.parts.limits.audio.first_s):
                text = await self._socket.receive_text()
            return _START.validate_json(text)
        except TimeoutError:
            raise Problem(408, "No start message came") from None
        except KeyError:
            raise Problem(400, "The first message is JSON that says the format") from None
        except ValidationError as error:
            raise Problem(422, "The start message is not valid", _reasons(error)) from None

    def _standing(self) -> dict[str, float | int]:
        place = self._track.here
        keep = place.next_frame if place.recording_frame is None else place.recording_frame
        return {"next": place.next_frame, "keep": keep, "stored_s": round(place.sample / SAMPLE_RATE_HZ, 3)}

    async def _give_way(self) -> None:
        await _refuse(self._socket, Problem(409, "Another connection sends this track"))

    async def _still_allowed(self) -> None:
        """Check, not at every frame, that the session goes on and the track is still this connection's."""
        if self._track.holder is not self:
            raise Problem(409, "Another connection sends this track")
        if time.monotonic() - self._checked_at < CHECK_EVERY_S:
            return
        self._checked_at = time.monotonic()
        session = self._door.sessions.find(self._track.session_id)
        if session is None:
            raise Problem(404, "No such session")
        if session.closed_at is not None:
            raise Problem(410, "The session has ended")

    async def _frame(self, content: bytes) -> None:
        track, feed, limits = self._track, self._feed, self._door.parts.limits.audio
        assert feed is not None  # noqa: S101 - the first message made it
        if len(content) < HEADER_BYTES:
            raise Problem(400, "A frame begins with its sequence number, 8 bytes, big-endian")
        if len(content) > limits.frame_bytes + HEADER_BYTES:
            raise Problem(413, "The frame is too large", f"at most {limits.frame_bytes} bytes")
        number, body = int.from_bytes(content[:HEADER_BYTES], "big"), content[HEADER_BYTES:]
        place = track.here
        if number > place.next_frame:
            self._ahead += 1
            if self._ahead == 1:
                await self._socket.send_json({"type": "resend", **self._standing()})
            elif self._ahead > MOST_AHEAD:
                raise Problem(409, "The frames before were not sent", f"frame {place.next_frame} is wanted")
            return
        if number == place.next_frame:
            self._ahead = 0
            before = place.sample
            await feed.take(number, body)
            way = self._door.metrics.audio_seconds.labels("websocket")
            way.inc((track.here.sample - before) / SAMPLE_RATE_HZ)
        await self._socket.send_json({"type": "ack", **self._standing()})

    async def _told(self, text: str) -> bool:
        """Do what a text message asks for; gives whether it was the last."""
        track, feed = self._track, self._feed
        assert feed is not None  # noqa: S101 - the first message made it
        try:
            message = _MESSAGE.validate_json(text)
        except ValidationError as error:
            raise Problem(422, "The message is not valid", _reasons(error)) from None
        place = track.here
        match message:
            case Gap():
                if message.next > place.next_frame:
                    await feed.finish()
                    missing = round(message.duration_s * SAMPLE_RATE_HZ)
                    await track.append(Piece(b"", message.next, gap_samples=missing))
            case Recording():
                await feed.next_recording(message.frame)
            case End():
                await feed.finish()
                await track.append(Piece(b"", track.here.next_frame, last=True))
                await self._socket.send_json({"type": "ended", **self._standing()})
                await self._socket.close(1000, "the track has ended")
                return True
        await self._socket.send_json({"type": "ack", **self._standing()})
        return False

    def leave(self) -> None:
        """Let go of the track; what it knows stays for the client's next connection."""
        track = self._track
        if track.holder is not self:
            return
        track.holder = track.let_go = None
        if track.decoder is not None:
            asyncio.get_running_loop().call_later(self._door.parts.limits.audio.idle_decoder_s, track.drop_if_idle)


def _reasons(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False, include_context=False)[:3]
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'message'}: {one['msg']}" for one in found)
