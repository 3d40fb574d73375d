"""How many partitions an installation uses, kept in Kafka itself.

A session lies in the partition that its key and the number of partitions give. Partitions that somebody adds later
would give other places and tear sessions apart, so the number is written down when the topics are made and kept to.
"""

import time
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from eventlog.kafka_client import ANSWER_S, ERASED_TOPIC, LAYOUT_TOPIC, KafkaOptions, log_error
from eventlog.kafka_reader import bounds, consumer_of
from schemas.errors import LogError, LogUnavailable
from schemas.topics import TOPICS

__all__ = ["Layout", "keep_layout", "kept_layout"]

logger = structlog.get_logger("eventlog")

LOOK_EVERY_S = 30.0
_KEY = b"partitions"


def keep_layout(options: KafkaOptions, partitions: int) -> None:
    """Write down the number of partitions, for good.

    Raises:
        LogUnavailable: The broker does not store it.
    """
    failed: list[KafkaError] = []
    producer = Producer(options.client(**{"acks": "all", "message.timeout.ms": int(ANSWER_S * 1000)}))

    def report(error: KafkaError | None, _: Any) -> None:
        if error is not None:
            failed.append(error)

    producer.produce(options.topic(LAYOUT_TOPIC), str(partitions).encode(), _KEY, 0, on_delivery=report)
    if producer.flush(ANSWER_S * 2) or failed:
        raise log_error(failed[0], "the layout") if failed else LogUnavailable("the broker does not store the layout")


def kept_layout(options: KafkaOptions) -> int | None:
    """Give the number of partitions that was written down first, None when none was.

    Raises:
        LogUnavailable: The broker does not answer.
    """
    consumer = consumer_of(options, "layout", reset="earliest")
    try:
        low, high = bounds(consumer, options, LAYOUT_TOPIC, 0)
        if low == high:
            return None
        consumer.assign([TopicPartition(options.topic(LAYOUT_TOPIC), 0, low)])
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None and (value := message.value()) is not None:
                return int(value)
    except KafkaException as error:
        raise log_error(error, "the layout") from error
    finally:
        consumer.close()
    raise LogUnavailable("the broker does not give the layout")


class Layout:
    """The number of partitions in use, and what was added to the topics since."""

    def __init__(self, options: KafkaOptions) -> None:
        """Look at the topics.

        Raises:
            LogUnavailable: No broker answers, topics are missing, or have fewer partitions than are in use.
        """
        self._options = options
        there = self._topics()
        names = (*TOPICS, ERASED_TOPIC, LAYOUT_TOPIC)
        missing = [name for name in names if options.topic(name) not in there]
        used = kept_layout(options) if not missing else None
        if used is None:
            raise LogUnavailable(f"Kafka has no topic {', '.join(missing or names)}; run: rejoinder topics apply")
        short = [name for name in TOPICS if len(there[options.topic(name)].partitions) < used]
        if short:
            raise LogUnavailable(f"topic {', '.join(short)} must have {used} partitions; see: rejoinder topics apply")
        self.partitions = used
        self._notes = self._added(there)
        self._looked_s = time.monotonic()

    def _topics(self) -> Any:
        try:
            return AdminClient(self._options.client()).list_topics(timeout=ANSWER_S).topics
        except KafkaException as error:
            raise log_error(error, f"no Kafka broker answers at {self._options.brokers}") from error

    def _added(self, there: Any) -> list[str]:
        found = {name: len(there[self._options.topic(name)].partitions) for name in TOPICS}
        return [
            f"topic {name} has {count} partitions, {self.partitions} of them are used: "
            "records in the others are not read"
            for name, count in found.items()
            if count > self.partitions
        ]

    def notes(self, beside: Executor, every_s: float = LOOK_EVERY_S) -> list[str]:
        """Give what was found at the last look; the next look is taken `beside` the caller when it is due."""
        if time.monotonic() - self._looked_s > every_s:
            self._looked_s = time.monotonic()
            with suppress(RuntimeError):  # the log is being closed
                beside.submit(self._look)
        return self._notes

    def _look(self) -> None:
        with suppress(LogError, KeyError):  # a broker that is away, or a topic that is gone, is told of elsewhere
            found = self._added(self._topics())
            if found != self._notes:
                logger.warning("partitions_were_added", topics=len(found), used=self.partitions)
            self._notes = found
