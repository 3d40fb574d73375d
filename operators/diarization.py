"""windows of sound -> who talks in each 20 ms: provisional at once, corrected as more is heard, final after 5 s."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from operators.ports import Vectors
from operators.voice_clusters import Flags, Numbers, cluster_voices, joined_voices, likeness
from operators.voice_ports import ACTIVITY_HZ, Sound, SpeakerSegmenter, VoiceEncoder
from schemas.audio import SAMPLE_RATE_HZ

__all__ = ["FRAME", "Diarization", "DiarizationState", "FrameVoices", "Heard", "Piece", "hear", "nothing_heard"]

FRAME = SAMPLE_RATE_HZ // ACTIVITY_HZ
TALKS = 0.5
PIECE = round(1.6 * ACTIVITY_HZ)
"""The encoder listens to 1.6 s at a time."""
LEAST_PIECE = round(0.4 * ACTIVITY_HZ)
"""Speech of a voice alone, below which its vector says next to nothing."""
LONGEST_PAUSE = round(0.2 * ACTIVITY_HZ)
FULL = 255
KNOWN_S = 20.0
"""An enrolled voice counts for as much as so many seconds of speech in this session."""
SILENT = 1e-4
"""Sound whose largest sample is below this is digital silence and is not given to a model."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a window in which one voice talks alone, short enough to be one person.

    Attributes:
        column: The voice of the window.
        first: First frame, counted from the window's first one.
        last: Frame after the last one.
        seconds: How much of it is that voice alone.
    """

    column: int
    first: int
    last: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What the models say of one window.

    Attributes:
        end: Frame after the last one, 50 a second, counted from the session's first sample.
        activity: Who talks when, 0 to 255, shape (frames, columns); a column is a voice of this window only.
        pieces: Stretches of one voice alone.
        vectors: One row per piece.
    """

    end: int
    activity: NDArray[np.uint8]
    pieces: tuple[Piece, ...]
    vectors: NDArray[np.float16]


def hear(sound: Sound, end: int, segmenter: SpeakerSegmenter, encoder: VoiceEncoder) -> Heard:
    """Give what the models say of a window of at most 5 s that ends before frame `end`; blocking.

    Raises:
        ModelFailed: A model broke.
    """
    frames = len(sound) // FRAME
    cells = sound[len(sound) - frames * FRAME :].reshape(frames, FRAME)
    if not frames or float(np.abs(sound).max()) < SILENT:
        return nothing_heard(end, frames)
    activity = segmenter.activity(cells.ravel())
    talks = activity > TALKS
    alone = talks & (talks.sum(axis=1, keepdims=True) == 1)
    pieces = tuple(piece for column in range(alone.shape[1]) for piece in _pieces(alone[:, column], column))
    # Only what one voice says alone: a vector of two at once lies between the two.
    speech = [cells[one.first : one.last][alone[one.first : one.last, one.column]].ravel() for one in pieces]
    # Kept in half the bytes and less: what is heard goes into every snapshot, and must be the same after one.
    coarse = np.round(activity * FULL).astype(np.uint8)
    return Heard(end, coarse, pieces, encoder.encode(speech).astype(np.float16))


def nothing_heard(end: int, frames: int = 0) -> Heard:
    """Give the window in which nobody talks."""
    return Heard(end, np.zeros((frames, 1), np.uint8), (), np.zeros((0, 0), np.float16))


