"""When a flow's thread wakes: at once when something came, and no more often than it must when nothing does."""

import heapq
import threading
import time
from datetime import datetime
from pathlib import Path
from weakref import WeakKeyDictionary

from eventlog.base import LogReader

__all__ = ["LateWakes", "Rest"]

DEFAULT_S = 50e-6
"""Linux's own timer slack."""
SHARE = 0.5
LEAST_PAUSE_S = 4e-3
"""Who looks more often than this wants to be quick."""
MOST_S = 20e-3


class _Thread(threading.local):
    """What holds for one thread: the pauses of all that look in it, and the slack that is set."""

    def __init__(self) -> None:
        self.pauses: WeakKeyDictionary[LateWakes, float] = WeakKeyDictionary()
        self.slack_s = DEFAULT_S


_thread = _Thread()


class LateWakes:
    """Sets the timer slack of the calling thread (`prctl(2)`); does nothing where there is no such thing.

    Where a worker cannot rest (`Rest`), Bytewax wakes its thread every millisecond, whatever there is to do.

    A thread that sleeps a millisecond at a time took 0.047 of a core on a small virtual machine, with 2.5 ms of slack
    0.016, with 4 ms 0.009. A pause between two looks may then last half as long again.
    """

    __slots__ = ("__weakref__", "_pause_s")

    def __init__(self) -> None:
        """Begin as one who wants to be quick."""
        self._pause_s = 0.0

    def allow(self, pause_s: float) -> None:
        """Say that one looks again after `pause_s` seconds; of several in one thread the quickest decides."""
        if pause_s == self._pause_s:
            return
        self._pause_s = _thread.pauses[self] = pause_s
        least_s = min(_thread.pauses.values())
        slack_s = min(SHARE * least_s, MOST_S) if least_s >= LEAST_PAUSE_S else DEFAULT_S
        if slack_s != _thread.slack_s:
            _thread.slack_s = slack_s
            _set_slack(slack_s)


def _set_slack(slack_s: float) -> None:
    own = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")
    try:
        own.write_text(str(round(slack_s * 1e9)), encoding="ascii")
    except OSError:
        return  # not Linux, or a sandbox: the thread is woken as often as it asks


ROUNDS = 2
"""What is on its way through the steps of a flow is through after so many, and must not wait for a rest to end."""


class Rest:
    """Where the only worker of a process waits while there is nothing to do, and is woken when something came.

    Bytewax looks at a source again after a pause, whatever comes meanwhile: with three flows behind each other, half of
    what a question took was such pauses. So the partitions of a lone worker's source are always due, and the last of
    them to find nothing waits here. Of several workers none may wait: they would not hear each other.
    """

    def __init__(self, places: int) -> None:
        """Rest when all of so many partitions were looked at in vain, a few rounds long."""
        self._places = places
        self._looks = self._vain = 0
        self._pause_s = float("inf")
        self._due: list[float] = []
        self.reader: LogReader | None = None
        """Any of the readers beside each other with which the worker reads."""
        self.rests = 0
        """Counts what is to be followed by a look at everything: the end of a rest, and something that came."""

    def stir(self) -> None:
        """Say that something is on its way through the steps of a flow."""
        self._vain = 0

    def by(self, at: datetime | None) -> None:
        """Say when a step wants to be called at the latest."""
        if at is not None:
            heapq.heappush(self._due, at.timestamp())

    def looked(self, found: bool, pause_s: float) -> None:
        """Say that a partition was looked at, and in how many seconds it is to be again; may rest before it returns."""
        self._looks += 1
        self._vain = 0 if found else self._vain + 1
        self._pause_s = min(self._pause_s, pause_s)
        if self._looks % self._places or self.reader is None:
            return
        wait_s, now_s = 0.0, time.time()
        if self._vain >= ROUNDS * self._places:
            wait_s = max(0.0, min(self._pause_s, self._due[0] - now_s if self._due else self._pause_s))
        if self.reader.wait(wait_s) or wait_s > 0:
            self.rests += 1
        self._pause_s = float("inf")
        while self._due and self._due[0] <= now_s + wait_s:
            # It is called in one of the next rounds.
            heapq.heappop(self._due)
            self._vain = 0
