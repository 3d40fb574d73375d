"""Music and the noises of rooms for tests, made of sines and chance: int16, 16 kHz, nobody speaks in any of it."""

import numpy as np

from schemas.audio import SAMPLE_RATE_HZ

__all__ = ["NOISES", "band", "song"]

CHORDS_HZ = ((220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (261.6, 329.6, 392.0), (196.0, 246.9, 293.7))
TUNE_HZ = (440.0, 523.3, 587.3, 659.3, 587.3, 523.3, 493.9, 440.0)
BEAT_S = 0.5


def _moments(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _int16(sound: np.ndarray, level: float) -> np.ndarray:
    return (sound / np.abs(sound).max() * level * 32_767).astype(np.int16)


def _note(hz: float, seconds: float, overtones: int = 8, vibrato: float = 0.0) -> np.ndarray:
    """Give a plucked or bowed tone with its overtones."""
    at = _moments(seconds)
    phase = 2 * np.pi * hz * at + vibrato * np.sin(2 * np.pi * 5.5 * at)
    whole = sum(np.sin(number * phase) / number**1.5 for number in range(1, overtones + 1))
    return whole * np.minimum(1, at / 0.02) * np.exp(-at / (0.8 * seconds))


def _drum(seconds: float, chance: np.random.Generator, hz: float, rattle: float) -> np.ndarray:
    at = _moments(seconds)
    return np.exp(-at / 0.08) * np.sin(2 * np.pi * hz * at * np.exp(-at)) + rattle * np.exp(-at / 0.04) * chance.normal(
        0, 1, len(at)
    )


def band(seconds: float, level: float = 0.5) -> np.ndarray:
    """Give chords and a tune over drums."""
    chance, sound = np.random.default_rng(5), np.zeros(round(seconds * SAMPLE_RATE_HZ))
    for beat in range(int(seconds / BEAT_S)):
        parts = [0.5 * _note(hz, BEAT_S) for hz in CHORDS_HZ[beat // 4 % len(CHORDS_HZ)]]
        parts += [_note(TUNE_HZ[beat % len(TUNE_HZ)], BEAT_S), _drum(BEAT_S, chance, 70 if beat % 2 else 180, 0.8)]
        at = round(beat * BEAT_S * SAMPLE_RATE_HZ)
        sound[at : at + len(parts[0])] += sum(parts)
    return _int16(sound, level)


def song(seconds: float, level: float = 0.5) -> np.ndarray:
    """Give a bowed tune alone, with the vibrato and the slides that come closest to a voice."""
    notes = [
        _note(TUNE_HZ[beat % len(TUNE_HZ)] / 2, 2 * BEAT_S, 14, 1.5) for beat in range(int(seconds / (2 * BEAT_S)))
    ]
    return _int16(np.concatenate(notes), level)


def _pink(seconds: float) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(3).normal(0, 1, round(seconds * SAMPLE_RATE_HZ)))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))))


def _clicks(seconds: float) -> np.ndarray:
    """Give the keys of a keyboard, at uneven times, over a faint hiss."""
    chance = np.random.default_rng(9)
    sound = chance.normal(0, 0.003, round(seconds * SAMPLE_RATE_HZ))
    for at in np.cumsum(chance.uniform(0.08, 0.3, int(seconds * 5))):
        start = int(at * SAMPLE_RATE_HZ)
        sound[start : start + 320] += (chance.normal(0, 1, 320) * np.exp(-np.arange(320) / 60))[: len(sound) - start]
    return sound


def _hum(seconds: float) -> np.ndarray:
    return sum(np.sin(2 * np.pi * 50 * number * _moments(seconds)) / number for number in (1, 2, 3, 5, 7))


NOISES = {
    "pink": lambda seconds: _int16(_pink(seconds), 0.5),
    "keyboard": lambda seconds: _int16(_clicks(seconds), 0.4),
    "hum": lambda seconds: _int16(_hum(seconds), 0.3),
}
