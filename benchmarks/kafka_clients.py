"""confluent-kafka against kafka-python on one real broker: produce, consume, latency, processor time, what is needed.

``uv run --extra kafka python -m benchmarks.kafka_clients`` lets both do the same on topics of their own, one after the
other in this process: single records that are waited for, records in batches, reading them all, a steady trickle from
produce to consume, and every feature the log needs, each by using it. The result is
``benchmarks/results/kafka_clients.json``; docs/decisions/005-kafka.md quotes it.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from benchmarks.latency import quantiles
from tests.kafka.broker import Broker

RESULTS = Path(__file__).parent / "results" / "kafka_clients.json"
PARTITIONS = 4
VALUE = b"x" * 300
HEADERS: list[tuple[str, str | bytes | None]] = [("id", b"0123456789abcdef0123456789abcdef"), ("at", b"1795600000.0")]


class Client(Protocol):
    """One client library, as far as the measurements need it."""

    def send(self, key: bytes, partition: int, stored: Callable[[int], None]) -> None:
        """Hand a record over; `stored` is called with its offset once the broker has it."""

    def wait(self, seconds: float) -> None:
        """Let delivery reports in."""

    def flush(self) -> None:
        """Wait until all is stored."""

    def begin(self) -> None:
        """Begin to read from the start of every partition."""

    def take(self, seconds: float) -> list[tuple[bytes, int]]:
        """Give keys and offsets of what came, waiting for at most so long."""

    def features(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Give what the log needs, each with a call that uses it and gives something true."""

    def close(self) -> None:
        """End."""


