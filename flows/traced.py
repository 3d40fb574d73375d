"""A record on its way from a flow's step to the log, with the trace it belongs to."""

from typing import Any, NamedTuple

__all__ = ["Traced", "parted"]


class Traced(NamedTuple):
    """A record and its ``traceparent``; made only where traces are kept."""

    record: Any
    trace: str


def parted(item: Any) -> tuple[Any, str]:
    """Give the record of an item and its trace, "" when it has none."""
    return (item.record, item.trace) if isinstance(item, Traced) else (item, "")
