"""What a writer promises whatever becomes of its producer; no broker is needed for it."""

import time

import pytest

pytest.importorskip("confluent_kafka")

from eventlog.base import NewRecord
from eventlog.kafka_client import KafkaOptions
from eventlog.kafka_writer import KafkaWriter
from schemas.errors import LogUnavailable
from tests.kafka.broker import free_port

pytestmark = pytest.mark.timeout(60)


def test_whoever_waits_hears_of_it_when_a_producer_that_failed_for_good_is_replaced() -> None:
    writer = KafkaWriter(KafkaOptions(f"127.0.0.1:{free_port()}", deliver_s=300.0))

    def record(identity: str) -> NewRecord:
        return NewRecord("captions", "session", identity, b"{}", time.time())

    try:
        first = writer.write([(record("a"), 0)])
        with pytest.raises(TimeoutError):
            first.result(0.3)
        writer._fatal = True  # what librdkafka tells when a producer has lost its sequence
        second = writer.write([(record("b"), 0)])
        with pytest.raises(LogUnavailable):
            first.result(20)
        assert not second.done()
    finally:
        writer._producer.purge()
        writer.close()
