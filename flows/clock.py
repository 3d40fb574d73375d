"""What time it is for a flow: the wall clock while it keeps up, the time of its records while it does not."""

import time
from collections.abc import Callable, Sequence

from flows.connectors import ReadingState

__all__ = ["FlowClock"]

MARGIN_S = 0.02
"""Time within which an appended record is surely read: ten polls. A timer waits this long so that it cannot
overtake a record that was there before it, and a run repeated from the log decides as the first one did."""


class FlowClock:
    """Gives the time up to which a flow has seen everything, seconds since 1970.

    A timer that is due at 12:00:01 must not fire before a record of 12:00:00 that still lies unread,
    in this flow's topics or in those of a flow before it.
    """

    def __init__(
        self, reading: ReadingState, upstream: Sequence["FlowClock"] = (), wall: Callable[[], float] = time.time
    ) -> None:
        """Follow one source and the clocks of the flows that write its topics."""
        self._reading, self._upstream, self._wall = reading, tuple(upstream), wall

    def now_s(self) -> float:
        """Give the time; it may stand still while there is a backlog, and never runs ahead of the wall clock."""
        wall_s = self._wall()
        read_s = self._reading.read_until_s(wall_s)
        own = wall_s - MARGIN_S if read_s is None else read_s
        return min([own, *(clock.now_s() for clock in self._upstream)])
