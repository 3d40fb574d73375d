"""Follows partitions of Kafka for a flow, without ever waiting for the broker."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventlog.base import LogRecord
from eventlog.kafka_client import ANSWER_S, SETTLING, KafkaOptions, log_error
from eventlog.kafka_records import RecentIds, record_of
from schemas.errors import LogUnavailable, OffsetGone

__all__ = ["KafkaReader", "bounds", "consumer_of"]

BEFORE = 5_000
"""Records before a position whose ids are read, so that repeats just after it are known as such."""
PAUSE_AT, RESUME_AT = 5_000, 1_000
DRAIN = 500
LOOK_S = 1.0
"""A reader asks that long where a partition begins, and again after as long; the flow's timers run between."""


def consumer_of(options: KafkaOptions, group: str, reset: str = "error") -> Consumer:
    """Open a consumer whose partitions are set by hand and which commits only when told to."""
    name = f"{options.prefix}.{group}" if options.prefix else group
    return Consumer(
        options.client(
            **{
                "group.id": name,
                "enable.auto.commit": False,
                "auto.offset.reset": reset,
                "enable.partition.eof": False,
                "fetch.wait.max.ms": 100,
                "fetch.error.backoff.ms": 100,
                "queued.max.messages.kbytes": 16_384,
            }
        )
    )


def bounds(
    consumer: Consumer, options: KafkaOptions, topic: str, partition: int, wait_s: float = ANSWER_S
) -> tuple[int, int]:
    """Ask the broker for the first offset of a partition and the one after its last.

    Raises:
        LogUnavailable: It did not answer within `wait_s` seconds.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            low, high = consumer.get_watermark_offsets(
                TopicPartition(options.topic(topic), partition), timeout=max(0.1, end - time.monotonic())
            )
        except KafkaException as error:
            if error.args[0].code() not in SETTLING or time.monotonic() > end:
                raise log_error(error, f"{topic}/{partition}") from error
            time.sleep(0.05)
        else:
            return low, high


@dataclass(slots=True)
class _Followed:
    """One partition a reader follows; `ready` are records not yet passed, `next_fetch` the offset after the newest."""

    start: int
    seen: RecentIds = field(default_factory=RecentIds)
    ready: deque[LogRecord] = field(default_factory=deque)
    next_fetch: int = 0
    paused: bool = False
    failed: KafkaError | None = None


class KafkaReader:
    """One consumer for all partitions that one worker of a flow reads.

    Records are taken from what the client library fetched in the background, so a flow never waits for the broker.
    """

    def __init__(self, options: KafkaOptions, group: str, hidden: Callable[[str], bool]) -> None:
        """Read as `group`; records of keys for which `hidden` holds are left out."""
        self._options, self._hidden = options, hidden
        self._consumer = consumer_of(options, group)
        self._parts: dict[tuple[str, int], _Followed] = {}
        self._names: dict[str, str] = {}
        self._guard = threading.Lock()
        self._trouble: KafkaError | None = None
        self._away_since = self._look_again = 0.0

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Give what is at hand; see `LogReader.read`."""
        with self._guard:
            part = self._parts.get((topic, partition))
            if part is None or start < part.start:
                part = self._follow(topic, partition, start)
                if part is None:
                    return []
            while part.ready and part.ready[0].offset < start:
                part.ready.popleft()
            if not part.ready:
                self._drain()
            while part.ready and part.ready[0].offset < start:
                part.ready.popleft()
            if part.failed is not None:
                failed, part.failed = part.failed, None
                del self._parts[topic, partition]
                raise log_error(failed, f"{topic}/{partition} at {start}")
            part.start = start
            if part.paused and len(part.ready) < RESUME_AT:
                part.paused = False
                self._consumer.resume([TopicPartition(self._options.topic(topic), partition)])
            return [record for record, _ in zip(part.ready, range(limit), strict=False)]

    def _follow(self, topic: str, partition: int, start: int) -> _Followed | None:
        """Begin at `start`; None = the broker does not answer now.

        Raises:
            LogUnavailable: It has not answered for as long as an append may wait.
            OffsetGone: There is nothing at `start`, and nothing will come there.
        """
        now = time.monotonic()
        if now < self._look_again:
            return None
        try:
            low, high = bounds(self._consumer, self._options, topic, partition, LOOK_S)
        except LogUnavailable:
            self._away_since = self._away_since or now
            if now - self._away_since > self._options.deliver_s:
                raise
            self._look_again = time.monotonic() + LOOK_S
            return None
        self._away_since = 0.0
        if start > high or 0 < start < low:
            raise OffsetGone(f"{topic}/{partition} has records {low} to {high - 1}, not {start}")
        begin = max(low, start - BEFORE)
        part = self._parts[topic, partition] = _Followed(max(start, low), next_fetch=begin)
        part.start = start
        name = self._options.topic(topic)
        self._names[name] = topic
        with suppress(KafkaException):  # it was not assigned yet
            self._consumer.incremental_unassign([TopicPartition(name, partition)])
        self._consumer.incremental_assign([TopicPartition(name, partition, begin)])
        return part

    def _drain(self) -> None:
        messages: list[Any] = self._consumer.consume(DRAIN, 0)
        for message in messages:
            error = message.error()
            if error is not None:
                self._note(message, error)
                continue
            topic = self._names[message.topic()]
            part = self._parts.get((topic, message.partition()))
            if part is None or message.offset() < part.next_fetch:
                continue
            record = record_of(message, topic)
            part.next_fetch = record.offset + 1
            first = part.seen.first(record.event_id, record.offset)
            if record.offset >= part.start and first and not self._hidden(record.key):
                part.ready.append(record)
            if len(part.ready) > PAUSE_AT and not part.paused:
                part.paused = True
                self._consumer.pause([TopicPartition(message.topic(), message.partition())])

    def _note(self, message: Any, error: KafkaError) -> None:
        topic = self._names.get(message.topic() or "", "")
        part = self._parts.get((topic, message.partition()))
        gone = error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001
        if part is not None and gone:
            part.failed = error
        else:
            # A broker that is away is found again by the client library; nothing is lost meanwhile.
            self._trouble = error

    def end(self, topic: str, partition: int) -> int | None:
        """Give the end of a partition as the last fetch told it."""
        part = self._parts.get((topic, partition))
        if part is None:
            return None
        try:
            _, high = self._consumer.get_watermark_offsets(
                TopicPartition(self._options.topic(topic), partition), cached=True
            )
        except KafkaException:
            return None
        return max(high, part.next_fetch) if high >= 0 else None

    def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Commit positions for lag monitoring, without waiting."""
        places = [
            TopicPartition(self._options.topic(topic), partition, offset)
            for (topic, partition), offset in positions.items()
        ]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            self._trouble = error.args[0]

    def close(self) -> None:
        """Leave."""
        self._consumer.close()
