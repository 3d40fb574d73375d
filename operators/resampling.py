"""PCM of any usual rate, mono or several channels, to 16 kHz mono, piece by piece."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.audio import SAMPLE_RATE_HZ

__all__ = ["MOST_CHANNELS", "RATES_HZ", "Resampler", "ResamplerState"]

RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000)
MOST_CHANNELS = 8
_BYTES = 2
# Half width of the low-pass filter in zero crossings, and the share of the band it passes: with a Kaiser window of
# beta 8 everything that would fold back below 7.2 kHz is at least 75 dB down.
_CROSSINGS = 32
_PASSED = 0.95
_BETA = 8.0


@dataclass(frozen=True, slots=True)
class ResamplerState:
    """How many samples per channel came in, and the last of them, which the filter still looks back to."""

    taken: int = 0
    history: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Resampler:
    """Turns little-endian PCM16 of a rate into 16 kHz mono.

    The filter looks back only: the pieces given out so far are always as long as the pieces taken in, so nothing of an
    acknowledged piece waits inside for the next one. What it costs is a constant delay of about 2 ms.

    Attributes:
        rate_hz: One of `RATES_HZ`.
        channels: 1 to 8, interleaved; they are averaged.

    >>> resampler = Resampler(48_000, 2)
    >>> state, out = resampler.step(resampler.initial(), bytes(4 * 480))
    >>> state.taken, len(out)
    (480, 320)
    """

    rate_hz: int
    channels: int = 1

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: The rate or the number of channels is not known here.
        """
        if self.rate_hz not in RATES_HZ:
            raise ValueError(f"the rate is one of {', '.join(map(str, RATES_HZ))} Hz")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise ValueError(f"1 to {MOST_CHANNELS} channels are taken")

    def initial(self) -> ResamplerState:
        """Give the state before the first sample; also where the past is not at hand any more."""
        return ResamplerState()

    @property
    def frame_bytes(self) -> int:
        """Give the bytes of one sample of all channels."""
        return _BYTES * self.channels

    def seconds(self, size: int) -> float:
        """Give how long so many bytes sound."""
        return size / (self.frame_bytes * self.rate_hz)

    def step(self, state: ResamplerState, pcm: bytes) -> tuple[ResamplerState, bytes]:
        """Take a piece; gives the 16 kHz samples whose moment has come.

        Raises:
            ValueError: The piece is not a whole number of samples of all channels.
        """
        if len(pcm) % self.frame_bytes:
            raise ValueError(f"a piece is a whole number of samples: a multiple of {self.frame_bytes} bytes")
        if not pcm:
            return state, b""
        if self.rate_hz == SAMPLE_RATE_HZ and self.channels == 1:
            return ResamplerState(state.taken + len(pcm) // self.frame_bytes), pcm
        mixed = np.frombuffer(pcm, "<i2").reshape(-1, self.channels).mean(axis=1, dtype=np.float32)
        if self.rate_hz == SAMPLE_RATE_HZ:
            return ResamplerState(state.taken + len(mixed)), _pcm(mixed)
        up, down, filters = _filters(self.rate_hz)
        width = filters.shape[1]
        past = np.zeros(width - 1, np.float32)
        if state.history:
            past[-len(state.history) :] = state.history
        line = np.concatenate([past, mixed])
        end = state.taken + len(mixed)
        # Output sample t lies at input sample t * down / up; those in [taken, end) are given now.
        wanted = np.arange(-(-state.taken * up // down), -(-end * up // down), dtype=np.int64)
        at, phase = (wanted * down) // up - state.taken, (wanted * down) % up
        windows = np.lib.stride_tricks.sliding_window_view(line, width)[at]
        given = np.einsum("ij,ij->i", windows, filters[phase])
        return ResamplerState(end, tuple(line[len(line) - width + 1 :].tolist())), _pcm(given)


def _pcm(samples: NDArray[np.float32]) -> bytes:
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()


@functools.cache
def _filters(rate_hz: int) -> tuple[int, int, NDArray[np.float32]]:
    """Give the factors up and down, and one row of taps for each of the `up` places between two input samples."""
    common = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    up, down = SAMPLE_RATE_HZ // common, rate_hz // common
    cut = _PASSED * min(1.0, up / down)
    width = 2 * math.ceil(_CROSSINGS / cut)
    middle = (width - 1) / 2
    # Row p, column k: the tap for the input sample (width - 1 - k) back, when the output lies p/up after the newest.
    back = np.arange(width - 1, -1, -1)[None, :] + np.arange(up)[:, None] / up - middle
    inside = np.clip(1 - (back / (middle + 1)) ** 2, 0, None)
    taps = np.sinc(back * cut) * np.i0(_BETA * np.sqrt(inside)) / np.i0(_BETA)
    return up, down, (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
