"""Writing to a log that is far away: what is sent, what is waited for, and what others may know meanwhile."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest

from eventlog.base import Appended, NewRecord
from eventlog.inmemory import InMemoryLog
from flows.arrivals import shard_of
from flows.clock import FlowClock
from flows.connectors import ReadingState
from flows.marks import Mark
from flows.sink import MOST_UNDER_WAY, LogSink
from flows.wiring import FLOWS, Wiring
from operators.questions import QuestionsOperator
from schemas.codec import decode
from schemas.errors import KeyErased, LogUnavailable
from schemas.speech import Caption


class FarLog(InMemoryLog):
    """Stores at once, but says so only when told to, as a broker far away would."""

    far = True

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Future[list[Appended]], list[Appended] | Exception]] = []
        self.refuse: dict[str, Exception] = {}

    def submit(self, records: Sequence[NewRecord]) -> "Future[list[Appended]]":
        if records[0].topic == "progress":
            return super().submit(records)
        future: Future[list[Appended]] = Future()
        wrong = next((self.refuse[one.key] for one in records if one.key in self.refuse), None)
        if isinstance(wrong, KeyErased):
            future.set_exception(wrong)
        else:
            self.held.append((future, wrong or super().submit(records).result()))
        return future

    def release(self, count: int = 1) -> None:
        for _ in range(count):
            future, outcome = self.held.pop(0)
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def caption(session: str, number: int, at_s: float = 100.0) -> Caption:
    return Caption(
        session_id=session,
        event_id=f"{session}-{number}",
        created_at=datetime.fromtimestamp(at_s, UTC),
        caption_id=f"c{number}",
        start_s=0.0,
        end_s=1.0,
        text="x",
    )


def sink_of(log: InMemoryLog, reading: ReadingState | None = None, *, tells: bool = False) -> Any:
    return LogSink(log, "captions", "utterances", reading or ReadingState(), tells=tells).build_part("out", "0", None)


def in_thread(call: Any) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except LogUnavailable as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def test_a_batch_is_sent_while_the_one_before_is_under_way() -> None:
    log = FarLog()
    sink = sink_of(log)
    for number in range(3):
        sink.write_batch([caption("s", number)])
    assert len(log.held) == 3


def test_no_more_than_a_bounded_number_is_under_way() -> None:
    log = FarLog()
    sink = sink_of(log)
    for number in range(MOST_UNDER_WAY):
        sink.write_batch([caption("s", number)])
    thread, _ = in_thread(lambda: [sink.write_batch([caption("s", number)]) for number in (900, 901)])
    thread.join(0.2)
    assert thread.is_alive(), "it waits for the oldest"
    log.release(2)
    thread.join(10)
    assert not thread.is_alive()


def test_a_snapshot_waits_until_all_is_stored() -> None:
    log = FarLog()
    sink = sink_of(log)
    sink.write_batch([caption("s", 1)])
    sink.write_batch([caption("s", 2)])
    thread, raised = in_thread(sink.snapshot)
    log.release()
    thread.join(0.2)
    assert thread.is_alive(), "one is still under way"
    log.release()
    thread.join(10)
    assert not thread.is_alive()
    assert not raised


def test_a_snapshot_fails_when_an_append_under_way_failed() -> None:
    log = FarLog()
    log.refuse["lost"] = LogUnavailable("the broker is gone")
    sink = sink_of(log)
    sink.write_batch([caption("lost", 1)])
    sink.write_batch([caption("s", 1)])
    thread, raised = in_thread(sink.snapshot)
    log.release(2)
    thread.join(10)
    assert [str(error) for error in raised] == ["the broker is gone"]


def test_an_erased_session_is_left_out_and_the_others_keep_their_order() -> None:
    log = FarLog()
    log.erase("gone")
    log.refuse["gone"] = KeyErased("session gone was erased")
    sink = sink_of(log)
    sink.write_batch([caption("gone", 1), caption("s", 1)])
    sink.write_batch([caption("s", 2)])
    log.release()
    sink.snapshot()
    assert [one.event_id for one in log.read("captions", 0, 0, 9)] == ["s-1", "s-2"]


def test_marks_are_told_only_after_the_records_before_them_are_stored() -> None:
    log = FarLog()
    sink = sink_of(log, tells=True)
    sink.write_batch([caption("s", 1), Mark(3, 50.0)])
    sink.write_batch([Mark(4, 60.0)])
    assert log.end("progress") == 0
    log.release()
    told = [decode("progress", one.value) for one in log.read("progress", 0, 0, 9)]
    assert told[0].marks == {3: 50.0}
    assert told[0].below == {0: log.end("captions")}


def test_the_clock_of_the_next_flow_waits_for_what_is_not_written_yet() -> None:
    log, reading = FarLog(), ReadingState()
    sink = sink_of(log, reading)
    wall = time.time()
    clock = FlowClock(ReadingState(), [FlowClock(reading, wall=lambda: wall)], wall=lambda: wall)
    before = clock.now_s()
    sink.write_batch([caption("s", 1, at_s=before - 7)])
    assert clock.now_s() == pytest.approx(before - 7)
    log.release()
    assert clock.now_s() == pytest.approx(before - 7), "the next flow may not have read it yet"
    wall += 60
    assert clock.now_s() > before


def test_a_log_that_is_near_is_waited_for() -> None:
    log = InMemoryLog()
    sink = sink_of(log)
    sink.write_batch([caption("s", 1)])
    assert [one.event_id for one in log.read("captions", 0, 0, 9)] == ["s-1"]


def test_a_shard_is_written_by_the_partition_in_which_its_sessions_lie() -> None:
    sink = LogSink(InMemoryLog(), "captions", "utterances", ReadingState())
    parts = sink.list_parts()
    assert parts == sorted(parts)
    assert {sink.part_fn(shard_of(f"s{number}")) % len(parts) for number in range(50)} <= set(range(len(parts)))


def test_one_source_reads_for_all_flows_so_that_their_epochs_end_together() -> None:
    from flows.wiring import Operators

    wiring = Wiring(InMemoryLog(), Operators(questions=QuestionsOperator()), None, attempt=1)
    names = tuple(name for name in FLOWS if name != "answers")
    flow = wiring.dataflow(names)
    assert [step.step_name for step in flow.substeps if type(step).__name__ == "input"] == ["in"]
    wiring.close()
