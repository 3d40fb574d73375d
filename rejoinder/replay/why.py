"""Why an answer reads as it does: its receipt, and the exact input built again from it."""

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from api.deps import CurrentCaller, door_of
from api.errors import PROBLEMS, Problem
from api.sessions import SessionPath
from eventlog.base import EventLog
from operators.answering import AnswerContext, messages_for, search_query
from operators.memory import EMPTY_MEMORY, apply_update
from operators.ports import Message, SearchScope
from operators.prompts import PromptSet, prompt_hash
from rejoinder.knowledge.cutting import passage_of
from rejoinder.knowledge.store import KnowledgeStore
from rejoinder.replay.inputs import everything_of
from schemas.answers import Answer, Passage, Receipt
from schemas.base import derive_id
from schemas.codec import decode
from schemas.errors import SchemaError
from schemas.meeting import MeetingOpened
from schemas.questions import Question

__all__ = ["why_router"]


class PassageShown(BaseModel):
    """A passage that was offered, with its text while the document still holds it."""

    passage_id: str
    document_id: str
    title: str = ""
    state: Literal["same", "gone"]
    text: str = ""


class MessageShown(BaseModel):
    """One message of the prompt."""

    role: str
    text: str


class Why(BaseModel):
    """The receipt of an answer and what it was made from.

    Attributes:
        exact: Whether the input shown is the one that was used, proved by its hash.
        reasons: Why it is not, when it is not.
        index_now: Identity of the documents and vectors as they are now.
    """

    answer_id: str
    question: str
    mode: str
    model: str
    receipt: Receipt
    query: str
    passages: list[PassageShown]
    messages: list[MessageShown]
    exact: bool
    reasons: list[str]
    index_now: str


def why_router(store: KnowledgeStore, prompts: PromptSet) -> APIRouter:
    """Give the route that explains an answer."""
    router = APIRouter(prefix="/api", tags=["answers"], responses=PROBLEMS)

    @router.get("/sessions/{session_id}/answers/{answer_id}/why", response_model=Why)
    async def why(request: Request, session_id: SessionPath, answer_id: SessionPath, caller: CurrentCaller) -> Any:
        """Show what an answer was made from, built again from its receipt: question, memory, passages, prompt."""
        door = door_of(request)
        await door.session(session_id, caller)
        found = await asyncio.to_thread(explain, door.parts.log, (store, prompts), session_id, answer_id)
        if found is None:
            raise Problem(404, "No such answer")
        return found

    return router


def explain(log: EventLog, known: tuple[KnowledgeStore, PromptSet], session_id: str, answer_id: str) -> Why | None:
    """Build an answer's input again from the documents and the wording now; None when there is no such answer."""
    store, prompts = known
    answer, rest = None, []
    for record in everything_of(log, session_id, ["meeting", "questions", "memory", "answers"]):
        try:
            value = decode(record.topic, record.value)
        except SchemaError:
            continue
        if record.topic != "answers":
            rest.append((record.topic, record.offset, value))
        elif isinstance(value, Answer) and value.answer_id == answer_id:
            answer = value
    if answer is None:
        return None
    receipt = answer.receipt or Receipt()
    upto = {cause.topic: cause.offset for cause in receipt.causes}
    question = next(
        (value for topic, offset, value in rest if topic == "questions" and offset == upto.get("questions")), None
    )
    reasons = [] if answer.receipt else ["the answer was written before receipts were kept"]
    if not isinstance(question, Question):
        question = Question(
            session_id=session_id, event_id="-", created_at=answer.created_at, question_id="-", text="(not found)"
        )
        reasons.append("its question is not in the log any more")
    context = _context(rest, upto)
    shown, passages = _passages(store, context.scope.owner_id, receipt)
    if len(passages) < len(receipt.passages):
        reasons.append("a passage it was offered was deleted or changed since")
    messages = _messages(question, context, passages, receipt, prompts)
    if receipt.prompt_hash and receipt.prompt_version != prompts.version:
        reasons.append(f"the prompt was of version {receipt.prompt_version}, this program builds {prompts.version}")
    elif receipt.prompt_hash and prompt_hash(messages) != receipt.prompt_hash and not reasons:
        reasons.append("the prompt built again has another hash")
    return Why(
        answer_id=answer_id,
        question=question.text,
        mode=answer.mode,
        model=answer.model,
        receipt=receipt,
        query=search_query(question, context),
        passages=shown,
        messages=[MessageShown(role=message.role, text=message.text) for message in messages],
        exact=not reasons,
        reasons=reasons,
        index_now=store.version(context.scope.owner_id),
    )


def _messages(
    question: Question, context: AnswerContext, passages: list[Passage], receipt: Receipt, prompts: PromptSet
) -> list[Message]:
    return messages_for(question, context, passages, receipt.prompt_chars, prompts) if receipt.prompt_hash else []


def _context(rest: list[tuple[str, int, Any]], upto: dict[str, int]) -> AnswerContext:
    """Give what was known when the question was taken."""
    memory, opened = EMPTY_MEMORY, None
    for topic, offset, value in rest:
        if offset > upto.get(topic, -1):
            continue
        if topic == "memory":
            memory = apply_update(memory, value)
        elif isinstance(value, MeetingOpened):
            opened = value
    return AnswerContext(
        scope=SearchScope(opened.owner_id if opened else "local", opened.collections if opened else ()),
        kind=opened.kind if opened else "meeting",
        language=opened.language if opened else "en",
        said=tuple(memory.said),
        notes=tuple(memory.notes),
    )


def _passages(store: KnowledgeStore, owner_id: str, receipt: Receipt) -> tuple[list[PassageShown], list[Passage]]:
    shown, found = [], []
    for used in receipt.passages:
        document = store.get(owner_id, used.document_id)
        text = document.text[used.start : used.end] if document is not None else ""
        same = document is not None and derive_id(text)[:16] == used.text_hash
        if document is not None and same:
            found.append(passage_of(document, used.start, used.end))
        shown.append(
            PassageShown(
                passage_id=used.passage_id,
                document_id=used.document_id,
                title=document.title if document is not None and same else "",
                state="same" if same else "gone",
                text=text if same else "",
            )
        )
    return shown, found
