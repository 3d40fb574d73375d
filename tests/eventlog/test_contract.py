"""What every log promises, asked of each of them."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog import open_log
from eventlog.base import EventLog, LogReader, LogRecord, NewRecord
from schemas.errors import KeyErased, LogUnavailable, OffsetGone, UnknownTopic


def new(number: int | str, key: str = "s", topic: str = "captions", at_s: float = 100.0) -> NewRecord:
    return NewRecord(topic, key, f"e{number}", f"value {number}".encode(), at_s)


@pytest.fixture(params=["memory", "normal", "full", pytest.param("kafka", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    if request.param == "memory":
        opened = open_log("memory:")
    elif request.param == "kafka":
        opened = open_log(request.getfixturevalue("kafka_single"), follow=("meeting", "captions", "answers"))
    else:
        opened = open_log(f"sqlite:///{tmp_path}/deep/log.sqlite3", request.param)
    yield opened
    opened.close()


def test_records_come_back_in_order(log: EventLog) -> None:
    stored = log.append([new(n) for n in range(10)])
    offsets = [one.offset for one in stored]
    assert offsets == sorted(set(offsets))
    found = log.read("captions", 0, 0, 100)
    assert [one.value for one in found] == [new(n).value for n in range(10)]
    assert [one.offset for one in found] == offsets
    assert log.read("captions", 0, offsets[4], 2) == found[4:6]


def test_a_repeated_id_is_stored_once_and_keeps_its_first_bytes(log: EventLog) -> None:
    first = log.append([new(1)])[0]
    again = log.append([NewRecord("captions", "s", "e1", b"other", 100.0)])[0]
    assert again.repeat
    assert again.offset == first.offset
    assert [one.value for one in log.read("captions", 0, 0, 9)] == [b"value 1"]
    assert not log.append([new(1, topic="answers")])[0].repeat


def test_a_batch_with_a_repeat_inside_stores_it_once(log: EventLog) -> None:
    one, two = log.append([new(1), new(1)])
    assert (one.repeat, two.repeat) == (False, True)
    assert one.offset == two.offset


def test_end_is_after_the_last_record_of_the_topic(log: EventLog) -> None:
    assert log.end("captions") == 0
    last = log.append([new(1), new(2)])[-1]
    log.append([new(3, topic="answers")])
    assert log.end("captions") == last.offset + 1
    assert log.read("captions", 0, log.end("captions"), 9) == []


def test_a_session_is_read_across_topics_in_one_order(log: EventLog) -> None:
    for n in range(6):
        log.append([new(n, topic=("captions", "answers", "meeting")[n % 3]), new(f"x{n}", key="other")])
    whole = log.read_key("s", ["captions", "answers"], log.cursor_start(), 99)
    assert [one.event_id for one in whole] == ["e0", "e1", "e3", "e4"]
    for place, record in enumerate(whole):
        assert log.read_key("s", ["captions", "answers"], record.cursor, 99) == whole[place + 1 :]
    assert log.read_key("s", ["captions"], log.cursor_now("s"), 99) == []


def test_a_cursor_that_is_none_is_refused(log: EventLog) -> None:
    log.append([new(1)])
    for cursor in ("", "abc", "-1", "99999", "1.5", "9" * 30, "9" * 5000):
        with pytest.raises(OffsetGone):
            log.read_key("s", ["captions"], cursor, 9)


def test_find_gives_a_record_by_its_id(log: EventLog) -> None:
    log.append([new(1)])
    found = log.find("captions", "s", "e1")
    assert found is not None
    assert found.value == b"value 1"
    assert log.find("captions", "s", "e2") is None
    assert log.find("answers", "s", "e1") is None
    assert log.find("captions", "other", "e1") is None


def test_an_unknown_topic_is_refused_everywhere(log: EventLog) -> None:
    with pytest.raises(UnknownTopic):
        log.append([new(1, topic="gossip")])
    for ask in (lambda: log.end("gossip"), lambda: log.read("gossip", 0, 0, 1), lambda: log.find("gossip", "s", "e")):
        with pytest.raises(UnknownTopic):
            ask()


def test_an_erased_session_is_gone_and_stays_gone(log: EventLog) -> None:
    log.append([new(1), new(2, key="other"), new(3, topic="answers")])
    before = log.end("captions")
    assert log.erase("s") == 2
    assert log.erased("s")
    assert log.read_key("s", ["captions", "answers"], log.cursor_start(), 9) == []
    assert [one.event_id for one in log.read("captions", 0, 0, 9)] == ["e2"]
    with pytest.raises(KeyErased):
        log.append([new(9, key="other"), new(4)])
    assert log.find("captions", "other", "e9") is None, "nothing of a refused call is stored"
    assert log.append([new(5, key="other")])[0].offset >= before, "offsets are never given twice"


def test_trimmed_positions_are_gone(log: EventLog) -> None:
    stored = log.append([new(1, at_s=10), new(2, at_s=20), new(3, at_s=30)])
    assert log.trim("captions", 25) == 2
    assert [one.event_id for one in log.read("captions", 0, 0, 9)] == ["e3"]
    with pytest.raises(OffsetGone):
        log.read("captions", 0, stored[1].offset, 9)
    assert log.trim("captions", 25) == 0


def test_a_time_is_found(log: EventLog) -> None:
    stored = log.append([new(1, at_s=10), new(2, at_s=20), new(3, at_s=30)])
    assert log.offset_at("captions", 0, 15) == stored[1].offset
    assert log.offset_at("captions", 0, 99) == log.end("captions")
    later = log.read_key("s", ["captions"], log.cursor_at("s", 15), 9)
    assert [one.event_id for one in later] == ["e2", "e3"]
    assert log.cursor_at("s", 99) == log.cursor_now("s")


def test_subscribers_are_told_the_keys_until_they_leave(log: EventLog) -> None:
    told: list[frozenset[str]] = []
    came = threading.Event()

    def notify(keys: frozenset[str]) -> None:
        told.append(keys)
        came.set()

    end = log.subscribe(notify)
    log.append([new(1), new(2, key="other")])
    assert came.wait(5)
    assert frozenset.union(*told) == {"s", "other"}
    end()
    told.clear()
    log.append([new(3)])
    log.append([new(4)])
    assert told == []


def test_many_writers_lose_nothing_and_keep_their_order(log: EventLog) -> None:
    def write(name: int) -> None:
        for n in range(0, 60, 3):
            log.append([new(f"{name}-{n + k}", key=f"k{name}") for k in range(3)])

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    everything = log.read("captions", 0, 0, 10_000)
    assert len({one.event_id for one in everything}) == len(everything) == 8 * 60
    for name in range(8):
        own = log.read_key(f"k{name}", ["captions"], log.cursor_start(), 999)
        assert [one.event_id for one in own] == [f"e{name}-{n}" for n in range(60)]


def test_a_closed_log_says_so(log: EventLog) -> None:
    log.close()
    log.close()
    with pytest.raises(LogUnavailable):
        log.append([new(1)])
    with pytest.raises(LogUnavailable):
        log.submit([new(1)]).result(5)


BAD = {
    "key": NewRecord("captions", "\ud800", "e", b"v", 1.0),
    "empty key": NewRecord("captions", "", "e", b"v", 1.0),
    "id": NewRecord("captions", "s", "\udfff", b"v", 1.0),
    "time": NewRecord("captions", "s", "e", b"v", float("nan")),
    "value": NewRecord("captions", "s", "e", "text", 1.0),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_fails_its_own_call_and_no_other(log: EventLog, name: str) -> None:
    futures = [log.submit([one]) for one in (new("before"), BAD[name], new("after"))]
    assert not futures[0].result(5)[0].repeat
    with pytest.raises(ValueError, match="of a record must be"):
        futures[1].result(5)
    assert not futures[2].result(5)[0].repeat
    assert [one.event_id for one in log.read("captions", 0, 0, 9)] == ["ebefore", "eafter"]


def test_a_subscriber_that_fails_harms_nobody(log: EventLog) -> None:
    came = threading.Event()

    def broken(_: frozenset[str]) -> None:
        raise RuntimeError("a subscriber of somebody else")

    log.subscribe(broken)
    log.subscribe(lambda _: came.set())
    log.append([new(1)])
    assert came.wait(5)
    assert log.submit([new(2)]).result(5)
    assert log.erase("s") == 2


def test_trimming_never_takes_a_younger_record(log: EventLog) -> None:
    log.append([new(n, at_s=at_s) for n, at_s in enumerate([5, 100, 20, 101])])
    assert log.trim("captions", 50) == 1
    assert [one.event_id for one in log.read("captions", 0, 0, 9)] == ["e1", "e2", "e3"]
    assert log.trim("captions", 100.5) == 2
    assert log.trim("captions", 500) == 1


def read_on(reader: LogReader, start: int, count: int) -> list[str]:
    """Read from an offset on until so many records came; gives their ids."""
    found: list[LogRecord] = []
    end = time.monotonic() + 30
    while len(found) < count and time.monotonic() < end:
        more = reader.read("captions", 0, found[-1].offset + 1 if found else start, 99)
        found += more
        if not more:
            reader.wait(0.05)
    return [record.event_id for record in found]


def test_readers_beside_each_other_read_from_places_of_their_own(log: EventLog) -> None:
    stored = log.append([new(n) for n in range(20)])
    one = log.reader("one")
    other, third = log.reader("other", one), log.reader("third", one)
    try:
        assert read_on(one, stored[10].offset, 10) == [f"e{n}" for n in range(10, 20)]
        assert read_on(other, 0, 20) == [f"e{n}" for n in range(20)], "what one has passed, the other has not"
        assert read_on(third, stored[15].offset, 5) == [f"e{n}" for n in range(15, 20)]
        end = log.append([new("more")])[0].offset
        assert [read_on(each, end, 1) for each in (one, other, third)] == [["emore"]] * 3
        assert all(each.read("captions", 0, end + 1, 9) == [] for each in (one, other, third))
        one.close()
        after = log.append([new("last")])[0].offset
        assert [read_on(each, after, 1) for each in (other, third)] == [["elast"]] * 2
    finally:
        other.close()
        third.close()


def test_who_waits_hears_of_what_comes_for_any_of_the_readers_beside_each_other(log: EventLog) -> None:
    one = log.reader("one")
    other = log.reader("other", one)
    try:
        stored = log.append([new(1)])[0]
        assert read_on(other, 0, 1) == ["e1"]
        while one.wait(0.1):
            pass
        later = threading.Timer(0.2, lambda: log.append([new(2)]))
        later.start()
        assert one.wait(30)
        later.join()
        assert read_on(other, stored.offset + 1, 1) == ["e2"]
    finally:
        one.close()
        other.close()
