"""What the engine answers."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record, Strict, derive_id
from schemas.questions import Question

__all__ = ["Answer", "AnswerDelta", "AnswerFailed", "AnswerRecord", "Citation", "Passage", "answer_id_of"]


class Passage(Strict):
    """A piece of source text that can be retrieved.

    Attributes:
        passage_id: Stable id of the piece.
        document_id: The document it was cut from.
        title: The document's title, to show.
        source: "resume", "knowledge" or "meeting".
        start: First character of the piece in the document's text.
        end: One past its last character.
        score: Higher is closer; only the order means something.
    """

    passage_id: Identifier
    document_id: Identifier
    collection: str = ""
    title: str
    source: Literal["resume", "knowledge", "meeting"]
    text: str
    start: Annotated[int, Field(ge=0)] = 0
    end: Annotated[int, Field(ge=0)] = 0
    score: float = 0.0


class Citation(Strict):
    """The pointer from an answer to the passage that supports it; `marker` is its number in the text, "[1]" = 1."""

    marker: Annotated[int, Field(ge=1)]
    passage_id: Identifier
    document_id: Identifier
    title: str
    source: Literal["resume", "knowledge", "meeting"]
    quote: str
    start: Annotated[int, Field(ge=0)] = 0
    end: Annotated[int, Field(ge=0)] = 0


class AnswerBase(Record):
    """What all records of one answer share; `attempt` grows when a restart begins the text anew."""

    answer_id: Identifier
    question_id: Identifier
    question_revision: Annotated[int, Field(ge=0)] = 0
    attempt: Annotated[int, Field(ge=0)] = 0


class AnswerDelta(AnswerBase):
    """The next piece of text of an answer, numbered from 0 within its attempt.

    A delta with a higher `attempt` than seen so far begins the text again from nothing.
    """

    type: Literal["answer_delta"] = "answer_delta"
    index: Annotated[int, Field(ge=0)]
    text: str


class Answer(AnswerBase):
    """Closes the deltas of an answer: full text, citations, times and tokens.

    Attributes:
        mode: "model" when a language model wrote it, "extractive" when it is quoted from the documents.
        first_delta_ms: From the moment the answering step took the question to the first piece; None when unknown.
    """

    type: Literal["answer"] = "answer"
    text: str
    citations: tuple[Citation, ...] = ()
    mode: Literal["model", "extractive"]
    model: str = ""
    finish: Literal["complete", "length"] = "complete"
    first_delta_ms: float | None = None
    total_ms: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


class AnswerFailed(AnswerBase):
    """Says why no (full) answer came."""

    type: Literal["answer_failed"] = "answer_failed"
    reason: Literal["timeout", "unavailable", "rejected", "broken", "superseded", "cancelled", "session_closed"]
    detail: str = ""


AnswerRecord = Annotated[AnswerDelta | Answer | AnswerFailed, Field(discriminator="type")]


def answer_id_of(question: Question) -> str:
    """Give the id of the one answer that this revision of the question gets."""
    return derive_id(question.question_id, question.revision, "answer")
