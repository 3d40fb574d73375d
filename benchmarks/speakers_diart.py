"""The peer of `benchmarks.speakers`: online diarization as Coria et al. describe it (ASRU 2021), on the same weights.

A window of 5 s moves by half a second. The segmenter tells up to three speakers of the window apart, each gets one
voice vector, and the vectors are matched to centroids: one to one, at the least cosine distance in all. Who is further
away than `new` from every centroid, and speaks for long enough, becomes a new one. What a moment holds is averaged over
the windows that cover it when the latency is over. The paper pools the vector's frames with weights that punish overlap
(gamma 3, beta 10); the encoder used here cannot weigh frames, so those with next to no weight are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from operators.diarization import FRAME
from operators.voice_ports import ACTIVITY_HZ, Sound, SpeakerSegmenter, VoiceEncoder
from schemas.audio import SAMPLE_RATE_HZ

__all__ = ["Centroids", "Window", "spans_at", "windows_of"]

WINDOW = 5 * SAMPLE_RATE_HZ
GAMMA, BETA = 3.0, 10.0
LEAST_WEIGHT = 0.1
"""Of one who speaks alone with probability 0.5 the weight is 0.12; of two who surely speak at once, 0.1 each."""
LEAST_FRAMES = ACTIVITY_HZ // 5
FAR = 1e6

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What the models say of one window.

    Attributes:
        end: Frame after its last one, 50 a second.
        activity: Shape (frames, speakers of the window).
        vectors: One unit row per speaker of the window; zeros where nobody was heard alone.
    """

    end: int
    activity: Floats
    vectors: Floats


def windows_of(sound: Sound, segmenter: SpeakerSegmenter, encoder: VoiceEncoder, step_s: float = 0.5) -> list[Window]:
    """Let the models hear a sound window by window."""
    step = round(step_s * SAMPLE_RATE_HZ)
    return [
        _heard(sound[max(0, end - WINDOW) : end], end // FRAME, segmenter, encoder)
        for end in range(step, len(sound) + 1, step)
    ]


def _heard(sound: Sound, end: int, segmenter: SpeakerSegmenter, encoder: VoiceEncoder) -> Window:
    activity = segmenter.activity(sound)
    powers = np.exp(BETA * activity)
    weights = (activity * powers / powers.sum(axis=1, keepdims=True)) ** GAMMA
    cells = sound[: len(activity) * FRAME].reshape(-1, FRAME)
    columns = [
        column for column in range(activity.shape[1]) if (weights[:, column] > LEAST_WEIGHT).sum() > LEAST_FRAMES
    ]
    vectors = np.zeros((activity.shape[1], encoder.dim), np.float32)
    vectors[columns] = encoder.encode([cells[weights[:, column] > LEAST_WEIGHT].ravel() for column in columns])
    return Window(end, activity, vectors)


class Centroids:
    """Incremental clustering of the speakers of windows.

    Args:
        active: A speaker of a window whose activity never reaches this does not speak.
        update: Mean activity from which a vector is trusted to move a centroid, or to become one.
        new: Cosine distance from which a voice is a new one.
        most: Centroids at most.
    """

    def __init__(self, active: float = 0.5, update: float = 0.1, new: float = 0.4, most: int = 12) -> None:
        self.active, self.update, self.new, self.most = active, update, new, most
        self._sums: list[Floats] = []

    def step(self, window: Window) -> list[int]:
        """Give the voice of each speaker of a window, -1 = none."""
        found = [-1] * window.activity.shape[1]
        speaks = [
            n for n in range(len(found)) if window.activity[:, n].max() >= self.active and window.vectors[n].any()
        ]
        long = [n for n in speaks if window.activity[:, n].mean() >= self.update]
        distances = self._distances(window.vectors)
        if self._sums and speaks:
            rows, columns = linear_sum_assignment(distances[speaks])
            for row, voice in zip(rows, columns, strict=True):
                if distances[speaks[row], voice] < self.new:
                    found[speaks[row]] = int(voice)
        for n in speaks:
            if found[n] >= 0:
                if n in long:
                    self._sums[found[n]] = self._sums[found[n]] + window.vectors[n]
            elif n in long and len(self._sums) < self.most:
                self._sums.append(window.vectors[n])
                found[n] = len(self._sums) - 1
            else:
                free = [voice for voice in np.argsort(distances[n]).tolist() if voice not in found]
                found[n] = free[0] if free else -1
        return found

    def _distances(self, vectors: Floats) -> Floats:
        if not self._sums:
            return np.zeros((len(vectors), 0), np.float32)
        centres = np.stack(self._sums)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        return np.asarray(1 - vectors @ centres.T, np.float32)


def spans_at(
    windows: Sequence[Window], voices: Sequence[Sequence[int]], latency_s: float, talks: float = 0.5
) -> list[tuple[str, float, float]]:
    """Give who spoke when as it was known `latency_s` after each moment: speaker, start, end.

    Args:
        windows: What was heard.
        voices: The voice of each speaker of each window.
        latency_s: How long windows are waited for.
        talks: Mean activity from which somebody speaks.
    """
    count = max((voice for row in voices for voice in row), default=-1) + 1
    latency, known, decided = round(latency_s * ACTIVITY_HZ), 0, []
    for number, window in enumerate(windows):
        past = window.end if number == len(windows) - 1 else max(known, window.end - latency + _step(windows, number))
        first = next(n for n in range(number + 1) if windows[n].end > known)
        decided.append(_mean(windows[first : number + 1], voices[first : number + 1], known, past, count))
        known = past
    return _spans(np.concatenate(decided) > talks) if decided else []


def _step(windows: Sequence[Window], number: int) -> int:
    return windows[number].end - (windows[number - 1].end if number else 0)


def _mean(windows: Sequence[Window], voices: Sequence[Sequence[int]], first: int, past: int, count: int) -> Floats:
    """Give the activity of each voice from frame to frame, averaged over windows, their edges counting less."""
    sums, weights = np.zeros((past - first, count), np.float32), np.full((past - first, 1), 1e-6, np.float32)
    for window, row in zip(windows, voices, strict=True):
        start = window.end - len(window.activity)
        at, end = max(first, start), min(past, window.end)
        if at >= end:
            continue
        part = np.hamming(len(window.activity)).astype(np.float32)[at - start : end - start, None]
        weights[at - first : end - first] += part
        for column, voice in enumerate(row):
            if voice >= 0:
                sums[at - first : end - first, voice] += window.activity[at - start : end - start, column] * part[:, 0]
    return np.asarray(sums / weights, np.float32)


def _spans(talks: NDArray[np.bool_]) -> list[tuple[str, float, float]]:
    found = []
    for voice in range(talks.shape[1]):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], talks[:, voice].astype(np.int8), [0]])))
        found += [
            (str(voice), start / ACTIVITY_HZ, end / ACTIVITY_HZ)
            for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        ]
    return found
