"""What the engine answers."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record, Strict, derive_id
from schemas.questions import Question

__all__ = [
    "Answer",
    "AnswerDelta",
    "AnswerFailed",
    "AnswerRecord",
    "Cause",
    "Citation",
    "Grounded",
    "Passage",
    "PassageUsed",
    "Receipt",
    "answer_id_of",
]


Grounded = Literal["fully", "partly", "none"]
"""How far an answer is from the user's documents; "none": it says that they do not hold it, or nothing supports it."""


class Passage(Strict):
    """A piece of source text that can be retrieved.

    Attributes:
        passage_id: Stable id of the piece.
        document_id: The document it was cut from.
        title: The document's title, to show.
        heading: The headings above the piece within the document, outermost first, joined by " > ".
        dated: The day the document says it is of, else the day it was added, YYYY-MM-DD; "" when unknown.
        source: "resume", "knowledge" or "meeting".
        start: First character of the piece in the document's text.
        end: One past its last character.
        score: Higher is closer; only the order means something.
    """

    passage_id: Identifier
    document_id: Identifier
    collection: str = ""
    title: str
    heading: str = ""
    dated: str = ""
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


class Cause(Strict):
    """A record that an answer was made from: the question, or the last one of a topic that had been taken in."""

    topic: Identifier
    offset: Annotated[int, Field(ge=0)]


class PassageUsed(Strict):
    """A passage that was offered to the model, without its text: where it lies and what its text hashes to."""

    passage_id: Identifier
    document_id: Identifier
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    text_hash: str


class Receipt(Strict):
    """What an answer was made from, enough to build its exact input again.

    Attributes:
        causes: The question's record first, then the last record taken in of each other topic.
        passages: The passages offered, best first.
        index_version: Identity of the documents and vectors that were searched.
        prompt_version: Which wording of the prompt; "" when no model wrote.
        prompt_hash: Identity of the messages sent; "" when no model wrote.
        prompt_chars: The prompt's length limit, characters.
        model_hash: Identity of the model with its settings; "" when no model wrote.
    """

    causes: tuple[Cause, ...] = ()
    passages: tuple[PassageUsed, ...] = ()
    index_version: str = ""
    prompt_version: str = ""
    prompt_hash: str = ""
    prompt_chars: int = 0
    model_hash: str = ""


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
        receipt: What it was made from.
        grounded: How far the documents support it; None in answers of earlier versions.
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
    receipt: Receipt | None = None
    grounded: Grounded | None = None


class AnswerFailed(AnswerBase):
    """Says why no (full) answer came."""

    type: Literal["answer_failed"] = "answer_failed"
    reason: Literal["timeout", "unavailable", "rejected", "broken", "superseded", "cancelled", "session_closed"]
    detail: str = ""


AnswerRecord = Annotated[AnswerDelta | Answer | AnswerFailed, Field(discriminator="type")]


def answer_id_of(question: Question) -> str:
    """Give the id of the one answer that this revision of the question gets."""
    return derive_id(question.question_id, question.revision, "answer")