class Confluent:
    """confluent-kafka: librdkafka, whose threads are native."""

    def __init__(self, address: str, topic: str) -> None:
        from confluent_kafka import Consumer, Producer, TopicPartition
        from confluent_kafka.admin import AdminClient, NewTopic

        self.topic, self._place = topic, TopicPartition
        self._admin = AdminClient({"bootstrap.servers": address})
        self._admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(20)
        self._producer = Producer(
            {"bootstrap.servers": address, "acks": "all", "enable.idempotence": True, "linger.ms": 0}
        )
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": topic,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
            }
        )

    def begin(self) -> None:
        self._consumer.assign([self._place(self.topic, part, 0) for part in range(PARTITIONS)])

    def send(self, key: bytes, partition: int, stored: Callable[[int], None]) -> None:
        def report(error: Any, message: Any) -> None:
            if error is not None:
                raise RuntimeError(str(error))
            stored(message.offset())

        while True:
            try:
                self._producer.produce(self.topic, VALUE, key, partition, on_delivery=report, headers=HEADERS)
            except BufferError:
                self._producer.poll(0.01)
            else:
                self._producer.poll(0)
                return

    def wait(self, seconds: float) -> None:
        self._producer.poll(seconds)

    def flush(self) -> None:
        if self._producer.flush(60):
            raise TimeoutError("not everything was stored within a minute")

    def take(self, seconds: float) -> list[tuple[bytes, int]]:
        first = self._consumer.poll(seconds)
        found = [] if first is None else [first, *self._consumer.consume(500, 0)]
        return [(one.key(), one.offset()) for one in found if one.error() is None and len(one.headers()) == 2]

    def features(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        from confluent_kafka.admin import ConfigResource

        place = self._place(self.topic, 0)
        asked = ConfigResource(ConfigResource.Type.TOPIC, self.topic)

        def pause() -> bool:
            self._consumer.pause([place])
            self._consumer.resume([place])
            return True

        def one_more() -> bool:
            self._consumer.incremental_unassign([place])
            self._consumer.incremental_assign([self._place(self.topic, 0, 0)])
            return len(self._consumer.assignment()) == PARTITIONS

        def cached_end() -> bool:
            return bool(self._consumer.get_watermark_offsets(place, cached=True)[1] > 0)

        yield "one partition paused and resumed", pause
        yield "one partition added or taken away, the others read on", one_more
        yield "end of a partition from the last fetch, without asking", cached_end
        yield (
            "offset for a time",
            lambda: self._consumer.offsets_for_times([self._place(self.topic, 0, 1000)], timeout=10)[0].offset == 0,
        )
        yield (
            "commit by hand without joining a group",
            lambda: self._consumer.commit(offsets=[self._place(self.topic, 0, 1)], asynchronous=False),
        )
        yield "settings of a topic", lambda: len(self._admin.describe_configs([asked])[asked].result(10)) > 10
        yield (
            "records deleted up to an offset",
            lambda: next(iter(self._admin.delete_records([self._place(self.topic, 0, 1)]).values())).result(10),
        )

    def close(self) -> None:
        self._consumer.close()


class KafkaPython:
    """kafka-python: pure Python, its threads share the interpreter lock."""

    def __init__(self, address: str, topic: str) -> None:
        from kafka import KafkaConsumer, KafkaProducer, TopicPartition
        from kafka.admin import KafkaAdminClient, NewTopic

        self.topic, self._place = topic, TopicPartition
        self._admin = KafkaAdminClient(bootstrap_servers=address)
        self._admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        self._producer = KafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True, linger_ms=0)
        self._consumer = KafkaConsumer(
            bootstrap_servers=address,
            group_id=topic,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        self._places = [TopicPartition(topic, part) for part in range(PARTITIONS)]

    def begin(self) -> None:
        self._consumer.assign(self._places)
        self._consumer.seek_to_beginning(*self._places)

    def send(self, key: bytes, partition: int, stored: Callable[[int], None]) -> None:
        future = self._producer.send(self.topic, VALUE, key, HEADERS, partition)
        future.add_callback(lambda placed: stored(placed.offset))

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.0002))  # its own thread takes the reports

    def flush(self) -> None:
        self._producer.flush(60)

    def take(self, seconds: float) -> list[tuple[bytes, int]]:
        found = self._consumer.poll(int(seconds * 1000), max_records=500)
        return [(one.key, one.offset) for part in found.values() for one in part if len(one.headers) == 2]

    def features(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        from kafka.admin import ConfigResource, ConfigResourceType
        from kafka.structs import OffsetAndMetadata

        place = self._places[0]

        def pause() -> bool:
            self._consumer.pause(place)
            self._consumer.resume(place)
            return True

        def one_more() -> bool:
            kept = self._consumer.position(self._places[1])
            self._consumer.assign(self._places[1:])
            self._consumer.assign(self._places)
            # Without a call that leaves the others alone, everything not committed must keep its place by itself.
            return self._consumer.position(self._places[1]) == kept

        asked = ConfigResource(ConfigResourceType.TOPIC, self.topic)
        yield "one partition paused and resumed", pause
        yield "one partition added or taken away, the others read on", one_more
        yield "end of a partition from the last fetch, without asking", lambda: self._consumer.highwater(place)
        yield "offset for a time", lambda: self._consumer.offsets_for_times({place: 1000})[place].offset == 0
        yield (
            "commit by hand without joining a group",
            lambda: self._consumer.commit({place: OffsetAndMetadata(1, "", -1)}) or True,
        )
        yield "settings of a topic", lambda: self._admin.describe_configs([asked], config_filter="all")
        yield "records deleted up to an offset", lambda: self._admin.delete_records({place: 1})

    def close(self) -> None:
        self._consumer.close()
        self._producer.close()
        self._admin.close()


def single(client: Client, count: int) -> dict[str, float]:
    """Give the time from handing one record over until it is known to be stored, one at a time, milliseconds."""
    waits = []
    for number in range(count):
        there: list[int] = []
        began = time.perf_counter()
        client.send(b"single", number % PARTITIONS, there.append)
        while not there:
            client.wait(1.0)
        waits.append((time.perf_counter() - began) * 1000)
    return quantiles(waits[count // 10 :])


def batched(client: Client, count: int) -> dict[str, float]:
    """Give records per second, all reported as stored, and the processor seconds of 100,000."""
    there: list[int] = []
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(count):
        client.send(b"s%d" % (number % 100), number % PARTITIONS, there.append)
    client.flush()
    end = time.monotonic() + 60
    while len(there) < count and time.monotonic() < end:
        client.wait(0.01)
    if len(there) != count:
        raise RuntimeError(f"{len(there)} of {count} records were reported as stored")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"per_second": round(count / wall), "cpu_s_per_100k": round(cpu / count * 100_000, 2)}


def reading(client: Client, count: int) -> dict[str, float]:
    """Give records per second when everything that lies there is read, and the processor seconds of 100,000."""
    found, end = 0, time.monotonic() + 120
    wall, cpu = time.perf_counter(), time.process_time()
    client.begin()
    while found < count:
        found += len(client.take(1.0))
        if time.monotonic() > end:
            raise TimeoutError(f"{found} of {count} records after two minutes")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"per_second": round(found / wall), "cpu_s_per_100k": round(cpu / found * 100_000, 2)}


def trickle(client: Client, rate: float, count: int) -> dict[str, Any]:
    """Give the time from produce to consume at a steady rate, milliseconds, and the share of a core it takes."""
    began: dict[bytes, float] = {}
    waits: list[float] = []

    def consume() -> None:
        while len(waits) < count:
            for key, _ in client.take(0.1):
                waits.append((time.perf_counter() - began[key]) * 1000)

    while client.take(0.5):
        pass
    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    cpu, start = time.process_time(), time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        key = b"t%d" % number
        began[key] = time.perf_counter()
        client.send(key, number % PARTITIONS, lambda _: None)
    thread.join(30)
    share = (time.process_time() - cpu) / (time.perf_counter() - start)
    client.flush()
    if len(waits) != count:
        raise TimeoutError(f"{len(waits)} of {count} records came")
    return {"per_second": rate, "ms": quantiles(waits[count // 10 :]), "share_of_a_core": round(share, 3)}


def needed(client: Client) -> dict[str, str]:
    """Use every feature the log needs; give "yes" or what went wrong."""
    found = {
        name: "yes" for name in ("delivery reports", "headers", "explicit partitions", "idempotence with acks=all")
    }
    for name, use in client.features():
        try:
            found[name] = "no" if use() is False else "yes"
        except Exception as error:
            found[name] = f"no: {type(error).__name__}: {error}"[:160]
    return found


def measured(client: Client, counts: tuple[int, int, float, int]) -> dict[str, Any]:
    """Measure one client."""
    ones, many, rate, steady = counts
    return {
        "single_ms": single(client, ones),
        "produce": batched(client, many),
        "consume": reading(client, ones + many),
        "produce_to_consume": trickle(client, rate, steady),
        "features": needed(client),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--single", type=int, default=1_000)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--steady", type=int, default=2_000)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the broker ends as well
    counts = options.single, options.records, options.rate, options.steady
    result: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "python": platform.python_version()}}
    with tempfile.TemporaryDirectory() as name:
        broker = Broker(Path(name) / "broker").start()
        try:
            for library, make in (("confluent-kafka", Confluent), ("kafka-python", KafkaPython)):
                client: Client = make(broker.address, library)
                try:
                    result[library] = {"version": version(library), **measured(client, counts)}
                finally:
                    with suppress(Exception):
                        client.close()
                print(library, json.dumps(result[library]), flush=True)
        finally:
            broker.stop()
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
