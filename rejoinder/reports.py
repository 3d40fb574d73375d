"""Reports of errors to a Sentry-compatible server, where a setting says so: kinds and places, never any text."""

import atexit
from typing import Any

import structlog

from rejoinder import __version__
from schemas.errors import ModelMissing

__all__ = ["open_reports"]

TOLD = ("flow", "topic", "offset", "kind", "session_id", "trace_id", "route", "member", "attempt")
"""What a report says beside the event: ids, numbers and names of ours."""
LEVELS = {"error": "error", "critical": "fatal", "exception": "error"}
FLUSH_S = 2.0


def open_reports(dsn: str) -> structlog.typing.Processor:
    """Give the step of the log that reports errors; nothing else of the process is watched.

    Raises:
        ModelMissing: The extra is not installed, or the address is none.
    """
    try:
        import sentry_sdk
    except ImportError as error:
        raise ModelMissing("reports of errors need: uv sync --extra sentry") from error
    try:
        sentry_sdk.init(
            dsn,
            release=f"rejoinder@{__version__}",
            default_integrations=False,  # they read requests, arguments, modules and log lines
            auto_enabling_integrations=False,
            include_local_variables=False,
            include_source_context=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            server_name="",
            before_send=_scrubbed,
        )
    except ValueError as error:
        raise ModelMissing("REJOINDER_SENTRY_DSN is no DSN") from error
    atexit.register(sentry_sdk.flush, FLUSH_S)
    return _report


def _report(_: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    level = LEVELS.get(method)
    if level is None:
        return event
    import sentry_sdk

    with sentry_sdk.new_scope() as scope:
        for name in TOLD:
            if name in event:
                scope.set_tag(name, str(event[name])[:200])
        scope.fingerprint = [str(event["event"]), str(event.get("kind", "")), str(event.get("flow", ""))]
        scope.set_level("fatal" if level == "fatal" else "error")
        error = _error_of(event)
        if error is not None:
            scope.set_tag("event", str(event["event"]))
            scope.capture_exception(error)
        else:
            scope.capture_message(str(event["event"]))
    return event


def _error_of(event: structlog.typing.EventDict) -> BaseException | None:
    import sys

    given = event.get("exc_info")
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None


def _scrubbed(event: Any, _: Any) -> Any:
    """Leave of an exception its kind and where it came from: its text may repeat what somebody said."""
    for one in event.get("exception", {}).get("values", ()):
        one["value"] = ""
        for frame in (one.get("stacktrace") or {}).get("frames", ()):
            frame.pop("vars", None)
    for name in ("user", "request", "extra", "breadcrumbs", "modules"):
        event.pop(name, None)
    return event
