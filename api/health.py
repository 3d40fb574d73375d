"""Whether the engine lives and is ready, and its metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.deps import door_of
from api.errors import PROBLEMS

__all__ = ["metrics_router", "router"]

_REFUSED: dict[int | str, dict[str, Any]] = {422: PROBLEMS[422]}

router = APIRouter(tags=["health"], responses=_REFUSED)
metrics_router = APIRouter(tags=["health"], responses=_REFUSED)


class FlowShown(BaseModel):
    """How far a flow has come."""

    name: str
    alive: bool
    position: int
    end: int
    behind_s: float
    detail: str = ""


class Health(BaseModel):
    """The engine's state; `ready` when it takes captions and answers questions, `notes` for whoever runs it."""

    live: bool = True
    ready: bool
    version: str
    problems: list[str]
    notes: list[str]
    models: dict[str, str]
    flows: list[FlowShown]
    streams: int


@router.get("/api/health", response_model=Health, responses={503: {"model": Health, "description": "Not ready"}})
async def health(request: Request) -> Any:
    """Say whether the engine is ready: log, flows, models, lag."""
    door = door_of(request)
    engine = door.parts.engine
    problems = list(engine.problems())
    state = Health(
        ready=not problems,
        version=door.parts.version,
        problems=problems,
        notes=[*door.parts.log.notes(), *door.parts.notes()],
        models=dict(engine.models()),
        flows=[
            FlowShown(
                name=flow.name,
                alive=flow.alive,
                position=flow.position,
                end=flow.end,
                behind_s=round(flow.behind_s, 3),
                detail=flow.detail,
            )
            for flow in engine.flows()
        ],
        streams=door.streams,
    )
    return JSONResponse(state.model_dump(mode="json"), 200 if state.ready else 503)


@router.get("/api/health/live")
async def live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"live": True}


@metrics_router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Give the counters in Prometheus's text format."""
    door = door_of(request)
    for flow in door.parts.engine.flows():
        door.metrics.behind.labels(flow.name).set(flow.behind_s)
        door.metrics.alive.labels(flow.name).set(flow.alive)
    return Response(door.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
