"""How the program logs: events in past-tense snake_case, to standard error, never what anybody said."""

import logging
import sys
from typing import Literal

import structlog

__all__ = ["set_up_logging"]


def set_up_logging(level: str = "info", form: Literal["console", "json"] = "console") -> None:
    """Configure structlog, and quiet the libraries that talk much."""
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        # Not the rich traceback: it prints local variables, and with them what people said.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if form == "json" else _as_is,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    for noisy in ("httpx", "chromadb", "openai", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _as_is(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event
