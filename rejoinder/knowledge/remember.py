"""Memory across sessions: the user keeps a session's minutes as a document of theirs, and may delete it again."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.consent_gate import check_consent
from api.deps import CurrentCaller, door_of
from api.errors import PROBLEMS, Problem
from api.minutes import markdown_of, remembered
from api.sessions import SessionPath
from rejoinder.knowledge.cutting import Document
from rejoinder.knowledge.routes import DocumentList, DocumentShown, shown
from rejoinder.knowledge.store import KnowledgeStore

__all__ = ["PAST", "remember_router", "remembered_of"]

PAST = "past-meetings"


def _kept(store: KnowledgeStore, owner_id: str) -> list[Document]:
    return [one for one in store.documents(owner_id) if one.collection == PAST]


def remembered_of(store: KnowledgeStore, owner_id: str, session_id: str) -> Document | None:
    """Give the document that a session is remembered by, None when it is not."""
    return next((one for one in _kept(store, owner_id) if one.title.endswith(f" ({session_id})")), None)


def remember_router(store: KnowledgeStore) -> APIRouter:
    """Give the routes with which sessions are remembered beyond their end; nothing is unless they are called."""
    router = APIRouter(prefix="/api", tags=["memory"], responses=PROBLEMS)

    @router.post("/sessions/{session_id}/remember", status_code=201, response_model=DocumentShown)
    async def remember(request: Request, session_id: SessionPath, caller: CurrentCaller) -> Any:
        """Keep the minutes of a session for later ones: a document in your collection `past-meetings`."""
        door = door_of(request)
        seen = await door.session(session_id, caller)
        everybody = seen.ledger.everybody(seen.participants)
        check_consent(seen, everybody, ("remembering",), door.parts.consent)
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
        return {"documents": [shown(document) for document in _kept(store, caller.owner_id)]}

    @router.delete("/sessions/{session_id}/remember", status_code=204)
    def forget(session_id: SessionPath, caller: CurrentCaller) -> Response:
        """Forget a session again; it is never cited afterwards. Works for sessions that were deleted, too."""
        document = remembered_of(store, caller.owner_id, session_id)
        if document is None or not store.delete(caller.owner_id, document.document_id):
            raise Problem(404, "This session is not remembered")
        return Response(status_code=204)

    return router
