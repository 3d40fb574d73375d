"""Writes answers beside the dataflow; their pieces are handed over in queues."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import structlog

from flows.model_loop import ModelLoop
from operators.answering import AnswerContext, AnswerDone, Answering, AnswerText
from schemas.errors import EngineError, ModelFailed
from schemas.hops import Timings
from schemas.questions import Question

__all__ = ["AnsweringRoom", "Call"]

logger = structlog.get_logger("flows")


@dataclass(slots=True)
class Call:
    """One running answer; `pieces` is filled by the room and emptied by the flow.

    The last thing in `pieces` is an `AnswerDone`, or the error that ended the call. Times are of the monotonic clock:
    when it was asked for, when its turn came, when its first piece came, and when it ended; `handed_on` is set by the
    flow when it took that first piece.
    """

    pieces: deque[AnswerText | AnswerDone | EngineError] = field(default_factory=deque)
    started_s: float = field(default_factory=time.monotonic)
    begun_s: float = 0.0
    first_s: float | None = None
    handed_on: bool = False
    ended_s: float = 0.0
    future: "Future[None] | None" = None

    def cancel(self) -> None:
        """End the call at once; the model's connection is closed and no more tokens are paid for."""
        if self.future is not None:
            self.future.cancel()

    def ended(self, future: "Future[None]") -> None:
        """Hand on the error that ended the call, of whatever kind it is, so that no question waits for ever."""
        if future.cancelled() or (error := future.exception()) is None:
            return
        if not isinstance(error, EngineError):
            # Its text may hold what somebody said or wrote; its kind cannot.
            logger.error("answer_broke", kind=type(error).__name__)
            error = ModelFailed(f"answering failed inside: {type(error).__name__}")
        self.pieces.append(error)


class AnsweringRoom:
    """A thread with an event loop in which answers are written, many at a time."""

    def __init__(self, answering: Answering, at_once: int = 64) -> None:
        """Answer with `answering`, at most `at_once` questions together; further ones wait their turn."""
        self._answering, self._at_once = answering, at_once
        self._loop = ModelLoop("answering")
        self._places: asyncio.Semaphore | None = None
        self.waiting, self.running = 0, 0  # calls; changed in the room's own thread alone

    @property
    def embedding(self) -> Timings | None:
        """Where the time of text vectors is counted, if anywhere."""
        return self._answering.embedding

    def start(self, question: Question, context: AnswerContext) -> Call:
        """Begin to answer; returns at once."""
        call = Call()
        call.future = self._loop.start(self._answer(call, question, context))
        call.future.add_done_callback(call.ended)
        return call

    async def _answer(self, call: Call, question: Question, context: AnswerContext) -> None:
        if self._places is None:
            self._places = asyncio.Semaphore(self._at_once)
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            await self._stream(call, question, context)
        finally:
            self.running -= 1
            self._places.release()

    async def _stream(self, call: Call, question: Question, context: AnswerContext) -> None:
        call.begun_s = time.monotonic()
        stream: AsyncIterator[Any] = self._answering.answer(question, context)
        async with aclosing(stream) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                call.ended_s = time.monotonic()
                if call.first_s is None:
                    call.first_s = call.ended_s
                call.pieces.append(piece)

    def close(self, timeout_s: float = 2.0) -> None:
        """Cancel what runs, close the model's connections and end the thread."""
        if not self._loop.close(self._answering.aclose, timeout_s):
            logger.warning("answers_did_not_end_in_time")
