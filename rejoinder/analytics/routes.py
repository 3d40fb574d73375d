"""``/api/analytics``: a caller's own numbers, and SQL for those who may see everybody's."""

import csv
import io
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from api.deps import Caller, CurrentCaller
from api.errors import PROBLEMS, Problem
from operators.ports import LanguageModel
from rejoinder.analytics.export import view_file
from rejoinder.analytics.insights import findings, reworded
from rejoinder.analytics.intervals import share_of
from rejoinder.analytics.owner import Analytics
from rejoinder.analytics.plain import plain
from rejoinder.analytics.quality import check_quality
from rejoinder.analytics.questions import DASHBOARD, PATTERNS, SESSION, SESSIONS, Asked, table_of
from rejoinder.analytics.store import Stopped
from rejoinder.analytics.trends import trends
from rejoinder.analytics.views import VIEWS

__all__ = ["analytics_router"]

DEFAULT_DAYS = 30
MOST_DAYS = 3_660
READERS_AT_ONCE = 4


def asked_for(
    caller: CurrentCaller,
    since: Annotated[AwareDatetime | None, Query(description="Sessions opened from then on; default: 30 days.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Sessions opened before then; default: now.")] = None,
    group: Annotated[Literal["day", "week", "month"], Query(description="Length of a period.")] = "day",
    kind: Annotated[str, Query(max_length=100, description="Only this kind of session; empty = all.")] = "",
) -> Asked:
    """Give whose sessions are asked about, and in which range.

    Raises:
        Problem: The range ends before it begins, or is longer than ten years.
    """
    end = until or datetime.now(UTC) + timedelta(seconds=60)
    begin = since or end - timedelta(days=DEFAULT_DAYS)
    if not timedelta(0) < end - begin <= timedelta(days=MOST_DAYS):
        raise Problem(422, "The request is not valid", f"since must lie before until, by {MOST_DAYS} days at most")
    begin, end = (one.astimezone(UTC).replace(tzinfo=None) for one in (begin, end))
    return Asked(caller.owner_id, begin, end, group, kind)


Wanted = Annotated[Asked, Depends(asked_for)]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


class InsightsWanted(BaseModel):
    """Which sessions to look at; everything is optional."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"kind": "interview"}})
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    kind: Annotated[str, Field(max_length=100)] = ""


class SqlAsked(BaseModel):
    """One SELECT statement over the views of docs/analytics.md."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"sql": "SELECT count(*) FROM sessions"}})
    sql: Annotated[str, Field(min_length=1, max_length=20_000)]
    rows: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    format: Literal["json", "csv"] = "json"


async def _run(work: Callable[[], Any]) -> Any:
    """Run a question beside the event loop.

    Raises:
        Problem: It took too long, or is wrong.
    """
    try:
        return await run_in_threadpool(work)
    except Stopped as error:
        raise Problem(504, "The question was stopped", str(error)) from None
    except ValueError as error:
        raise Problem(422, "The question is wrong", str(error)) from None


