"""How the program logs: events in past-tense snake_case, to standard error, never what anybody said."""

import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Literal, TextIO

import structlog

from schemas.errors import LogError, ModelMissing

__all__ = ["set_up_logging", "traceback_of"]

SPEAKING = (LogError, ModelMissing, OSError)
"""Errors whose text is about machines. That of others may repeat what was read: pydantic's shows the input."""


def set_up_logging(level: str = "info", form: Literal["console", "json"] = "console", dsn: str = "") -> None:
    """Configure structlog, and quiet the libraries that talk much; with `dsn` errors are reported there as well.

    Raises:
        ModelMissing: Reports are wanted and the extra `sentry` is not installed.
    """
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        # Not the rich traceback: it prints local variables, and with them what people said.
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_reporting(dsn),
            structlog.processors.ExceptionRenderer(_formatted) if form == "json" else _as_is,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    for noisy in ("httpx", "chromadb", "openai", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _reporting(dsn: str) -> list[structlog.typing.Processor]:
    if not dsn:
        return []
    from rejoinder.reports import open_reports

    return [open_reports(dsn)]


def traceback_of(error: BaseException | None) -> str:
    """Give where an error came from and of what kind it is, with its causes; its text only where that is harmless."""
    parts: list[str] = []
    for one in _chain(error):
        said = f": {one}" if isinstance(one, SPEAKING) else ""
        parts.insert(0, "".join(traceback.format_tb(one.__traceback__)) + f"{type(one).__name__}{said}")
    return "\n\n".join(parts)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _formatted(exc_info: Any) -> str:
    return traceback_of(exc_info[1])


def _write_traceback(out: TextIO, exc_info: Any) -> None:
    out.write("\n" + traceback_of(exc_info[1]))


def _as_is(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event
