"""Speakers whose voices are pure tones, and models that tell them apart exactly: real sound through the real flow."""

from collections.abc import Sequence

import numpy as np

from operators.ports import Vectors
from operators.voice_ports import ACTIVITY_HZ, Activity, Sound
from schemas.audio import SAMPLE_RATE_HZ

PITCHES_HZ = (200, 400, 600, 800, 1000)
FRAME = SAMPLE_RATE_HZ // ACTIVITY_HZ
HEARD = 0.02


def talk(*turns: tuple[int, float, float], seconds: float) -> np.ndarray:
    """Give int16 sound in which voices (numbers of pitches) talk from a second to another."""
    sound = np.zeros(round(seconds * SAMPLE_RATE_HZ))
    for voice, start_s, end_s in turns:
        first, past = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
        time_s = np.arange(first, past) / SAMPLE_RATE_HZ
        sound[first:past] += 0.2 * np.sin(2 * np.pi * PITCHES_HZ[voice] * time_s)
    return (sound * 32767).astype(np.int16)


def _levels(sound: Sound) -> np.ndarray:
    """Give how loud each pitch is in each frame; a frame holds whole periods of all of them."""
    cells = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    time_s = np.arange(FRAME) / SAMPLE_RATE_HZ
    waves = np.exp(-2j * np.pi * np.outer(PITCHES_HZ, time_s))
    return np.abs(cells @ waves.T) * 2 / FRAME


class ToneSegmenter:
    """Hears which pitches sound; its columns change places from call to call, as those of a real one do."""

    name = "tones"

    def __init__(self) -> None:
        self.calls = 0

    def activity(self, sound: Sound) -> Activity:
        self.calls += 1
        levels = _levels(sound)
        loud = np.argsort(-levels.sum(axis=0), kind="stable")[:3]
        turned = np.roll(loud, len(sound) // FRAME % 3)
        return (levels[:, turned] > HEARD).astype(np.float32)


class ToneEncoder:
    """Gives a vector that shows the pitch of a voice."""

    name = "tones"
    dim = len(PITCHES_HZ)

    def encode(self, speech: Sequence[Sound]) -> Vectors:
        rows = np.array([_levels(sound).mean(axis=0) for sound in speech], np.float32).reshape(-1, self.dim)
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)
