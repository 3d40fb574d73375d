"""What the routes are given: the log, the caller, a view of the engine."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, cast

import structlog
from fastapi import APIRouter, Depends, Request
from starlette.requests import HTTPConnection

from api.audio_limits import AudioLimits
from api.audio_tracks import Tracks
from api.livekit_access import LiveKitAccess
from api.metrics import Metrics
from api.pages import Pages
from api.sessions_seen import SessionDirectory, SessionSeen
from api.tracing import current_trace
from api.waking import SessionWaker
from eventlog.base import Appended, EventLog
from eventlog.records import new_record
from operators.consent import ConsentRule
from operators.tracing import Tracer
from schemas.base import Record
from schemas.errors import NotAllowed, NotSignedIn
from schemas.hops import HopShown
from schemas.meeting import Consent
from schemas.progress import FlowProgress

if TYPE_CHECKING:
    from api.livekit_listening import RoomWatch

__all__ = [
    "ApiLimits",
    "ApiParts",
    "Caller",
    "CallerCheck",
    "CurrentCaller",
    "CurrentOperator",
    "Door",
    "EngineView",
    "Peer",
    "caller_of",
    "caller_on",
    "door_of",
    "takes_key_in_query",
]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes the request; an `operator` runs the engine and may see what belongs to no owner alone."""

    owner_id: str
    operator: bool = False


class CallerCheck(Protocol):
    """Knows the keys."""

    def caller(self, token: str | None) -> Caller:
        """Give the caller of a token.

        Raises:
            NotSignedIn: A key is needed and this is none.
        """
        ...


class EngineView(Protocol):
    """What the door may know of the engine behind it."""

    def flows(self) -> Sequence[FlowProgress]:
        """Give the state of every flow."""
        ...

    def models(self) -> Mapping[str, str]:
        """Give the models in use: what for -> name."""
        ...

    def problems(self) -> Sequence[str]:
        """Give what keeps the engine from being ready; empty when it is."""
        ...


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Bounds of the door; bytes, counts and seconds."""

    body_bytes: int = 2_000_000
    upload_bytes: int = 12_000_000
    captions_per_batch: int = 1_000
    stream_batch: int = 200
    streams: int = 2_000
    heartbeat_s: float = 15.0
    stalled_s: float = 20.0
    ask_s: float = 60.0
    audio: AudioLimits = field(default_factory=AudioLimits)


@dataclass(frozen=True, slots=True)
class ApiParts:
    """Everything an app is built from.

    `notes` gives what whoever runs the engine should know beside the log's notes; `withdrawn` forgets what lies
    elsewhere and is not agreed to any more.
    """

    log: EventLog
    callers: CallerCheck
    engine: EngineView
    version: str
    cors_origins: tuple[str, ...] = ()
    limits: ApiLimits = field(default_factory=ApiLimits)
    routers: tuple[APIRouter, ...] = ()
    page_dir: Path | None = None
    ice_servers: tuple[str, ...] = ()
    livekit: LiveKitAccess | None = None
    tracer: Tracer | None = None
    hops: Callable[[], Sequence[HopShown]] = lambda: ()
    notes: Callable[[], Sequence[str]] = lambda: ()
    consent: ConsentRule = "warn"
    withdrawn: Callable[[str, Consent], None] = lambda owner_id, consent: None


class Peer(Protocol):
    """Somebody who publishes over WebRTC."""

    session_id: str

    async def close(self) -> None:
        """End it."""
        ...


@dataclass(slots=True)
class Door:
    """What lives as long as the app."""

    parts: ApiParts
    sessions: SessionDirectory
    waker: SessionWaker
    metrics: Metrics
    tracks: Tracks
    pages: Pages
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0
    audio_connections: int = 0
    peers: dict[str, Peer] = field(default_factory=dict)
    rooms: "RoomWatch | None" = None

    async def load(self, session_id: str) -> None:
        """Bring a session's records to where they are read without a wait; other requests go on meanwhile."""
        if not self.parts.log.loaded(session_id):
            await asyncio.to_thread(self.parts.log.load, session_id)

    async def append(self, records: Sequence[Record], topic: str) -> list[Appended]:
        """Append records to a topic and wait until the log has them."""
        trace = current_trace()
        new = [new_record(topic, record, trace) for record in records]
        return await asyncio.wrap_future(self.parts.log.submit(new))

    async def session(self, session_id: str, caller: Caller) -> SessionSeen:
        """Give the caller's session; see `SessionDirectory.owned`."""
        # A session that this process has not seen yet is scanned for, which may take a while on a broker.
        structlog.contextvars.bind_contextvars(session_id=session_id)
        await self.load(session_id)
        return self.sessions.owned(session_id, caller.owner_id)


def door_of(request: HTTPConnection) -> Door:
    """Give the app's door."""
    return cast(Door, request.app.state.door)


def token_of(request: HTTPConnection) -> str | None:
    """Give the API key of a request: Authorization, X-API-Key, or ?key= where browsers send no headers.

    That is on a stream (EventSource) and on a WebSocket.
    """
    authorization = request.headers.get("authorization", "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if key := request.headers.get("x-api-key"):
        return key
    return request.query_params.get("key") if takes_key_in_query(request) else None


def takes_key_in_query(request: HTTPConnection) -> bool:
    """Say whether the API key may stand in the address: where browsers cannot send headers."""
    return request.scope["type"] == "websocket" or request.url.path.endswith("/stream")


def caller_of(request: Request) -> Caller:
    """Give the caller of a request; see `caller_on`."""
    return caller_on(request)


def caller_on(request: HTTPConnection) -> Caller:
    """Give the caller of a request or a WebSocket.

    Raises:
        NotSignedIn: No or a wrong key.
    """
    token = token_of(request)
    if token is not None and (len(token) > 500 or not token.isascii()):
        raise NotSignedIn("that is not a key")
    return door_of(request).parts.callers.caller(token)


def operator_of(request: Request) -> Caller:
    """Give the caller of a request that only whoever runs the engine may make.

    Raises:
        NotSignedIn: No or a wrong key.
        NotAllowed: A key of somebody else.
    """
    caller = caller_on(request)
    if not caller.operator:
        raise NotAllowed("this takes the operator's key: rejoinder keys create NAME --operator")
    return caller


CurrentCaller = Annotated[Caller, Depends(caller_of)]
CurrentOperator = Annotated[Caller, Depends(operator_of)]
