"""What snapshots hold: states come back equal, only what changed is packed, timers fire once and in order."""

import pickle
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.talk import Crowd
from eventlog.inmemory import InMemoryLog
from flows.answer_sessions import AnswerSession
from flows.answering_room import AnsweringRoom
from flows.answers import AnswersLogic
from flows.arrivals import Arrived
from flows.clock import FlowClock
from flows.connectors import ReadingState
from flows.encoded_memory import EncodedMemory, encoded, lines_read
from flows.logic import LOOK_BACKLOG_S, LOOK_S, OperatorLogic
from flows.marks import Mark
from flows.packing import pack, unpack
from flows.piece_file import Piece, PieceFolder, Place
from flows.wiring import Operators
from models.fakes import InstantModel, NoPassages
from operators.answering import Answering
from operators.memory import EMPTY_MEMORY, MemoryOperator, apply_update
from operators.questions import QuestionsOperator
from operators.utterances import UtterancesOperator
from schemas.codec import decode, encode
from schemas.memory import MemoryUpdate, Note, Said
from schemas.speech import Caption, SpeakerTurn, Word


def arrived(record: Any, number: int) -> Arrived:
    return Arrived(decode(record.topic, record.value), record.topic, number, record.at_s, value=record.value)


def shard(
    operator: Any, clock: FlowClock | None = None, folder: Path | None = None, place: Place | None = None
) -> OperatorLogic:
    return OperatorLogic.builder("memory", operator, clock, InMemoryLog(), folder=PieceFolder(folder))(place)


def kept(folder: Path, place: Place) -> dict[str, list[Piece]]:
    """Give the sessions that a process would find that is started now."""
    return PieceFolder(folder).file(place).restore()


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


@pytest.mark.parametrize("flow", ["questions", "memory", "utterances"])
@pytest.mark.parametrize("every", [1, 7])
def test_a_session_comes_back_equal_by_the_steps_that_it_took(flow: str, every: int, tmp_path: Path) -> None:
    heard, crowd = UtterancesOperator(), Crowd("talk", 1, time.time() - 10_000)
    first = heard.initial()
    logic = OperatorLogic.builder(flow, Operators().named(flow), None, InMemoryLog(), folder=PieceFolder(tmp_path))(
        None
    )
    name, taken = crowd.session(0), 0
    for number in range(300):
        caption = crowd.caption(0, number)
        first, made = heard.step(first, decode("captions", caption.value), caption.at_s)
        utterances = [Arrived(one, "utterances", number, caption.at_s, value=encode(one)) for one in made]
        logic.on_batch([arrived(caption, number)] if flow == "utterances" else utterances)
        logic.on_batch([Mark(0, caption.at_s + 2.5)])  # timers fire between two captions
        if number % every:
            continue
        place = logic.snapshot()
        if number % 30 == 0 or number > 250:  # ids of captions are let go of somewhere there
            folder = tmp_path / f"copy-{number}"
            shutil.copytree(tmp_path, folder, ignore=shutil.ignore_patterns("copy-*"))
            taken = max(taken, len(kept(folder, place)[name]) - 1)
            again = OperatorLogic.builder(
                flow, Operators().named(flow), None, InMemoryLog(), folder=PieceFolder(folder)
            )(place)
            assert again.sessions[name].due_s == logic.sessions[name].due_s
            assert again._state(name, again.sessions[name]) == logic.sessions[name].state
    assert taken > 1 or every > 1, "it is not written whole each time"
    assert taken < 60


def test_a_step_that_did_not_come_from_the_log_has_the_session_written_whole(tmp_path: Path) -> None:
    crowd, logic = Crowd("talk", 1, time.time() - 1_000), shard(UtterancesOperator(), folder=tmp_path)
    name = crowd.session(0)
    for number, pieces in ((0, 1), (1, 2)):
        logic.on_batch([arrived(crowd.caption(0, number), number)])
        assert len(kept(tmp_path, logic.snapshot())[name]) == pieces
    logic.on_batch([arrived(crowd.caption(0, 2), 2)._replace(value=b"")])
    assert len(kept(tmp_path, logic.snapshot())[name]) == 1


