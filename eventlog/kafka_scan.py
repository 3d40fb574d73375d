"""Scans ranges of Kafka partitions for batch work and for keys that are not in memory."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventlog.base import LogRecord
from eventlog.kafka_client import ANSWER_S, KafkaOptions, log_error, settled
from eventlog.kafka_reader import bounds, consumer_of
from eventlog.kafka_records import RecentIds, record_of
from schemas.errors import LogUnavailable, OffsetGone

__all__ = ["Scanner", "Wanted"]

_NOWHERE = "", 0, -1
CLOCK_SLACK_S = 600.0
"""Clocks of two machines are taken to differ by less than this."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records of a key are wanted: from positions by topic, at most `limit` of each topic, made since a time."""

    positions: Mapping[str, int] = field(default_factory=dict)
    limit: int | None = None
    since_s: float | None = None


class Scanner:
    """Reads ranges of partitions for batch work; keeps a few consumers open where the last scans ended.

    What is only asked of the broker is asked by consumers that read nothing: over a connection, a request waits until
    the broker has answered the one before, which takes a tenth of a second where there is nothing to read.
    """

    def __init__(self, options: KafkaOptions, hidden: Callable[[str], bool], keep: int = 4) -> None:
        """Scan as the group `scan`, which commits nothing."""
        self._options, self._hidden, self._keep = options, hidden, keep
        self._idle: list[tuple[tuple[str, int, int], Consumer]] = []
        self._asking: list[Consumer] = []
        self._guard = threading.Lock()
        self._closed = False

    @contextmanager
    def _at(self, topic: str, partition: int, start: int) -> Iterator[tuple[Consumer, list[int]]]:
        """Lend a consumer that reads on from `start`; the list given along takes the position it ended at."""
        place = (topic, partition, start)
        with self._guard:
            if self._closed:
                raise LogUnavailable("the log is closed")
            match = next((one for one in self._idle if one[0] == place), None)
            if match is not None:
                self._idle.remove(match)
            elif self._idle:
                match = self._idle.pop(0)
        consumer = match[1] if match is not None else consumer_of(self._options, "scan")
        ended: list[int] = []
        try:
            if match is None or match[0] != place:
                consumer.assign([TopicPartition(self._options.topic(topic), partition, start)])
            yield consumer, ended
        except KafkaException as error:
            raise log_error(error, f"{topic}/{partition}") from error
        finally:
            self._back((topic, partition, ended[0]) if ended else None, consumer)

    @contextmanager
    def _any(self) -> Iterator[Consumer]:
        """Lend a consumer that is assigned by the borrower, who takes everything from it again."""
        with self._guard:
            if self._closed:
                raise LogUnavailable("the log is closed")
            _, consumer = self._idle.pop() if self._idle else (_NOWHERE, None)
        consumer = consumer or consumer_of(self._options, "scan")
        good = False
        try:
            yield consumer
            good = True
        finally:
            self._back(_NOWHERE if good else None, consumer)

    @contextmanager
    def _quick(self) -> Iterator[Consumer]:
        """Lend a consumer that reads nothing, to ask something."""
        with self._guard:
            if self._closed:
                raise LogUnavailable("the log is closed")
            consumer = self._asking.pop() if self._asking else None
        consumer = consumer or consumer_of(self._options, "scan")
        try:
            yield consumer
        finally:
            with self._guard:
                kept = len(self._asking) < self._keep and not self._closed
                if kept:
                    self._asking.append(consumer)
            if not kept:
                consumer.close()

    def _back(self, place: tuple[str, int, int] | None, consumer: Consumer) -> None:
        """Keep a consumer for the next scan; without a place it is of no use any more."""
        with self._guard:
            kept = place is not None and len(self._idle) < self._keep and not self._closed
            if place is not None and kept:
                self._idle.append((place, consumer))
        if not kept:
            consumer.close()

    def bounds(self, topic: str, partition: int, wait_s: float = ANSWER_S) -> tuple[int, int]:
        """Give the first offset of a partition and the one after its last; see `kafka_reader.bounds`."""
        with self._quick() as consumer:
            return bounds(consumer, self._options, topic, partition, wait_s)

    def scan(self, topic: str, partition: int, start: int, stop: int) -> Iterator[LogRecord]:
        """Give the records with start <= offset < stop, hidden ones left out.

        Raises:
            OffsetGone: `start` was trimmed.
            LogUnavailable: The broker gives nothing for ten seconds.
        """
        if start >= stop:
            return
        at = start
        with self._at(topic, partition, start) as (consumer, ended):
            while at < stop:
                message: Any = consumer.poll(ANSWER_S)
                if message is None:
                    raise LogUnavailable(f"{topic}/{partition}: the broker gives no records")
                if _disturbed(message, f"{topic}/{partition}"):
                    continue
                at = message.offset() + 1
                if at > stop:
                    return
                record = record_of(message, topic)
                if not self._hidden(record.key):
                    if at == stop:
                        ended.append(at)
                    yield record
            ended[:] = [at]

    def last_ids(self, topic: str, partition: int, count: int) -> RecentIds:
        """Read the ids of the last `count` records of a partition.

        Raises:
            LogUnavailable: The broker does not answer.
        """
        ids = RecentIds(count)
        low, high = self.bounds(topic, partition)
        for record in self.scan(topic, partition, max(low, high - count), high):
            ids.first(record.event_id, record.offset)
        return ids

    def close(self) -> None:
        """Close the consumers."""
        with self._guard:
            self._closed = True
            open_ = [*(consumer for _, consumer in self._idle), *self._asking]
            self._idle, self._asking = [], []
        for consumer in open_:
            consumer.close()

    def of_key(self, key: str, partition: int, topics: Sequence[str], wanted: Wanted) -> list[LogRecord]:
        """Find a key's records in its partition, oldest first by their producers' clocks, each id once.

        Raises:
            OffsetGone: A position was trimmed or lies beyond the end.
        """
        positions, limit, since = wanted.positions, wanted.limit, wanted.since_s
        begins = self.offsets_at(partition, topics, since - CLOCK_SLACK_S) if since is not None else {}
        ranges: dict[str, tuple[int, int]] = {}
        for topic in topics:
            low, high = self.bounds(topic, partition)
            position = positions.get(topic, 0)
            if position > high:
                raise OffsetGone("the cursor lies beyond the end of this log")
            if 0 < position < low:
                raise OffsetGone(f"{topic}/{partition}: records up to {low - 1} were trimmed")
            if (begin := max(position, begins.get(topic, 0), low)) < high:
                ranges[topic] = begin, high
        found = self._of_ranges(key, partition, ranges, limit)
        found.sort(key=lambda record: record.at_s)
        ordered = _in_topic_order(found)
        return ordered if limit is None else ordered[:limit]

    def _of_ranges(
        self, key: str, partition: int, ranges: Mapping[str, tuple[int, int]], limit: int | None
    ) -> list[LogRecord]:
        """Give a key's records of several topics, each id once and at most `limit` of each topic.

        The topics are read side by side: each one alone costs the wait until the broker's answer to what was asked
        before is in, a tenth of a second.
        """
        names = {self._options.topic(topic): topic for topic in ranges}
        left = {topic: stop for topic, (_, stop) in ranges.items()}
        ids: dict[str, set[str]] = {topic: set() for topic in ranges}
        found: list[LogRecord] = []
        if not ranges or self._hidden(key):
            return found
        with self._any() as consumer:
            consumer.assign([TopicPartition(name, partition, ranges[topic][0]) for name, topic in names.items()])
            while left:
                message: Any = consumer.poll(ANSWER_S)
                if message is None:
                    raise LogUnavailable(f"partition {partition}: the broker gives no records")
                topic = names.get(message.topic() or "", "")
                if _disturbed(message, f"{topic}/{partition}") or topic not in left:
                    continue
                stop = left[topic]
                if message.offset() + 1 >= stop:
                    del left[topic]
                if message.offset() >= stop or message.key() != key.encode():
                    continue
                record = record_of(message, topic)
                if record.event_id not in ids[topic]:
                    ids[topic].add(record.event_id)
                    found.append(record)
                    if len(ids[topic]) == limit:
                        left.pop(topic, None)
            consumer.unassign()
        return found

    def offsets_at(self, partition: int, topics: Sequence[str], at_s: float) -> dict[str, int]:
        """Give, by topic, the first offset whose record was made at or after a time."""
        asked = [TopicPartition(self._options.topic(topic), partition, max(1, int(at_s * 1000))) for topic in topics]

        def ask(seconds: float) -> list[TopicPartition]:
            answers = consumer.offsets_for_times(asked, timeout=seconds)
            if wrong := next((answer.error for answer in answers if answer.error is not None), None):
                raise KafkaException(wrong)
            return answers

        with self._quick() as consumer:
            answers = settled(ask, f"looking a time up in partition {partition}")
        found = {}
        for topic, answer in zip(topics, answers, strict=True):
            found[topic] = answer.offset if answer.offset >= 0 else self.bounds(topic, partition)[1]
        return found


def _disturbed(message: Any, what: str) -> bool:
    """Say whether this is no record but a passing trouble.

    Raises:
        OffsetGone: What was to be read first was trimmed.
        LogError: The trouble will not pass.
    """
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
        raise OffsetGone(f"{what}: the first of the records was trimmed")
    if error.fatal() or not error.retriable():
        raise log_error(error, what)
    return True


def _in_topic_order(records: Sequence[LogRecord]) -> list[LogRecord]:
    """Keep each topic in the order of its offsets where a producer's clock had gone back."""
    by_topic: dict[str, list[LogRecord]] = {}
    for record in sorted(records, key=lambda one: one.offset):
        by_topic.setdefault(record.topic, []).append(record)
    turns: dict[str, Any] = {topic: iter(own) for topic, own in by_topic.items()}
    return [next(turns[record.topic]) for record in records]
