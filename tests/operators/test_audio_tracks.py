"""Chunks become runs in order: each sample once, what never came is told."""

import pickle
import random
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.audio_tracks import AudioRun, AudioTracks, AudioTracksState
from schemas.audio import AudioChunk
from schemas.speech import AudioGap

CHUNK = 1_600
AT = datetime(2026, 1, 1, tzinfo=UTC)


def chunk(
    sequence: int, start: int | None = None, samples: int = CHUNK, track: str = "mic", last: bool = False
) -> AudioChunk:
    start = sequence * CHUNK if start is None else start
    # Each sample tells its own index, so that order, repeats and holes show.
    pcm = (np.arange(start, start + samples) % 30_000 + 1).astype("<i2").tobytes()
    return AudioChunk(
        session_id="s", event_id=f"{track}-{sequence}-{start}", created_at=AT, track=track, sequence=sequence,
        start_sample=start, pcm=pcm, last=last,
    )  # fmt: skip


class Hearing:
    def __init__(self, **options: float) -> None:
        self.operator = AudioTracks(**options)  # type: ignore[arg-type]
        self.state = self.operator.initial()
        self.out: list[AudioRun | AudioGap] = []

    def hear(self, one: AudioChunk, now_s: float = 100.0) -> None:
        self.state, out = self.operator.step(self.state, one, now_s)
        self.out += out

    def tick(self, now_s: float) -> None:
        self.state, out = self.operator.tick(self.state, now_s)
        self.out += out

    @property
    def runs(self) -> list[AudioRun]:
        return [one for one in self.out if isinstance(one, AudioRun)]

    @property
    def gaps(self) -> list[AudioGap]:
        return [one for one in self.out if isinstance(one, AudioGap)]

    def sound(self) -> np.ndarray:
        for before, after in pairwise(self.runs):
            assert before.end_sample == after.start_sample
        return np.concatenate([run.samples for run in self.runs])


def expected(first: int, end: int) -> np.ndarray:
    return (np.arange(first, end) % 30_000 + 1).astype(np.int16)


def test_chunks_in_order_come_out_as_they_are() -> None:
    hearing = Hearing()
    for number in range(5):
        hearing.hear(chunk(number))
    assert np.array_equal(hearing.sound(), expected(0, 5 * CHUNK))
    assert not hearing.gaps


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 2**31))
def test_any_order_with_repeats_gives_the_same_sound(repeats: list[int], seed: int) -> None:
    numbers = [*range(10), *repeats]
    random.Random(seed).shuffle(numbers)
    hearing = Hearing()
    for number in numbers:
        hearing.hear(chunk(number))
    assert np.array_equal(hearing.sound(), expected(0, 10 * CHUNK))
    assert not hearing.gaps


def test_a_missing_chunk_is_waited_for_until_two_seconds_of_later_sound_lie_there() -> None:
    hearing = Hearing()
    for number in (0, *range(2, 21)):
        hearing.hear(chunk(number))
    assert hearing.runs[-1].end_sample == CHUNK
    hearing.hear(chunk(21))
    assert hearing.runs[-1].end_sample == 22 * CHUNK
    assert [(gap.start_s, gap.end_s) for gap in hearing.gaps] == [(0.1, 0.2)]
    assert not hearing.sound()[CHUNK : 2 * CHUNK].any()
    hearing.hear(chunk(1))
    assert hearing.runs[-1].end_sample == 22 * CHUNK, "what was given up is not taken any more"


def test_a_missing_chunk_is_given_up_when_time_passes_without_more_sound() -> None:
    hearing = Hearing()
    hearing.hear(chunk(0))
    hearing.hear(chunk(2), 101.0)
    assert hearing.operator.due_s(hearing.state) == 103.0
    hearing.tick(102.9)
    assert not hearing.gaps
    hearing.tick(103.0)
    assert len(hearing.gaps) == 1
    assert hearing.operator.due_s(hearing.state) is None


def test_overlapping_chunks_give_each_sample_once() -> None:
    hearing = Hearing()
    hearing.hear(chunk(0))
    hearing.hear(chunk(1, start=CHUNK - 400))
    hearing.hear(chunk(2, start=300, samples=200))
    assert np.array_equal(hearing.sound(), expected(0, 2 * CHUNK - 400))


def test_a_jump_of_hours_is_told_and_costs_no_silence() -> None:
    hearing = Hearing()
    hearing.hear(chunk(0))
    hearing.hear(chunk(1, start=10 * 3600 * 16_000))
    assert sum(len(run.samples) for run in hearing.runs) == 2 * CHUNK
    assert hearing.gaps[0].end_s == 36_000.0
    assert hearing.runs[-1].start_sample == 576_000_000


def test_a_sender_that_counts_anew_is_heard_when_its_samples_lie_ahead() -> None:
    hearing = Hearing()
    for number in range(3):
        hearing.hear(chunk(number))
    hearing.hear(chunk(0, start=3 * CHUNK))
    hearing.hear(chunk(1, start=4 * CHUNK))
    assert np.array_equal(hearing.sound(), expected(0, 5 * CHUNK))


def test_two_senders_of_one_track_do_not_double_it() -> None:
    hearing = Hearing()
    for number in range(6):
        hearing.hear(chunk(number))
        hearing.hear(chunk(number))
    assert len(hearing.sound()) == 6 * CHUNK


def test_the_last_chunk_ends_the_track_once_what_is_missing_came_or_was_given_up() -> None:
    hearing = Hearing()
    hearing.hear(chunk(0))
    hearing.hear(chunk(2, last=True))
    assert not hearing.runs[-1].last
    hearing.tick(102.0)
    assert hearing.runs[-1].last
    assert hearing.runs[-1].end_sample == 3 * CHUNK
    assert len(hearing.gaps) == 1


def test_tracks_do_not_disturb_each_other_and_the_quietest_makes_room() -> None:
    hearing = Hearing(most_tracks=2)
    hearing.hear(chunk(0, track="a"), 1.0)
    hearing.hear(chunk(0, track="b"), 2.0)
    hearing.hear(chunk(1, track="a"), 3.0)
    hearing.hear(chunk(0, track="c"), 4.0)
    assert [name for name, _ in hearing.state.tracks] == ["a", "c"]
    assert [run.track for run in hearing.runs] == ["a", "b", "a", "c"]


@pytest.mark.parametrize("samples", [0, 1])
def test_what_waits_is_bounded_whatever_arrives(samples: int) -> None:
    hearing = Hearing()
    for number in range(2_000):
        hearing.hear(chunk(2 * number + 1, start=number, samples=samples))
        assert len(hearing.state.track("mic").waiting) <= 400


def test_the_state_survives_pickling_and_is_not_changed_by_a_step() -> None:
    hearing = Hearing()
    hearing.hear(chunk(0))
    hearing.hear(chunk(2))
    before = hearing.state
    copied: AudioTracksState = pickle.loads(pickle.dumps(before))
    hearing.hear(chunk(1))
    assert before == copied
    assert hearing.state.track("mic").next_sequence == 3
