"""Keeps the processes of a cluster running: when one ends, all are ended and started again together.

A Bytewax cluster cannot go on without one of its members, nor take one in while it runs; what was done since the last
snapshot is done again, and ids keep the topics free of repeats.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import structlog

from rejoinder.stopping import Stopping

__all__ = ["Supervisor", "free_addresses"]

logger = structlog.get_logger("supervisor")

LOOK_S = 0.05
GRACE_S = 10.0
DELAYS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STEADY_S = 30.0
"""A cluster that ran this long has recovered; the next restart is quick again."""


def free_addresses(count: int) -> list[str]:
    """Give loopback addresses whose ports are free now."""
    opened = [socket.socket() for _ in range(count)]
    for one in opened:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in opened]
    for one in opened:
        one.close()
    return addresses


class Supervisor:
    """Starts `members` processes and restarts all of them when one ends."""

    def __init__(self, command: Callable[[int, Sequence[str]], Sequence[str]], members: int) -> None:
        """Run ``command(member, addresses)`` for each member."""
        self._command, self._members = command, members
        self._children: list[subprocess.Popen[bytes]] = []
        self._stopping = Stopping()
        self.restarts = 0

    def pids(self) -> list[int]:
        """Give the process ids of the running members."""
        return [child.pid for child in self._children if child.poll() is None]

    def run(self) -> None:
        """Run until `stop`; blocks."""
        quick = 0
        while not self._stopping.wait():
            began = time.monotonic()
            addresses = free_addresses(self._members) if self._members > 1 else []
            self._children = [
                subprocess.Popen(list(self._command(member, addresses)))  # noqa: S603 - our own command
                for member in range(self._members)
            ]
            ended = self._watch()
            self._end_all(signal.SIGTERM if self._stopping.wait() else signal.SIGKILL)
            if self._stopping.wait():
                return
            self.restarts += 1
            quick = 0 if time.monotonic() - began > STEADY_S else quick + 1
            delay_s = DELAYS_S[min(quick, len(DELAYS_S) - 1)]
            logger.warning("cluster_restarts", member=ended, restarts=self.restarts, delay_s=delay_s)
            self._stopping.wait(delay_s)

    def _watch(self) -> int | None:
        """Wait until a member ends or all shall; gives which one."""
        while not self._stopping.wait(LOOK_S):
            for member, child in enumerate(self._children):
                if child.poll() is not None:
                    return member
        return None

    def _end_all(self, number: signal.Signals) -> None:
        # After a fault the others cannot end in order either: their flow waits for the one that is gone.
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)
        end = time.monotonic() + GRACE_S
        for child in self._children:
            try:
                child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def stop(self) -> None:
        """End the members in order, with a last snapshot; for signal handlers and threads alike."""
        self._stopping.tell()


def own_command(*arguments: str) -> list[str]:
    """Give the command line that runs this program with other arguments."""
    return [sys.executable, "-m", "rejoinder", *arguments]
