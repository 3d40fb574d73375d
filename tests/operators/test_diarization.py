"""Voices keep their numbers, mistakes are corrected for five seconds and then stay."""

import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from operators.diarization import Diarization, hear
from operators.speaker_turns import SpeakerTurns, SpeakerTurnsState
from operators.voice_clusters import cluster_voices, joined_voices
from schemas.audio import SAMPLE_RATE_HZ
from schemas.speech import SpeakerTurn
from tests.tones import ToneEncoder, ToneSegmenter, talk

STEP = SAMPLE_RATE_HZ // 2
WINDOW = 5 * SAMPLE_RATE_HZ
OPERATOR = SpeakerTurns()


def run(
    sound: np.ndarray,
    state: SpeakerTurnsState | None = None,
    first: int = 0,
    *,
    finish: bool = True,
    operator: SpeakerTurns = OPERATOR,
) -> tuple[SpeakerTurnsState, list[SpeakerTurn]]:
    """Give the turns told for a track, and the state after it."""
    samples = sound.astype(np.float32) / 32768
    state = state or operator.initial("s", "room", first)
    turns: list[SpeakerTurn] = []
    for end in range(first + STEP, len(samples) + 1, STEP):
        window = samples[max(first, end - WINDOW) : end]
        state, made = operator.step(state, hear(window, end // 320, ToneSegmenter(), ToneEncoder()), end / 16_000)
        turns += made
    if finish:
        state, made = operator.finish(state, len(samples) / 16_000)
        turns += made
    return state, turns


def final(turns: Sequence[SpeakerTurn]) -> list[tuple[str, float, float]]:
    """Give who held the floor when, in the end: what follows on in one voice joined."""
    newest: dict[str, SpeakerTurn] = {}
    for turn in turns:
        assert turn.turn_id not in newest or turn.revision == newest[turn.turn_id].revision + 1
        assert turn.turn_id not in newest or not newest[turn.turn_id].frozen, "a frozen turn was changed"
        newest[turn.turn_id] = turn
    assert all(turn.frozen for turn in newest.values())
    joined: list[tuple[str, float, float]] = []
    for turn in sorted(newest.values(), key=lambda one: (one.speaker, one.start_s)):
        if turn.end_s == turn.start_s:
            continue
        if joined and joined[-1][0] == turn.speaker and turn.start_s - joined[-1][2] < 0.05:
            joined[-1] = (turn.speaker, joined[-1][1], turn.end_s)
        else:
            joined.append((turn.speaker, turn.start_s, turn.end_s))
    return sorted(joined, key=lambda one: one[1])


def test_people_who_come_back_are_known_again_and_two_at_once_are_both_told() -> None:
    sound = talk((0, 1, 4), (1, 5, 8), (2, 9, 12), (0, 30, 34), (1, 33, 36), (2, 50, 53), seconds=55)
    found = final(run(sound)[1])
    voices = [voice for voice, _, _ in found]
    assert voices == [f"room-speaker-{number}" for number in (1, 2, 3, 1, 2, 3)]
    for (_, start_s, end_s), (_, true_start_s, true_end_s) in zip(
        found, [(0, 1, 4), (0, 5, 8), (0, 9, 12), (0, 30, 34), (0, 33, 36), (0, 50, 53)], strict=True
    ):
        assert start_s == pytest.approx(true_start_s, abs=0.05)
        assert end_s == pytest.approx(true_end_s, abs=0.05)


def test_a_long_talk_is_frozen_piece_by_piece() -> None:
    _, turns = run(talk((0, 1, 29), seconds=30), finish=False)
    frozen = [turn for turn in turns if turn.frozen]
    assert max(turn.end_s for turn in frozen) >= 20
    assert len(turns) < 80, "two records a second of talk at most"


def test_a_label_is_told_within_a_second_and_frozen_after_five() -> None:
    sound = talk((0, 1, 12), seconds=12)
    _, early = run(sound[: 2 * SAMPLE_RATE_HZ], finish=False)
    assert early, "nothing was told of the first second of talk"
    assert not any(turn.frozen for turn in early)
    _, later = run(sound[: 12 * SAMPLE_RATE_HZ], finish=False)
    assert any(turn.frozen and turn.start_s == pytest.approx(1, abs=0.05) for turn in later)


def test_the_same_sound_gives_the_same_records() -> None:
    sound = talk((0, 1, 4), (1, 3.5, 8), seconds=10)
    first = [turn.model_dump(exclude={"created_at"}) for turn in run(sound)[1]]
    second = [turn.model_dump(exclude={"created_at"}) for turn in run(sound)[1]]
    assert first == second
    assert len({turn["event_id"] for turn in first}) == len(first)


def test_voices_stay_known_over_a_break_in_the_sound() -> None:
    state, before = run(talk((0, 1, 4), (1, 5, 8), seconds=9))
    state, none = OPERATOR.finish(state, 100.0, 100 * SAMPLE_RATE_HZ)
    assert none == []
    later = talk((1, 101, 104), (0, 105, 108), seconds=110)
    _, after = run(later, state, 100 * SAMPLE_RATE_HZ)
    assert [voice for voice, _, _ in final([*before, *after])] == [f"room-speaker-{number}" for number in (1, 2, 2, 1)]


def test_a_known_voice_has_its_name_from_the_first_second() -> None:
    vector = ToneEncoder().encode([talk((1, 0, 2), seconds=2).astype(np.float32) / 32768])[0]
    state = OPERATOR.initial("s", "room", known=[("ann", vector)])
    _, turns = run(talk((0, 1, 4), (1, 5, 8), seconds=9), state)
    assert [voice for voice, _, _ in final(turns)] == ["room-speaker-2", "ann"]
    assert {turn.speaker for turn in turns if turn.start_s > 4.9} == {"ann"}


def test_memory_stays_small_in_a_long_session() -> None:
    operator = SpeakerTurns(Diarization(most_pieces=12))
    turns = [(number % 4, 3.0 * number, 3.0 * number + 2.5) for number in range(40)]
    sound = talk(*turns, seconds=122)
    state, told = run(sound, operator=operator)
    assert len(state.diarization.memory.voices) <= 12
    assert {voice for voice, _, _ in final(told)} == {f"room-speaker-{number}" for number in (1, 2, 3, 4)}
    assert len(pickle.dumps(OPERATOR.finish(run(sound[: 60 * SAMPLE_RATE_HZ])[0], 0.0)[0])) < 60_000


def test_no_more_voices_are_told_apart_than_allowed() -> None:
    operator = SpeakerTurns(Diarization(most_voices=2))
    sound = talk((0, 1, 4), (1, 5, 8), (2, 9, 12), (3, 13, 16), (4, 17, 20), seconds=21).astype(np.float32) / 32768
    state, speakers = operator.initial("s", "room"), set()
    for end in range(STEP, len(sound) + 1, STEP):
        heard = hear(sound[max(0, end - WINDOW) : end], end // 320, ToneSegmenter(), ToneEncoder())
        state, made = operator.step(state, heard, 0.0)
        speakers |= {turn.speaker for turn in made if turn.frozen}
    assert len(speakers) <= 2


def test_digital_silence_asks_no_model() -> None:
    segmenter = ToneSegmenter()
    heard = hear(np.zeros(WINDOW, np.float32), 250, segmenter, ToneEncoder())
    assert segmenter.calls == 0
    assert not heard.activity.any()


def test_clusters_join_what_is_alike_and_no_more() -> None:
    rows = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1], [0, 0.1, 0.9]], np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    weights = np.ones(5, np.float32)
    assert cluster_voices(rows, weights, least=0.7, most=9).tolist() == [0, 0, 1, 2, 2]
    assert len(set(cluster_voices(rows, weights, least=0.7, most=2).tolist())) == 2


def test_long_clusters_that_point_the_same_way_are_one_voice() -> None:
    noise = np.random.default_rng(1).normal(size=(40, 32)).astype(np.float32) * 0.15
    voice = np.zeros(32, np.float32)
    voice[0] = 1
    rows = voice + noise
    halves = np.repeat([0, 1], 20)
    joined = joined_voices(rows, np.ones(40, np.float32), halves, least=0.9, least_weight=5)
    assert set(joined.tolist()) == {0}
    apart = joined_voices(rows, np.ones(40, np.float32), halves, least=0.9, least_weight=50)
    assert set(apart.tolist()) == {0, 1}
