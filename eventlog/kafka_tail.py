"""The one consumer with which a process follows a Kafka log for all its clients."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import structlog
from confluent_kafka import TopicPartition

from eventlog.base import LogRecord
from eventlog.kafka_client import ERASED_TOPIC, KafkaOptions
from eventlog.kafka_reader import bounds, consumer_of
from eventlog.kafka_records import record_of
from schemas.errors import LogUnavailable

__all__ = ["Tail"]

logger = structlog.get_logger("eventlog")

WAIT_S = 3.0
"""An append that is stored is acknowledged after this long even if the tail has not come past it."""


class Tail:
    """Follows topics from their end, and the topics that start keys and erase keys from their beginning."""

    def __init__(
        self,
        options: KafkaOptions,
        topics: Sequence[str],
        whole: Sequence[str],
        partitions: int,
        take: Callable[[list[LogRecord], bool], None],
    ) -> None:
        """Prepare; `take` is called with what came, and whether it lay before the end at the start.

        Args:
            options: Where the brokers are.
            topics: Followed from their end.
            whole: Followed from their beginning.
            partitions: Of each topic; the topic of erased keys has one.
            take: Called in the tail's thread.
        """
        self._options, self._take = options, take
        self._consumer = consumer_of(options, "tail", reset="earliest")
        self._names = {options.topic(name): name for name in (*topics, *whole, ERASED_TOPIC)}
        self._whole = {*whole, ERASED_TOPIC}
        self._places = [
            (name, number)
            for name in (*topics, *whole, ERASED_TOPIC)
            for number in range(1 if name == ERASED_TOPIC else partitions)
        ]
        self._positions: dict[tuple[str, int], int] = {}
        self._history: dict[tuple[str, int], int] = {}
        self._waits: list[tuple[tuple[str, int], int, int, float, Future[Any], Any]] = []
        self._numbers = itertools.count()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-tail", daemon=True)

    def start(self) -> None:
        """Begin, and wait until what lay there at the start was read.

        Raises:
            LogUnavailable: The broker does not answer.
        """
        places = []
        for name, number in self._places:
            low, high = bounds(self._consumer, self._options, name, number)
            begin = low if name in self._whole else high
            self._positions[name, number] = begin
            if begin < high:
                self._history[name, number] = high
            places.append(TopicPartition(self._options.topic(name), number, begin))
        self._consumer.assign(places)
        if not self._history:
            self._caught_up.set()
        self._thread.start()
        if not self._caught_up.wait(120):
            raise LogUnavailable("reading the sessions of the log takes longer than two minutes")

    def position(self, topic: str, partition: int) -> int | None:
        """Give the offset after the last record taken; None for a topic that is not followed."""
        return self._positions.get((topic, partition))

    def resolve_after(self, topic: str, partition: int, offset: int, future: "Future[Any]", value: Any) -> None:
        """Set a future's result once the tail has taken `offset`."""
        with self._guard:
            if self._positions.get((topic, partition), offset + 1) <= offset and not self._stop.is_set():
                due = time.monotonic() + WAIT_S
                self._waits.append(((topic, partition), offset, next(self._numbers), due, future, value))
                return
        future.set_result(value)

    def _run(self) -> None:
        while not self._stop.is_set():
            first = self._consumer.poll(0.1)
            messages = [] if first is None else [first, *self._consumer.consume(499, 0)]
            self._handle(messages)
        self._resolve(everything=True)
        self._consumer.close()

    def _handle(self, messages: list[Any]) -> None:
        old: list[LogRecord] = []
        new: list[LogRecord] = []
        for message in messages:
            if message.error() is not None:
                logger.warning("log_tail_disturbed", reason=message.error().str())
                continue
            topic = self._names[message.topic()]
            place = (topic, message.partition())
            behind = message.offset() < self._history.get(place, 0)
            (old if behind else new).append(record_of(message, topic))
        if old:
            self._take(old, True)
        if new:
            # Topics are fetched side by side; within one look the producers' clocks say what came first.
            lists = [list(group) for _, group in itertools.groupby(sorted(new, key=_place), key=_place)]
            self._take(list(heapq.merge(*lists, key=lambda record: record.at_s)), False)
        with self._guard:
            for record in (*old, *new):
                self._positions[record.topic, record.partition] = record.offset + 1
        self._finish_history()
        self._resolve()

    def _finish_history(self) -> None:
        for place, end in list(self._history.items()):
            # Compacted away records leave a gap at the end that only the consumer's own position shows.
            if self._positions[place] >= end or self._at(place) >= end:
                del self._history[place]
        if not self._history:
            self._caught_up.set()

    def _at(self, place: tuple[str, int]) -> int:
        found = self._consumer.position([TopicPartition(self._options.topic(place[0]), place[1])])
        return int(found[0].offset)

    def _resolve(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        with self._guard:
            ready = [
                wait for wait in self._waits if everything or self._positions.get(wait[0], 0) > wait[1] or now > wait[3]
            ]
            if ready:
                gone = {wait[2] for wait in ready}
                self._waits = [wait for wait in self._waits if wait[2] not in gone]
        for _, _, _, _, future, value in ready:
            future.set_result(value)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5)


def _place(record: LogRecord) -> tuple[str, int]:
    return record.topic, record.partition
