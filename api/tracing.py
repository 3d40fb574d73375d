"""Spans of requests, and the ids that log lines of a request carry; never any text of a conversation."""

import time
from contextvars import ContextVar

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from operators.tracing import Tracer, trace_id_of

__all__ = ["TraceRequests", "current_trace"]

logger = structlog.get_logger("api")


class _Request:
    """The request that is being answered; what it started and left running has none."""

    __slots__ = ("trace",)

    def __init__(self, trace: str) -> None:
        self.trace = trace


_request: ContextVar[_Request | None] = ContextVar("rejoinder_request", default=None)
TRACED = ("POST", "PUT", "DELETE")
"""Requests that put something into the log; reading and following begin no traces."""


def current_trace() -> str:
    """Give the ``traceparent`` of the request that is being answered; "" where traces are off, or after its answer."""
    request = _request.get()
    return request.trace if request is not None else ""


class TraceRequests:
    """Times requests as spans, below the caller's own where it sends a `traceparent`; plain ASGI, as for streams."""

    def __init__(self, app: ASGIApp, tracer: Tracer | None) -> None:
        """Wrap an app; without a tracer only log lines get their ids."""
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on within its span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        structlog.contextvars.clear_contextvars()
        request = _Request("")
        _request.set(request)
        began, span, status = time.perf_counter(), None, 0
        if self._tracer is not None and scope["method"] in TRACED:
            span = self._tracer.begin("request", _sent(scope))
            request.trace = span.trace
            structlog.contextvars.bind_contextvars(trace_id=trace_id_of(span.trace))

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            request.trace = ""  # a connection that it opened may go on for hours
            route = getattr(scope.get("route"), "path", "other")
            spent_ms = round((time.perf_counter() - began) * 1000, 1)
            if span is not None:
                session = scope.get("path_params", {}).get("session_id", "")
                about = {"http.route": route, "http.request.method": scope["method"], "session.id": session}
                span.end(about={**about, "http.response.status_code": status})
            logger.debug("request_answered", method=scope["method"], route=route, status=status, spent_ms=spent_ms)


def _sent(scope: Scope) -> str:
    sent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
    return sent if len(sent) == 55 else ""
