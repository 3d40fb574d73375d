"""Stops asking a server that keeps failing, and tries again after a while."""

import time
from collections.abc import Callable

__all__ = ["CircuitBreaker"]


class CircuitBreaker:
    """Opens after `failures` in a row; after `cool_s` one probe is let through, and its outcome decides."""

    def __init__(self, failures: int = 5, cool_s: float = 15.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Start closed."""
        self._most, self._cool_s, self._clock = failures, cool_s, clock
        self._failed = 0
        self._opened_s: float | None = None
        self._probing = False

    def allows(self) -> bool:
        """Say whether a call may be made now; when it is a probe, the next ones wait for its outcome."""
        if self._opened_s is None:
            return True
        if self._probing or self._clock() - self._opened_s < self._cool_s:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Note that a call went well."""
        self._failed, self._opened_s, self._probing = 0, None, False

    def failed(self) -> None:
        """Note that a call failed for a reason that lies with the server."""
        self._failed += 1
        if self._probing or self._failed >= self._most:
            self._opened_s, self._probing = self._clock(), False

    def abandoned(self) -> None:
        """Note that a call ended without an outcome (the caller cancelled it)."""
        self._probing = False
