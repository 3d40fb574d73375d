"""Speech is found where it is: no first word loses its beginning, nothing grows without end."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.audio_tracks import AudioRun
from operators.ports import SpeechMemory, Vectors
from operators.speech_activity import ActivityState, SpeechActivity, SpeechBegan, SpeechEnded

RATE = 16_000
HOP = 512


class Loudness:
    """Takes loud sound for speech: a detector whose every decision can be foreseen."""

    hop_samples = HOP

    def initial(self) -> SpeechMemory:
        nothing = np.zeros(0, np.float32)
        return SpeechMemory(nothing, nothing, nothing)

    def probabilities(self, samples: np.ndarray, memory: SpeechMemory) -> tuple[Vectors, SpeechMemory]:
        loud = np.abs(samples.astype(np.float32)).reshape(-1, HOP).mean(axis=1)
        return np.minimum(1.0, loud / 10_000).astype(np.float32), memory


def sound(*parts: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(int(seconds * RATE), level, np.int16) for seconds, level in parts])


def heard(samples: np.ndarray, size: int = 1_600, start: int = 0, **options: float) -> list[SpeechBegan | SpeechEnded]:
    activity = SpeechActivity(Loudness(), **options)
    state = activity.initial()
    out: list[SpeechBegan | SpeechEnded] = []
    for at in range(0, len(samples), size):
        piece = samples[at : at + size]
        run = AudioRun("mic", start + at, piece, last=at + size >= len(samples))
        state, made = activity.step(state, run)
        out += made
    return out


def test_a_stretch_begins_before_its_first_loud_hop_and_ends_after_its_last() -> None:
    began, ended = heard(sound((1, 0), (2, 9_000), (1, 0)))
    assert isinstance(began, SpeechBegan)
    assert isinstance(ended, SpeechEnded)
    assert began.start_sample == pytest.approx(0.7 * RATE, abs=HOP)
    assert ended.end_sample == pytest.approx(3.2 * RATE, abs=HOP)
    assert ended.voiced_s == pytest.approx(2.0, abs=0.07)


def test_a_short_pause_does_not_end_a_stretch_and_a_long_one_does() -> None:
    spans = [one for one in heard(sound((1, 9_000), (0.3, 0), (1, 9_000), (0.6, 0), (1, 9_000), (1, 0)))]
    assert [type(one) for one in spans] == [SpeechBegan, SpeechEnded] * 2


def test_in_between_goes_on_what_was() -> None:
    assert heard(sound((1, 4_000))) == []
    began, ended = heard(sound((1, 9_000), (1, 4_000), (1, 0)))
    assert ended.end_sample == pytest.approx(2.2 * RATE, abs=HOP)  # type: ignore[union-attr]
    assert began.start_sample == 0


def test_speech_without_a_pause_is_cut_at_its_quietest_place_and_nothing_is_lost() -> None:
    spans = heard(sound((8, 9_000), (0.15, 5_000), (8, 9_000), (1, 0)), soft_s=99)
    ends = [one for one in spans if isinstance(one, SpeechEnded)]
    assert ends[0].cut
    assert ends[0].end_sample == pytest.approx(8.07 * RATE, abs=2 * HOP)
    assert spans[2] == SpeechBegan(ends[0].end_sample)
    assert ends[-1].end_sample == pytest.approx(16.35 * RATE, abs=HOP)


def test_a_long_stretch_ends_at_a_shorter_pause() -> None:
    spans = heard(sound((9, 9_000), (0.35, 0), (1, 9_000), (1, 0)))
    assert len(spans) == 4


def test_a_jump_in_the_sound_ends_the_stretch_where_the_sound_ended() -> None:
    activity = SpeechActivity(Loudness())
    state, _made = activity.step(activity.initial(), AudioRun("mic", 0, sound((1, 9_000))))
    state, more = activity.step(state, AudioRun("mic", 3600 * RATE, sound((1, 9_000))))
    assert isinstance(more[0], SpeechEnded)
    assert more[0].end_sample == RATE
    assert more[1] == SpeechBegan(3600 * RATE)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 3), st.sampled_from([0, 3_000, 4_500, 9_000])), min_size=1, max_size=12),
    st.integers(1, 5_000),
)
def test_how_the_sound_is_cut_into_runs_changes_nothing_and_stretches_never_overlap(
    parts: list[tuple[float, int]], size: int
) -> None:
    samples = sound(*parts)
    spans = heard(samples, size)
    assert spans == heard(samples, len(samples))
    stretches = [one for one in spans if isinstance(one, SpeechEnded)]
    assert all(one.start_sample < one.end_sample <= len(samples) for one in stretches)
    assert all(before.end_sample <= after.start_sample for before, after in pairwise(stretches))
    assert all(one.end_sample - one.start_sample <= 12.1 * RATE for one in stretches)


def test_hours_of_silence_leave_nothing_behind() -> None:
    activity = SpeechActivity(Loudness())
    state = activity.initial()
    minute = sound((60, 0))
    for number in range(180):
        state, made = activity.step(state, AudioRun("mic", number * len(minute), minute))
        assert made == []
    assert len(pickle.dumps(state)) < 5_000


def test_the_state_is_not_changed_by_a_step() -> None:
    activity = SpeechActivity(Loudness())
    state, _ = activity.step(activity.initial(), AudioRun("mic", 0, sound((1, 9_000))))
    before = pickle.dumps(state)
    activity.step(state, AudioRun("mic", RATE, sound((1, 0))))
    assert pickle.dumps(state) == before
    again: ActivityState = pickle.loads(before)
    assert (
        activity.step(again, AudioRun("mic", RATE, sound((1, 0))))[1]
        == activity.step(state, AudioRun("mic", RATE, sound((1, 0))))[1]
    )
