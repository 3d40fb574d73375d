"""Memory across sessions: the user keeps a session's minutes as a document of theirs, and may delete it again."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.deps import CurrentCaller, door_of
from api.errors import PROBLEMS, Problem
from api.minutes import markdown_of, remembered
from api.sessions import SessionPath
from rejoinder.knowledge.cutting import Document
from rejoinder.knowledge.routes import DocumentList, DocumentShown, shown
from rejoinder.knowledge.store import KnowledgeStore

__all__ = ["PAST", "remember_router"]

PAST = "past-meetings"


def remember_router(store: KnowledgeStore) -> APIRouter:
    """Give the routes with which sessions are remembered beyond their end; nothing is unless they are called."""
    router = APIRouter(prefix="/api", tags=["memory"], responses=PROBLEMS)

    def kept(owner_id: str) -> list[Document]:
        return [one for one in store.documents(owner_id) if one.collection == PAST]

    def of_session(owner_id: str, session_id: str) -> Document | None:
        return next((one for one in kept(owner_id) if one.title.endswith(f" ({session_id})")), None)

    @router.post("/sessions/{session_id}/remember", status_code=201, response_model=DocumentShown)
    async def remember(request: Request, session_id: SessionPath, caller: CurrentCaller) -> Any:
        """Keep the minutes of a session for later ones: a document in your collection `past-meetings`."""
        door = door_of(request)
        seen = await door.session(session_id, caller)
        found = await asyncio.to_thread(remembered, door, session_id)
        if not found.notes:
            raise Problem(409, "Nothing was noted in this session yet")
        name = (found.opened.title if found.opened else "") or "Meeting"
        title = f"{name[:120]}, {seen.opened.created_at:%Y-%m-%d} ({session_id})"
        text = markdown_of(found.minutes(), title)
        return shown(await run_in_threadpool(store.add, caller.owner_id, PAST, title, text))

    @router.get("/memory", response_model=DocumentList)
    def list_remembered(caller: CurrentCaller) -> Any:
        """List the sessions that are remembered."""
        return {"documents": [shown(document) for document in kept(caller.owner_id)]}

    @router.delete("/sessions/{session_id}/remember", status_code=204)
    def forget(session_id: SessionPath, caller: CurrentCaller) -> Response:
        """Forget a session again; it is never cited afterwards. Works for sessions that were deleted, too."""
        document = of_session(caller.owner_id, session_id)
        if document is None or not store.delete(caller.owner_id, document.document_id):
            raise Problem(404, "This session is not remembered")
        return Response(status_code=204)

    return router
