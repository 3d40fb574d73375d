"""Sound of any usual rate becomes 16 kHz mono, without a click between pieces and without folding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.resampling import RATES_HZ, Resampler


def _tone(hz: float, rate: int, seconds: float = 1.0, channels: int = 1) -> bytes:
    wave = 12_000 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)
    return np.repeat(wave, channels).round().astype("<i2").tobytes()


def _whole(resampler: Resampler, pcm: bytes) -> np.ndarray:
    return np.frombuffer(resampler.step(resampler.initial(), pcm)[1], "<i2").astype(float)


@pytest.mark.parametrize("rate", RATES_HZ)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_stays_the_same_tone(rate: int, channels: int) -> None:
    out = _whole(Resampler(rate, channels), _tone(1_000, rate, channels=channels))
    assert len(out) == 16_000
    steady = out[2_000:-2_000]
    n = np.arange(len(steady))
    basis = np.stack([np.sin(2 * np.pi * n / 16), np.cos(2 * np.pi * n / 16)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, steady, rcond=None)
    left = steady - basis @ fit
    assert 11_800 < np.hypot(*fit) < 12_200
    assert 20 * np.log10(np.std(steady) / np.std(left)) > 60


@pytest.mark.parametrize("rate", [22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
def test_what_lies_above_the_band_does_not_fold_into_it(rate: int) -> None:
    out = _whole(Resampler(rate), _tone(9_500, rate))
    assert np.sqrt(np.mean(out[2_000:-2_000] ** 2)) < 12_000 / np.sqrt(2) * 10 ** (-60 / 20)


@given(
    rate=st.sampled_from(RATES_HZ),
    cuts=st.lists(st.integers(0, 3_000), max_size=12),
    seed=st.integers(0, 9),
    channels=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_pieces_give_what_the_whole_gives(rate: int, cuts: list[int], seed: int, channels: int) -> None:
    noise = np.random.default_rng(seed).integers(-9_000, 9_000, (3_000, channels)).astype("<i2")
    resampler = Resampler(rate, channels)
    state, pieces = resampler.initial(), b""
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 3_000], strict=True):
        state, piece = resampler.step(state, noise[first:last].tobytes())
        pieces += piece
    whole = _whole(resampler, noise.tobytes())
    np.testing.assert_allclose(np.frombuffer(pieces, "<i2"), whole, atol=1)
    assert state.taken == 3_000
    assert len(whole) == -(-3_000 * 16_000 // rate)


def test_after_a_loss_of_the_past_at_most_one_sample_is_off() -> None:
    resampler = Resampler(44_100)
    given = sum(len(resampler.step(resampler.initial(), bytes(2 * 4_411))[1]) // 2 for _ in range(10))
    assert given - -(-44_110 * 16_000 // 44_100) in range(10)


@pytest.mark.parametrize(("rate", "channels"), [(44_000, 1), (0, 1), (16_000, 0), (16_000, 9)])
def test_rates_and_channels_that_are_not_known_are_refused(rate: int, channels: int) -> None:
    with pytest.raises(ValueError, match=r"rate|channels"):
        Resampler(rate, channels)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        Resampler(48_000, 2).step(Resampler(48_000, 2).initial(), b"12345")
