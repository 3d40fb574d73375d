"""How the flows are put together: one function per flow, each reads topics and writes the topic it is named after."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream

from eventlog.base import SHARDS, EventLog
from flows.answering_room import AnsweringRoom
from flows.answers import AnswersLogic, AnswersOptions
from flows.arrivals import SHARDS_ALONE, Arrived, Decoder
from flows.captions import CaptionsLogic, Hearing
from flows.clock import FlowClock
from flows.confirming import ConfirmedLogic, ConfirmingRoom
from flows.connectors import IDLE_POLL_MS, FlowsSource, LogSource, Read, Reading, ReadingState, StopFlag
from flows.logic import OperatorLogic
from flows.marks import Mark, UpstreamMarks
from flows.piece_file import PieceFolder
from flows.sink import LogSink
from flows.speaker_turns import SpeakerTurnsLogic, Voices
from flows.wakes import Rest
from flows.watching import watched
from models.question_weights import trained_questions
from operators.base import Operator
from operators.memory import MemoryOperator
from operators.nudges import NudgesOperator
from operators.questions import QuestionsOperator
from operators.tracing import Tracer
from operators.utterances import UtterancesOperator
from schemas.hops import HopCounts, HopShown

__all__ = ["ALL_FLOWS", "CHOSEN_FLOWS", "FLOWS", "SPEECH_FLOWS", "FlowSpec", "Operators", "Wiring"]


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """One flow: what it reads, what it writes, the flows that write what it reads, and whether it has timers."""

    name: str
    reads: tuple[str, ...]
    writes: str
    after: tuple[str, ...] = ()
    timed: bool = True


FLOWS: Mapping[str, FlowSpec] = {
    spec.name: spec
    for spec in (
        FlowSpec("utterances", ("meeting", "captions", "speaker-turns"), "utterances"),
        FlowSpec("questions", ("meeting", "utterances"), "questions", after=("utterances",)),
        FlowSpec("memory", ("meeting", "utterances"), "memory", after=("utterances",)),
        FlowSpec("answers", ("meeting", "memory", "questions"), "answers", after=("questions", "memory"), timed=False),
    )
}
"""The flows every engine runs."""

SPEECH_FLOWS: Mapping[str, FlowSpec] = {
    spec.name: spec
    for spec in (
        FlowSpec("captions", ("meeting", "audio"), "captions", timed=False),
        FlowSpec("speaker_turns", ("meeting", "audio"), "speaker-turns", timed=False),
    )
}
"""The flows that listen; they run apart from the others, so that they cannot slow them."""

CHOSEN_FLOWS: Mapping[str, FlowSpec] = {
    "nudges": FlowSpec("nudges", ("meeting", "utterances"), "nudges", after=("utterances",)),
}
"""Flows that run only where somebody chose them."""

ALL_FLOWS: Mapping[str, FlowSpec] = {**FLOWS, **SPEECH_FLOWS, **CHOSEN_FLOWS}


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators with their options."""

    utterances: UtterancesOperator = field(default_factory=UtterancesOperator)
    questions: QuestionsOperator = field(default_factory=trained_questions)
    memory: MemoryOperator = field(default_factory=MemoryOperator)
    nudges: NudgesOperator = field(default_factory=NudgesOperator)

    def named(self, flow: str) -> Operator[Any, Any, Any]:
        """Give the operator of a flow."""
        found: Operator[Any, Any, Any] = getattr(self, flow)
        return found