def test_what_a_session_of_answers_learned_since_lies_behind_what_lay_before() -> None:
    session, plain = AnswerSession("s"), EncodedMemory()
    pieces, whole = [session.piece()], 0
    for number in range(40):
        one = update(number, [number], [number], [number - 3] if number > 3 else [])
        session.remember(one)
        plain.take(encoded(one))
        session.offsets["memory"], session.touched_s = number, float(number)
        made = session.piece()
        pieces, whole = ([*pieces, made], whole) if made[4] else ([made], whole + 1)
        again = AnswerSession("s")
        assert again.restore(pieces) == ()
        assert (again.memory, again.offsets, again.touched_s) == (plain, {"memory": number}, float(number))
        assert sum(len(one[0]) for one in pieces[1:-1]) < len(pieces[0][0]), "it is written whole in time"
    assert whole < 20
    session.whole = True
    assert not session.piece()[4]


def update(number: int, said: list[int], put: list[int], dropped: list[int]) -> MemoryUpdate:
    return MemoryUpdate(
        session_id="s",
        event_id=f"e{number}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        said=tuple(Said(utterance_id=f"u{one}", speaker_name="Ann", start_s=one, text=f"{number}") for one in said),
        notes_put=tuple(Note(note_id=f"n{one}", kind="fact", text=f"{number}", utterance_ids=("u",)) for one in put),
        notes_dropped=tuple(f"n{one}" for one in dropped),
        said_dropped=tuple(f"u{one}" for one in dropped[::2]),
    )


numbers = st.lists(st.integers(0, 90), max_size=40, unique=True)


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=6))
def test_encoded_lines_are_the_memory_whatever_was_put_replaced_and_dropped(
    changes: list[tuple[list[int], list[int], list[int]]],
) -> None:
    plain, kept = EMPTY_MEMORY, EncodedMemory()
    for number, (said, put, dropped) in enumerate(changes):
        one = update(number, said, put, dropped)
        plain = apply_update(plain, one)
        kept.take(encoded(one))
        assert lines_read(kept.lines()) == plain
        assert EncodedMemory.of(kept.lines()) == kept


def test_a_snapshot_packs_and_writes_only_the_sessions_that_changed(tmp_path: Path) -> None:
    crowd = Crowd("many", 40, time.time() - 100)
    logic = shard(UtterancesOperator(), folder=tmp_path)
    logic.on_batch([arrived(crowd.caption(place, 0), place) for place in range(40)])
    before = logic.snapshot()
    first = kept(tmp_path, before)
    assert len(first) == 40
    logic.on_batch([arrived(crowd.caption(7, 1), 41)])
    assert logic.changed == {crowd.session(7)}
    after = logic.snapshot()
    assert after[:2] == before[:2], "it is added to the same file"
    assert after[2] - before[2] < before[2] / 20
    second = kept(tmp_path, after)
    assert [one for one in second if second[one] != first[one]] == [crowd.session(7)]
    assert kept(tmp_path, before) == first, "the place before is still good"
    assert logic.snapshot() == after, "nothing changed"


