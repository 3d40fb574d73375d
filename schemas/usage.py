"""What was used: metered seconds and tokens, step by step."""

from typing import Literal

from schemas.base import Identifier, Record

__all__ = ["Usage"]


class Usage(Record):
    """Metered amount of one step."""

    type: Literal["usage"] = "usage"
    what: Literal["audio_seconds", "caption_count", "prompt_tokens", "answer_tokens", "answer_count"]
    amount: float
    model: str = ""
    cause_id: Identifier
