"""Runs calls of models beside a dataflow: an event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["ModelLoop"]

Made = TypeVar("Made")


class ModelLoop:
    """A thread with an event loop; what runs in it may wait, the flow does not."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def start(self, call: Coroutine[Any, Any, Made]) -> "Future[Made]":
        """Begin a call; returns at once."""
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def close(self, last: Callable[[], Awaitable[None]], timeout_s: float) -> bool:
        """Cancel what runs, wait for `last` in the loop and end the thread; gives whether that was done in time."""
        if not self._thread.is_alive():
            return True
        in_time = True
        try:
            self.start(_end(last)).result(timeout_s)
        except TimeoutError:
            in_time = False
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._loop.close()
        return in_time


async def _end(last: Callable[[], Awaitable[None]]) -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await last()
