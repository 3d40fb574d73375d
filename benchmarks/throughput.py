"""Captions per second and latency from caption to stub answer: embedded, on Kafka, and on quixstreams beside it.

``uv run --extra kafka python -m benchmarks.throughput`` starts a real broker and gives each engine the same captions
(topics of its own with the same partitions, one process, durability on): a backlog to work off, then captions at a
steady rate. Every engine writes utterances, questions and answers and runs the same operators; the model is instant.
quixstreams gets an environment of its own, since it pins another Kafka client. The result is
``benchmarks/results/throughput.json``.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from benchmarks.latency import caption, quantiles
from benchmarks.processes import cpu_s
from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from flows.run import EPOCH_S, FlowOptions, FlowRunner
from flows.wiring import Operators
from models.fakes import InstantModel, NoPassages
from operators.answering import Answering
from operators.memory import MemoryOperator
from operators.questions import QuestionsOperator
from rejoinder.phasing import load_phases
from schemas.codec import decode

RESULTS = Path(__file__).parent / "results" / "throughput.json"
ROOT = Path(__file__).parent.parent
NAMES = ("utterances", "questions", "answers")
QUIX = ("quixstreams==3.28.1", "numpy==2.4.6", "structlog==26.1.0")
ONE_IN = 10
SESSIONS = 1_000
WORDS = "and then we moved the service to the new cluster over the weekend"
ASKS = "How many planets are there?"


def backlog(log: EventLog, count: int) -> int:
    """Append captions of many sessions, one in ten of them a question; gives how many questions."""
    asked = 0
    for first in range(0, count, 500):
        batch = []
        for number in range(first, min(count, first + 500)):
            asks = number // SESSIONS % ONE_IN == number % ONE_IN
            asked += asks
            batch.append(
                new_record("captions", caption(f"s{number % SESSIONS}", number // SESSIONS, ASKS if asks else WORDS))
            )
        log.append(batch)
    return asked


@dataclass
class Watch:
    """Follows what an engine writes, in a thread: when the first utterance came, how many answers are closed."""

    log: EventLog
    first_s: float = 0.0
    last_s: float = 0.0
    closed: int = 0
    first_delta: dict[str, float] = field(default_factory=dict)
    at_first: Callable[[], None] = lambda: None
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until stopped."""
        reader = self.log.reader("watch")
        parts = range(self.log.partitions("answers"))
        begun = {part: self.log.end("utterances", part) for part in parts}
        places = {part: self.log.end("answers", part) for part in parts}
        while not self.stopped.is_set():
            if not self.first_s and any(self.log.end("utterances", part) > begun[part] for part in parts):
                self.first_s = time.perf_counter()
                self.at_first()
            for part in parts:
                for record in reader.read("answers", part, places[part], 500):
                    places[part] = record.offset + 1
                    self._take(record.key, decode("answers", record.value).type)
            time.sleep(0.001 if self.first_s else 0.01)
        reader.close()

    def _take(self, key: str, kind: str) -> None:
        now = time.perf_counter()
        if kind == "answer_delta":
            self.first_delta.setdefault(key, now)
        else:
            self.closed += 1
            self.last_s = now

    @contextlib.contextmanager
    def watching(self) -> Iterator["Watch"]:
        """Watch for the length of a block."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stopped.set()
            thread.join(10)

    def until(self, closed: int, seconds: float) -> None:
        """Wait until so many answers are closed."""
        end = time.monotonic() + seconds
        while self.closed < closed:
            if time.monotonic() > end or self.stopped.is_set():
                raise TimeoutError(f"{self.closed} of {closed} answers after {seconds} s")
            time.sleep(0.005)


def steady(log: EventLog, watch: Watch, rate: float, count: int) -> dict[str, Any]:
    """Append a question every 1 / rate seconds, each in a session of its own; gives the times to the first delta."""
    append = threading.Lock()
    began: dict[str, float] = {}
    start = time.perf_counter() + 0.2
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        with append:
            session = f"l{number}"
            began[session] = time.perf_counter()
            log.submit([new_record("captions", caption(session, 1, ASKS))])
    watch.until(count, 60)
    warm = count // 10
    waits = [(watch.first_delta[f"l{number}"] - began[f"l{number}"]) * 1000 for number in range(warm, count)]
    return {"per_second": rate, "questions": count - warm, "first_delta_ms": quantiles(waits)}


@dataclass(frozen=True)
class Plan:
    """How much each engine gets to do."""

    captions: int
    rate: float
    questions: int


def measured(log: EventLog, pid: int, start: Callable[[Watch], Any], plan: Plan) -> dict[str, Any]:
    """Give an engine a backlog, start it, wait for the last answer, then caption it steadily."""
    asked = backlog(log, plan.captions)
    used = [0.0]
    watch = Watch(log)
    with watch.watching():
        time.sleep(0.5)
        began = start(watch)
        pid = pid or began
        watch.at_first = lambda: used.__setitem__(0, cpu_s(pid))
        watch.until(asked, 150)
        wall, cpu = watch.last_s - watch.first_s, cpu_s(pid) - used[0]
        watch.closed = 0
        time.sleep(6)  # commits and snapshots of the backlog are over
        return {
            "captions": plan.captions,
            "questions": asked,
            "captions_per_second": round(plan.captions / wall),
            "captions_per_cpu_second": round(plan.captions / cpu),
            "steady": steady(log, watch, plan.rate, plan.questions),
        }


def runner_of(log: EventLog, recovery: Path, names: Sequence[str] = NAMES, epoch_s: float = EPOCH_S) -> FlowRunner:
    """Give the flows with an instant model, recovery on."""
    operators = Operators(questions=QuestionsOperator(sure_settle_s=0.0), memory=MemoryOperator(phases=load_phases()))
    options = FlowOptions(recovery, epoch_s=epoch_s, operators=operators, names=tuple(names))
    return FlowRunner(log, Answering(NoPassages(), InstantModel()), options)


def embedded(folder: Path, plan: Plan) -> dict[str, Any]:
    """The embedded log: captions are appended and answers watched in the process that also runs the flows."""
    log = open_log(f"sqlite:///{folder}/log.sqlite3")
    runner = runner_of(log, folder / "recovery")
    result = measured(log, os.getpid(), lambda _: runner.start(), plan)
    runner.stop()
    log.close()
    return result


def child_main(url: str, recovery: Path, epoch_s: float) -> None:
    """Run the flows on Kafka until told to stop."""
    log = open_log(url, follow=())
    runner = runner_of(log, recovery, epoch_s=epoch_s)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    runner.start()
    stop.wait()
    runner.stop()
    log.close()


def on_kafka(address: str, prefix: str, command: Sequence[str], plan: Plan, env: dict[str, str]) -> dict[str, Any]:
    """One engine as a process of its own on the broker."""
    from eventlog.kafka_client import KafkaOptions, apply_topics

    apply_topics(KafkaOptions(address, prefix=prefix, partitions=4))
    log = open_log(f"kafka://{address}/{prefix}", follow=())
    child: list[subprocess.Popen[bytes]] = []

    def start(watch: Watch) -> int:
        child.append(subprocess.Popen(list(command), env={**os.environ, **env}, cwd=ROOT))
        threading.Thread(target=lambda: (child[0].wait(), watch.stopped.set()), daemon=True).start()
        return child[0].pid

    try:
        return measured(log, 0, start, plan)
    finally:
        for one in child:
            one.terminate()
            try:
                one.wait(20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        log.close()


def quix_python(folder: Path) -> Path:
    """Make an environment with quixstreams; gives its interpreter."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run(["uv", "venv", "-q", "--python", version, folder / "quix"], check=True, timeout=60)
    python = folder / "quix" / "bin" / "python"
    # Away from this project's settings: its pinned versions are not those that quixstreams allows.
    install = ["uv", "pip", "install", "-q", "--python", python, *QUIX]
    subprocess.run(install, check=True, timeout=120, cwd=folder)
    return python


