"""Scans of a Kafka log keep their consumers: opening one takes longer than what is read with it."""

import time
from pathlib import Path

import pytest

from benchmarks.talk import Crowd
from eventlog import kafka_scan, open_log
from eventlog.kafka_client import KafkaOptions, apply_topics
from schemas.topics import SHOWN_TOPICS
from tests.kafka.broker import Broker
from tests.kafka.finding import need_java


def test_sessions_are_loaded_one_after_the_other_with_the_same_consumers(
    kafka_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd("many", 6, time.time() - 60)
    first = open_log(kafka_url)
    first.append([crowd.opened(place) for place in range(6)])
    first.append(list(crowd.captions(0, 60)))
    first.close()
    opened, make = 0, kafka_scan.consumer_of

    def counting(*arguments: object) -> object:
        nonlocal opened
        opened += 1
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(kafka_scan, "consumer_of", counting)
    second = open_log(kafka_url)
    opened = 0
    for place in range(6):
        second.load(crowd.session(place))
        assert len(second.read_key(crowd.session(place), SHOWN_TOPICS, second.cursor_start(), 100)) == 11
    assert opened <= 2, "one that reads, and one that only asks"
    second.close()


def test_the_first_read_after_a_broker_was_restarted_finds_everything(tmp_path: Path) -> None:
    need_java()
    broker = Broker(tmp_path).start()
    try:
        apply_topics(KafkaOptions(broker.address, partitions=1))
        crowd = Crowd("long", 1, time.time() - 60)
        # It follows the openings only, so that captions are read from the broker each time.
        log = open_log(f"kafka://{broker.address}", follow=("meeting",))
        log.append([crowd.opened(0), *crowd.captions(0, 5)])
        for _ in range(3):
            found = log.read_key(crowd.session(0), ["captions"], log.cursor_start(), 100)
            assert len(found) == 5
            assert log.end("captions") == 5
            broker.kill()
            broker.start()
        log.close()
    finally:
        broker.stop()
