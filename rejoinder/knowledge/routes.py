"""Resume and knowledge base over HTTP."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from api.deps import CurrentCaller
from api.errors import PROBLEMS, Problem
from rejoinder.knowledge.cutting import Document
from rejoinder.knowledge.parsing import DocumentRefused, parse_upload
from rejoinder.knowledge.resume import Resume, json_resume_text, parse_resume
from rejoinder.knowledge.store import KnowledgeStore

__all__ = ["DocumentList", "DocumentShown", "knowledge_router", "resume_router", "shown"]

RESUME_COLLECTION = "resume"
MOST_NAME = 200
Profile = Annotated[
    str, Query(pattern=r"^[a-z0-9-]{0,40}$", description="Which of several resumes; empty = the only one.")
]


class DocumentShown(BaseModel):
    """A document in a list."""

    document_id: str
    collection: str
    title: str
    source: Literal["resume", "knowledge"]
    characters: int
    added_at: str


class DocumentWhole(DocumentShown):
    """A document with its text; a citation's `start` and `end` count its characters."""

    text: str


class DocumentList(BaseModel):
    """Documents, newest first."""

    documents: list[DocumentShown]


class ResumeShown(Resume):
    """The resume as it was understood."""

    document_id: str
    added_at: str


class _NewDocument(BaseModel):
    collection: str = "general"
    title: str = ""
    text: str


def shown(document: Document) -> dict[str, Any]:
    """Give a document as routes show it."""
    return {
        "document_id": document.document_id,
        "collection": document.collection,
        "title": document.title,
        "source": document.source,
        "characters": len(document.text),
        "added_at": document.added_at,
        "text": document.text,
    }


_TEXT = {"type": "string"}
_FILE_FORM = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}


