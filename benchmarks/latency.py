"""What the engine adds: append -> utterance -> question -> first delta, throughput to questions, idle cost.

``uv run python -m benchmarks.latency`` runs the embedded flows with an instant model and no wait after a plain
question (``sure_settle_s=0``; the product waits 0.25 s), and in the same run the floor: a bare append that a
subscriber of the same log reads back. It writes ``benchmarks/results/latency.json``.
"""

import argparse
import json
import os
import platform
import queue
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog

from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from flows.run import FlowOptions, FlowRunner
from flows.wiring import Operators
from models.fakes import InstantModel, NoPassages
from operators.answering import Answering
from operators.memory import MemoryOperator
from operators.questions import QuestionsOperator
from rejoinder.phasing import load_phases
from schemas.meeting import MeetingOpened, Participant
from schemas.speech import Caption

RESULTS = Path(__file__).parent / "results" / "latency.json"
HOPS = ("utterances", "questions", "answers")


def caption(session: str, number: int, text: str) -> Caption:
    """Give a caption made now."""
    return Caption(
        session_id=session,
        event_id=f"{session}-{number}",
        created_at=datetime.now(UTC),
        caption_id=f"c{number}",
        speaker="ann",
        start_s=number * 10.0,
        end_s=number * 10.0 + 3,
        text=text,
    )


def opened(session: str) -> MeetingOpened:
    """Give the start of a session."""
    people = (Participant(id="ann", name="Ann"), Participant(id="me", is_user=True))
    return MeetingOpened(
        session_id=session, event_id=f"{session}-o", created_at=datetime.now(UTC), owner_id="x", participants=people
    )


def quantiles(values: list[float]) -> dict[str, float]:
    """Give p50, p90, p99 and the largest, rounded."""
    ordered = sorted(values)
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) for name, share in at.items()}


def floor_ms(log: EventLog, count: int, pause_s: float) -> list[float]:
    """Give the times from append to being read by a subscriber, milliseconds."""
    woken: queue.SimpleQueue[None] = queue.SimpleQueue()
    end = log.subscribe(lambda _: woken.put(None))
    cursor, waits = log.cursor_now("floor"), []
    for number in range(count):
        began = time.perf_counter()
        log.append([new_record("usage", caption("floor", number, "x"))])
        while not (found := log.read_key("floor", ["usage"], cursor, 10)):
            woken.get(timeout=5)
        waits.append((time.perf_counter() - began) * 1000)
        cursor = found[-1].cursor
        time.sleep(pause_s)
    end()
    return waits


def path_ms(log: EventLog, name: str, count: int, pause_s: float) -> dict[str, list[float]]:
    """Give the times from append until each hop's record is read, milliseconds."""
    woken: queue.SimpleQueue[None] = queue.SimpleQueue()
    end = log.subscribe(lambda _: woken.put(None))
    waits: dict[str, list[float]] = {hop: [] for hop in HOPS}
    for number in range(count):
        session = f"{name}{number}"
        log.append([new_record("meeting", opened(session))])
        time.sleep(pause_s)
        cursor, left = log.cursor_now(session), set(HOPS)
        began = time.perf_counter()
        log.append([new_record("captions", caption(session, 1, "How many planets are there?"))])
        while left:
            for record in log.read_key(session, list(HOPS), cursor, 50):
                cursor = record.cursor
                if record.topic in left:
                    left.discard(record.topic)
                    waits[record.topic].append((time.perf_counter() - began) * 1000)
            if left:
                woken.get(timeout=10)
    end()
    return waits


def throughput(folder: Path, count: int) -> dict[str, float]:
    """Give captions per second of CPU through utterances and questions (memory and answers run along)."""
    log = open_log(f"sqlite:///{folder}/throughput.sqlite3")
    words = "and then we moved the service to the new cluster over the weekend"
    for first in range(0, count, 500):
        batch = []
        for number in range(first, first + 500):
            session = f"s{number % 100}"
            if number < 100:
                batch.append(new_record("meeting", opened(session)))
            text = "How many planets are there?" if number % 50 == 0 else words
            batch.append(new_record("captions", caption(session, number, text)))
        log.append(batch)
    runner = start(log, folder / "throughput-recovery")
    wall, cpu = time.perf_counter(), time.process_time()
    end = time.monotonic() + 120
    while time.monotonic() < end and any(flow.behind_records for flow in runner.states()[:2]):
        time.sleep(0.02)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    runner.stop()
    log.close()
    return {"captions": count, "per_cpu_second": round(count / cpu), "per_second": round(count / wall)}


def start(log: EventLog, recovery: Path) -> FlowRunner:
    """Start the flows with an instant model, recovery on."""
    operators = Operators(questions=QuestionsOperator(sure_settle_s=0.0), memory=MemoryOperator(phases=load_phases()))
    runner = FlowRunner(log, Answering(NoPassages(), InstantModel()), FlowOptions(recovery, operators=operators))
    runner.start()
    return runner


def idle_share(seconds: float) -> float:
    """Give the share of one core that this process uses while nothing comes."""
    began, cpu = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - cpu) / (time.perf_counter() - began)


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--captions", type=int, default=40_000)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = open_log(f"sqlite:///{folder}/log.sqlite3")
        runner = start(log, folder / "recovery")
        path_ms(log, "warm", 10, 0.02)  # warm
        floor, path = floor_ms(log, options.count, 0.01), path_ms(log, "path", options.count, 0.02)
        time.sleep(2)
        idle = idle_share(8.0)
        runner.stop()
        log.close()
        result = {
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
            "floor_ms": quantiles(floor),
            "until_ms": {hop: quantiles(values) for hop, values in path.items()},
            "first_delta_over_floor_p50": round(quantiles(path["answers"])["p50"] / quantiles(floor)["p50"], 1),
            "throughput": throughput(folder, options.captions),
            "idle_share_of_a_core": round(idle, 3),
        }
    print(json.dumps(result, indent=1))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
