"""Threads that work in native code are waited for before the interpreter ends.

A daemon thread that comes back from a model's C++ code into an interpreter that is being taken down is ended inside
that code, which ends the whole process: "terminate called without an active exception".
"""

import atexit
import weakref
from typing import Protocol

__all__ = ["NativeThreads", "end_before_exit"]

LONGEST_S = 30.0
"""A decode takes seconds; a model that is being downloaded is not waited for to its end."""


class NativeThreads(Protocol):
    """What has threads that may be inside a model."""

    def close(self, timeout_s: float = ...) -> None:
        """Take no more work, and wait so long for what runs; harmless when called again."""
        ...


_open: "weakref.WeakSet[NativeThreads]" = weakref.WeakSet()


def end_before_exit(threads: NativeThreads) -> None:
    """Have threads closed, and waited for, at the end of the process, also where an error kept others from doing so."""
    _open.add(threads)


@atexit.register
def _end() -> None:
    for threads in list(_open):
        threads.close(LONGEST_S)
