"""Time that travels with the records of several processes."""

import time
from datetime import UTC, datetime

from eventlog.base import SHARDS, shard_of
from eventlog.inmemory import InMemoryLog
from eventlog.records import new_record
from flows.marks import Mark, MarkSender, MarkWriter, UpstreamMarks
from schemas.codec import decode
from schemas.progress import PROGRESS_KEY, FlowMarks


def tell(log: InMemoryLog, shard: int, at_s: float, below: int) -> None:
    told = FlowMarks(
        session_id=PROGRESS_KEY,
        event_id=f"{shard}-{at_s}",
        created_at=datetime.now(UTC),
        flow="utterances",
        marks={shard: at_s},
        below={0: below},
    )
    log.append([new_record("progress", told)])


def test_a_mark_counts_once_the_output_before_it_was_read() -> None:
    log = InMemoryLog()
    upstream = UpstreamMarks(log, {"utterances": "utterances"})
    upstream.look()
    tell(log, 7, 100.0, below=3)
    time.sleep(0.01)
    upstream.look()
    assert upstream.of(7, {"utterances": 2}) == 0.0, "two of its three records were read"
    assert upstream.of(7, {"utterances": 3}) == 100.0
    tell(log, 7, 200.0, below=9)
    time.sleep(0.01)
    upstream.look()
    assert upstream.of(7, {"utterances": 5}) == 100.0, "the newer mark waits for its records, the older one holds"
    assert upstream.of(8, {"utterances": 5}) == 0.0, "nothing is known of this shard yet"
    upstream.close()


def test_without_a_flow_before_only_the_own_reading_counts() -> None:
    sender = MarkSender(1, 4, UpstreamMarks(InMemoryLog(), {}))
    first = sender.marks([], 50.0, {})
    assert [mark.shard for mark in first] == list(range(1, SHARDS, 4)), "every shard of the partition, at first"
    assert {mark.at_s for mark in first} == {50.0}
    key = next(f"s{n}" for n in range(999) if shard_of(f"s{n}") % 4 == 1)
    time.sleep(0.03)
    assert sender.marks([key], 51.0, {}) == [Mark(shard_of(key), 51.0)], "then only those with traffic"
    assert sender.marks([key], 52.0, {}) == [], "not more often than is of use"


def test_a_writer_tells_how_far_its_output_reaches() -> None:
    log = InMemoryLog()
    writer = MarkWriter(log, "utterances", worker=0)
    writer.wrote(0, 41)
    writer.passed([Mark(3, 10.0), Mark(4, 11.0)])
    told = decode("progress", log.read("progress", 0, 0, 9)[0].value)
    assert told.marks == {3: 10.0, 4: 11.0}
    assert told.below == {0: 42}


def test_marks_of_many_busy_shards_come_more_slowly() -> None:
    sender = MarkSender(0, 1, UpstreamMarks(InMemoryLog(), {}))
    keys = [f"s{number}" for number in range(2_000)]
    assert len(sender.marks(keys, 50.0, {})) == SHARDS
    time.sleep(0.03)
    assert sender.marks(keys, 51.0, {}) == [], "two hundred and fifty-six marks every 25 ms would be too many"
    quiet = MarkSender(0, 1, UpstreamMarks(InMemoryLog(), {}))
    quiet.marks(keys[:3], 50.0, {})
    time.sleep(0.03)
    assert len(quiet.marks(keys[:3], 51.0, {})) == 3