def test_a_restored_shard_goes_on_as_the_one_that_was_never_stopped(tmp_path: Path) -> None:
    crowd = Crowd("on", 5, time.time() - 1000)
    stayed, restored = shard(QuestionsOperator()), shard(QuestionsOperator(), folder=tmp_path)
    heard = shard(UtterancesOperator())
    for number in range(100):
        caption = crowd.caption(number % 5, number // 5)
        made, _ = heard.on_batch([arrived(caption, number)])
        given_ = [Arrived(one, "utterances", number, caption.at_s, value=encode(one)) for one in made]
        assert list(stayed.on_batch(given_)[0]) == list(restored.on_batch(given_)[0])
        place = pickle.loads(pickle.dumps(restored.snapshot()))
        restored = shard(QuestionsOperator(), folder=tmp_path, place=place)
    assert len(list(tmp_path.iterdir())) <= 2


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


def test_a_session_that_was_closed_leaves_nothing_in_the_snapshot(tmp_path: Path) -> None:
    crowd = Crowd("gone", 1, time.time() - 1000)
    reading = ReadingState(unread={0: crowd.at_s(0, 0)})
    logic = shard(UtterancesOperator(), FlowClock(reading), tmp_path)
    logic.on_batch([arrived(crowd.opened(0), 0), arrived(crowd.caption(0, 0), 1), arrived(crowd.closed(0, 1), 2)])
    place = logic.snapshot()
    assert list(kept(tmp_path, place)) == [crowd.session(0)]
    shutil.copytree(tmp_path, tmp_path / "restored")
    restored = shard(UtterancesOperator(), FlowClock(reading), tmp_path / "restored", place)
    logic.on_notify()
    assert list(kept(tmp_path, logic.snapshot())) == [crowd.session(0)], "something it may wait for lies unread"
    reading.unread.clear()
    for one, folder in ((logic, tmp_path), (restored, tmp_path / "restored")):
        assert one.notify_at() is not None
        one.on_notify()
        assert kept(folder, one.snapshot()) == {}
        assert one.sessions == {}
        for _ in range(2):  # files are removed once the snapshot that did without them is surely kept
            assert one.notify_at() is not None
            one.snapshot()
        assert one.notify_at() is None


def test_in_a_cluster_marks_tell_when_a_closed_session_may_be_forgotten(tmp_path: Path) -> None:
    crowd = Crowd("far", 1, time.time() - 1000)
    logic = shard(UtterancesOperator(), folder=tmp_path)
    logic.on_batch([arrived(crowd.opened(0), 0), arrived(crowd.closed(0, 1), 1)])
    logic.on_batch([Mark(0, crowd.at_s(0, 1) + 2)])
    assert list(kept(tmp_path, logic.snapshot())) == [crowd.session(0)]
    logic.on_batch([Mark(0, crowd.at_s(0, 1) + 60)])
    assert kept(tmp_path, logic.snapshot()) == {}


def test_the_answers_flow_keeps_a_closed_session_while_its_memory_may_lie_unread(tmp_path: Path) -> None:
    crowd = Crowd("late", 1, time.time() - 1000)
    reading = ReadingState(unread={0: crowd.at_s(0, 0)})
    room = AnsweringRoom(Answering(NoPassages(), InstantModel()), 1)
    folder = PieceFolder(tmp_path)
    logic = AnswersLogic.builder(room, InMemoryLog(), 1, clock=FlowClock(reading), folder=folder)(None)
    logic.on_batch([arrived(crowd.opened(0), 0), arrived(crowd.closed(0, 1), 1)])
    late = Arrived(update(0, [1], [], []).model_copy(update={"session_id": crowd.session(0)}), "memory", 2, 0.0)
    logic.on_notify()
    logic.on_batch([late])
    assert list(kept(tmp_path, logic.snapshot())) == [crowd.session(0)], "what it said lay unread behind its end"
    reading.unread.clear()
    logic.on_notify()
    assert kept(tmp_path, logic.snapshot()) == {}
    logic.snapshot()
    logic.snapshot()
    assert logic.notify_at() is None
    room.close()


def test_a_timer_that_may_not_fire_yet_is_looked_at_seldom_in_a_backlog() -> None:
    for age_s, pause_s in ((1000.0, LOOK_BACKLOG_S), (0.5, LOOK_S)):
        crowd = Crowd("slow", 1, time.time() - age_s - 20)
        reading = ReadingState(unread={0: time.time() - age_s})
        logic = shard(UtterancesOperator(), FlowClock(reading))
        logic.on_batch([arrived(crowd.opened(0), 0), arrived(crowd.caption(0, 0), 1), arrived(crowd.closed(0, 1), 2)])
        assert logic.closed, "it waits to be forgotten"
        before_s = time.time()
        looked = logic.notify_at()
        assert looked is not None
        assert before_s + pause_s - 0.001 <= looked.timestamp() <= time.time() + pause_s + 0.001
