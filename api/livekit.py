"""A LiveKit room per session: the token with which a participant joins it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.deps import CurrentCaller, door_of
from api.errors import PROBLEMS, Problem
from api.livekit_access import LISTENER
from api.sessions import SessionPath
from schemas.base import Identifier

__all__ = ["router"]

_MISSING: dict[int | str, dict[str, Any]] = {501: {**PROBLEMS[502], "description": "Not Implemented"}}
router = APIRouter(prefix="/api", tags=["audio"], responses=PROBLEMS | _MISSING)


class TokenWanted(BaseModel):
    """Who joins; the identity is the name of their track, and of the participant that it belongs to."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"identity": "marta", "name": "Marta"}})
    identity: Identifier
    name: Annotated[str, Field(max_length=500)] = ""
    valid_s: Annotated[int, Field(ge=60, le=24 * 3600, description="How long one may join with it.")] = 3600


class RoomToken(BaseModel):
    """What a LiveKit client connects with."""

    url: str
    room: str
    identity: str
    token: str
    expires_at: AwareDatetime


@router.post("/sessions/{session_id}/livekit/token", status_code=201, response_model=RoomToken)
async def make_room_token(
    request: Request, session_id: SessionPath, body: TokenWanted, caller: CurrentCaller
) -> RoomToken:
    """Give a token with which a participant joins the session's LiveKit room, speaks and hears.

    The room is made when it is not there, and the engine listens to it from then on.
    """
    door = door_of(request)
    session = await door.session(session_id, caller)
    if session.closed_at is not None:
        raise Problem(409, "The session has ended")
    watch = door.rooms
    if watch is None:
        names = "REJOINDER_LIVEKIT_URL, REJOINDER_LIVEKIT_API_KEY and REJOINDER_LIVEKIT_API_SECRET"
        raise Problem(501, "LiveKit is not set up", f"set {names}")
    if body.identity == LISTENER:
        raise Problem(422, "The request is not valid", "identity: that is the engine's own")
    expires_at = datetime.now(UTC) + timedelta(seconds=body.valid_s)
    token = watch.access.token(session_id, body.identity, body.name, body.valid_s)
    # Made now, so that the engine is in it before its participants are and hears their first words.
    await watch.rooms.open(session_id)
    watch.look(session_id)
    return RoomToken(url=watch.access.url, room=session_id, identity=body.identity, token=token, expires_at=expires_at)
