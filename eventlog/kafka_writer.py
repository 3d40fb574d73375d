"""Writes to Kafka: every record is known to be stored before its append is acknowledged."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from eventlog.base import NewRecord
from eventlog.kafka_client import KafkaOptions, log_error
from eventlog.kafka_records import headers_of
from schemas.errors import LogError, LogUnavailable
from schemas.topics import MAX_RECORD_BYTES

__all__ = ["KafkaWriter"]

logger = structlog.get_logger("eventlog")

QUEUED_RECORDS, QUEUED_KBYTES = 50_000, 64 * 1024
"""What may wait for the broker; past it appends are refused at once, so memory is bounded while it is away."""
CLOSE_S = 8.0
"""Who stops a process waits about ten seconds before it is killed."""


class KafkaWriter:
    """One idempotent producer and the thread that takes its delivery reports."""

    def __init__(self, options: KafkaOptions) -> None:
        """Open the producer; it connects by itself."""
        self._options = options
        self._fatal = False
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._producer = self._open()
        self._retired: list[Producer] = []
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def _open(self) -> Producer:
        return Producer(
            self._options.client(
                **{
                    "enable.idempotence": True,
                    "acks": "all",
                    "linger.ms": 0,
                    "message.timeout.ms": int(self._options.deliver_s * 1000),
                    "request.timeout.ms": 5_000,
                    "queue.buffering.max.messages": QUEUED_RECORDS,
                    "queue.buffering.max.kbytes": QUEUED_KBYTES,
                    "message.max.bytes": MAX_RECORD_BYTES + 128 * 1024,
                    "error_cb": self._on_error,
                }
            )
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001
            self._fatal = True
            logger.error("log_writer_failed", reason=error.str())

    def _run(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)
            for retired in list(self._retired):
                # What it had not sent is reported as failed; until then somebody waits for it.
                retired.poll(0)
                if not len(retired):
                    self._retired.remove(retired)

    def write(self, placed: Sequence[tuple[NewRecord, int]]) -> "Future[list[int]]":
        """Send records to partitions; the future has their offsets once all are stored, or the first error.

        Raises nothing itself: `LogUnavailable` and `RecordTooLarge` are in the future.
        """
        outcome: Future[list[int]] = Future()
        outcome.set_running_or_notify_cancel()
        batch = _Batch(len(placed), outcome, self._options.brokers)
        with self._guard:
            if self._fatal:
                # A producer that lost its sequence can never send again; by their ids, records it sent count once.
                self._producer.purge()
                self._retired.append(self._producer)
                self._producer, self._fatal = self._open(), False
            for number, (record, partition) in enumerate(placed):
                try:
                    self._producer.produce(
                        self._options.topic(record.topic),
                        record.value,
                        record.key.encode(),
                        partition,
                        on_delivery=partial(batch.report, number),
                        timestamp=max(1, int(record.at_s * 1000)),
                        headers=headers_of(record),
                    )
                except BufferError:
                    batch.fail(LogUnavailable("too much waits for the Kafka broker; try again later"))
                    break
                except KafkaException as error:
                    batch.fail(log_error(error, record.topic))
                    break
                except OverflowError:
                    batch.fail(ValueError("the time of a record is out of range"))
                    break
        return outcome

    def waiting(self) -> int:
        """Give how many records wait for the broker."""
        return len(self._producer)

    def close(self) -> None:
        """Send what waits, for a few seconds at most, and end."""
        left = self._producer.flush(min(CLOSE_S, self._options.deliver_s))
        if left:
            logger.error("log_closed_with_records_unsent", records=left)
        self._stop.set()
        self._thread.join(2)


class _Batch:
    """The records of one append on their way."""

    def __init__(self, count: int, outcome: "Future[list[int]]", brokers: str) -> None:
        self._offsets = [-1] * count
        self._left, self._outcome, self._brokers = count, outcome, brokers
        self._guard = threading.Lock()
        if not count:
            outcome.set_result([])

    def report(self, number: int, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self.fail(log_error(error, f"the Kafka broker at {self._brokers} did not store the record"))
            return
        with self._guard:
            self._offsets[number] = message.offset()
            self._left -= 1
            whole = not self._left and not self._outcome.done()
        if whole:
            self._outcome.set_result(self._offsets)

    def fail(self, error: LogError | ValueError) -> None:
        with self._guard:
            if not self._outcome.done():
                self._outcome.set_exception(error)
