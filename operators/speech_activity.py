"""runs of samples -> stretches of speech: where somebody begins to speak, pauses, and has ended."""

from dataclasses import dataclass, field, replace

import numpy as np

from operators.audio_tracks import AudioRun, Samples
from operators.ports import SpeechDetector, SpeechMemory, Vectors
from schemas.audio import SAMPLE_RATE_HZ

__all__ = ["ActivityState", "OpenSpeech", "SpeechActivity", "SpeechBegan", "SpeechEnded"]

NO_SAMPLES: Samples = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """Somebody speaks from `start_sample` on; a little silence before the first word is part of it."""

    start_sample: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """A stretch of speech is over.

    Attributes:
        start_sample: As in its `SpeechBegan`.
        end_sample: Index after its last sample.
        voiced_s: How much of it was surely speech, seconds.
        cut: It had become too long: the speaker goes on in the next stretch, which begins where this one ends.
    """

    start_sample: int
    end_sample: int
    voiced_s: float
    cut: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class OpenSpeech:
    """A stretch that still goes on.

    Attributes:
        start_sample: Its first sample.
        first_hop: First sample of the hop that `chances` begin with.
        chances: Probability of speech of each hop so far.
        voiced_end: Index after the last hop that held speech.
    """

    start_sample: int
    first_hop: int
    chances: tuple[float, ...]
    voiced_end: int


@dataclass(frozen=True, slots=True, eq=False)
class ActivityState:
    """What is known of one track.

    Attributes:
        memory: The detector's.
        next_sample: First sample that the detector has not heard; None before the first one.
        rest: Samples from there on, less than a hop.
        floor: Nothing before this sample belongs to a later stretch.
        speech: The stretch that goes on, or None in silence.
    """

    memory: SpeechMemory
    next_sample: int | None = None
    rest: Samples = field(default_factory=lambda: NO_SAMPLES)
    floor: int = 0
    speech: OpenSpeech | None = None

    @property
    def heard_sample(self) -> int:
        """Index after the last sample that came."""
        return (self.next_sample or 0) + len(self.rest)

    @property
    def pause_samples(self) -> int:
        """How long the speaker has been silent within the open stretch; 0 outside of one."""
        return (self.next_sample or 0) - self.speech.voiced_end if self.speech is not None else 0


@dataclass(frozen=True, slots=True)
class SpeechActivity:
    """Finds speech in one track.

    Attributes:
        detector: Gives the probability of speech per hop.
        on: From this probability on somebody speaks.
        off: Below this one nobody does; in between goes on what was.
        before_s: Sound before the first sure hop that is kept, so that no first word loses its beginning.
        after_s: Sound after the last hop with speech that is kept.
        end_s: A pause this long ends a stretch.
        soft_s: A stretch longer than this ends at a pause of `soft_end_s` already.
        soft_end_s: See there.
        longest_s: A stretch is cut at this length at the hop that was least probably speech.
    """

    detector: SpeechDetector
    on: float = 0.5
    off: float = 0.35
    before_s: float = 0.3
    after_s: float = 0.2
    end_s: float = 0.45
    soft_s: float = 8.0
    soft_end_s: float = 0.25
    longest_s: float = 12.0

    def initial(self) -> ActivityState:
        """Give the state of a track without sound."""
        return ActivityState(self.detector.initial())

    def step(self, state: ActivityState, run: AudioRun) -> tuple[ActivityState, list[SpeechBegan | SpeechEnded]]:
        """Hear a run; a run that does not follow on the one before ends the stretch that was open."""
        out: list[SpeechBegan | SpeechEnded] = []
        if state.next_sample is None or run.start_sample != state.heard_sample:
            state = self._closed(state, out)
            begin = run.start_sample
            state = replace(
                state, memory=self.detector.initial(), next_sample=begin, rest=NO_SAMPLES, floor=max(begin, state.floor)
            )
        at = state.next_sample or 0
        samples = np.concatenate([state.rest, run.samples]) if len(state.rest) else run.samples
        hop = self.detector.hop_samples
        whole = len(samples) // hop * hop
        chances, memory = self.detector.probabilities(samples[:whole], state.memory)
        speech, floor = state.speech, state.floor
        for chance in chances:
            speech, floor = self._hear(speech, floor, at, float(chance), out)
            at += hop
        state = ActivityState(memory, at, samples[whole:].copy(), floor, speech)
        return (self._closed(state, out) if run.last else state), out

    def close(self, state: ActivityState) -> tuple[ActivityState, list[SpeechBegan | SpeechEnded]]:
        """End the open stretch, because no more sound comes for now."""
        out: list[SpeechBegan | SpeechEnded] = []
        return self._closed(state, out), out

    def _closed(self, state: ActivityState, out: list[SpeechBegan | SpeechEnded]) -> ActivityState:
        if state.speech is None:
            return state
        end = min(state.heard_sample, state.speech.voiced_end + _samples(self.after_s))
        out.append(self._ended(state.speech, end))
        return replace(state, speech=None, floor=end)

    def _hear(
        self, speech: OpenSpeech | None, floor: int, at: int, chance: float, out: list[SpeechBegan | SpeechEnded]
    ) -> tuple[OpenSpeech | None, int]:
        hop = self.detector.hop_samples
        if speech is None:
            if chance < self.on:
                return None, floor
            start = max(floor, at - _samples(self.before_s))
            out.append(SpeechBegan(start))
            return OpenSpeech(start, at, (chance,), at + hop), floor
        voiced_end = at + hop if chance >= self.off else speech.voiced_end
        speech = replace(speech, chances=(*speech.chances, chance), voiced_end=voiced_end)
        length = at + hop - speech.start_sample
        pause = self.soft_end_s if length > _samples(self.soft_s) else self.end_s
        if at + hop - voiced_end >= _samples(pause):
            end = min(at + hop, voiced_end + _samples(self.after_s))
            out.append(self._ended(speech, end))
            return None, end
        if length >= _samples(self.longest_s):
            return self._cut(speech, out)
        return speech, floor

    def _cut(self, speech: OpenSpeech, out: list[SpeechBegan | SpeechEnded]) -> tuple[OpenSpeech, int]:
        hop = self.detector.hop_samples
        chances = np.asarray(speech.chances)
        # In the second half, so that what is left over is no scrap, and not in the last hops, whose end is not known.
        first = len(chances) // 2
        least = first + int(np.argmin(_smooth(chances)[first : len(chances) - 8]))
        place = speech.first_hop + least * hop + hop // 2
        before = replace(speech, chances=speech.chances[: least + 1])
        out.append(self._ended(before, place, cut=True))
        out.append(SpeechBegan(place))
        return OpenSpeech(
            place, speech.first_hop + (least + 1) * hop, speech.chances[least + 1 :], speech.voiced_end
        ), place

    def _ended(self, speech: OpenSpeech, end: int, *, cut: bool = False) -> SpeechEnded:
        voiced = sum(chance >= self.on for chance in speech.chances) * self.detector.hop_samples / SAMPLE_RATE_HZ
        return SpeechEnded(speech.start_sample, end, voiced, cut)


def _samples(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE_HZ)


def _smooth(chances: Vectors) -> Vectors:
    """Average over three hops: one doubtful hop within a word is no pause."""
    padded = np.pad(chances, 1, mode="edge")
    return np.asarray((padded[:-2] + padded[1:-1] + padded[2:]) / 3, np.float32)
