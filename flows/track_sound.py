"""The sound of one track: the newest seconds in memory, the rest by where it lies in the log."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eventlog.base import EventLog
from operators.audio_tracks import AudioRun, Samples
from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.codec import decode
from schemas.errors import OffsetGone, SchemaError

__all__ = ["Place", "SoundLog", "TrackSound"]

KEPT_S = 30.0
"""Sound held in memory per track (1 MB); a stretch of speech is at most 12 s long, so this is read again only when the
captions are far behind."""
READ_RECORDS = 200
AHEAD_S = 5.0
"""Sound that came so much faster than it lasts was not sent as it was heard: a recording, which nobody follows live."""
PLACE_S = 1.0
"""Chunks that follow on each other are remembered together, up to so much sound."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where chunks lie: their samples, their offsets on the topic `audio`, the producer time of the first one."""

    start_sample: int
    end_sample: int
    offset: int
    last_offset: int
    at_s: float


class SoundLog:
    """Reads the sound of one track again from the log; may be used in any thread."""

    def __init__(self, log: EventLog, session_id: str, track: str, partition: int) -> None:
        """Read from the partition that holds the session."""
        self._log, self._session, self._track, self._partition = log, session_id, track, partition

    def chunks(self, first_offset: int, last_offset: int) -> list[AudioChunk]:
        """Give the track's chunks whose offsets lie between two, both included; what was trimmed away is left out."""
        found: list[AudioChunk] = []
        at = first_offset
        while at <= last_offset:
            try:
                records = self._log.read("audio", self._partition, at, READ_RECORDS)
            except OffsetGone:
                oldest = self._log.offset_at("audio", self._partition, 0.0)
                if oldest <= at:
                    break
                at = oldest
                continue
            if not records:
                break
            at = records[-1].offset + 1
            for record in records:
                if record.key != self._session or record.offset > last_offset:
                    continue
                try:
                    chunk = decode("audio", record.value)
                except SchemaError:
                    continue
                if chunk.track == self._track:
                    found.append(chunk)
        return found

    def samples(self, start: int, end: int, first_offset: int, last_offset: int) -> Samples:
        """Give samples `start` to `end`; what no chunk holds is silence."""
        sound: Samples = np.zeros(end - start, np.int16)
        # Later ones first: where chunks overlap the first one counts, as it did when they came.
        for chunk in sorted(self.chunks(first_offset, last_offset), key=lambda one: -one.sequence):
            samples = np.frombuffer(chunk.pcm[: len(chunk.pcm) // 2 * 2], "<i2")
            begin, stop = max(start, chunk.start_sample), min(end, chunk.start_sample + len(samples))
            if begin < stop:
                sound[begin - start : stop - start] = samples[begin - chunk.start_sample : stop - chunk.start_sample]
        return sound


class TrackSound:
    """Holds what is still needed of a track's sound; used by the flow's thread alone."""

    def __init__(self, log: SoundLog, places: tuple[Place, ...] = ()) -> None:
        """Begin with nothing in memory and the places of a snapshot."""
        self._log = log
        self._runs: deque[AudioRun] = deque()
        self._held = 0
        self._places = deque(places)

    def note(self, chunk: AudioChunk, offset: int, at_s: float) -> None:
        """Remember where a chunk lies."""
        start, end = chunk.start_sample, chunk.start_sample + len(chunk.pcm) // 2
        before = self._places[-1] if self._places else None
        if before is not None and before.end_sample == start and end - before.start_sample <= PLACE_S * SAMPLE_RATE_HZ:
            self._places[-1] = Place(before.start_sample, end, before.offset, offset, before.at_s)
        else:
            self._places.append(Place(start, end, offset, offset, at_s))

    def put(self, run: AudioRun) -> None:
        """Keep a run in memory."""
        if not len(run.samples):
            return
        self._runs.append(run)
        self._held += len(run.samples)
        while self._held - len(self._runs[0].samples) > KEPT_S * SAMPLE_RATE_HZ:
            self._held -= len(self._runs.popleft().samples)

    def forget_before(self, sample: int) -> None:
        """Drop what ends before a sample."""
        while self._runs and self._runs[0].end_sample <= sample:
            self._held -= len(self._runs.popleft().samples)
        while self._places and self._places[0].end_sample <= sample:
            self._places.popleft()

    def cut(self, start: int, end: int) -> Callable[[], Samples]:
        """Give a function that gives samples `start` to `end`, from memory or, in whichever thread, from the log."""
        held = self._in_memory(start, end)
        if held is not None:
            return lambda: held
        here = [place for place in self._places if place.end_sample > start and place.start_sample < end]
        first = min((place.offset for place in here), default=0)
        last = max((place.last_offset for place in here), default=-1)
        return lambda: self._log.samples(start, end, first, last)

    def _in_memory(self, start: int, end: int) -> Samples | None:
        if not self._runs or self._runs[0].start_sample > start or self._runs[-1].end_sample < end:
            return None
        first = bisect_right([run.start_sample for run in self._runs], start) - 1
        sound: Samples = np.zeros(end - start, np.int16)
        for run in list(self._runs)[first:]:
            begin, stop = max(start, run.start_sample), min(end, run.end_sample)
            if begin < stop:
                at = run.start_sample
                sound[begin - start : stop - start] = run.samples[begin - at : stop - at]
        return sound

    def again(self, sequences: tuple[int, ...]) -> tuple[AudioChunk, ...]:
        """Read chunks from the log again that waited for a missing one when the snapshot was taken."""
        if not sequences or not self._places:
            return ()
        first = min(place.offset for place in self._places)
        last = max(place.last_offset for place in self._places)
        chunks = {chunk.sequence: chunk for chunk in self._log.chunks(first, last)}
        return tuple(chunks[sequence] for sequence in sequences if sequence in chunks)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the sound that is still needed lies."""
        return tuple(self._places)

    @property
    def is_live(self) -> bool:
        """Whether what is still needed came as it was heard, rather than all at once like a recording."""
        if not self._places:
            return True
        first, last = self._places[0], self._places[-1]
        lasts_s = (last.end_sample - first.start_sample) / SAMPLE_RATE_HZ
        return lasts_s - (last.at_s - first.at_s) <= AHEAD_S

    @property
    def since_s(self) -> float | None:
        """Producer time of the oldest chunk that is still needed."""
        return min((place.at_s for place in self._places), default=None)
