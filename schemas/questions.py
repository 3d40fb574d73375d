"""What the other side asked."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record, Seconds

__all__ = ["Question", "QuestionRecord", "QuestionWithdrawn"]


class Question(Record):
    """The span of utterances judged to ask for something.

    A later revision with the same ``question_id`` supersedes the earlier one: its answer stops at once.

    Attributes:
        text: The question itself, as asked.
        preceding: Up to three lines said just before ("Name: words"), oldest first, to resolve a follow-up.
        confidence: How sure the operator is, 0-1; 1 for a question put by a client.
        origin: "heard" in the talk, or "asked" directly by a client.
    """

    type: Literal["question"] = "question"
    question_id: Identifier
    revision: Annotated[int, Field(ge=0)] = 0
    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    kind: Literal["wh", "yes_no", "choice", "request", "other"] = "other"
    origin: Literal["heard", "asked"] = "heard"
    speaker_id: Identifier | None = None
    speaker_name: str = ""
    start_s: Seconds = 0.0
    end_s: Seconds = 0.0
    utterance_ids: tuple[Identifier, ...] = ()
    caption_ids: tuple[Identifier, ...] = ()
    preceding: tuple[str, ...] = ()
    confidence: Annotated[float, Field(ge=0, le=1)] = 1.0


class QuestionWithdrawn(Record):
    """The question needs no answer any more (cancelled by a client, or taken back).

    Attributes:
        revision: The last revision that is withdrawn: a later one asks after all; None = whatever comes.
    """

    type: Literal["question_withdrawn"] = "question_withdrawn"
    question_id: Identifier
    revision: Annotated[int, Field(ge=0)] | None = None
    reason: Annotated[str, Field(max_length=200)] = "cancelled"


QuestionRecord = Annotated[Question | QuestionWithdrawn, Field(discriminator="type")]
