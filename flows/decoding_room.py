"""Runs speech models beside the dataflow: threads write sound down, what is live first; no final waits for a guess."""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Literal

import structlog

from flows.native_threads import end_before_exit
from models.shelf import warm
from operators.audio_tracks import Samples
from operators.ports import SoundStretch, Transcriber, Transcript
from operators.transcription import DecodeRequest
from schemas.errors import EngineError, LogError, ModelFailed, ModelMissing
from schemas.hops import HopCounts

__all__ = ["DecodingRoom", "Ear", "Job", "SoundOf"]

logger = structlog.get_logger("flows")

MOST_TRIES = 3
AWAY_S = 0.3
TOGETHER_S = 0.02
"""So long a batch waits for more on a GPU; on a CPU batching gains nothing and a batch holds one stretch."""

SoundOf = Callable[[], Samples]
Lane = Literal["final", "partial"]


def _lane(job: "Job") -> Lane:
    return "final" if job.request.kind == "final" else "partial"


@dataclass(frozen=True, slots=True)
class Ear:
    """The models that listen and how to use them.

    Attributes:
        final: Gives the model for final captions, loading it when need be.
        partial: Gives the model for partial captions of a language (None = not known yet).
        glossary: Names and terms that may come.
        together: Stretches in one call of the model.
        workers: Calls at the same time for final captions, and as many for partial ones.
        quick: Whether partial captions are wanted.
    """

    final: Callable[[], Transcriber]
    partial: Callable[[str | None], Transcriber]
    glossary: str = ""
    together: int = 1
    workers: int = 1
    quick: bool = True


@dataclass(slots=True, eq=False)
class Job:
    """One stretch to write down; `found` or `error` is set when `done`. Recordings wait for what is live."""

    owner: Hashable
    request: DecodeRequest
    sound: SoundOf
    language: str | None
    live: bool = True
    tries: int = 0
    done: bool = False
    dropped: bool = False
    found: Transcript | None = None
    error: EngineError | None = None
    asked_s: float = field(default_factory=time.monotonic)


