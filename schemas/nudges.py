"""What the user is told about their own talk while it goes on."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record, Seconds

__all__ = ["Nudge", "NudgeKind"]

NudgeKind = Literal["long", "fillers", "fast", "slow", "no_result", "short", "talk_ratio"]


class Nudge(Record):
    """One hint to the user about the answer they give or just gave.

    Attributes:
        kind: What stood out.
        text: The hint, in a few words.
        measured: The figure behind it: seconds for "long" and "short", fillers in 100 words, words a minute for "fast"
            and "slow", the user's share of the talk (0-1) for "talk_ratio"; None for "no_result".
        utterance_ids: The utterances of the answer it is about.
        at_s: Where in the session the words end that it rests on.
    """

    type: Literal["nudge"] = "nudge"
    kind: NudgeKind
    text: Annotated[str, Field(min_length=1, max_length=200)]
    measured: float | None = None
    utterance_ids: tuple[Identifier, ...]
    at_s: Seconds
