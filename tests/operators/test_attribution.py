"""Words go to whoever talks, and utterances, captions and questions follow when that is corrected."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from operators.attribution import speakers_of
from operators.memory import EMPTY_MEMORY, MemoryOperator, apply_update
from operators.questions import QuestionsOperator
from operators.utterances import UtterancesOperator, UtterancesState
from schemas.base import Record
from schemas.meeting import MeetingOpened, Participant
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import Caption, SpeakerTurn, Utterance, Word

AT = datetime(2026, 1, 1, tzinfo=UTC)
OPENED = MeetingOpened(
    session_id="s",
    event_id="o",
    created_at=AT,
    owner_id="local",
    participants=(Participant(id="me", name="Me", is_user=True), Participant(id="ann", name="Ann")),
)


def words(text: str, start_s: float, step_s: float = 0.4) -> tuple[Word, ...]:
    return tuple(
        Word(text=one, start_s=start_s + step_s * number, end_s=start_s + step_s * (number + 1))
        for number, one in enumerate(text.split())
    )


def caption(caption_id: str, text: str, start_s: float, *, final: bool = True, speaker: str | None = None) -> Caption:
    said = words(text, start_s)
    end_s = said[-1].end_s if said else start_s
    return Caption(
        session_id="s", event_id=f"{caption_id}{final}{text}", created_at=AT, caption_id=caption_id, track="room",
        start_s=start_s, end_s=end_s, text=text, final=final, words=said, speaker=speaker,
    )  # fmt: skip


def turn(
    turn_id: str, speaker: str, start_s: float, end_s: float, revision: int = 0, *, frozen: bool = False
) -> SpeakerTurn:
    return SpeakerTurn(
        session_id="s", event_id=f"{turn_id}-{revision}", created_at=AT, turn_id=turn_id, revision=revision,
        speaker=speaker, track="room", start_s=start_s, end_s=end_s, frozen=frozen,
    )  # fmt: skip


def run(*records: Record, state: UtterancesState | None = None) -> tuple[UtterancesState, list[Utterance | Caption]]:
    operator = UtterancesOperator()
    state = state or operator.initial()
    out: list[Utterance | Caption] = []
    for number, record in enumerate(records):
        state, made = operator.step(state, record, 1_000.0 + number)
        out += made
    return state, out


def newest(out: Sequence[Utterance | Caption]) -> list[tuple[str, str]]:
    """Give speaker and words of each utterance as it stands at the end."""
    kept: dict[str, Utterance] = {}
    for one in out:
        if isinstance(one, Utterance):
            assert one.utterance_id not in kept or one.revision == kept[one.utterance_id].revision + 1
            kept[one.utterance_id] = one
    return [(one.speaker_id, one.text) for one in sorted(kept.values(), key=lambda one: one.start_s) if one.text]


def test_words_of_one_caption_go_to_the_two_who_said_them() -> None:
    _, out = run(
        turn("t1", "a", 0, 2.0), turn("t2", "b", 2.0, 4.0), caption("c", "one two three four five six seven", 0.4)
    )
    assert newest(out) == [("a", "one two three four"), ("b", "five six seven")]


def test_where_two_talk_at_once_a_word_stays_with_who_said_the_word_before() -> None:
    said = words("one two three four", 0.0)
    turns = [turn("t1", "a", 0, 1.6), turn("t2", "b", 0.8, 3.0)]
    assert speakers_of(said, turns) == ["a", "a", "a", "a"]
    assert speakers_of(words("x y", 1.0), [turn("t1", "a", 0, 0.9), turn("t2", "b", 1.2, 3.0)])[1] == "b"


def test_a_word_far_from_every_turn_has_no_speaker() -> None:
    assert speakers_of(words("hello", 9.0), [turn("t1", "a", 0, 2)]) == [None]
    assert speakers_of(words("hello", 2.2), [turn("t1", "a", 0, 2)]) == ["a"]


def test_a_corrected_turn_corrects_utterance_and_caption_under_their_ids() -> None:
    state, out = run(turn("t1", "a", 0, 3), caption("c", "how are you today", 0.4))
    assert newest(out) == [("a", "how are you today")]
    first = [one for one in out if isinstance(one, Caption)]
    assert [(one.caption_id, one.revision, one.speaker, one.speaker_frozen) for one in first] == [("c", 1, "a", False)]
    state, more = run(turn("t1", "b", 0, 3, 1), turn("t1", "b", 0, 3, 2, frozen=True), state=state)
    assert newest([*out, *more]) == [("b", "how are you today")]
    corrected = [one for one in more if isinstance(one, Caption)]
    assert [(one.caption_id, one.revision, one.speaker, one.speaker_frozen) for one in corrected] == [
        ("c", 2, "b", False), ("c", 3, "b", True),
    ]  # fmt: skip
    assert all(one.text == "how are you today" for one in corrected)
    _, echo = run(*corrected, state=state)
    assert echo == [], "its own corrections come back and change nothing"


def test_a_caption_before_its_turn_is_unknown_until_the_turn_comes() -> None:
    _, out = run(caption("c", "how are you today", 0.4), turn("t1", "a", 0, 3))
    utterances = [one for one in out if isinstance(one, Utterance)]
    assert [one.speaker_id for one in utterances] == ["unknown", "a"]
    assert len({one.utterance_id for one in utterances}) == 1


def test_a_split_that_was_wrong_is_joined_again() -> None:
    state, out = run(turn("t1", "a", 0, 1.2), turn("t2", "b", 1.2, 4), caption("c", "one two three four", 0.4))
    assert newest(out) == [("a", "one two"), ("b", "three four")]
    _, more = run(turn("t2", "a", 1.2, 4, 1), state=state)
    assert newest([*out, *more]) == [("a", "one two three four")]


def test_captions_that_name_their_speaker_are_not_touched() -> None:
    _, out = run(turn("t1", "a", 0, 9), caption("c", "how are you today", 0.4, speaker="ann"))
    assert newest(out) == [("ann", "how are you today")]
    assert not [one for one in out if isinstance(one, Caption)]


def test_partial_words_are_tentative_and_give_way_to_the_final_ones() -> None:
    state, out = run(turn("t1", "a", 0, 9), caption("c", "how are", 0.4, final=False))
    assert [(one.text, one.tentative) for one in out if isinstance(one, Utterance)] == [("", "how are")]
    state, more = run(caption("c", "how are you", 0.4), caption("c", "how", 0.4, final=False), state=state)
    last = [one for one in more if isinstance(one, Utterance)][-1]
    assert (last.text, last.tentative) == ("how are you", "")


def test_a_guess_taken_back_leaves_nothing() -> None:
    state, out = run(turn("t1", "a", 0, 9), caption("c", "thank you", 0.4, final=False))
    _, more = run(caption("c", "", 0.4), state=state)
    last = [one for one in (*out, *more) if isinstance(one, Utterance)][-1]
    assert (last.text, last.tentative) == ("", "")


def test_state_stays_small_over_a_long_talk() -> None:
    state = UtterancesOperator().initial()
    for number in range(300):
        at = 3.0 * number
        state, _ = run(
            turn(f"t{number}", "ab"[number % 2], at, at + 2.5, frozen=True),
            caption(f"c{number}", "one two three four five", at + 0.2),
            state=state,
        )
    track = state.attribution.track("room")
    assert len(track.captions) < 10
    assert len(track.turns) < 30
    assert len(state.told) < 10
    assert len(state.speakers) < 10


@pytest.mark.parametrize("first", ["turns", "captions"])
def test_of_a_recording_one_may_be_minutes_ahead_of_the_other(first: str) -> None:
    places = [(number, 3.0 * number) for number in range(120)]
    turns = [turn(f"t{n}", "ab"[n % 2], at, at + 2.5, frozen=True) for n, at in places]
    captions = [caption(f"c{n}", "one two three four five", at + 0.2) for n, at in places]
    _, out = run(*(turns + captions if first == "turns" else captions + turns))
    assert newest(out) == [("ab"[n % 2], "one two three four five") for n, _ in places]


def test_turns_nobody_captions_do_not_pile_up() -> None:
    state, _ = run(*(turn(f"t{n}", "a", n, n + 0.5, frozen=True) for n in range(2_100)))
    assert len(state.attribution.track("room").turns) == 2_000


def test_a_question_that_turns_out_to_be_the_users_is_withdrawn() -> None:
    people = run(OPENED)[0]
    state, heard = run(turn("t1", "ann", 0, 3), caption("c", "What is your notice period?", 0.4), state=people)
    _, later = run(turn("t1", "me", 0, 3, 1), state=state)
    operator = QuestionsOperator()
    asked = operator.initial()
    out: list[Question | QuestionWithdrawn] = []
    for one in heard:
        asked, made = operator.step(asked, one, 1_000.0)
        out += made
    asked, fired = operator.tick(asked, 1_001.0)
    assert [one.speaker_id for one in (*out, *fired)] == ["ann"]
    for one in later:
        asked, made = operator.step(asked, one, 1_002.0)
        out += made
    assert isinstance(out[-1], QuestionWithdrawn)
    assert out[-1].question_id == fired[-1].question_id


def test_another_name_for_the_one_who_asks_does_not_ask_again() -> None:
    state, heard = run(turn("t1", "a", 0, 3), caption("c", "What is your notice period?", 0.4))
    _, later = run(turn("t1", "b", 0, 3, 1), state=state)
    operator = QuestionsOperator()
    asked = operator.initial()
    for one in heard:
        asked, _ = operator.step(asked, one, 1_000.0)
    asked, fired = operator.tick(asked, 1_001.0)
    assert len(fired) == 1
    for one in later:
        asked, made = operator.step(asked, one, 1_002.0)
        assert made == []
    assert operator.tick(asked, 1_010.0)[1] == []


def test_memory_keeps_the_corrected_speaker_and_drops_what_was_taken_back() -> None:
    state, out = run(turn("t1", "a", 0, 1.2), turn("t2", "b", 1.2, 4), caption("c", "one two three four", 0.4))
    _, more = run(turn("t2", "a", 1.2, 4, 1), state=state)
    operator, remembered, memory = MemoryOperator(), MemoryOperator().initial(), EMPTY_MEMORY
    for number, one in enumerate((*out, *more)):
        remembered, updates = operator.step(remembered, one, 1_000.0 + number)
        for update in updates:
            memory = apply_update(memory, update)
    for update in operator.tick(remembered, 2_000.0)[1]:
        memory = apply_update(memory, update)
    assert [(line.speaker_name, line.text) for line in memory.said] == [("a", "one two three four")]