class DecodingRoom:
    """Threads that decode; what is done waits in a queue per owner until the flow fetches it.

    Finals and partials have threads of their own: behind a guess a final would come a quarter of a second late.
    """

    def __init__(self, ear: Ear) -> None:
        """Start the threads."""
        self._ear = ear
        self.counts = HopCounts()
        self._guard = threading.Condition()
        self._queues: dict[Lane, list[tuple[bool, int, Job]]] = {"final": [], "partial": []}
        self._count = itertools.count()
        self._done: dict[Hashable, deque[Job]] = {}
        self._closed = False
        self._running = 0
        self._loading: threading.Thread | None = None
        self._loaded = threading.Event()
        lanes: list[Lane] = ["final", "partial"] if ear.quick else ["final"]
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name=f"decoding-{lane}-{number}", daemon=True)
            for lane in lanes
            for number in range(ear.workers)
        ]
        for thread in self._threads:
            thread.start()
        end_before_exit(self)

    def prepare(self) -> None:
        """Have the models loaded before the first words are to be written down; returns at once."""
        with self._guard:
            if self._loading is None and not self._closed:
                self._loading = threading.Thread(target=self._prepare, name="loading-models", daemon=True)
                self._loading.start()

    def _prepare(self) -> None:
        try:
            warm(self._ear.final())
            if self._ear.quick and not self._closed:
                warm(self._ear.partial("en"))
        except EngineError as error:
            logger.error("model_not_loaded", kind=type(error).__name__, reason=str(error))
        finally:
            self._loaded.set()

    def wait_loaded(self, timeout_s: float) -> bool:
        """Wait until `prepare` has loaded what can be; gives whether it has."""
        return self._loaded.wait(timeout_s)

    def submit(self, job: Job) -> None:
        """Queue a stretch; returns at once."""
        with self._guard:
            heapq.heappush(self._queues[_lane(job)], (not job.live, next(self._count), job))
            self._guard.notify_all()

    def drop(self, job: Job) -> None:
        """Take a job back that nobody waits for any more; one that runs already is finished and forgotten."""
        job.dropped = True

    def fetch(self, owner: Hashable) -> list[Job]:
        """Give what is done for an owner since the last call, in the order in which it was done."""
        with self._guard:
            return list(self._done.pop(owner, ()))

    @property
    def waiting(self) -> int:
        """How many stretches wait for their turn."""
        with self._guard:
            return sum(map(len, self._queues.values()))

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs, or was not fetched yet."""
        with self._guard:
            return not any(self._queues.values()) and not self._running and not self._done

    def _work(self, lane: Lane) -> None:
        while (batch := self._take(lane)) is not None:
            if not batch:
                continue
            self._decode(batch)
            with self._guard:
                self._running -= 1
                for job in batch:
                    if job.done and not job.dropped:
                        self._done.setdefault(job.owner, deque()).append(job)

    def _take(self, lane: Lane) -> list[Job] | None:
        """Wait for work; gives None when the room is closed."""
        queue, finals = self._queues[lane], self._queues["final"]
        with self._guard:
            # Where finals wait already, guesses would only take processor time from them.
            while not self._closed and (not queue or (lane == "partial" and finals and finals[0][2].live)):
                self._guard.wait()
            if self._closed:
                return None
            if self._ear.together > 1 and len(queue) < self._ear.together:
                self._guard.wait(TOGETHER_S)
            batch: list[Job] = []
            while queue and len(batch) < self._ear.together:
                following = queue[0][2]
                if batch and (following.request.kind, following.language) != (batch[0].request.kind, batch[0].language):
                    break
                job = heapq.heappop(queue)[2]
                if not job.dropped:
                    batch.append(job)
            self._running += bool(batch)
            self._guard.notify_all()
            return batch

    def _decode(self, batch: list[Job]) -> None:
        kind = batch[0].request.kind
        try:
            stretches = [
                SoundStretch(job.sound(), job.language, job.request.before, self._ear.glossary, best=kind == "final")
                for job in batch
            ]
            model = self._ear.partial(batch[0].language) if kind == "partial" else self._ear.final()
            began = time.perf_counter()
            transcripts = list(model.transcribe(stretches))
            self.counts.took(f"caption_{kind}", time.perf_counter() - began)
            for job, found in zip(batch, transcripts, strict=True):
                job.found, job.done = found, True
        except (EngineError, OSError, MemoryError, RuntimeError, ValueError) as error:
            self._failed(batch, error if isinstance(error, EngineError) else ModelFailed(type(error).__name__))

    def _failed(self, batch: list[Job], error: EngineError) -> None:
        """Try again on their own; for as long as it takes when the log or the model is away, else a few times."""
        for job in batch:
            job.tries += 1
            again = isinstance(error, LogError | ModelMissing) or (
                job.request.kind == "final" and job.tries < MOST_TRIES
            )
            if again and not self._closed:
                if isinstance(error, LogError | ModelMissing):
                    time.sleep(AWAY_S)
                self.submit(job)
                continue
            logger.error("stretch_not_transcribed", kind=type(error).__name__, seconds=round(job.request.seconds, 2))
            job.error, job.done = error, True

    def close(self, timeout_s: float = 10.0) -> None:
        """End the threads; what waits is asked again after the next start.

        A thread that is in the middle of a model's call when Python ends would take the process down with it: what a
        thread works on is waited for, up to a time.
        """
        with self._guard:
            self._closed = True
            for queue in self._queues.values():
                queue.clear()
            self._guard.notify_all()
        end = time.monotonic() + timeout_s
        for thread in [*self._threads, *([self._loading] if self._loading is not None else [])]:
            thread.join(max(0.0, end - time.monotonic()))
