"""How far the flows have come: what they report and the door shows."""

from dataclasses import dataclass

__all__ = ["FlowProgress"]


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