def _body_docs(schema: dict[str, Any], form: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def knowledge_router(store: KnowledgeStore) -> APIRouter:
    """Give the routes of the knowledge base."""
    router = APIRouter(prefix="/api", tags=["knowledge"], responses=PROBLEMS)
    schema = {
        "type": "object",
        "properties": {"collection": _TEXT, "title": _TEXT, "text": _TEXT},
        "required": ["text"],
    }
    form = {**_FILE_FORM, "properties": {**_FILE_FORM["properties"], "collection": _TEXT, "title": _TEXT}}  # type: ignore[dict-item]
    example = {"collection": "halden-freight", "title": "On-call policy", "text": "The rotation lasts one week."}

    @router.post(
        "/knowledge", status_code=201, response_model=DocumentShown, openapi_extra=_body_docs(schema, form, example)
    )
    async def add_document(request: Request, caller: CurrentCaller) -> Any:
        """Add a document as JSON or as a file; one with the same collection and title is replaced."""
        new, title = await _new_document(request)
        _named(new.collection, "collection")
        _named(title, "title")
        return shown(await _stored(store.add, caller.owner_id, new.collection, title, new.text))

    @router.get("/knowledge", response_model=DocumentList)
    def list_documents(
        caller: CurrentCaller, collection: Annotated[str | None, Query(max_length=MOST_NAME)] = None
    ) -> Any:
        """List your documents, the resume included."""
        found = [one for one in store.documents(caller.owner_id) if collection in (None, one.collection)]
        return {"documents": [shown(document) for document in found]}

    @router.get("/knowledge/{document_id}", response_model=DocumentWhole)
    def show_document(document_id: str, caller: CurrentCaller) -> Any:
        """Show one document with its text."""
        document = store.get(caller.owner_id, document_id)
        if document is None:
            raise Problem(404, "No such document")
        return shown(document)

    @router.delete("/knowledge/{document_id}", status_code=204)
    def delete_document(document_id: str, caller: CurrentCaller) -> Response:
        """Delete a document; it is never cited again."""
        if not store.delete(caller.owner_id, document_id):
            raise Problem(404, "No such document")
        return Response(status_code=204)

    return router


def resume_router(store: KnowledgeStore) -> APIRouter:
    """Give the routes of the resume."""
    router = APIRouter(prefix="/api", tags=["resume"], responses=PROBLEMS)
    schema = {"type": "object", "description": "{text}, or a JSON Resume", "properties": {"text": _TEXT}}
    example = {"text": "Ravi Menon\n\nExperience\nBackend engineer, Halden 2021 - 2024\n..."}

    def current(owner_id: str, profile: str) -> Document | None:
        wanted = _collection_of(profile)
        return next(
            (one for one in store.documents(owner_id) if one.source == "resume" and one.collection == wanted), None
        )

    @router.post(
        "/resume", status_code=201, response_model=ResumeShown, openapi_extra=_body_docs(schema, _FILE_FORM, example)
    )
    async def put_resume(request: Request, caller: CurrentCaller, profile: Profile = "") -> Any:
        """Store your resume, as text, JSON Resume or a file; it replaces the one before of the same profile.

        A session that names `resume-PROFILE` among its collections uses this one only.
        """
        text = await _resume_text(request)
        title = f"Resume ({profile})" if profile else "Resume"
        document = await _stored(store.add, caller.owner_id, _collection_of(profile), title, text, "resume")
        return _resume_shown(document)

    @router.get("/resume", response_model=ResumeShown)
    def get_resume(caller: CurrentCaller, profile: Profile = "") -> Any:
        """Show your resume as it was understood."""
        document = current(caller.owner_id, profile)
        if document is None:
            raise Problem(404, "No resume yet")
        return _resume_shown(document)

    @router.delete("/resume", status_code=204)
    def delete_resume(caller: CurrentCaller, profile: Profile = "") -> Response:
        """Delete your resume."""
        document = current(caller.owner_id, profile)
        if document is None or not store.delete(caller.owner_id, document.document_id):
            raise Problem(404, "No resume yet")
        return Response(status_code=204)

    return router


def _collection_of(profile: str) -> str:
    return f"{RESUME_COLLECTION}-{profile}" if profile else RESUME_COLLECTION


def _resume_shown(document: Document) -> ResumeShown:
    resume = parse_resume(document.text)
    return ResumeShown(**resume.model_dump(), document_id=document.document_id, added_at=document.added_at)


async def _stored(add: Callable[..., Document], *arguments: Any) -> Document:
    try:
        return await run_in_threadpool(add, *arguments)
    except ValueError as error:
        raise Problem(422, "The document cannot be used", str(error)) from None


async def _new_document(request: Request) -> tuple[_NewDocument, str]:
    if _is_form(request):
        name, text, fields = await _uploaded(request)
        return _NewDocument(collection=fields.get("collection") or "general", text=text), fields.get("title") or name
    try:
        new = _NewDocument.model_validate(await _json(request))
    except ValidationError as error:
        wrong = [{"loc": [str(place) for place in one["loc"]], "msg": one["msg"]} for one in error.errors()]
        raise Problem(422, "The request is not valid", errors=wrong) from None
    words = new.text.strip().splitlines() or [""]
    return new, new.title or words[0].lstrip("# ")[:80]


async def _resume_text(request: Request) -> str:
    if _is_form(request):
        _, text, fields = await _uploaded(request)
        return (json_resume_text(text) or text) if fields.get("kind") == "json" else text
    body = await _json(request)
    if isinstance(body, dict) and isinstance(body.get("text"), str):
        text = str(body["text"])
    else:
        text = json_resume_text(json.dumps(body)) or ""
    if not text.strip():
        raise Problem(422, "The request is not valid", "send {text}, a JSON Resume, or a file")
    return _clean(text)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("multipart/form-data")


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not valid JSON") from None


async def _uploaded(request: Request) -> tuple[str, str, dict[str, str]]:
    """Give name, text and the other fields of an uploaded file."""
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Problem(422, "The request is not valid", "the form has no file in the field 'file'")
        name, content = file.filename or "document.txt", await file.read()
        fields = {key: value for key, value in form.items() if isinstance(value, str)}
    try:
        text, kind = await run_in_threadpool(parse_upload, name, content)
    except DocumentRefused as refused:
        raise Problem(422, "The document cannot be used", str(refused)) from None
    return Path(name).stem[:MOST_NAME], text, {**fields, "kind": kind}


def _clean(text: str) -> str:
    return "".join(char for char in text if char in "\n\t" or (char.isprintable() and not "\ud800" <= char <= "\udfff"))


def _named(value: str, field: str) -> None:
    if not value.strip() or len(value) > MOST_NAME or not value.isprintable():
        raise Problem(422, "The request is not valid", f"{field}: 1 to {MOST_NAME} characters, no control characters")
