"""audio chunks -> continuous runs of samples per track: in order, each sample once, what never came told as a gap."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.base import derive_id
from schemas.speech import AudioGap

__all__ = ["AudioRun", "AudioTracks", "AudioTracksState", "Samples", "TrackOrder"]

Samples = NDArray[np.int16]
"""Sound, shape (samples,), 16 kHz mono."""


@dataclass(frozen=True, slots=True, eq=False)
class AudioRun:
    """Samples of one track that follow on each other.

    Attributes:
        track: The track.
        start_sample: Index of the first one since the session's first sample.
        samples: int16, shape (samples,); may be empty when `last`. Silence stands for what never came.
        last: No more sound follows on this track.
    """

    track: str
    start_sample: int
    samples: Samples
    last: bool = False

    @property
    def end_sample(self) -> int:
        """Index after the last sample."""
        return self.start_sample + len(self.samples)


@dataclass(frozen=True, slots=True)
class TrackOrder:
    """How far one track has come.

    Attributes:
        next_sequence: The chunk that comes next.
        next_sample: The sample that comes next; None before the first one.
        waiting: Chunks that came before one that is still missing, by sequence.
        since_s: When the first of them came, seconds since 1970.
        seen_s: When the last chunk came.
    """

    next_sequence: int = 0
    next_sample: int | None = None
    waiting: tuple[AudioChunk, ...] = ()
    since_s: float = 0.0
    seen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AudioTracksState:
    """The tracks of a session by name."""

    tracks: tuple[tuple[str, TrackOrder], ...] = ()

    def track(self, name: str) -> TrackOrder:
        """Give how far a track has come."""
        return next((order for known, order in self.tracks if known == name), TrackOrder())

    def having(self, name: str, order: TrackOrder) -> "AudioTracksState":
        """Give the state in which a track has come this far."""
        if any(known == name for known, _ in self.tracks):
            return AudioTracksState(tuple((known, order if known == name else other) for known, other in self.tracks))
        return AudioTracksState((*self.tracks, (name, order)))


@dataclass(frozen=True, slots=True)
class AudioTracks:
    """Puts the chunks of a session's tracks in order. The sample index is the clock.

    Chunks are taken by `sequence`; one that came already is dropped, samples that came already are cut off. A missing
    chunk is waited for until `wait_s` of later sound lie there or so much time has passed; then it is given up: up to
    `longest_silence_s` silence takes its place, and a longer gap ends the run, so that a jump of hours costs nothing.
    A chunk whose sequence went back but whose samples lie ahead comes from a sender that began to count anew.

    Attributes:
        wait_s: Longest wait for a missing chunk, seconds of sound and of time.
        longest_silence_s: Longest silence that is made, seconds.
        most_tracks: Tracks of a session; a further one takes the place of the one that was silent longest.
        most_waiting: Chunks of a track that may wait for a missing one.
    """

    wait_s: float = 2.0
    longest_silence_s: float = 2.0
    most_tracks: int = 32
    most_waiting: int = 400

    def initial(self) -> AudioTracksState:
        """Give the state of a session without sound."""
        return AudioTracksState()

    def step(
        self, state: AudioTracksState, chunk: AudioChunk, now_s: float
    ) -> tuple[AudioTracksState, list[AudioRun | AudioGap]]:
        """Take one chunk; give the runs that are now in order and the gaps before them.

        A chunk with an odd number of bytes loses the last one.
        """
        order = replace(state.track(chunk.track), seen_s=now_s)
        out: list[AudioRun | AudioGap] = []
        ahead = order.next_sample is None or chunk.start_sample >= order.next_sample
        if chunk.sequence < order.next_sequence and not (ahead and not order.waiting):
            return state, out
        if chunk.sequence > order.next_sequence:
            if any(one.sequence == chunk.sequence for one in order.waiting):
                return state, out
            since_s = order.since_s if order.waiting else now_s
            waiting = tuple(sorted((*order.waiting, chunk), key=lambda one: one.sequence))
            order = replace(order, waiting=waiting, since_s=since_s)
        else:
            order = self._take(order, chunk, now_s, out)
        order = self._go_on(order, now_s, out)
        return self._keep(state, chunk.track, order), out

    def _keep(self, state: AudioTracksState, name: str, order: TrackOrder) -> AudioTracksState:
        if len(state.tracks) >= self.most_tracks and all(known != name for known, _ in state.tracks):
            quietest = min(state.tracks, key=lambda one: one[1].seen_s)[0]
            state = AudioTracksState(tuple(one for one in state.tracks if one[0] != quietest))
        return state.having(name, order)

    def due_s(self, state: AudioTracksState) -> float | None:
        """Say when a missing chunk is given up, or None when none is missing."""
        return min((order.since_s + self.wait_s for _, order in state.tracks if order.waiting), default=None)

    def tick(self, state: AudioTracksState, now_s: float) -> tuple[AudioTracksState, list[AudioRun | AudioGap]]:
        """Give up the chunks that were waited for long enough; harmless when called early."""
        out: list[AudioRun | AudioGap] = []
        for name, order in state.tracks:
            if order.waiting and now_s >= order.since_s + self.wait_s:
                state = state.having(name, self._go_on(order, now_s, out, late=True))
        return state, out

    def finished(self, state: AudioTracksState) -> bool:
        """Give False: sound does not say that a session is over."""
        del state
        return False

    def _go_on(
        self, order: TrackOrder, now_s: float, out: list[AudioRun | AudioGap], *, late: bool = False
    ) -> TrackOrder:
        """Take what waits and is now next; give up what is missing when enough lies behind it."""
        while order.waiting:
            first = order.waiting[0]
            if first.sequence > order.next_sequence and not (late or self._waited(order.waiting)):
                return order
            late = False
            rest = order.waiting[1:]
            order = replace(order, waiting=rest, since_s=now_s if rest else 0.0)
            order = self._take(order, first, now_s, out)
        return order

    def _waited(self, waiting: Sequence[AudioChunk]) -> bool:
        samples = sum(len(one.pcm) // 2 for one in waiting)
        return samples >= self.wait_s * SAMPLE_RATE_HZ or len(waiting) >= self.most_waiting

    def _take(self, order: TrackOrder, chunk: AudioChunk, now_s: float, out: list[AudioRun | AudioGap]) -> TrackOrder:
        samples: Samples = np.frombuffer(chunk.pcm[: len(chunk.pcm) // 2 * 2], dtype="<i2").astype(np.int16, copy=False)
        start = chunk.start_sample
        at = order.next_sample
        if at is not None and start > at:
            out.append(_gap(chunk, at, now_s))
            missing = start - at
            if missing <= self.longest_silence_s * SAMPLE_RATE_HZ:
                samples = np.concatenate([np.zeros(missing, np.int16), samples])
                start = at
        elif at is not None and start < at:
            samples = samples[at - start :]
            start = at
        if len(samples) or chunk.last:
            out.append(AudioRun(chunk.track, start, samples, chunk.last))
        # The end of a track forgets its numbering: a sender that takes it up again may count from 0.
        following = 0 if chunk.last else chunk.sequence + 1
        return replace(order, next_sequence=following, next_sample=start + len(samples))


def _gap(chunk: AudioChunk, from_sample: int, now_s: float) -> AudioGap:
    return AudioGap(
        session_id=chunk.session_id,
        event_id=derive_id(chunk.session_id, "audio_gap", chunk.track, from_sample),
        created_at=datetime.fromtimestamp(now_s, UTC),
        track=chunk.track,
        start_s=from_sample / SAMPLE_RATE_HZ,
        end_s=chunk.start_sample / SAMPLE_RATE_HZ,
    )
