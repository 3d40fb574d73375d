"""Questions the scorer was not sure of are confirmed by a language model, beside the flow that found them."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from bytewax.operators import StatefulBatchLogic

from flows.arrivals import Arrived
from flows.logic import OperatorLogic
from flows.marks import Mark
from flows.model_loop import ModelLoop
from flows.piece_file import Place
from operators.confirming import NOT_CONFIRMED, Confirming, confirming_prompt, verdict_of
from operators.ports import LanguageModel
from schemas.base import Record, derive_id
from schemas.errors import ModelError
from schemas.questions import Question, QuestionWithdrawn

__all__ = ["ConfirmedLogic", "ConfirmingRoom"]

logger = structlog.get_logger("flows")

DRAIN_S = 0.03
FIRST_WORDS = 24
"""Characters after which what the model says is clear or will not become so."""


class ConfirmingRoom:
    """A thread with an event loop in which a language model is asked about questions."""

    def __init__(self, model: LanguageModel, options: Confirming) -> None:
        """Ask `model`, which must be used by nobody else: it belongs to this room's loop."""
        self.options, self._model = options, model
        self.running = 0  # changed in the room's own thread alone
        self._loop = ModelLoop("confirming")
        self._places: asyncio.Semaphore | None = None

    def ask(self, question: Question) -> "Future[bool | None]":
        """Ask about a question; returns at once. The future gives the verdict, None when there is none in time."""
        return self._loop.start(self._verdict(question))

    async def _verdict(self, question: Question) -> bool | None:
        if self._places is None:
            self._places = asyncio.Semaphore(self.options.at_once)
        self.running += 1
        try:
            async with asyncio.timeout(self.options.deadline_s), self._places:
                return verdict_of(await self._said(question))
        except (TimeoutError, ModelError) as error:
            logger.info("question_not_judged", session_id=question.session_id, why=type(error).__name__)
            return None
        finally:
            self.running -= 1

    async def _said(self, question: Question) -> str:
        text = ""
        pieces: Any = self._model.generate(confirming_prompt(question))
        async with aclosing(pieces):
            async for piece in pieces:
                text += piece.text
                if verdict_of(text) is not None or len(text) > FIRST_WORDS:
                    break
        return text

    def close(self, timeout_s: float = 2.0) -> None:
        """Cancel what runs, close the model's connections and end the thread."""
        if not self._loop.close(self._end, timeout_s):
            logger.warning("confirming_did_not_end_in_time")

    async def _end(self) -> None:
        close = getattr(self._model, "aclose", None)
        if close is not None:
            await close()


class ConfirmedLogic(StatefulBatchLogic[Arrived | Mark, Record | Mark, Place]):
    """One shard of the questions flow, around the operator's own.

    A question goes out as soon as the operator fires it. When the model says in time that it asks nothing, the operator
    is told to withdraw it, as if its speaker had taken it back. Verdicts that are awaited are in no snapshot: after a
    fault their questions stay.
    """

    def __init__(self, inner: OperatorLogic, room: ConfirmingRoom) -> None:
        """Confirm with `room` what `inner` fires."""
        self._inner, self._room = inner, room
        self._asked: dict[str, tuple[Question, Future[bool | None]]] = {}
        self._latest_s = 0.0

    @classmethod
    def builder(
        cls, inner: Callable[[Place | None], OperatorLogic], room: ConfirmingRoom
    ) -> Callable[[Place | None], "ConfirmedLogic"]:
        """Give the function that Bytewax calls to make or restore a shard."""
        return lambda snapshot: cls(inner(snapshot), room)

    def on_batch(self, values: list[Arrived | Mark]) -> tuple[Iterable[Record | Mark], bool]:
        """Pass records on; what was denied meanwhile is withdrawn first."""
        out = self._denied()
        made, keep = self._inner.on_batch(values)
        self._latest_s = max(self._latest_s, *(one.at_s for one in values)) if values else self._latest_s
        return [*out, *self._noted(made)], keep

    def on_notify(self) -> tuple[Iterable[Record | Mark], bool]:
        """Withdraw what was denied, and pass the timer on."""
        out = self._denied()
        made, keep = self._inner.on_notify()
        return [*out, *self._noted(made)], keep

    def on_eof(self) -> tuple[Iterable[Record | Mark], bool]:
        """Where the topics end, questions that wait for a verdict stay."""
        return self._inner.on_eof()

    def _noted(self, made: Iterable[Record | Mark]) -> list[Record | Mark]:
        out = list(made)
        for record in out:
            if isinstance(record, Question | QuestionWithdrawn):
                self._leave(record.question_id)  # an earlier revision is no longer of interest
            if isinstance(record, Question) and self._room.options.wants(record):
                self._asked[record.question_id] = record, self._room.ask(record)
        return out

    def _leave(self, question_id: str) -> None:
        known = self._asked.pop(question_id, None)
        if known is not None:
            known[1].cancel()

    def _denied(self) -> list[Record | Mark]:
        """Give what the operator makes of the verdicts that came."""
        out: list[Record | Mark] = []
        for question_id, (question, verdict) in list(self._asked.items()):
            if not verdict.done():
                continue
            del self._asked[question_id]
            said_no = not verdict.cancelled() and verdict.exception() is None and verdict.result() is False
            if said_no and question.session_id in self._inner.sessions:
                at_s = max(self._latest_s, question.created_at.timestamp())
                denied = QuestionWithdrawn(
                    session_id=question.session_id,
                    event_id=derive_id(question_id, "withdrawn", question.revision),
                    created_at=datetime.fromtimestamp(at_s, UTC),
                    question_id=question_id,
                    revision=question.revision,
                    reason=NOT_CONFIRMED,
                )
                made, _ = self._inner.on_batch([Arrived(denied, "questions", -1, at_s)])
                out += self._noted(made)
        return out

    def notify_at(self) -> datetime | None:
        """Give when to look again: soon while a verdict is awaited."""
        wanted = self._inner.notify_at()
        if not self._asked:
            return wanted
        soon = datetime.now(UTC) + timedelta(seconds=DRAIN_S)
        return soon if wanted is None else min(wanted, soon)

    def snapshot(self) -> Place:
        """Give the operator's snapshot."""
        return self._inner.snapshot()
