"""What ends a command that waits: a signal, or another thread."""

from contextlib import suppress
from queue import Empty, SimpleQueue

__all__ = ["Stopping"]


class Stopping:
    """Told once, true ever after.

    A `threading.Event` must not be set in a signal handler: the handler runs in the thread that waits, and when that
    thread holds the event's lock just then, neither goes on. `SimpleQueue.put` is made to be called there.
    """

    def __init__(self) -> None:
        """Nothing was told yet."""
        self._told: SimpleQueue[None] = SimpleQueue()
        self._over = False

    def tell(self) -> None:
        """End the waiting; for signal handlers and threads alike."""
        self._told.put(None)

    def wait(self, seconds: float = 0.0) -> bool:
        """Wait for it, at most so long; gives whether it came. For one thread only."""
        if not self._over:
            with suppress(Empty):
                self._told.get(block=seconds > 0, timeout=seconds or None)
                self._over = True
        return self._over
