"""What each hop adds while captions come steadily: append -> utterance -> question -> first delta.

``uv run --extra kafka python -m benchmarks.hops`` starts a real broker and, in one run, measures the embedded flows,
all flows in one process on Kafka, and a process per role on Kafka (time travels by marks), with an instant model, no
wait after a plain question and durability on (snapshots, acks=all). Beside them stands the floor: a bare client that
produces to the same broker and consumes again. The result is ``benchmarks/results/hops.json``.
"""

import argparse
import contextlib
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.latency import caption, opened, quantiles
from benchmarks.processes import cpu_s
from benchmarks.throughput import ASKS, runner_of
from eventlog import open_log
from eventlog.base import EventLog
from eventlog.kafka_client import KafkaOptions, apply_topics
from eventlog.records import new_record
from flows.member import FlowMember, MemberOptions
from flows.wiring import FLOWS, Operators
from models.fakes import InstantModel, NoPassages
from operators.answering import Answering
from operators.memory import MemoryOperator
from operators.questions import QuestionsOperator
from rejoinder.phasing import load_phases
from tests.kafka.broker import Broker

RESULTS = Path(__file__).parent / "results" / "hops.json"
ROOT = Path(__file__).parent.parent
HOPS = ("utterances", "questions", "answers")
FOLLOWED = ("meeting", "captions", *HOPS)
ROLES = {"utterances": ("utterances",), "questions": ("questions", "memory"), "answers": ("answers",)}
PARTITIONS = 4
GOALS = {"hop_p50": 10.0, "hop_p99": 40.0, "whole_p99": 150.0}


