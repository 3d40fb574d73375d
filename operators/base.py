"""The shape of every step: a pure state machine that is told the time."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from schemas.base import Record

__all__ = ["Operator"]

State = TypeVar("State")
In_contra = TypeVar("In_contra", bound=Record, contravariant=True)
Out_co = TypeVar("Out_co", bound=Record, covariant=True)


class Operator(Protocol[State, In_contra, Out_co]):
    """A step of the pipeline for one session.

    State is frozen: `step` and `tick` give a new one and never change the one they got, because snapshots
    of it are taken while the flow goes on. The same calls give the same results, always: `now_s` (wall
    clock, seconds since 1970) is the only time there is, and ids are derived from the input.
    """

    def initial(self) -> State:
        """Give the state of a session of which nothing is known."""
        ...

    def step(self, state: State, record: In_contra, now_s: float) -> tuple[State, Sequence[Out_co]]:
        """Take one record in; give the new state and what follows from it."""
        ...

    def due_s(self, state: State) -> float | None:
        """Say when `tick` should be called next (wall clock), or None when nothing is pending."""
        ...

    def tick(self, state: State, now_s: float) -> tuple[State, Sequence[Out_co]]:
        """Do what has become due at `now_s`; harmless when called early."""
        ...

    def finished(self, state: State) -> bool:
        """Say whether the session is over, so that its state may be forgotten."""
        ...
