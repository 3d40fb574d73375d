"""Scans of a Kafka log keep their consumers: opening one takes longer than what is read with it."""

import time

import pytest

from benchmarks.talk import Crowd
from eventlog import kafka_scan, open_log
from schemas.topics import SHOWN_TOPICS


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
