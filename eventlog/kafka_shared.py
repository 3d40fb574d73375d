"""One Kafka consumer for all that one thread reads: what comes is handed to every reader that follows its partition."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventlog.base import LogRecord
from eventlog.kafka_records import RecentIds, record_of

__all__ = ["Followed", "SharedConsumer"]

PAUSE_AT, RESUME_AT = 5_000, 1_000
TAKE = 500
DRY_S = 0.0005
"""A look at all partitions asks for each of them; when there was nothing for the first, there is not for the others."""


@dataclass(slots=True, eq=False)
class Followed:
    """One partition as one reader follows it.

    `start` is where the reader stands, `ready` are records not yet passed, `next_fetch` the offset after the newest.
    """

    topic: str
    partition: int
    start: int
    next_fetch: int
    hidden: Callable[[str], bool]
    seen: RecentIds = field(default_factory=RecentIds)
    ready: deque[LogRecord] = field(default_factory=deque)
    failed: KafkaError | None = None

    def pass_on(self) -> None:
        """Drop what lies before where the reader stands."""
        while self.ready and self.ready[0].offset < self.start:
            self.ready.popleft()

    def take(self, record: LogRecord) -> None:
        """Take a record, unless it came before, is a repeat, or is hidden."""
        if record.offset < self.next_fetch:
            return
        self.next_fetch = record.offset + 1
        first = self.seen.first(record.event_id, record.offset)
        if record.offset >= self.start and first and not self.hidden(record.key):
            self.ready.append(record)


class SharedConsumer:
    """A consumer whose partitions are followed by any number of readers, each from a place of its own.

    A consumer for each reader costs three threads and a standing request to the broker each, and there is no way to
    wait for several of them at once.
    """

    def __init__(self, consumer: Consumer, named: Callable[[str], str]) -> None:
        """Follow with `consumer`, which has no partitions yet; `named` gives the name of a topic in Kafka."""
        self._consumer, self._named = consumer, named
        self._followed: dict[tuple[str, int], list[Followed]] = {}
        self._topics: dict[str, str] = {}
        self._paused: set[tuple[str, int]] = set()
        self._guard = threading.Lock()
        self._users = 0
        self._handed_out, self._dry_until = False, 0.0

    def enter(self) -> None:
        """Count one more user."""
        with self._guard:
            self._users += 1

    def leave(self) -> None:
        """Count one less; the last one to leave closes the consumer."""
        with self._guard:
            self._users -= 1
            if not self._users:
                self._consumer.close()

    def follow(self, one: Followed) -> None:
        """Give a reader the records of a partition from its `next_fetch` on; the others that follow it lose nothing."""
        place = self._place(one)
        with self._guard:
            self._topics[place[0]] = one.topic
            others = self._followed.setdefault(place, [])
            # All who follow it stand where it was fetched up to, or further on: to go back costs them nothing.
            if not others or one.next_fetch < min(other.next_fetch for other in others):
                if others:
                    self._drop(place)
                self._consumer.incremental_assign([TopicPartition(*place, one.next_fetch)])
            others.append(one)

    def unfollow(self, one: Followed) -> None:
        """Hand a reader no more records of a partition."""
        place = self._place(one)
        with self._guard:
            others = self._followed.get(place, [])
            if one in others:
                others.remove(one)
                if not others:
                    self._drop(place)
                    del self._followed[place]

    def _place(self, one: Followed) -> tuple[str, int]:
        return self._named(one.topic), one.partition

    def _drop(self, place: tuple[str, int]) -> None:
        """Fetch no more of a partition, and forget what was fetched of it and not handed out."""
        if place in self._paused:
            self._consumer.resume([TopicPartition(*place)])
            self._paused.discard(place)
        self._consumer.incremental_unassign([TopicPartition(*place)])

    def take(self) -> None:
        """Hand out what was fetched."""
        if time.monotonic() < self._dry_until:
            return
        with self._guard:
            self._take(self._consumer.consume(TAKE, 0))

    def wait(self, seconds: float) -> bool:
        """Hand out what was fetched, after a wait of at most so long; gives whether anything was since last time."""
        with self._guard:
            # Without a wait it is no more than a question: in a backlog each reader takes when it has used what it had.
            if not self._handed_out and seconds > 0:
                first = self._consumer.poll(seconds)
                self._take([] if first is None else [first, *self._consumer.consume(TAKE - 1, 0)])
            handed_out, self._handed_out = self._handed_out, False
            return handed_out

    def _take(self, messages: list[Any]) -> None:
        for message in messages:
            self._hand_out(message)
        if messages:
            self._handed_out = True
        else:
            self._dry_until = time.monotonic() + DRY_S

    def _hand_out(self, message: Any) -> None:
        name = message.topic() or ""
        place = name, message.partition()
        others = self._followed.get(place, ())
        if (error := message.error()) is not None:
            # Of all else, a broker that is away say, the client library takes care; nothing is lost meanwhile.
            if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
                for one in self._followed.pop(place, ()):
                    one.failed = error
                self._drop(place)
            return
        record = record_of(message, self._topics[name])
        for one in others:
            one.take(record)
        if place not in self._paused and any(len(one.ready) > PAUSE_AT for one in others):
            self._paused.add(place)
            self._consumer.pause([TopicPartition(*place)])

    def given(self, one: Followed, limit: int) -> list[LogRecord]:
        """Give the records that were handed out and are not passed yet; another worker may hand out more meanwhile."""
        with self._guard:
            return list(islice(one.ready, limit))

    def used(self, one: Followed) -> None:
        """Go on with a partition that was paused, when all who follow it have used what they had."""
        if not self._paused:
            return
        place = self._place(one)
        with self._guard:
            if place in self._paused and all(len(other.ready) < RESUME_AT for other in self._followed[place]):
                self._paused.discard(place)
                self._consumer.resume([TopicPartition(*place)])

    def end(self, one: Followed) -> int | None:
        """Give the end of a partition as the last fetch told it; None when none has yet."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*self._place(one)), cached=True)
        except KafkaException:
            return None
        return max(high, one.next_fetch) if high >= 0 else None
