"""What the analytics cost the live path: the embedded engine without them, and with them in two ways, in turn.

``uv run python -m benchmarks.analytics_live`` measures, as `benchmarks.latency` does, the time from a caption to its
answer's first delta, the captions per second through utterances and questions, and the idle cost; each without the
analytics, with analytics that give way to flows that are behind (as in ``rejoinder up``), with analytics that do not,
and so again in the other order, so that a machine that is slow at one time does not decide. Times of all turns are
put together. How much of a core the threads of the analytics took meanwhile is read off their own clocks, which other
programs on the machine do not disturb. With analytics the age of what they show is measured as well: from storing a
caption to finding it by SQL. The result is ``benchmarks/results/analytics_live.json``.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from benchmarks.latency import caption, idle_share, opened, path_ms, quantiles, start
from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from flows.run import FlowRunner
from rejoinder.analytics.owner import Analytics
from rejoinder.engine import BEHIND_S
from rejoinder.settings import Settings

RESULTS = Path(__file__).parent / "results" / "analytics_live.json"
WORDS = "and then we moved the service to the new cluster over the weekend"


WAYS = ("without", "giving way", "steady")
AGES = 4


@contextlib.contextmanager
def beside(log: EventLog, folder: Path, way: str, runners: list[FlowRunner]) -> Iterator[Analytics | None]:
    """Run the analytics beside what is measured, as `rejoinder up` does."""

    def behind() -> bool:
        return any(flow.behind_s > BEHIND_S for runner in runners for flow in runner.states())

    if way == "without":
        yield None
        return
    settings = Settings(_env_file=None, data_dir=folder)
    analytics = Analytics(settings, log, busy=behind) if way == "giving way" else Analytics(settings, log)
    analytics.start()
    while not analytics.status().alive:
        time.sleep(0.01)
    yield analytics
    analytics.stop()


class OwnTime:
    """The processor time that the threads of the analytics take."""

    def __init__(self) -> None:
        """Begin to measure."""
        self._began, self._spent = time.perf_counter(), self._now()

    @staticmethod
    def _now() -> float:
        spent = 0.0
        for thread in threading.enumerate():
            if thread.name.startswith("analytics"):
                fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
                spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return spent

    def share(self) -> float:
        """Give the part of a core that they took since the beginning."""
        return round((self._now() - self._spent) / (time.perf_counter() - self._began), 3)


def backlog(log: EventLog, folder: Path, count: int, way: str) -> tuple[int, float]:
    """Give captions per second of the clock through utterances and questions while all of them lie there unread.

    And the part of a core that the analytics took of it.
    """
    for first in range(0, count, 500):
        batch = [new_record("meeting", opened(f"s{number}")) for number in range(100)] if first == 0 else []
        for number in range(first, first + 500):
            text = "How many planets are there?" if number % 50 == 0 else WORDS
            batch.append(new_record("captions", caption(f"s{number % 100}", number, text)))
        log.append(batch)
    runners: list[FlowRunner] = []
    with beside(log, folder, way, runners):
        runners.append(start(log, folder / "recovery"))
        began, own = time.perf_counter(), OwnTime()
        while any(flow.behind_records for flow in runners[0].states()[:2]):
            time.sleep(0.02)
        spent, share = time.perf_counter() - began, own.share()
        runners[0].stop()
    return round(count / spent), share


def ages_s(log: EventLog, analytics: Analytics) -> list[float]:
    """Give how long it took until SQL found a caption that was just stored, seconds; at different times of a write."""
    found = []
    for number in range(AGES):
        session = f"age{number}"
        log.append([new_record("meeting", opened(session)), new_record("captions", caption(session, 1, WORDS))])
        began = time.perf_counter()
        while not analytics.store().one("SELECT count(*) FROM facts.captions WHERE session_id = ?", [session])[0]:
            time.sleep(0.02)
        found.append(round(time.perf_counter() - began, 2))
        time.sleep(0.37 * number)
    return found


def once(count: int, captions: int, way: str) -> dict[str, Any]:
    """Measure in one way."""
    runners: list[FlowRunner] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = open_log(f"sqlite:///{folder}/log.sqlite3")
        with beside(log, folder, way, runners) as analytics:
            runners.append(start(log, folder / "recovery"))
            path_ms(log, "warm", 10, 0.02)
            own = OwnTime()
            path = path_ms(log, "path", count, 0.02)
            live = own.share()
            ages = ages_s(log, analytics) if analytics is not None else []
            time.sleep(3)
            idle = idle_share(3.0)
            runners[0].stop()
        log.close()
        (folder / "again").mkdir()
        log = open_log(f"sqlite:///{folder}/again/log.sqlite3")
        rate, behind = backlog(log, folder / "again", captions, way)
        log.close()
    own_shares = {"live": live, "behind": behind}
    return {"ms": path["answers"], "idle": idle, "captions_per_second": rate, "ages_s": ages, "own": own_shares}


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the turns of one way together."""
    ages = [age for run in runs for age in run["ages_s"]]
    return {
        "first_delta_ms": quantiles([one for run in runs for one in run["ms"]]),
        "first_delta_p99_ms_by_turn": [quantiles(run["ms"])["p99"] for run in runs],
        "captions_per_second": [run["captions_per_second"] for run in runs],
        "idle_share_of_a_core": [round(run["idle"], 3) for run in runs],
        "own_share_of_a_core": {phase: [run["own"][phase] for run in runs] for phase in ("live", "behind")},
        "age_s": {"median": statistics.median(ages), "max": max(ages)} if ages else None,
    }


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--captions", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(chosen.turns):
        for way in WAYS if turn % 2 == 0 else reversed(WAYS):
            runs[way].append(once(chosen.count, chosen.captions, way))
            print(way, json.dumps(together(runs[way][-1:])), flush=True)
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()[1]}
        about = {"machine": machine, "answers": chosen.count, "captions": chosen.captions, "turns": turn + 1}
        result = {**about, **{way: together(found) for way, found in runs.items()}}
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