def everything(folder: Path, wanted: Sequence[str], plan: Plan) -> dict[str, Any]:
    """Measure the wanted engines one after the other."""
    from tests.kafka.broker import Broker

    broker = Broker(folder / "broker").start()
    mine = [sys.executable, "-m", "benchmarks.throughput", "--child", f"kafka://{broker.address}"]

    def ours(name: str, epoch_s: float) -> list[str]:
        return [*mine[:-1], f"{mine[-1]}/{name}", "--recovery", str(folder / name), "--epoch", str(epoch_s)]

    commands: dict[str, tuple[str, Callable[[], list[str]], dict[str, str]]] = {
        "kafka": ("kafka", lambda: ours("kafka", EPOCH_S), {}),
        # quixstreams makes what it did durable every 5 s by default, and a fault repeats as much.
        "kafka_snapshot_5s": ("kafka_snapshot_5s", lambda: ours("kafka_snapshot_5s", 5.0), {}),
    }
    quiet_env = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    python: list[Path] = []
    for shape in ("topics", "chain"):
        name = f"quixstreams_{shape}"

        def command(name: str = name, shape: str = shape) -> list[str]:
            python[:] = python or [quix_python(folder)]
            where = ["--address", broker.address, "--prefix", name, "--state", str(folder / name)]
            return [str(python[0]), "-m", "benchmarks.throughput_quix", *where, "--shape", shape, "--linger", "0"]

        commands[name] = (name, command, quiet_env)
    result: dict[str, Any] = {}
    try:
        for name in wanted:
            if name == "embedded":
                result[name] = embedded(folder, plan)
            else:
                prefix, made, env = commands[name]
                result[name] = on_kafka(broker.address, prefix, made(), plan, env)
            print(name, json.dumps(result[name]), flush=True)
    finally:
        broker.stop()
    return result


ENGINES = ("embedded", "kafka", "kafka_snapshot_5s", "quixstreams_topics", "quixstreams_chain")


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=40_000)
    parser.add_argument("--rate", type=float, default=50.0, help="captions a second in the steady part")
    parser.add_argument("--questions", type=int, default=1_000, help="in the steady part, where each caption is one")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--recovery", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--epoch", type=float, default=EPOCH_S, help=argparse.SUPPRESS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    if options.child:
        child_main(options.child, options.recovery, options.epoch)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the children and the broker end as well
    plan = Plan(options.captions, options.rate, options.questions)
    with tempfile.TemporaryDirectory() as name:
        engines = everything(Path(name), options.engines, plan)
    result = {"machine": {"cores": os.cpu_count(), "python": platform.python_version()}, "engines": engines}
    print(json.dumps(result, indent=1))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
