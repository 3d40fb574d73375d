"""Counts what a flow does: a layer around its step that adds two clock readings per batch and nothing per record."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from bytewax.operators import StatefulBatchLogic

from flows.logic import Arrived
from flows.marks import Mark
from schemas.answers import Answer, AnswerFailed
from schemas.hops import HopCounts

__all__ = ["Watched", "watched"]

Made = tuple[Iterable[Any], bool]


class Watched(StatefulBatchLogic[Arrived | Mark, Any, Any]):
    """One shard of a flow, counted."""

    __slots__ = ("_answers", "_counts", "_inner")

    def __init__(self, inner: StatefulBatchLogic[Any, Any, Any], counts: HopCounts, *, answers: bool) -> None:
        """Count what `inner` does; with `answers`, read times and tokens from the answers that it gives."""
        self._inner, self._counts, self._answers = inner, counts, answers

    def on_batch(self, values: list[Arrived | Mark]) -> Made:
        """Pass a batch on and count its time."""
        began = time.perf_counter()
        made = self._inner.on_batch(values)
        self._counts.step.add(time.perf_counter() - began)
        return self._noted(made)

    def on_notify(self) -> Made:
        """Pass a timer on."""
        return self._noted(self._inner.on_notify())

    def on_eof(self) -> Made:
        """Pass the end on."""
        return self._noted(self._inner.on_eof())

    def notify_at(self) -> datetime | None:
        """Give when the shard wants to be woken."""
        wanted: datetime | None = self._inner.notify_at()
        return wanted

    def snapshot(self) -> Any:
        """Give the snapshot of the shard."""
        return self._inner.snapshot()

    def _noted(self, made: Made) -> Made:
        if self._answers:
            for record in made[0]:
                if isinstance(record, Answer):
                    self._note(record)
                elif isinstance(record, AnswerFailed):
                    self._counts.failed[record.reason] = self._counts.failed.get(record.reason, 0) + 1
        return made

    def _note(self, answer: Answer) -> None:
        counts = self._counts
        if answer.first_delta_ms is not None:
            counts.took("first_piece", answer.first_delta_ms / 1000)
        if answer.total_ms is not None:
            counts.took("answer", answer.total_ms / 1000)
        for kind, count in (("prompt", answer.prompt_tokens), ("answer", answer.answer_tokens)):
            counts.tokens[kind] = counts.tokens.get(kind, 0) + (count or 0)


def watched(
    build: Callable[[Any], StatefulBatchLogic[Any, Any, Any]], counts: HopCounts, *, answers: bool
) -> Callable[[Any], Watched]:
    """Give a builder of shards whose work is counted."""
    return lambda snapshot: Watched(build(snapshot), counts, answers=answers)
