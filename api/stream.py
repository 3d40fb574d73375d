"""The live stream of a session: one reader from a cursor on, as server-sent events."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from api.deps import CurrentCaller, Door, door_of
from api.errors import PROBLEMS, Problem
from api.pages import Page
from api.sessions import SessionPath
from api.shown import Shown
from operators.tracing import is_sampled
from schemas.errors import LogError, OffsetGone

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["stream"], responses=PROBLEMS)

_AGO = re.compile(r"^-(\d{1,6})([smh])$")
_UNITS = {"s": 1, "m": 60, "h": 3600}
RETRY_MS = 1_000
LAG_EVERY_S = 2.0
LAG_STEP_S = 0.5
SETTLE_S = 3.0
"""A stream ends when the session is closed, every question has its answer and nothing came for this long."""

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(slots=True)
class _Seen:
    """What one stream must remember: answers that are closed, questions that wait, whether the session is over."""

    closed_answers: set[str] = field(default_factory=set)
    begun_answers: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    over: bool = False


@router.get(
    "/sessions/{session_id}/stream",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Server-sent events. With an id (the cursor) and the record as data: opened, joined, left, "
            "shared, agenda, noted, consent, closed, caption, audio_gap, transcription_lag, question, "
            "question_withdrawn, answer_delta, answer, answer_failed, memory_update, nudge, feedback. "
            "Without an id: lag, resync, end.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "The session is over and this cursor has seen all of it."},
    },
)
async def stream(
    request: Request,
    session_id: SessionPath,
    caller: CurrentCaller,
    from_: Annotated[
        str, Query(alias="from", max_length=100, description="A cursor, `start`, `now`, or a time ago such as `-5m`.")
    ] = "start",
    speed: Annotated[
        float | None,
        Query(gt=0, le=100, description="Replay at so many times the pace of the meeting; without it, all at once."),
    ] = None,
) -> Response:
    """Follow a session: everything after a position, then everything new, in the one order all clients see.

    A client that was dropped sends the last id it got as `Last-Event-ID` and misses nothing.
    """
    door = door_of(request)
    session = await door.session(session_id, caller)
    cursor = request.headers.get("last-event-id") or _position(door, session_id, from_)
    over = session.closed_at is not None and time.time() - session.closed_at.timestamp() > SETTLE_S
    if over and request.headers.get("last-event-id") is not None:
        with contextlib.suppress(OffsetGone):  # the stream tells
            if not await door.pages.any_after(session_id, cursor):
                return Response(status_code=204)
    if door.streams >= door.parts.limits.streams:
        raise Problem(503, "Too many streams are open", headers={"Retry-After": "5"})
    return _Counted(door, _Follower(door, session_id, cursor, speed).events())


class _Counted(EventSourceResponse):
    """An event stream that is counted while it is open, and cut when its client does not read."""

    def __init__(self, door: Door, events: AsyncIterator[ServerSentEvent | bytes]) -> None:
        limits = door.parts.limits
        super().__init__(events, ping=round(limits.heartbeat_s), send_timeout=limits.stalled_s, headers=HEADERS)
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._door.streams += 1
        self._door.metrics.streams.set(self._door.streams)
        try:
            await super().__call__(scope, receive, send)
        except BaseException as error:
            if not _is_stall(error):
                raise
            self._door.metrics.cut.inc()
            # Closing waits until the client has read what was sent, which this one never does.
            if (abort := scope.get("state", {}).get("abort")) is not None:
                abort()
                await asyncio.sleep(0)  # the server hears of it before it misses the end of the response
        finally:
            self._door.streams -= 1
            self._door.metrics.streams.set(self._door.streams)


def _is_stall(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_stall(inner) for inner in error.exceptions)
    return type(error).__name__ == "SendTimeoutError"


def _position(door: Door, session_id: str, text: str) -> str:
    """Turn `from` into a cursor.

    Raises:
        Problem: 422 for anything else.
    """
    log = door.parts.log
    if text == "start":
        return log.cursor_start()
    if text == "now":
        return log.cursor_now(session_id)
    if ago := _AGO.match(text):
        return log.cursor_at(session_id, time.time() - int(ago.group(1)) * _UNITS[ago.group(2)])
    if text.isascii() and text.isalnum():
        return text
    raise Problem(422, "The request is not valid", "from is a cursor, start, now, or a time ago such as -5m")


class _Follower:
    """Reads one session for one client; the log is its queue, so a slow client costs nobody memory."""

    def __init__(self, door: Door, session_id: str, cursor: str, speed: float | None = None) -> None:
        self._door, self._session_id, self._cursor, self._speed = door, session_id, cursor, speed
        self._began: tuple[float, float] | None = None
        self._behind = True
        self._seen = _Seen()
        self._opened_s = time.time()
        self._lag: float = 0.0
        self._lag_at = 0.0

    async def events(self) -> AsyncIterator[ServerSentEvent | bytes]:
        yield ServerSentEvent(comment="open", retry=RETRY_MS)
        quiet_since = time.monotonic()
        with self._door.waker.waiting(self._session_id) as woken:
            while True:
                woken.clear()
                if self._door.stopping.is_set():
                    yield _plain("end", reason="server stopping", cursor=self._cursor)
                    return
                try:
                    await self._door.load(self._session_id)
                    page = await self._page()
                except OffsetGone as gone:
                    self._cursor = self._door.parts.log.cursor_start()
                    yield _plain("resync", reason=str(gone), cursor=self._cursor)
                    continue
                except LogError as error:
                    yield _plain("end", reason=str(error), cursor=self._cursor)
                    return
                if self._door.parts.log.erased(self._session_id):
                    yield _plain("end", reason="the session was deleted", cursor=self._cursor)
                    return
                if page is not None:
                    async for told in self._told(page):
                        quiet_since = time.monotonic()
                        yield told
                    continue
                if self._seen.over and not self._seen.waiting and time.monotonic() - quiet_since >= SETTLE_S:
                    yield _plain("end", reason="the session is over", cursor=self._cursor)
                    return
                if (lag := self._lag_event()) is not None:
                    yield lag
                await _wait(woken, SETTLE_S / 3 if self._seen.over else LAG_EVERY_S)

    async def _due(self, at_s: float, speed: float) -> bool:
        """Wait until a record's moment has come in a replay; gives whether to go on."""
        if self._began is None:
            self._began = time.monotonic(), at_s
        while (left := self._began[0] + (at_s - self._began[1]) / speed - time.monotonic()) > 0:
            if self._door.stopping.is_set():
                return False
            await asyncio.sleep(min(left, 0.25))
        return True

    async def _page(self) -> Page | None:
        pages = self._door.pages
        if self._speed is not None:
            return await pages.apart(self._session_id, self._cursor)
        page = await pages.after(self._session_id, self._cursor, behind=self._behind)
        self._behind = page is not None and page.full
        return page

    async def _told(self, page: Page) -> AsyncIterator[bytes]:
        """Give what the client is sent of a page: all at once, or at its pace."""
        if self._speed is None:
            self._cursor = page.cursor
            wanted = [self._wanted(piece.shown) for piece in page.pieces]
            told = page.whole
            if not all(wanted):
                told = b"".join(piece.event for piece, wish in zip(page.pieces, wanted, strict=True) if wish)
            if told:
                yield told
                self._trace_sent(page)
            return
        for piece in page.pieces:
            if not await self._due(piece.at_s, self._speed):
                return
            self._cursor = piece.cursor
            if self._wanted(piece.shown):
                yield piece.event
        self._cursor = page.cursor

    def _trace_sent(self, page: Page) -> None:
        """Note as spans how long first pieces of answers took to this client; what it catches up with is none."""
        tracer = self._door.parts.tracer
        if tracer is None:
            return
        for piece in page.pieces:
            answer_id = piece.shown.answer_id
            if piece.shown.type != "answer_delta" or answer_id in self._seen.begun_answers:
                continue
            self._seen.begun_answers.add(answer_id)
            if piece.at_s >= self._opened_s and is_sampled(piece.trace):
                about = {"session.id": self._session_id, "answer.id": answer_id}
                tracer.begin("first piece sent", piece.trace, piece.at_s, about).end()

    def _wanted(self, record: Shown) -> bool:
        """Keep track of the answers, and leave out pieces that come after their answer was closed."""
        seen = self._seen
        match record.type:
            case "question":
                seen.waiting.add(record.question_id)
            case "question_withdrawn":
                seen.waiting.discard(record.question_id)
            case "answer_delta":
                return record.answer_id not in seen.closed_answers
            case "answer" | "answer_failed":
                seen.closed_answers.add(record.answer_id)
                if record.reason != "superseded":
                    seen.waiting.discard(record.question_id)
            case "closed":
                seen.over = True
            case _:
                pass
        return True

    def _lag_event(self) -> ServerSentEvent | None:
        now = time.monotonic()
        if now - self._lag_at < LAG_EVERY_S:
            return None
        self._lag_at = now
        stages = {flow.name: round(flow.behind_s, 1) for flow in self._door.parts.engine.flows()}
        behind = max(stages.values(), default=0.0)
        if abs(behind - self._lag) < LAG_STEP_S:
            return None
        self._lag = behind
        return _plain("lag", behind_s=behind, stages=stages)


def _plain(event: str, **fields: Any) -> ServerSentEvent:
    return ServerSentEvent(json.dumps({"type": event, **fields}), event=event)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
