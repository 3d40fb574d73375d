"""Wakes the streams of a session when the log got something for it, and tells when a session was erased."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eventlog.base import EventLog

__all__ = ["SessionWaker"]


class SessionWaker:
    """One subscription to the log for all streams of this process."""

    def __init__(self, log: EventLog, forget: Callable[[str], None]) -> None:
        """Prepare; `start` subscribes.

        `forget` is called in the event loop with each session that was erased, whichever process on the log did it.
        """
        self._log, self._forget = log, forget
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._touched: set[str] = set()
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._end: Callable[[], None] = _nothing

    def start(self) -> None:
        """Subscribe; called in the event loop that the streams run in."""
        self._loop = asyncio.get_running_loop()
        self._end = self._log.subscribe(self._notify)

    def stop(self) -> None:
        """End the subscription."""
        self._end()

    def _notify(self, keys: frozenset[str]) -> None:
        # Called by the log's writer for every commit: keys nobody waits for cost two set look-ups only.
        wanted = [key for key in keys if key in self._waiting or self._log.erased(key)]
        if not wanted or self._loop is None:
            return
        with self._lock:
            first = not self._touched
            self._touched.update(wanted)
        if first:
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                return  # the loop has ended; so have its streams

    def _wake(self) -> None:
        with self._lock:
            touched, self._touched = self._touched, set()
        for key in touched:
            if self._log.erased(key):
                self._forget(key)
            for event in self._waiting.get(key, ()):
                event.set()

    def wake_all(self) -> None:
        """Wake every stream, so that it looks around."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    @contextmanager
    def waiting(self, key: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever the session got something; clear it before looking."""
        event = asyncio.Event()
        self._waiting.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            events = self._waiting[key]
            events.discard(event)
            if not events:
                del self._waiting[key]


def _nothing() -> None:
    """Do nothing: there is no subscription yet."""
