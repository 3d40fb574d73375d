"""What snapshots hold: states come back equal, only what changed is packed, timers fire once and in order."""

import time
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.talk import Crowd
from eventlog.inmemory import InMemoryLog
from flows.clock import FlowClock
from flows.connectors import ReadingState
from flows.encoded_memory import EncodedMemory, lines_read
from flows.logic import FORGET_CLOSED_S, Arrived, OperatorLogic
from flows.marks import Mark
from flows.packing import pack, unpack
from operators.memory import EMPTY_MEMORY, MemoryOperator, apply_update
from operators.questions import QuestionsOperator
from operators.utterances import UtterancesOperator
from schemas.codec import decode
from schemas.memory import MemoryUpdate, Note, Said
from schemas.speech import Caption, SpeakerTurn, Word


def arrived(record: Any, number: int) -> Arrived:
    return Arrived(decode(record.topic, record.value), record.topic, number, record.at_s)


def shard(operator: Any, clock: FlowClock | None = None, snapshot: Any = None) -> OperatorLogic:
    return OperatorLogic.builder("memory", operator, clock, InMemoryLog())(snapshot)


def test_the_states_of_a_long_talk_come_back_equal() -> None:
    crowd = Crowd("talk", 1, 1_760_000_000.123457)
    utterances, questions, memory = UtterancesOperator(), QuestionsOperator(), MemoryOperator()
    first, second, third = utterances.initial(), questions.initial(), memory.initial()
    for number in range(60):
        caption = crowd.caption(0, number)
        first, heard = utterances.step(first, decode("captions", caption.value), caption.at_s)
        for one in heard:
            second, _ = questions.step(second, one, caption.at_s)
            third, _ = memory.step(third, one, caption.at_s)
        assert unpack(pack(first)) == first
        assert unpack(pack(second)) == second
        assert unpack(pack(third)) == third
    assert second.fired is not None, "the talk asks something, so that a question was packed as well"


def test_utterances_that_may_still_be_corrected_come_back_equal() -> None:
    state = UtterancesOperator().initial()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    shared = {"session_id": "s", "created_at": at, "track": "room"}
    words = tuple(Word(text=f"w{n}", start_s=n / 2, end_s=n / 2 + 0.4) for n in range(6))
    records = [
        SpeakerTurn(event_id="t", turn_id="t", speaker="a", start_s=0, end_s=3, **shared),  # type: ignore[arg-type]
        Caption(event_id="c", caption_id="c", start_s=0, end_s=3, text="w0 w1 w2 w3 w4 w5", words=words, final=True,
                **shared),  # type: ignore[arg-type]
    ]  # fmt: skip
    for record in records:
        state, _ = UtterancesOperator().step(state, record, at.timestamp())
    assert state.attribution.tracks
    assert state.told
    assert state.speakers
    back = unpack(pack(state))
    assert back == state
    corrected = records[0].model_copy(update={"revision": 1, "speaker": "b", "event_id": "t1"})
    kept, lost = (UtterancesOperator().step(one, corrected, at.timestamp())[1] for one in (state, back))
    assert kept == lost != []


def update(number: int, said: list[int], put: list[int], dropped: list[int]) -> MemoryUpdate:
    return MemoryUpdate(
        session_id="s",
        event_id=f"e{number}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        said=tuple(Said(utterance_id=f"u{one}", speaker_name="Ann", start_s=one, text=f"{number}") for one in said),
        notes_put=tuple(Note(note_id=f"n{one}", kind="fact", text=f"{number}", utterance_ids=("u",)) for one in put),
        notes_dropped=tuple(f"n{one}" for one in dropped),
    )


numbers = st.lists(st.integers(0, 90), max_size=40, unique=True)


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=6))
def test_encoded_lines_are_the_memory_whatever_was_put_replaced_and_dropped(
    changes: list[tuple[list[int], list[int], list[int]]],
) -> None:
    plain, encoded = EMPTY_MEMORY, EncodedMemory()
    for number, (said, put, dropped) in enumerate(changes):
        one = update(number, said, put, dropped)
        plain = apply_update(plain, one)
        encoded.apply(one)
        assert lines_read(encoded.lines()) == plain
        assert EncodedMemory.of(encoded.lines()) == encoded


def test_a_snapshot_packs_only_the_sessions_that_changed() -> None:
    crowd = Crowd("many", 40, time.time() - 100)
    logic = shard(UtterancesOperator())
    logic.on_batch([arrived(crowd.caption(place, 0), place) for place in range(40)])
    before = logic.snapshot()
    assert len(before) == 40
    logic.on_batch([arrived(crowd.caption(7, 1), 41)])
    assert logic.changed == {crowd.session(7)}
    after = logic.snapshot()
    assert [one for one in after if after[one] is not before[one]] == [crowd.session(7)]


def test_a_restored_shard_goes_on_as_the_one_that_was_never_stopped() -> None:
    crowd = Crowd("on", 5, time.time() - 1000)
    stayed, restored = shard(QuestionsOperator()), shard(QuestionsOperator())
    heard = shard(UtterancesOperator())
    for number in range(100):
        caption = crowd.caption(number % 5, number // 5)
        made, _ = heard.on_batch([arrived(caption, number)])
        given_ = [Arrived(one, "utterances", number, caption.at_s) for one in made]
        assert list(stayed.on_batch(given_)[0]) == list(restored.on_batch(given_)[0])
        restored = shard(QuestionsOperator(), snapshot=unpack(pack(restored.snapshot())))


def test_a_mark_fires_the_timers_before_it_in_their_order_and_each_once() -> None:
    crowd = Crowd("marks", 3, time.time() - 1000)
    heard, logic = shard(UtterancesOperator()), shard(MemoryOperator())
    for place in (2, 0, 1):
        caption = crowd.caption(place, 0)
        made, _ = heard.on_batch([arrived(caption, place)])
        logic.on_batch([Arrived(one, "utterances", place, caption.at_s) for one in made])
    at_s = crowd.at_s(1, 0) + MemoryOperator().quiet_s + 0.001
    out = [one for one in logic.on_batch([Mark(0, at_s)])[0] if not isinstance(one, Mark)]
    assert [one.session_id for one in out] == [crowd.session(0), crowd.session(1)]
    out = [one for one in logic.on_batch([Mark(0, at_s + 60)])[0] if not isinstance(one, Mark)]
    assert [one.session_id for one in out] == [crowd.session(2)]
    assert logic.on_batch([Mark(0, at_s + 120)])[0] == [Mark(0, at_s + 120)]


def test_a_session_that_was_closed_leaves_nothing_in_the_snapshot() -> None:
    crowd = Crowd("gone", 1, time.time() - 1000)
    logic = shard(UtterancesOperator(), FlowClock(ReadingState()))
    logic.on_batch([arrived(crowd.opened(0), 0), arrived(crowd.caption(0, 0), 1), arrived(crowd.closed(0, 1), 2)])
    assert list(logic.snapshot()) == [crowd.session(0)]
    restored = shard(UtterancesOperator(), FlowClock(ReadingState()), logic.snapshot())
    for one in (logic, restored):
        assert one.notify_at() is not None
        one.closed[0] = one.closed[0][0] - FORGET_CLOSED_S, one.closed[0][1]
        one.on_notify()
        assert one.snapshot() == {}
        assert one.sessions == {}
        assert one.notify_at() is None