def analytics_router(
    analytics: Analytics, *, readers: tuple[str, ...], key_required: bool, model: LanguageModel | None = None
) -> APIRouter:
    """Give the routes.

    Args:
        analytics: What owns the store.
        readers: Owners who may ask by SQL.
        key_required: Whether callers need a key; where they do not, everybody may ask by SQL.
        model: What words insights; None = templates.
    """
    router = APIRouter(prefix="/api/analytics", tags=["analytics"], responses=PROBLEMS)

    def tables(questions: dict[str, str], arguments: dict[str, Any]) -> dict[str, Any]:
        store = analytics.store()
        return {name: table_of(store, sql, arguments) for name, sql in questions.items()}

    def range_of(asked: Asked) -> dict[str, str]:
        return {"since": f"{asked.since.isoformat()}Z", "until": f"{asked.until.isoformat()}Z", "group": asked.period}

    @router.get("/dashboard")
    async def dashboard(asked: Wanted) -> Any:
        """Your sessions in a time range: counts, questions, waiting times, talk, hints, topics, usage, by period."""
        found = await _run(lambda: tables(DASHBOARD, asked.arguments()))
        return {"range": range_of(asked), **found}

    @router.get("/sessions")
    async def sessions(asked: Wanted, limit: Limit = 50, offset: Offset = 0) -> Any:
        """Your sessions with their sums, newest first."""
        arguments = asked.arguments() | {"limit": limit + 1, "offset": offset}
        rows = await _run(lambda: table_of(analytics.store(), SESSIONS, arguments))
        return {"sessions": rows[:limit], "next_offset": offset + limit if len(rows) > limit else None}

    @router.get("/sessions/{session_id}")
    async def session(session_id: str, caller: CurrentCaller, limit: Limit = 200, offset: Offset = 0) -> Any:
        """One of your sessions: sums, speakers, words by minute, questions with their answers, events."""
        arguments = {"session": session_id[:200], "limit": limit, "offset": offset}
        found = await _run(lambda: tables(SESSION, arguments))
        summary = found.pop("summary")
        if not summary or summary[0]["owner_id"] != caller.owner_id:
            # Whether it is somebody else's or nobody's is not told.
            raise Problem(404, "No such session", "the analytics know no such session of yours (yet)")
        return {"summary": summary[0], **found}

    @router.get("/performance-trends")
    async def performance_trends(asked: Wanted) -> Any:
        """Measures by session and their trends, with intervals; silent where there are too few sessions."""
        return {"range": range_of(asked), **await _run(lambda: trends(analytics.store(), asked))}

    @router.get("/learning-patterns")
    async def learning_patterns(asked: Wanted) -> Any:
        """When you meet, how much you talk by kind of session, which questions come and are answered."""
        found = await _run(lambda: tables(PATTERNS, asked.arguments()))
        for one in found["question_kinds"]:
            share = share_of(one["answered"], one["questions"])
            one["answered_share"] = None if share is None else asdict(share)
        turns = found["long_turns"][0]
        share = share_of(turns["over_a_minute"], turns["turns"])
        found["long_turns"] = None if share is None else asdict(share)
        found["habit"] = found["habit"][0]
        return {"range": range_of(asked), "interval": "Wilson, 95 %", **found}

    @router.post("/generate-insights")
    async def generate_insights(caller: CurrentCaller, body: InsightsWanted | None = None) -> Any:
        """Findings about your sessions; each names the query that gives it, its n and its interval."""
        wanted = body or InsightsWanted()
        asked = asked_for(caller, wanted.since, wanted.until, "week", wanted.kind)
        found = await _run(lambda: findings(analytics.store(), asked))
        if model is not None:
            found = await reworded(found, model)
        return {"range": range_of(asked), "insights": [plain(asdict(one)) for one in found]}

    @router.get("/status")
    async def status(caller: CurrentCaller) -> Any:
        """How far the analytics are, and what the last checks found."""
        del caller
        return plain(asdict(analytics.status()))

    _add_reading(router, analytics, lambda caller: not key_required or caller.owner_id in readers)
    return router


def _add_reading(router: APIRouter, analytics: Analytics, may: Callable[[Caller], bool]) -> None:
    """Add the routes that see everybody's data."""

    def reader(caller: CurrentCaller) -> None:
        if not may(caller):
            raise Problem(403, "Not allowed", "REJOINDER_ANALYTICS_READERS names who may ask over all owners' data")

    async def alone(work: Callable[[], Any]) -> Any:
        """Run a question of the data team's; few at once, so that the flow and the callers' pages go on."""
        if not places.acquire(blocking=False):
            raise Problem(429, "Four questions are being answered already", headers={"Retry-After": "2"})
        try:
            return await _run(work)
        finally:
            places.release()

    places = threading.BoundedSemaphore(READERS_AT_ONCE)

    @router.post("/sql", dependencies=[Depends(reader)])
    async def sql(asked: SqlAsked) -> Any:
        """Ask the views by SQL, read-only, while the flow writes; for the data team."""
        found = await alone(lambda: analytics.store().ask(asked.sql, rows=asked.rows, timeout_s=asked.timeout_s))
        rows = [[plain(value) for value in row] for row in found.rows]
        if asked.format == "csv":
            text = io.StringIO()
            csv.writer(text).writerows([found.columns, *rows])
            return Response(text.getvalue(), media_type="text/csv", headers={"X-Cut": str(found.cut).lower()})
        return {"columns": found.columns, "types": found.types, "rows": rows, "cut": found.cut}

    @router.get("/views", dependencies=[Depends(reader)])
    async def views() -> Any:
        """The views with what each column means."""
        return {"views": [{"name": one.name, "row": one.note, "columns": one.columns} for one in VIEWS.values()]}

    @router.get("/views/{name}.parquet", dependencies=[Depends(reader)], response_class=FileResponse)
    async def parquet(name: str) -> Any:
        """A view as it is now, as one Parquet file for your own DuckDB or notebook."""
        file = await alone(lambda: view_file(analytics.store(), name))
        return FileResponse(
            file, media_type="application/vnd.apache.parquet", background=BackgroundTask(file.unlink, missing_ok=True)
        )

    @router.get("/quality", dependencies=[Depends(reader)])
    async def quality() -> Any:
        """Check uniqueness, references, nulls and times of what is stored now."""
        return {"checks": [asdict(one) for one in await alone(lambda: check_quality(analytics.store()))]}
