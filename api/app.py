"""Puts the door together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import (
    answers,
    audio,
    audio_posts,
    captions,
    coaching,
    consents,
    feedback,
    health,
    livekit,
    minutes,
    sessions,
    stream,
    whip,
)
from api.audio_tracks import Track, Tracks
from api.consent_gate import check_sound
from api.deps import ApiParts, Door
from api.errors import Problem, ProblemBody, install_errors
from api.livekit_listening import RoomWatch
from api.metrics import CountRequests, Metrics
from api.pages import Pages
from api.query_names import refuse_unknown_query
from api.sessions_seen import SessionDirectory
from api.tracing import TraceRequests
from api.waking import SessionWaker

__all__ = ["begin_shutdown", "create_app", "create_metrics_app"]

UPLOAD_PATHS = ("/api/knowledge", "/api/resume")
PAGE_HEADERS = {
    b"content-security-policy": b"default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}
ABOUT = (
    "Captions in, grounded answers out. Open a session, post captions, follow its stream. "
    "Errors are problem documents (RFC 9457)."
)


def create_app(parts: ApiParts, *, doors: Literal["all", "qa", "health"] = "all") -> FastAPI:
    """Build the app: "all" serves everything, "qa" questions, resume, knowledge and health, "health" health only."""
    pages = Pages(parts.log, parts.limits.stream_batch)
    sessions_seen = SessionDirectory(parts.log)

    def allow(track: Track) -> None:
        if (session := sessions_seen.find(track.session_id)) is not None:
            check_sound(session, track.name, track.participant, parts.consent)

    tracks = Tracks(parts.log, parts.limits.audio, allow)
    metrics = Metrics(parts.hops, parts.version)

    def forget(session_id: str) -> None:
        pages.forget()
        sessions_seen.forget(session_id)
        tracks.forget(session_id)

    door = Door(parts, sessions_seen, SessionWaker(parts.log, forget), metrics, tracks, pages)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        door.waker.start()
        if doors == "all" and parts.livekit is not None:
            door.rooms = RoomWatch(door, parts.livekit)
            door.rooms.start()
        yield
        if door.rooms is not None:
            await door.rooms.close()
        for peer in list(door.peers.values()):
            await peer.close()
        door.tracks.close()
        door.waker.stop()

    app = FastAPI(
        title="Rejoinder",
        version=parts.version,
        description=ABOUT,
        lifespan=lifespan,
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
        dependencies=[Depends(_known_query)],
    )
    app.state.door = door
    install_errors(app)
    watching = [health.router, health.metrics_router]
    routers = [*watching, *parts.routers] if doors == "health" else [answers.ask_router, *watching, *parts.routers]
    if doors == "all":
        sound = [audio.router, audio_posts.router, whip.router, livekit.router]
        told = [stream.router, answers.router, feedback.router, minutes.router, coaching.router]
        routers = [sessions.router, consents.router, captions.router, *sound, *told, *routers]
    for router in routers:
        app.include_router(router)
    if doors == "all" and parts.page_dir is not None:
        app.mount("/", StaticFiles(directory=parts.page_dir, html=True), name="page")
    _describe_problems(app)
    app.add_middleware(_Bounded, parts=parts, pages=pages)
    app.add_middleware(CountRequests, metrics=door.metrics)
    app.add_middleware(TraceRequests, tracer=parts.tracer)
    if parts.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(parts.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            expose_headers=["Location"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-API-Key"],
        )
    return app


def create_metrics_app(of: FastAPI) -> FastAPI:
    """Build an app that serves the metrics of another app and nothing else, for a port of their own."""
    app = FastAPI(title="Rejoinder metrics", openapi_url=None)
    app.state.door, app.state.metrics_only = of.state.door, True
    app.include_router(health.metrics_router)
    return app


async def _known_query(connection: HTTPConnection) -> None:
    # A WebSocket can only be told what is wrong once it was accepted: its route asks by itself.
    if connection.scope["type"] == "http":
        refuse_unknown_query(connection)


def begin_shutdown(app: FastAPI) -> None:
    """End every open stream with an `end` event; call it in the app's event loop."""
    door: Door = app.state.door
    door.stopping.set()
    door.waker.wake_all()


def _describe_problems(app: FastAPI) -> None:
    """Put the problem document's schema into OpenAPI."""
    made = app.openapi

    def openapi() -> dict[str, object]:
        document = made()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("ProblemBody", ProblemBody.model_json_schema())
        return document

    app.openapi = openapi  # type: ignore[method-assign]


class _Bounded:
    """Refuses bodies that are too large, counted as they arrive, and adds the page's security headers.

    Streams are opened one after the other: when a thousand clients come back at once, everybody else is served between.
    """

    def __init__(self, app: ASGIApp, parts: ApiParts, pages: Pages) -> None:
        self._app, self._limits, self._pages = app, parts.limits, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].endswith("/stream"):
            await self._pages.next_turn()
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        size = int(declared) if declared.isdigit() else 0
        if scope["path"].endswith("/audio"):
            # Sound may be long: it goes on to its route piece by piece, which counts it.
            if size > self._limits.audio.upload_bytes:
                await self._too_large(self._limits.audio.upload_bytes)(scope, receive, send)
            else:
                await self._app(scope, _counted(receive, self._limits.audio.upload_bytes), _guarded(send))
            return
        most = self._limits.upload_bytes if scope["path"].startswith(UPLOAD_PATHS) else self._limits.body_bytes
        body: list[Message] = []
        more = scope["method"] in ("POST", "PUT", "PATCH")
        held = 0
        while more and size <= most:
            message = await receive()
            body.append(message)
            held += len(message.get("body", b""))
            size = max(size, held)
            more = message["type"] == "http.request" and message.get("more_body", False)
        if size > most:
            await self._too_large(most)(scope, receive, send)
            return

        async def replay() -> Message:
            return body.pop(0) if body else await receive()

        await self._app(scope, replay, _guarded(send))

    @staticmethod
    def _too_large(most: int) -> JSONResponse:
        problem = {
            "type": "about:blank",
            "title": "The body is too large",
            "status": 413,
            "detail": f"at most {most} bytes",
        }
        return JSONResponse(problem, 413, media_type="application/problem+json")


def _counted(receive: Receive, most: int) -> Receive:
    """Count a body as it is read.

    Raises:
        Problem: 413, once it is too large.
    """
    left = most

    async def counting() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Problem(413, "The body is too large", f"at most {most} bytes")
        return message

    return counting


def _guarded(send: Send) -> Send:
    """Add the page's security headers."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *PAGE_HEADERS.items()]
        await send(message)

    return guarded
