"""Counts what a flow does and keeps its traces: a layer around its step that costs two clock readings per batch."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import structlog
from bytewax.operators import StatefulBatchLogic

from flows.arrivals import Arrived
from flows.heard import SoundTimes
from flows.marks import Mark
from flows.traced import Traced
from flows.wakes import Rest
from operators.tracing import Tracer, is_sampled, trace_id_of
from schemas.answers import Answer, AnswerFailed
from schemas.audio import AudioChunk
from schemas.hops import HopCounts
from schemas.questions import Question
from schemas.speech import Caption

__all__ = ["Watched", "watched"]

Made = tuple[Iterable[Any], bool]
MOST_TRACES = 200
"""Traces that one shard remembers for what it makes later, on a timer; the oldest is forgotten first."""


class Watched(StatefulBatchLogic[Arrived | Mark, Any, Any]):
    """One shard of a flow, counted, and traced where there is a tracer; keeps its worker from resting too long."""

    __slots__ = ("_counts", "_flow", "_inner", "_rest", "_tracing")

    def __init__(
        self,
        inner: StatefulBatchLogic[Any, Any, Any],
        flow: str,
        counts: HopCounts,
        tracer: Tracer | None,
        rest: Rest | None = None,
    ) -> None:
        """Count what `inner` does for `flow`."""
        self._inner, self._flow, self._counts, self._rest = inner, flow, counts, rest
        self._tracing = _Tracing(flow, tracer) if tracer is not None else None

    def on_batch(self, values: list[Arrived | Mark]) -> Made:
        """Pass a batch on and count its time."""
        began = time.perf_counter()
        if self._tracing is not None and self._flow == "captions":
            self._tracing.hear(values)
        if self._tracing is None or not self._tracing.wanted(values):
            made = self._inner.on_batch(values)
        else:
            made = self._traced(self._tracing, values)
        self._counts.step.add(time.perf_counter() - began)
        return self._noted(made)

    def _traced(self, tracing: "_Tracing", values: Sequence[Arrived | Mark]) -> Made:
        """Pass records on one by one, each within its span: what comes of it belongs to its trace."""
        out: list[Any] = []
        keep = self.RETAIN
        for value in values:
            if isinstance(value, Mark) or not is_sampled(value.trace):
                made, keep = self._inner.on_batch([value])
                out.extend(made)
                continue
            with tracing.step(value) as trace:
                made, keep = self._inner.on_batch([value])
                out.extend(Traced(record, trace) for record in made)
        return out, keep

    def on_notify(self) -> Made:
        """Pass a timer on."""
        return self._noted(self._inner.on_notify())

    def on_eof(self) -> Made:
        """Pass the end on."""
        return self._noted(self._inner.on_eof())

    def notify_at(self) -> datetime | None:
        """Give when the shard wants to be woken."""
        wanted: datetime | None = self._inner.notify_at()
        if self._rest is not None:
            self._rest.by(wanted)
        return wanted

    def snapshot(self) -> Any:
        """Give the snapshot of the shard; traces are not in it, they begin anew after a fault."""
        return self._inner.snapshot()

    def _noted(self, made: Made) -> Made:
        if self._rest is not None:
            self._rest.stir()
        if self._flow == "answers":
            for item in made[0]:
                record = item.record if isinstance(item, Traced) else item
                if isinstance(record, Answer):
                    self._note(record)
                elif isinstance(record, AnswerFailed):
                    self._counts.failed[record.reason] = self._counts.failed.get(record.reason, 0) + 1
        return made if self._tracing is None else ([self._tracing.placed(item) for item in made[0]], made[1])

    def _note(self, answer: Answer) -> None:
        counts = self._counts
        if answer.first_delta_ms is not None:
            counts.took("first_piece", answer.first_delta_ms / 1000)
        if answer.total_ms is not None:
            counts.took("answer", answer.total_ms / 1000)
        for kind, count in (("prompt", answer.prompt_tokens), ("answer", answer.answer_tokens)):
            counts.tokens[kind] = counts.tokens.get(kind, 0) + (count or 0)


class _Step:
    """One record in the step of a flow, as a span; log lines within carry its ids."""

    __slots__ = ("_arrived", "_bound", "_span", "_tracing")

    def __init__(self, tracing: "_Tracing", arrived: Arrived) -> None:
        self._tracing, self._arrived = tracing, arrived

    def __enter__(self) -> str:
        arrived, tracing = self._arrived, self._tracing
        self._span = tracing.tracer.begin(
            f"{tracing.flow} step",
            arrived.trace,
            about={
                "session.id": arrived.record.session_id,
                "messaging.destination.name": arrived.topic,
                "messaging.offset": arrived.offset,
                "wait_ms": round((time.time() - arrived.at_s) * 1000, 1),
            },
        )
        trace = self._span.trace
        tracing.remember(arrived.record, trace)
        self._bound = structlog.contextvars.bind_contextvars(
            session_id=arrived.record.session_id, trace_id=trace_id_of(trace)
        )
        return trace

    def __exit__(self, *_: object) -> None:
        structlog.contextvars.reset_contextvars(**self._bound)
        self._span.end()


class _Tracing:
    """The traces of one shard: what is made later, on a timer, belongs to the last record of its session."""

    def __init__(self, flow: str, tracer: Tracer) -> None:
        self.flow, self.tracer = flow, tracer
        self._known: OrderedDict[str, str] = OrderedDict()
        self._sound = SoundTimes()

    def hear(self, values: Sequence[Arrived | Mark]) -> None:
        """Remember when sound came, and the trace of the request that brought it."""
        for value in values:
            if isinstance(value, Arrived) and isinstance(value.record, AudioChunk):
                self._sound.note(value.record, value.at_s, value.trace)

    def wanted(self, values: Sequence[Arrived | Mark]) -> bool:
        return any(not isinstance(value, Mark) and value.trace for value in values)

    def step(self, arrived: Arrived) -> _Step:
        return _Step(self, arrived)

    def remember(self, record: Any, trace: str) -> None:
        key = record.question_id if self.flow == "answers" and isinstance(record, Question) else record.session_id
        self._known[key] = trace
        self._known.move_to_end(key)
        if len(self._known) > MOST_TRACES:
            self._known.popitem(last=False)

    def placed(self, item: Any) -> Any:
        """Give a record with its trace, when it belongs to one; an answer's end is a span of its own."""
        if isinstance(item, Mark):
            return item
        record, trace = (item.record, item.trace) if isinstance(item, Traced) else (item, "")
        if self.flow == "answers":
            trace = self._known.get(record.question_id, "")
            if trace and isinstance(record, Answer | AnswerFailed):
                trace = self._answer(record, trace)
        elif self.flow == "captions" and isinstance(record, Caption):
            trace = self._heard(record) if record.final else ""
        elif not trace:
            trace = self._known.get(record.session_id, "")
        return Traced(record, trace) if trace else record

    def _answer(self, record: Answer | AnswerFailed, parent: str) -> str:
        end_s = record.created_at.timestamp()
        about: dict[str, str | int | float] = {"session.id": record.session_id, "answer.id": record.answer_id}
        taken_ms = 0.0
        if isinstance(record, Answer):
            taken_ms = record.total_ms or 0.0
            about |= {"mode": record.mode, "gen_ai.request.model": record.model}
            about |= {"first_delta_ms": round(record.first_delta_ms or 0.0, 1)}
            about |= {"gen_ai.usage.output_tokens": record.answer_tokens or 0}
        else:
            about["error.type"] = record.reason
        span = self.tracer.begin("answer", parent, end_s - taken_ms / 1000, about)
        span.end(end_s)
        return span.trace

    def _heard(self, record: Caption) -> str:
        """Give a caption its span, from the making of its last sound on.

        It goes on with the trace of the request that brought that sound, or begins one where sound came over a
        connection that stays open.
        """
        came = self._sound.of(record)
        about: dict[str, str | int | float] = {"session.id": record.session_id, "track": record.track or ""}
        about["sound_s"] = round(record.end_s - record.start_s, 2)
        span = self.tracer.begin("caption heard", came.trace if came else "", came.at_s if came else None, about)
        span.end()
        return span.trace


def watched(
    build: Callable[[Any], StatefulBatchLogic[Any, Any, Any]],
    flow: str,
    counts: HopCounts,
    tracer: Tracer | None,
    rest: Rest | None = None,
) -> Callable[[Any], Watched]:
    """Give a builder of shards whose work is counted and traced."""
    return lambda snapshot: Watched(build(snapshot), flow, counts, tracer, rest)
