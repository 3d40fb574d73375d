"""What a user thinks of an answer."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record

__all__ = ["MAX_COMMENT_CHARS", "Feedback", "Verdict"]

MAX_COMMENT_CHARS = 2_000

Verdict = Literal["useful", "wrong"]


class Feedback(Record):
    """The rating of one answer; of several about the same answer the newest counts.

    Attributes:
        comment: The user's own words; "" when there are none.
    """

    type: Literal["feedback"] = "feedback"
    answer_id: Identifier
    question_id: Identifier
    verdict: Verdict
    comment: Annotated[str, Field(max_length=MAX_COMMENT_CHARS)] = ""