@dataclass(slots=True)
class Wiring:
    """Builds one Dataflow of several flows over one log.

    In one process all flows share a worker: none of them blocks, and one idle loop costs a quarter of four.
    With `marks` the flow may be one of several processes, and time travels with the records (`flows.marks`). With
    `finishing` the flow ends where its topics end now, its timers fired and its last answers written. Sessions are kept
    below the folder `pieces`; without one the flow cannot be resumed. A worker that is `alone` rests until something
    comes.
    """

    log: EventLog
    operators: Operators
    room: AnsweringRoom | None
    attempt: int
    poll_ms: float = 2.0
    marks: bool = False
    alone: bool = False
    answers: AnswersOptions = field(default_factory=AnswersOptions)
    hearing: Hearing | None = None
    voices: Voices | None = None
    finishing: bool = False
    stop: StopFlag = field(default_factory=StopFlag)
    readings: dict[str, ReadingState] = field(default_factory=dict)
    clocks: dict[str, FlowClock] = field(default_factory=dict)
    sources: list[LogSource] = field(default_factory=list)
    upstreams: list[UpstreamMarks] = field(default_factory=list)
    counts: dict[str, HopCounts] = field(default_factory=dict)
    tracer: Tracer | None = None
    pieces: Path | None = None
    confirming: ConfirmingRoom | None = None
    rest: Rest | None = None

    def dataflow(self, names: tuple[str, ...] = tuple(FLOWS)) -> Dataflow:
        """Put the named flows into one Dataflow; steps are named after them, since state is kept by step name."""
        flow = Dataflow("rejoinder")
        if self.alone:
            self.rest = Rest(max(self.log.partitions(topic) for name in names for topic in ALL_FLOWS[name].reads))
        lying = op.input("in", flow, FlowsSource({name: self._source(ALL_FLOWS[name]) for name in names}, self.rest))
        if self.rest is not None:
            self.rest.reader = self.sources[0].reader
        for name in names:
            self._add(lying, ALL_FLOWS[name])
        return flow

    @property
    def _shards(self) -> int:
        return SHARDS if self.marks else SHARDS_ALONE

    def _folder(self, name: str) -> PieceFolder:
        return PieceFolder(self.pieces / name if self.pieces is not None else None, self._shards)

    def _source(self, spec: FlowSpec) -> LogSource:
        reading = self.readings.setdefault(spec.name, ReadingState())
        reading.counts = self.counts.setdefault(spec.name, reading.counts)
        upstream = self._upstream(spec) if self.marks and spec.timed else None
        beside = self.sources[0].reader if self.sources else None
        # A worker that rests is told of all that comes to a far log.
        poll_ms = IDLE_POLL_MS if self.rest is not None and self.log.far else self.poll_ms
        options = Reading(poll_ms, upstream, self.finishing, beside)
        source = LogSource(self.log, spec.name, spec.reads, reading, self.stop, options)
        self.sources.append(source)
        return source

    def _add(self, lying: Stream[Read], spec: FlowSpec) -> None:
        reading = self.readings[spec.name]
        clock = None
        if not self.marks or spec.name in SPEECH_FLOWS:
            before = [self.clocks[name] for name in spec.after if name in self.clocks]
            clock = self.clocks[spec.name] = FlowClock(reading, before)
        arrived: Stream[tuple[str, Arrived | Mark]] = op.flat_map_batch(
            f"{spec.name}-decode", lying, Decoder(self.log, spec.name, reading.counts, self._shards)
        )
        step = watched(self._builder(spec.name, clock), spec.name, reading.counts, self.tracer, self.rest)
        made = op.stateful_batch(f"{spec.name}-step", arrived, step)
        tells = self.marks and any(spec.name in other.after for other in FLOWS.values() if other.timed)
        op.output(f"{spec.name}-out", made, LogSink(self.log, spec.writes, spec.name, reading, tells=tells))

    def _upstream(self, spec: FlowSpec) -> UpstreamMarks:
        marks = UpstreamMarks(self.log, {name: FLOWS[name].writes for name in spec.after})
        self.upstreams.append(marks)
        return marks

    def hop(self, name: str) -> HopShown:
        """Give what a flow of this wiring has done and what waits."""
        reading = self.readings.get(name) or ReadingState()
        queues = {"store": len(reading.unwritten)}
        if name == "answers" and self.room is not None:
            queues |= {"answers_waiting": self.room.waiting, "answers_running": self.room.running}
        if name == "questions" and self.confirming is not None:
            queues["confirming"] = self.confirming.running
        if name == "captions" and self.hearing is not None:
            queues["decoding"] = self.hearing.room.waiting
        if name == "speaker_turns" and self.voices is not None:
            queues["voices"] = self.voices.room.waiting
        return HopShown(name, self.counts.get(name, reading.counts), reading.lag(), queues)

    def close(self) -> None:
        """Close what the sources read with."""
        for source in self.sources:
            source.close()
        for marks in self.upstreams:
            marks.close()

    def _builder(self, name: str, clock: FlowClock | None) -> Callable[[Any], Any]:
        if name == "answers":
            assert self.room is not None  # noqa: S101 - whoever wires answers has a room for them
            if self.room.embedding is not None:
                self.counts[name].model["embedding"] = self.room.embedding
            return AnswersLogic.builder(
                self.room, self.log, self.attempt, self.answers, clock, folder=self._folder(name)
            )
        if name == "captions":
            assert self.hearing is not None  # noqa: S101 - whoever wires captions has models for them
            self.hearing.needs.since_s.clear()
            self.hearing.room.counts = self.counts[name]
            return CaptionsLogic.builder(self.hearing, self.log, clock)
        if name == "speaker_turns":
            assert self.voices is not None  # noqa: S101 - whoever wires speaker turns has models for them
            self.voices.needs.since_s.clear()
            self.voices.room.counts = self.counts[name]
            return SpeakerTurnsLogic.builder(self.voices, self.log, clock)
        plain = OperatorLogic.builder(
            name,
            self.operators.named(name),
            clock,
            self.log,
            folder=self._folder(name),
            finishing=self.finishing,
            counts=self.counts[name],
        )
        if name == "questions" and self.confirming is not None:
            return ConfirmedLogic.builder(plain, self.confirming)
        return plain