def _pieces(alone: Flags, column: int) -> list[Piece]:
    """Cut what a voice says alone at pauses, and what is long into pieces of `PIECE` frames.

    The segmenter may take two people who talk one after the other for one, in a tenth of all windows and in half of
    those of quick talk, so a vector over all that a voice says in a window may be of two people.
    """
    talking = np.flatnonzero(alone)
    if not len(talking):
        return []
    breaks = np.flatnonzero(np.diff(talking) > LONGEST_PAUSE)
    starts = talking[np.concatenate([[0], breaks + 1])].tolist()
    ends = (talking[np.concatenate([breaks, [len(talking) - 1]])] + 1).tolist()
    pieces: list[Piece] = []
    for start, end in zip(starts, ends, strict=True):
        if alone[start:end].sum() < LEAST_PIECE:
            continue
        count = -(-(end - start) // PIECE) if end - start > PIECE + PIECE // 5 else 1
        length = PIECE if count > 1 else end - start
        for first in np.round(np.linspace(start, end - length, count)).astype(int).tolist():
            seconds = float(alone[first : first + length].sum()) / ACTIVITY_HZ
            pieces.append(Piece(column, first, first + length, seconds))
    return pieces


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """A window not yet final: what was heard, and the voice each piece was taken for (-1 = nobody yet)."""

    heard: Heard
    voices: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """Pieces of speech whose voice is final: vector times seconds, seconds, voice, frame after the last."""

    sums: Vectors
    seconds: Vectors
    voices: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    def without(self, gone: int) -> "_Memory":
        """Give the memory without one piece."""
        kept = [number for number in range(len(self.voices)) if number != gone]
        return _Memory(
            self.sums[kept], self.seconds[kept],
            tuple(self.voices[number] for number in kept), tuple(self.ends[number] for number in kept),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class DiarizationState:
    """What is known of one track: small, without sound.

    Attributes:
        windows: The windows of the last five seconds.
        memory: Voices heard before.
        frozen: Frames below this are final.
        given: Voices that were ever made final, so that no number means two people.
        names: Names of the voices that were known before, by number.
    """

    windows: tuple[_Window, ...] = ()
    memory: _Memory = field(default_factory=lambda: _Memory(np.zeros((0, 0), np.float32), np.zeros(0, np.float32)))
    frozen: int = 0
    given: frozenset[int] = frozenset()
    names: tuple[str, ...] = ()

    def name(self, voice: int) -> str | None:
        """Give the name of a voice, or None when it was not known before."""
        return (self.names[voice] or None) if voice < len(self.names) else None

    def without(self, names: Collection[str]) -> "DiarizationState":
        """Give the state in which voices of these names are followed as unknown ones."""
        return replace(self, names=tuple("" if one in names else one for one in self.names))


@dataclass(frozen=True, slots=True, eq=False)
class FrameVoices:
    """Who talks from frame `start` on.

    Attributes:
        start: First frame, 50 a second, counted from the session's first sample.
        frozen: Frames below this are final and will not be told again.
        voices: Numbers of the voices, one per column.
        talks: Shape (frames, voices).
    """

    start: int
    frozen: int
    voices: tuple[int, ...]
    talks: Flags


@dataclass(frozen=True, slots=True)
class Diarization:
    """Follows the voices of one track over overlapping windows.

    All pieces of speech that are remembered are clustered anew with each window, so an early mistake is not kept; a
    cluster takes the number that most of its speech had before, so voices keep their numbers.

    Attributes:
        freeze_s: How long a label may be corrected.
        least_likeness: Mean cosine from which two clusters are one voice.
        short_likeness: The same for a voice that was heard for less than `short_s` in all.
        short_s: Seconds below which a cluster is not trusted to be a new voice.
        most_voices: No more voices than this are told apart.
        most_pieces: Pieces of speech that are remembered.
        piece_s: Length of a remembered piece.
        step_s: Seconds between windows.
    """

    freeze_s: float = 5.0
    least_likeness: float = 0.62
    joined_likeness: float = 0.88
    joined_s: float = 1.0
    short_likeness: float = 0.6
    short_s: float = 0.5
    most_voices: int = 12
    most_pieces: int = 96
    piece_s: float = 2.5
    window_s: float = 5.0

    def step(self, state: DiarizationState, heard: Heard) -> tuple[DiarizationState, FrameVoices]:
        """Take the next window; give the frames that may still change, and those that just became final."""
        start = state.frozen
        windows = self._label((*state.windows, _Window(heard, ())), state)
        frozen = max(start, heard.end - round(self.freeze_s * ACTIVITY_HZ))
        told = self._frames(windows, start, heard.end, frozen)
        state = replace(state, windows=windows, frozen=frozen)
        state = self._remember(state, told)
        return state, told

    def initial(self, start: int = 0, known: Sequence[tuple[str, Vectors]] = ()) -> DiarizationState:
        """Give the state of a track.

        Args:
            start: Frame its sound begins with.
            known: Voices with a name: unit vectors of the encoder that will be used, shape (dim,).
        """
        numbers = tuple(range(len(known)))
        seconds = np.full(len(known), KNOWN_S, np.float32)
        rows = np.stack([vector for _, vector in known]) * KNOWN_S if known else np.zeros((0, 0), np.float32)
        memory = _Memory(rows.astype(np.float32), seconds, numbers, (-1,) * len(known))
        return DiarizationState((), memory, start, frozenset(numbers), tuple(name for name, _ in known))

    def finish(self, state: DiarizationState, start: int = 0) -> tuple[DiarizationState, FrameVoices | None]:
        """Make all labels final since no sound follows, or none before frame `start`; voices stay known."""
        told = None
        if state.windows:
            end = state.windows[-1].heard.end
            told = self._frames(state.windows, state.frozen, end, end)
            state = self._remember(replace(state, frozen=end), told)
        return replace(state, frozen=max(start, state.frozen)), told

    def _label(self, windows: tuple[_Window, ...], state: DiarizationState) -> tuple[_Window, ...]:
        """Give the windows with the voice of each piece."""
        memory = state.memory
        places = [(number, one) for number, window in enumerate(windows) for one in range(len(window.heard.pieces))]
        if not places:
            return tuple(replace(window, voices=()) for window in windows)
        shares = _shares(windows, state.frozen, self.window_s)
        pieces = [windows[number].heard.pieces[one] for number, one in places]
        seconds = np.array([piece.seconds for piece in pieces], np.float32)
        seconds *= np.array([shares[number] for number, _ in places], np.float32)
        rows = [window.heard.vectors for window in windows if window.heard.pieces]
        recent = np.concatenate(rows).astype(np.float32) * seconds[:, None]
        sums = np.concatenate([memory.sums.reshape(-1, recent.shape[1]), recent])
        weights = np.concatenate([memory.seconds, seconds])
        before = [*memory.voices, *(_before(windows[number], one) for number, one in places)]
        kept = len(memory.voices)
        cluster = cluster_voices(sums, weights, least=self.least_likeness, most=self.most_voices)
        cluster = joined_voices(sums, weights, cluster, least=self.joined_likeness, least_weight=self.joined_s)
        voices = self._number(cluster, sums, weights, before, state.given)
        found = iter(voices[kept:])
        return tuple(replace(window, voices=tuple(next(found) for _ in window.heard.pieces)) for window in windows)

    def _number(
        self, cluster: Numbers, sums: Vectors, weights: Vectors, before: Sequence[int], given: frozenset[int]
    ) -> list[int]:
        """Give the voice of every piece: each cluster keeps the number most of its speech had."""
        count = int(cluster.max()) + 1 if len(cluster) else 0
        shares: dict[tuple[int, int], float] = {}
        for name, weight, voice in zip(cluster.tolist(), weights.tolist(), before, strict=True):
            if voice >= 0:
                shares[name, voice] = shares.get((name, voice), 0.0) + weight
        numbers: dict[int, int] = {}
        for name, voice in sorted(shares, key=lambda pair: (-shares[pair], pair)):
            if name not in numbers and voice not in numbers.values():
                numbers[name] = voice
        long = [float(weights[cluster == name].sum()) >= self.short_s for name in range(count)]
        centres = np.stack([sums[cluster == name].sum(axis=0) for name in range(count)]) if count else sums
        for name in range(count):
            trusted = long[name] or numbers.get(name) in given
            others = [other for other in numbers if other != name and (long[other] or numbers[other] in given)]
            if not trusted and others:
                cosines = likeness(centres[name : name + 1], centres[others])[0]
                if cosines.max() >= self.short_likeness:
                    numbers[name] = numbers[others[int(cosines.argmax())]]
            if name not in numbers:
                taken = {*numbers.values(), *given, *before}
                numbers[name] = next(number for number in range(len(taken) + 1) if number not in taken)
        return [numbers[name] for name in cluster.tolist()]

    def _frames(self, windows: tuple[_Window, ...], start: int, end: int, frozen: int) -> FrameVoices:
        voices = tuple(sorted({voice for window in windows for voice in window.voices if voice >= 0}))
        scores = np.zeros((end - start, max(1, len(voices))), np.float32)
        counted = np.zeros((end - start, 1), np.float32)
        for window in windows:
            frames = len(window.heard.activity)
            skipped = max(0, start - (window.heard.end - frames))
            at = window.heard.end - frames + skipped - start
            if skipped >= frames:
                continue
            weight = _edges(frames)[skipped:]
            counted[at : at + frames - skipped, 0] += weight
            for voice, activity in _by_voice(window).items():
                scores[at : at + frames - skipped, voices.index(voice)] += activity[skipped:] * weight
        talks = scores / np.maximum(counted, 1e-6) > TALKS
        return FrameVoices(start, frozen, voices, talks[:, : len(voices)])

    def _remember(self, state: DiarizationState, told: FrameVoices) -> DiarizationState:
        """Move what became final into the memory, and forget its windows."""
        final = told.talks[: told.frozen - told.start]
        given = state.given | {voice for place, voice in enumerate(told.voices) if final[:, place].any()}
        memory = state.memory
        shares = _shares(state.windows, told.start, self.window_s)
        kept = []
        for number, window in enumerate(state.windows):
            if window.heard.end > told.frozen:
                kept.append(window)
                continue
            for piece, vector, voice in zip(window.heard.pieces, window.heard.vectors, window.voices, strict=True):
                weight = piece.seconds * shares[number]
                memory = self._add(memory, vector.astype(np.float32) * weight, weight, voice, window.heard.end)
        return replace(state, windows=tuple(kept), memory=memory, given=given)

    def _add(self, memory: _Memory, row: Vectors, seconds: float, voice: int, end: int) -> _Memory:
        last = max((n for n, one in enumerate(memory.voices) if one == voice), key=lambda n: memory.ends[n], default=-1)
        if last >= 0 and memory.seconds[last] < self.piece_s and end - memory.ends[last] <= ACTIVITY_HZ:
            row, seconds = row + memory.sums[last], seconds + float(memory.seconds[last])
            memory = memory.without(last)
        memory = _Memory(
            np.concatenate([memory.sums.reshape(-1, len(row)), row[None]]),
            np.append(memory.seconds, np.float32(seconds)),
            (*memory.voices, voice),
            (*memory.ends, end),
        )
        return memory if len(memory.voices) <= self.most_pieces else self._joined(memory)

    def _joined(self, memory: _Memory) -> _Memory:
        """Make one piece of the two most alike of one voice."""
        cosines = likeness(memory.sums, memory.sums)
        same = np.equal.outer(memory.voices, memory.voices)
        cosines[~same] = -2.0
        np.fill_diagonal(cosines, -2.0)
        one, two = divmod(int(cosines.argmax()), len(memory.voices))
        sums, seconds = memory.sums.copy(), memory.seconds.copy()
        sums[two] += sums[one]
        seconds[two] += seconds[one]
        return replace(memory, sums=sums, seconds=seconds).without(one)


def _before(window: _Window, one: int) -> int:
    return window.voices[one] if window.voices else -1


def _by_voice(window: _Window) -> dict[int, Vectors]:
    """Give the activity of each voice in a window: each frame of a column goes to the column's nearest piece."""
    frames = len(window.heard.activity)
    found: dict[int, Vectors] = {}
    for column in range(window.heard.activity.shape[1]):
        own = [one for one, piece in enumerate(window.heard.pieces) if piece.column == column]
        if not own:
            continue
        middles = np.array([(window.heard.pieces[one].first + window.heard.pieces[one].last) / 2 for one in own])
        voices = np.array([window.voices[one] for one in own])
        nearest = voices[np.abs(np.arange(frames)[:, None] + 0.5 - middles).argmin(axis=1)]
        for voice in dict.fromkeys(voices.tolist()):
            own_activity = np.where(nearest == voice, window.heard.activity[:, column], 0)
            activity: Vectors = own_activity.astype(np.float32) / np.float32(FULL)
            found[voice] = np.maximum(found[voice], activity) if voice in found else activity
    return found


def _shares(windows: Sequence[_Window], frozen: int, window_s: float) -> list[float]:
    """Give how much of its speech each window stands for: windows overlap, and speech must not count many times."""
    ends = [frozen, *(window.heard.end for window in windows)]
    return [min(1.0, (end - before) / (window_s * ACTIVITY_HZ)) for before, end in pairwise(ends)]


def _edges(frames: int) -> Vectors:
    """Give how far the frames of a window are trusted: less within half a second of its ends."""
    ramp = np.minimum(1.0, 0.2 + (np.arange(frames) + 0.5) / (ACTIVITY_HZ / 2) * 0.8)
    both: Vectors = np.minimum(ramp, ramp[::-1]).astype(np.float32)
    return both
