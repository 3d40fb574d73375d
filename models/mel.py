"""Mel spectra as the Resemblyzer encoder was trained on: 40 bands of power, 25 ms windows, 10 ms steps."""

import numpy as np
from numpy.typing import NDArray

from operators.voice_ports import Sound
from schemas.audio import SAMPLE_RATE_HZ

__all__ = ["MELS", "mel_filters", "mel_spectrum"]

MELS = 40
WIDTH, STEP = 400, 160
BREAK_HZ, BREAK_MEL = 1000.0, 15.0
LOG_STEP = np.log(6.4) / 27.0  # Slaney's scale: linear to 1 kHz, then 27 steps to each factor of 6.4


def _hz_to_mel(hz: float) -> float:
    return BREAK_MEL + float(np.log(hz / BREAK_HZ)) / LOG_STEP if hz >= BREAK_HZ else hz * BREAK_MEL / BREAK_HZ


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    high: NDArray[np.float64] = BREAK_HZ * np.exp(LOG_STEP * (mel - BREAK_MEL))
    return np.where(mel >= BREAK_MEL, high, mel * BREAK_HZ / BREAK_MEL)


def mel_filters() -> NDArray[np.float32]:
    """Give the triangular filters of Slaney's mel scale with equal areas, shape (40, 201)."""
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, WIDTH // 2 + 1)
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE_HZ / 2), MELS + 2))
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return filters.astype(np.float32)


FILTERS = mel_filters()
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WIDTH) / WIDTH)).astype(np.float32)


def mel_spectrum(sound: Sound) -> NDArray[np.float32]:
    """Give the power in 40 mel bands (no logarithm), shape (1 + samples // 160, 40).

    Each frame is centred on its sample; beyond the ends lies silence.
    """
    padded = np.pad(sound.astype(np.float32, copy=False), WIDTH // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WIDTH)[::STEP]
    spectrum = np.fft.rfft(frames * HANN, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    bands: NDArray[np.float32] = power @ FILTERS.T
    return bands
