"""The port behind which traces are kept: spans that follow one caption to its answer, across processes."""

from collections.abc import Mapping
from typing import Protocol

__all__ = ["About", "OpenSpan", "Tracer", "is_sampled", "trace_id_of"]

About = Mapping[str, str | int | float]
"""What is told of a span: ids, numbers, names of models and topics; never any text of a conversation."""


class OpenSpan(Protocol):
    """One piece of work that is being timed.

    Attributes:
        trace: The place of this span as a W3C ``traceparent``, for the header of what is made within it.
    """

    trace: str

    def end(self, end_s: float | None = None, about: About | None = None) -> None:
        """End it, now or at a time (seconds since 1970), with more to be told of it."""
        ...


class Tracer(Protocol):
    """Begins spans; every method may be called from any thread and never waits."""

    def begin(self, name: str, parent: str = "", start_s: float | None = None, about: About | None = None) -> OpenSpan:
        """Begin a span below a ``traceparent``, or a trace of its own, now or at a time (seconds since 1970)."""
        ...


def is_sampled(trace: str) -> bool:
    """Say whether the spans of a ``traceparent`` are kept.

    >>> is_sampled("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    True
    >>> is_sampled("")
    False
    """
    return len(trace) == 55 and trace[-1] in "13579bdf"


def trace_id_of(trace: str) -> str:
    """Give the id of the trace of a ``traceparent``, for a log line.

    >>> trace_id_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    return trace[3:35]
