"""What a caption costs: with few and with many sessions at once, early and late in a session.

``uv run python -m benchmarks.scale`` runs the flows (utterances, questions, memory, answers by an instant model) over
the embedded log in processes of their own, one per number of sessions, and gives each block after block of captions,
turn by turn, so that the machine's noise falls on all. Counted is the CPU time of the process with the flows, its
snapshots and its writes. A second part lets sessions talk for three hours and compares them with sessions that began a
minute ago, in the same process. It writes ``benchmarks/results/scale.json``.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from benchmarks.talk import EVERY_S, Crowd
from eventlog import open_log
from eventlog.base import EventLog, NewRecord
from flows.run import EPOCH_S, FlowOptions, FlowRunner
from models.fakes import InstantModel, NoPassages
from operators.answering import Answering

RESULTS = Path(__file__).parent / "results" / "scale.json"
HOUR_CAPTIONS = int(3600 / EVERY_S)
APPEND = 500


def rss_mb() -> float:
    """Give the memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def serve_flows(url: str, recovery: Path, epoch_s: float) -> None:
    """Run the flows and answer questions about them on the standard streams, a line each, until told to stop."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    log = open_log(url)
    runner = FlowRunner(log, Answering(NoPassages(), InstantModel()), FlowOptions(recovery, epoch_s=epoch_s))
    runner.start()
    for line in sys.stdin:
        if line.strip() == "stop":
            break
        behind = sum(flow.behind_records for flow in runner.states())
        told = {"cpu_s": time.process_time(), "behind": behind, "alive": runner.states()[0].alive, "rss_mb": rss_mb()}
        print(json.dumps(told), flush=True)
    runner.stop(20)
    log.close()


@dataclass
class Flows:
    """The flows in a process of their own, over a log that this process writes to."""

    folder: Path
    epoch_s: float = EPOCH_S
    log: EventLog = field(init=False)
    process: "subprocess.Popen[str]" = field(init=False)
    _next: int = 0
    _due: int = 0

    def __post_init__(self) -> None:
        """Start the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.url = f"sqlite:///{self.folder}/log.sqlite3"
        self.log = open_log(self.url)
        self.start()

    def start(self) -> None:
        """Start the process (again)."""
        command = [sys.executable, "-m", "benchmarks.scale", "--flows", self.url, "--folder", str(self.folder)]
        self.process = subprocess.Popen(
            [*command, "--epoch", str(self.epoch_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self) -> dict[str, Any]:
        """Ask how it stands: cpu_s, behind, alive, rss_mb."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("how\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def keep_up(self, most: int, seconds: float = 300.0) -> None:
        """Wait until at most so many records are left to read over all flows."""
        end = time.monotonic() + seconds
        while self.ask()["behind"] > most:
            if time.monotonic() > end:
                message = "the flows do not keep up"
                raise TimeoutError(message)
            time.sleep(0.1)

    def settle(self, seconds: float = 300.0) -> dict[str, Any]:
        """Wait until nothing is left to read in any flow; gives how it stood when that was first seen."""
        end, quiet = time.monotonic() + seconds, 0
        first: dict[str, Any] = {}
        while time.monotonic() < end:
            told = self.ask()
            done = told["alive"] and told["behind"] == 0
            quiet, first = (quiet + 1, first if quiet else told) if done else (0, {})
            if quiet == 4:
                return first
            time.sleep(0.025)
        message = "the flows did not catch up"
        raise TimeoutError(message)

    def give(self, records: Iterable[NewRecord]) -> int:
        """Append records; gives how many."""
        count, left = 0, iter(records)
        while batch := list(islice(left, APPEND)):
            self.log.append(batch)
            count += len(batch)
        return count

    def remember(self, captions: int, seconds: float = 300.0) -> None:
        """Wait until so many captions more are remembered, each by a record of its own.

        That is done by a timer, two seconds after a session's last caption: where sessions are many, most of a block's
        timers fire after its last caption was read, and would now be counted with it and now with the next one.
        """
        end = time.monotonic() + seconds
        self._due += captions
        while self._due > 0:
            found = self.log.read("memory", 0, self._next, 2_000)
            if found:
                self._next, self._due = found[-1].offset + 1, self._due - len(found)
            else:
                time.sleep(0.025)
            if time.monotonic() > end:
                message = f"{self._due} captions were not remembered"
                raise TimeoutError(message)

    def block(self, captions: Sequence[NewRecord]) -> float:
        """Give captions and wait until all is done that follows from them; gives CPU microseconds per caption."""
        before = self.ask()["cpu_s"]
        self.give(captions)
        self.remember(len(captions))
        return (self.settle()["cpu_s"] - before) / len(captions) * 1e6

    def stop(self) -> None:
        """Stop the process; the log stays open."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.process.communicate("stop\n", timeout=60)
        self.process.wait(30)

    def close(self) -> None:
        """Stop everything."""
        self.stop()
        self.log.close()


@contextlib.contextmanager
def flows(folder: Path, epoch_s: float = EPOCH_S) -> Iterator[Flows]:
    """Give running flows while the context lasts."""
    made = Flows(folder, epoch_s)
    try:
        yield made
    finally:
        made.close()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Give the median with the least and the most."""
    return {
        "median": round(statistics.median(values), 1),
        "least": round(min(values), 1),
        "most": round(max(values), 1),
    }


def ratios(rounds: Sequence[Sequence[float]], base: int = 0) -> list[dict[str, float]]:
    """Give, per place, the ratio to the place `base` of the same round."""
    found = [[one[place] / one[base] for one in rounds] for place in range(len(rounds[0]))]
    return [{name: round(value, 3) for name, value in _quartiles(each).items()} for each in found]


def _quartiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": statistics.median(ordered), "least": ordered[0], "most": ordered[-1]}


def by_sessions(
    folder: Path, counts: Sequence[int], warm: int, block: int, rounds: int, epoch_s: float
) -> dict[str, Any]:
    """Measure the cost per caption with several numbers of sessions, turn by turn."""
    began_s = time.time() - 8 * 3600
    crowds = [Crowd(f"n{count}", count, began_s) for count in counts]
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(flows(folder / crowd.name, epoch_s)) for crowd in crowds]
        taken = [0] * len(crowds)
        for place, (crowd, one) in enumerate(zip(crowds, running, strict=True)):
            one.give(crowd.opened(number) for number in range(crowd.count))
            # Every session's windows are full, as they are two minutes into a meeting.
            taken[place] = max(warm * crowd.count, block)
            one.give(crowd.captions(0, taken[place]))
        for place, one in enumerate(running):
            one.remember(taken[place], 900)
            one.settle()
        costs: list[list[float]] = []
        for _ in range(rounds):
            costs.append([])
            for place, (crowd, one) in enumerate(zip(crowds, running, strict=True)):
                records = list(crowd.captions(taken[place], taken[place] + block))
                taken[place] += block
                costs[-1].append(one.block(records))
            print("us per caption:", [round(cost) for cost in costs[-1]], flush=True)
        idle = [_idle(one) for one in running]
        ends = [one.ask() for one in running]
    return {
        "sessions": list(counts),
        "captions_per_block": block,
        "rounds": rounds,
        "us_per_caption": [spread([one[place] for one in costs]) for place in range(len(counts))],
        "ratio_to_first": ratios(costs),
        "idle_share_of_a_core": idle,
        "rss_mb": [round(one["rss_mb"], 1) for one in ends],
    }


def _idle(one: Flows, seconds: float = 4.0) -> float:
    time.sleep(1.5)
    before, began = one.ask()["cpu_s"], time.monotonic()
    time.sleep(seconds)
    return round((one.ask()["cpu_s"] - before) / (time.monotonic() - began), 3)


def by_age(folder: Path, count: int, hours: float, block_s: float, rounds: int) -> dict[str, Any]:
    """Measure sessions of a certain age beside sessions that just began, turn by turn, in one process."""
    size = int(count * block_s / EVERY_S)
    with flows(folder / "age") as one:
        old = Crowd("old", count, time.time() - 8 * 3600)
        one.give(old.opened(number) for number in range(count))
        along: list[float] = []
        total, taken = int(hours * HOUR_CAPTIONS) * count, 0
        while taken < total:
            step = min(total - taken, max(size, total // 12))
            along.append(round(one.block(list(old.captions(taken, taken + step))), 1))
            taken += step
            print(f"{taken / count * EVERY_S / 3600:.2f} h: {along[-1]:.0f} us per caption", flush=True)
        costs: list[list[float]] = []
        for number in range(rounds):
            young = Crowd(f"young{number}", count, time.time() - 8 * 3600)
            one.give(young.opened(place) for place in range(count))
            one.block(list(young.captions(0, size)))  # the first minute, of which nothing is measured
            blocks = [list(young.captions(size, 2 * size)), list(old.captions(taken, taken + size))]
            taken += size
            costs.append([0.0, 0.0])
            for place in (0, 1) if number % 2 else (1, 0):
                costs[-1][place] = one.block(blocks[place])
            print("us per caption, minute 1 and hour 3:", [round(cost) for cost in costs[-1]], flush=True)
        told = one.ask()
    return {
        "sessions": count,
        "hours": hours,
        "captions_per_block": size,
        "along_us_per_caption": along,
        "us_per_caption": {"minute_1": spread([a for a, _ in costs]), "at_the_end": spread([b for _, b in costs])},
        "ratio": ratios(costs)[1],
        "rss_mb": round(told["rss_mb"], 1),
    }


def main() -> None:
    """Measure, print, store; or be the process with the flows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[10, 100, 1_000, 10_000])
    parser.add_argument("--warm", type=int, default=30, help="captions of each session before anything is measured")
    parser.add_argument("--block", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--aged", type=int, default=50, help="sessions that talk for hours")
    parser.add_argument("--part", choices=("sessions", "age"), nargs="+", default=["sessions", "age"])
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--flows", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument(
        "--epoch", type=float, default=EPOCH_S, help="seconds between snapshots; its results are kept beside"
    )
    options = parser.parse_args()
    if options.flows:
        serve_flows(options.flows, options.folder / "recovery", options.epoch)
        return
    result: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    result["machine"] = {"cores": os.cpu_count(), "python": platform.python_version()}
    with tempfile.TemporaryDirectory() as name:
        if "sessions" in options.part:
            part = "by_sessions" if options.epoch == EPOCH_S else f"by_sessions_at_epoch_{options.epoch:g}_s"
            result[part] = by_sessions(
                Path(name), options.sessions, options.warm, options.block, options.rounds, options.epoch
            )
        if "age" in options.part:
            result["by_age"] = by_age(Path(name), options.aged, options.hours, 120.0, options.rounds)
    print(json.dumps(result, indent=1))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
