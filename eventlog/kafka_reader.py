"""Follows partitions of Kafka for a flow, without ever waiting for the broker."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, TopicPartition

from eventlog.base import LogRecord
from eventlog.kafka_client import ANSWER_S, KafkaOptions, log_error, settled
from eventlog.kafka_shared import Followed, SharedConsumer
from schemas.errors import LogUnavailable, OffsetGone

__all__ = ["KafkaReader", "bounds", "consumer_of"]

BEFORE = 5_000
"""Records before a position whose ids are read, so that repeats just after it are known as such."""
LOOK_S = 1.0
"""A reader asks that long where a partition begins, and again after as long; the flow's timers run between."""
COMMIT_S = 5.0
"""To commit is to write, once for each partition: at every snapshot records would wait behind it."""


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
    place = TopicPartition(options.topic(topic), partition)
    return settled(
        lambda seconds: consumer.get_watermark_offsets(place, timeout=seconds), f"{topic}/{partition}", wait_s
    )


class KafkaReader:
    """Follows partitions for one flow; what one thread reads with, it reads with one consumer.

    Records are taken from what the client library fetched in the background, so a flow never waits for the broker.
    """

    def __init__(
        self,
        options: KafkaOptions,
        group: str,
        hidden: Callable[[str], bool],
        ask: Callable[[str, int, float], tuple[int, int]],
        beside: "KafkaReader | None" = None,
    ) -> None:
        """Read as `group`, with the consumer of `beside`; records of keys for which `hidden` holds are left out.

        `ask` gives the first offset of a partition and the one after its last, and waits so many seconds at most: this
        reader's own consumer is often busy waiting for records.
        """
        self._options, self._group, self._hidden, self._ask = options, group, hidden, ask
        self.shared: SharedConsumer = (
            beside.shared if beside is not None else SharedConsumer(consumer_of(options, "flows"), options.topic)
        )
        """The consumer that it reads with."""
        self.shared.enter()
        self._parts: dict[tuple[str, int], Followed] = {}
        self._guard = threading.Lock()
        self._committer: Consumer | None = None
        self._positions: dict[tuple[str, int], int] = {}
        self._away_since = self._look_again = self._commit_again = 0.0

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Give what is at hand; see `LogReader.read`."""
        with self._guard:
            part = self._parts.get((topic, partition))
            if part is None or start < part.start:
                part = self._follow(topic, partition, start)
                if part is None:
                    return []
            part.start = start
            part.pass_on()
            if not part.ready:
                self.shared.take()
                part.pass_on()
            if part.failed is not None:
                del self._parts[topic, partition]
                raise log_error(part.failed, f"{topic}/{partition} at {start}")
            self.shared.used(part)
            return self.shared.given(part, limit)

    def wait(self, seconds: float) -> bool:
        """Wait for what the broker gives; see `LogReader.wait`."""
        return self.shared.wait(seconds)

    def _follow(self, topic: str, partition: int, start: int) -> Followed | None:
        """Begin at `start`; None = the broker does not answer now.

        Raises:
            LogUnavailable: It has not answered for as long as an append may wait.
            OffsetGone: There is nothing at `start`, and nothing will come there.
        """
        now = time.monotonic()
        if now < self._look_again:
            return None
        try:
            low, high = self._ask(topic, partition, LOOK_S)
        except LogUnavailable:
            self._away_since = self._away_since or now
            if now - self._away_since > self._options.deliver_s:
                raise
            self._look_again = time.monotonic() + LOOK_S
            return None
        self._away_since = 0.0
        if start > high or 0 < start < low:
            raise OffsetGone(f"{topic}/{partition} has records {low} to {high - 1}, not {start}")
        if (before := self._parts.pop((topic, partition), None)) is not None:
            self.shared.unfollow(before)
        part = Followed(topic, partition, start, max(low, start - BEFORE), self._hidden)
        self.shared.follow(part)
        self._parts[topic, partition] = part
        return part

    def end(self, topic: str, partition: int) -> int | None:
        """Give the end of a partition as the last fetch told it."""
        part = self._parts.get((topic, partition))
        return self.shared.end(part) if part is not None else None

    def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Commit positions for lag monitoring, without waiting and no more often than lags are looked at."""
        with self._guard:
            self._positions.update(positions)
            if time.monotonic() >= self._commit_again:
                self._tell_positions()

    def _tell_positions(self) -> None:
        self._commit_again = time.monotonic() + COMMIT_S
        if self._committer is None:
            self._committer = consumer_of(self._options, self._group)
        places = [
            TopicPartition(self._options.topic(topic), number, at) for (topic, number), at in self._positions.items()
        ]
        with suppress(KafkaException):
            self._committer.commit(offsets=places, asynchronous=True)

    def close(self) -> None:
        """Leave."""
        for part in self._parts.values():
            self.shared.unfollow(part)
        self._parts.clear()
        self.shared.leave()
        if self._positions:
            self._tell_positions()
        if self._committer is not None:
            self._committer.close()
