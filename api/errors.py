"""Every error as problem+json (RFC 9457), in one table."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from schemas.errors import (
    EngineError,
    KeyErased,
    LogUnavailable,
    ModelFailed,
    ModelMissing,
    ModelTimeout,
    NotAllowed,
    NotSignedIn,
    OffsetGone,
    RecordTooLarge,
    SchemaError,
    UnknownTopic,
)

__all__ = ["PROBLEMS", "Problem", "ProblemBody", "install_errors", "problem_of"]

logger = structlog.get_logger("api")

MOST_ERRORS_SHOWN = 20

_TABLE: tuple[tuple[type[EngineError], int, str], ...] = (
    (NotSignedIn, 401, "Sign in with an API key"),
    (NotAllowed, 403, "Not allowed"),
    (KeyErased, 404, "No such session"),
    (UnknownTopic, 404, "No such topic"),
    (OffsetGone, 410, "That position is gone"),
    (RecordTooLarge, 413, "The record is too large"),
    (SchemaError, 422, "Not a valid record"),
    (LogUnavailable, 503, "The log cannot store now"),
    (ModelTimeout, 504, "The model gave no answer in time"),
    (ModelMissing, 503, "The model is not installed"),
    (ModelFailed, 502, "The model failed"),
)


class ProblemBody(BaseModel):
    """What an error looks like: a problem document of RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: list[dict[str, Any]] | None = None


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
    }
    for status in (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 502, 503, 504)
}
"""The responses every route may give, for OpenAPI."""


class Problem(Exception):
    """An answer that is an error; raise it anywhere in a route."""

    def __init__(
        self, status: int, title: str, detail: str = "", headers: Mapping[str, str] | None = None, **extra: Any
    ):
        """Keep what the document will say."""
        super().__init__(title)
        self.status, self.title, self.detail, self.headers, self.extra = status, title, detail, headers, extra


def problem_of(error: EngineError) -> Problem:
    """Give the problem that an error of the engine is for its caller."""
    for kind, status, title in _TABLE:
        if isinstance(error, kind):
            headers = {"Retry-After": "2"} if status == 503 else {}
            if status == 401:
                headers["WWW-Authenticate"] = "Bearer"
            return Problem(status, title, str(error), headers)
    logger.error("engine_error_without_status", kind=type(error).__name__)
    return Problem(500, "Something went wrong inside")


def _answer(
    status: int, title: str, detail: str = "", headers: Mapping[str, str] | None = None, **extra: Any
) -> JSONResponse:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extra}
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")


def install_errors(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return _answer(error.status, error.title, error.detail, error.headers, **error.extra)

    @app.exception_handler(EngineError)
    async def engine(_: Request, error: EngineError) -> JSONResponse:
        found = problem_of(error)
        return _answer(found.status, found.title, found.detail, found.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # The input is never echoed: it may be long, and it may be what somebody said.
        found = [
            {"loc": [str(place) for place in one["loc"]], "msg": one["msg"], "type": one["type"]}
            for one in error.errors()[:MOST_ERRORS_SHOWN]
        ]
        broken = any(one["type"] == "json_invalid" for one in found)
        if broken:
            return _answer(400, "The body is not valid JSON", errors=found)
        return _answer(422, "The request is not valid", errors=found)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        title = HTTPStatus(error.status_code).phrase
        detail = "" if error.detail == title else str(error.detail)
        return _answer(error.status_code, title, detail, error.headers)

    @app.exception_handler(UnicodeDecodeError)
    async def undecodable(_: Request, error: UnicodeDecodeError) -> JSONResponse:
        del error
        return _answer(400, "The body is not valid UTF-8")

    @app.exception_handler(RecursionError)
    async def too_deep(_: Request, error: RecursionError) -> JSONResponse:
        del error
        return _answer(400, "The body is nested too deeply")

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        logger.error("request_failed", kind=type(error).__name__, exc_info=error)
        return _answer(500, "Something went wrong inside")
