"""How far the flows have come: what they report, tell each other, and the door shows."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record

__all__ = ["PROGRESS_KEY", "FlowBeat", "FlowMarks", "FlowProgress", "ProgressRecord"]

PROGRESS_KEY = "flows"
"""The key of every record of the topic ``progress``: it belongs to no session."""


@dataclass(frozen=True, slots=True)
class FlowProgress:
    """How far one flow has come.

    Everything below offset `position` was read, `end` is where the topics it reads end; with a log whose offsets
    are shared by all topics `behind_records` is an upper bound.
    """

    name: str
    topic: str
    position: int
    end: int
    behind_records: int
    behind_s: float
    alive: bool
    detail: str = ""


class FlowMarks(Record):
    """A worker of a flow has written everything that follows from what was made before these times.

    Attributes:
        marks: Shard -> seconds since 1970.
        below: Partition of the topic the flow writes -> the offset below which that output lies.
    """

    type: Literal["flow_marks"] = "flow_marks"
    flow: Identifier
    marks: dict[int, float]
    below: dict[int, int] = Field(default_factory=dict)


class FlowBeat(Record):
    """A member of a flow's cluster lives and has come this far; written once a second.

    Attributes:
        member: Its number, from 0.
        members: How many there are.
        positions: Next offset to read, by topic and partition ("captions/0").
        ends: Offset after the last record of each, as far as known.
        behind_s: Age of the oldest record it has not read.
        model: What writes answers, for the flow that has them written.
    """

    type: Literal["flow_beat"] = "flow_beat"
    flow: Identifier
    member: Annotated[int, Field(ge=0)]
    members: Annotated[int, Field(ge=1)]
    positions: dict[str, int]
    ends: dict[str, int]
    behind_s: float = 0.0
    model: str = ""


ProgressRecord = Annotated[FlowMarks | FlowBeat, Field(discriminator="type")]
