"""How many partitions an installation uses, kept in Kafka itself.

A session lies in the partition that its key and the number of partitions give. Partitions that somebody adds later
would give other places and tear sessions apart, so the number is written down when the topics are made and kept to.
"""

import time
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import structlog

from eventlog.base import NewRecord
from eventlog.kafka_client import ERASED_TOPIC, LAYOUT_TOPIC, KafkaOptions, topics_there
from eventlog.kafka_scan import Scanner
from eventlog.kafka_writer import KafkaWriter
from schemas.errors import LogError, LogUnavailable
from schemas.topics import TOPICS

__all__ = ["Layout", "keep_layout", "kept_layout"]

logger = structlog.get_logger("eventlog")

LOOK_EVERY_S = 30.0
_KEY = "partitions"


def keep_layout(options: KafkaOptions, partitions: int) -> None:
    """Write down the number of partitions, for good.

    Raises:
        LogUnavailable: The broker does not store it.
    """
    writer = KafkaWriter(options)
    try:
        writer.write([(NewRecord(LAYOUT_TOPIC, _KEY, _KEY, str(partitions).encode(), time.time()), 0)]).result()
    finally:
        writer.close()


def kept_layout(options: KafkaOptions) -> int | None:
    """Give the number of partitions that was written down first, None when none was.

    Raises:
        LogUnavailable: The broker does not answer.
    """
    scanner = Scanner(options, lambda _: False)
    try:
        written = next(scanner.scan(LAYOUT_TOPIC, 0, *scanner.bounds(LAYOUT_TOPIC, 0)), None)
    finally:
        scanner.close()
    return None if written is None else int(written.value)


class Layout:
    """The number of partitions in use, and what was added to the topics since."""

    def __init__(self, options: KafkaOptions) -> None:
        """Look at the topics.

        Raises:
            LogUnavailable: No broker answers, topics are missing, or have fewer partitions than are in use.
        """
        self._options = options
        _, there = topics_there(options)
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
            found = self._added(topics_there(self._options)[1])
            if found != self._notes:
                logger.warning("partitions_were_added", topics=len(found), used=self.partitions)
            self._notes = found