@dataclass
class Timed:
    """A client of the log, as the API is one: woken when records of its sessions come, reads them, notes the time."""

    log: EventLog
    began: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)
    came: dict[tuple[str, str], float] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)
    woken: "queue.SimpleQueue[frozenset[str] | None]" = field(default_factory=queue.SimpleQueue)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read in a thread for the length of a block."""
        end = self.log.subscribe(self.woken.put)
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            end()
            self.woken.put(None)
            thread.join(10)

    def _run(self) -> None:
        while (keys := self.woken.get()) is not None:
            for key in keys:
                if key not in self.cursors:
                    continue
                for record in self.log.read_key(key, HOPS, self.cursors[key], 50):
                    self.cursors[key] = record.cursor
                    self.came.setdefault((key, record.topic), time.perf_counter())

    def ask(self, session: str) -> None:
        """Append a caption that asks; the clock runs from the call."""
        self.cursors[session] = self.log.cursor_now(session)
        self.began[session] = time.perf_counter()
        sent = self.log.submit([new_record("captions", caption(session, 1, ASKS))])
        sent.add_done_callback(lambda _: self.acknowledged.setdefault(session, time.perf_counter()))

    def hops(self, sessions: Sequence[str]) -> dict[str, Any]:
        """Give the quantiles of each hop and of the whole way, milliseconds."""
        times = [[self.began[one], *(self.came[one, hop] for hop in HOPS)] for one in sessions]
        result: dict[str, Any] = {
            f"to_{hop}": quantiles([(row[at + 1] - row[at]) * 1000 for row in times]) for at, hop in enumerate(HOPS)
        }
        result["acknowledged"] = quantiles([(self.acknowledged[one] - self.began[one]) * 1000 for one in sessions])
        result["whole"] = quantiles([(row[-1] - row[0]) * 1000 for row in times])
        return result


def steady(log: EventLog, rate: float, count: int, seconds: float = 60.0) -> dict[str, Any]:
    """Ask `count` questions, each in a session of its own, one every 1 / rate seconds."""
    sessions = [f"s{number}" for number in range(count)]
    log.append([new_record("meeting", opened(one)) for one in sessions])
    time.sleep(4)
    timed = Timed(log)
    with timed.reading():
        start = time.perf_counter() + 0.2
        for number, session in enumerate(sessions):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            timed.ask(session)
        end = time.monotonic() + seconds
        while len([key for key in list(timed.came) if key[1] == "answers"]) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(timed.came)} records of {3 * count} after {seconds} s")
            time.sleep(0.05)
    return timed.hops(sessions[count // 10 :])


def bare(address: str, rate: float, count: int) -> dict[str, float]:
    """Give the floor: from produce to being consumed, with nothing of ours in between, milliseconds."""
    topic = "bare"
    apply_topics(KafkaOptions(address, prefix=topic, partitions=PARTITIONS))
    consumer = Consumer({"bootstrap.servers": address, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(f"{topic}.captions", part, 0) for part in range(PARTITIONS)])
    producer = Producer({"bootstrap.servers": address, "acks": "all", "enable.idempotence": True, "linger.ms": 0})
    began: dict[bytes, float] = {}
    waits: list[float] = []

    def consume() -> None:
        while len(waits) < count:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                waits.append((time.perf_counter() - began[message.key()]) * 1000)

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    start = time.perf_counter() + 0.5
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        key = f"s{number}".encode()
        value = new_record("captions", caption(f"s{number}", 1, ASKS)).value
        began[key] = time.perf_counter()
        producer.produce(f"{topic}.captions", value, key, number % PARTITIONS)
        producer.poll(0)
    thread.join(30)
    producer.flush(5)
    consumer.close()
    return quantiles(waits[count // 10 :])


@contextlib.contextmanager
def in_this_process(log: EventLog, recovery: Path) -> Iterator[list[int]]:
    """Run all flows here, as `rejoinder up` does."""
    runner = runner_of(log, recovery, tuple(FLOWS))
    runner.start()
    try:
        yield [os.getpid()]
    finally:
        runner.stop()


@contextlib.contextmanager
def by_role(url: str, folder: Path) -> Iterator[list[int]]:
    """Run a process per role, as `rejoinder flow` does."""
    mine = [sys.executable, "-m", "benchmarks.hops", "--url", url]
    children = [
        subprocess.Popen([*mine, "--recovery", str(folder / role), "--flows", *names], cwd=ROOT)
        for role, names in ROLES.items()
    ]
    try:
        time.sleep(6)
        yield [os.getpid(), *(child.pid for child in children)]
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def role_main(url: str, recovery: Path, names: Sequence[str]) -> None:
    """Be one role until told to stop."""
    log = open_log(url, follow=())
    answering = Answering(NoPassages(), InstantModel()) if "answers" in names else None
    operators = Operators(questions=QuestionsOperator(sure_settle_s=0.0), memory=MemoryOperator(phases=load_phases()))
    member = FlowMember(log, answering, MemberOptions(tuple(names), recovery, operators=operators))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    member.start()
    while not stop.wait(0.1) and not member.wait(0):
        pass
    member.stop()
    log.close()


def shape(log: EventLog, flows: AbstractContextManager[list[int]], plan: tuple[float, int, float]) -> dict[str, Any]:
    """Measure one way of running the flows: hops, and the processor time at that rate and at rest."""
    rate, count, idle_s = plan
    with flows as pids:
        steady_result = steady(log, rate, count)
        time.sleep(3)
        before, began = [cpu_s(pid) for pid in pids], time.perf_counter()
        time.sleep(idle_s)
        used = sum(cpu_s(pid) for pid in pids) - sum(before)
        return {"ms": steady_result, "idle_share_of_a_core": round(used / (time.perf_counter() - began), 3)}


def everything(folder: Path, wanted: Sequence[str], plan: tuple[float, int, float]) -> dict[str, Any]:
    """Measure the wanted ways one after the other on one broker."""
    result: dict[str, Any] = {}
    broker = Broker(folder / "broker").start()
    try:
        result["kafka_floor_ms"] = bare(broker.address, *plan[:2])
        print(json.dumps(result), flush=True)
        for name in wanted:
            with ExitStack() as stack:
                flow_log: EventLog
                if name == "embedded":
                    log = flow_log = open_log(f"sqlite:///{folder}/log.sqlite3")
                else:
                    apply_topics(KafkaOptions(broker.address, prefix=name, partitions=PARTITIONS))
                    url = f"kafka://{broker.address}/{name}"
                    log = open_log(url, follow=FOLLOWED)
                    flow_log = open_log(url, follow=())
                    stack.callback(flow_log.close)
                stack.callback(log.close)
                way = (
                    by_role(url, folder / name) if name == "roles" else in_this_process(flow_log, folder / f"r-{name}")
                )
                result[name] = shape(log, way, plan)
            print(name, json.dumps(result[name]), flush=True)
    finally:
        broker.stop()
    return result


def missed(result: dict[str, Any]) -> list[str]:
    """Give the goals that were not met on Kafka."""
    found = []
    for name in ("one_process", "roles"):
        times = result.get(name, {}).get("ms", {})
        for hop in HOPS:
            for quantile in ("p50", "p99"):
                value, goal = times.get(f"to_{hop}", {}).get(quantile, 0.0), GOALS[f"hop_{quantile}"]
                if value > goal:
                    found.append(f"{name} to_{hop} {quantile} {value} > {goal} ms")
        if times and times["whole"]["p99"] > GOALS["whole_p99"]:
            found.append(f"{name} whole p99 {times['whole']['p99']} > {GOALS['whole_p99']} ms")
    return found


WAYS = ("embedded", "one_process", "roles")


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="captions a second, each a question")
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--idle", type=float, default=6.0, help="seconds at rest")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--recovery", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--flows", nargs="+", default=(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    if options.url:
        role_main(options.url, options.recovery, options.flows)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the children and the broker end as well
    with tempfile.TemporaryDirectory() as name:
        found = everything(Path(name), options.ways, (options.rate, options.count, options.idle))
    result = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "captions_per_second": options.rate,
        "questions": options.count - options.count // 10,
        **found,
        "goals_ms": GOALS,
        "missed": missed(found),
    }
    print(json.dumps(result, indent=1))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
