"""What the analytics cost the live path: the embedded engine with them and without, in turn.

``uv run python -m benchmarks.analytics_live`` measures, as `benchmarks.latency` does, the time from a caption to its
answer's first delta, the captions per second through utterances and questions, and the idle cost; each is measured
without the analytics, with them, and so again, so that a machine that is slow at one time does not decide. The result
is ``benchmarks/results/analytics_live.json``.
"""

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from benchmarks.latency import caption, idle_share, opened, path_ms, quantiles, start
from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from rejoinder.analytics.owner import Analytics
from rejoinder.settings import Settings

RESULTS = Path(__file__).parent / "results" / "analytics_live.json"
WORDS = "and then we moved the service to the new cluster over the weekend"


@contextlib.contextmanager
def beside(log: EventLog, folder: Path, *, wanted: bool) -> Iterator[None]:
    """Run the analytics beside what is measured, as `rejoinder up` does."""
    analytics = Analytics(Settings(_env_file=None, data_dir=folder), log) if wanted else None
    if analytics is not None:
        analytics.start()
        while not analytics.status().alive:
            time.sleep(0.01)
    yield
    if analytics is not None:
        analytics.stop()


def backlog(log: EventLog, folder: Path, count: int, *, wanted: bool) -> dict[str, float]:
    """Give captions per second of the clock through utterances and questions while all of them lie there unread."""
    for first in range(0, count, 500):
        batch = [new_record("meeting", opened(f"s{number}")) for number in range(100)] if first == 0 else []
        for number in range(first, first + 500):
            text = "How many planets are there?" if number % 50 == 0 else WORDS
            batch.append(new_record("captions", caption(f"s{number % 100}", number, text)))
        log.append(batch)
    with beside(log, folder, wanted=wanted):
        runner = start(log, folder / "recovery")
        began = time.perf_counter()
        while any(flow.behind_records for flow in runner.states()[:2]):
            time.sleep(0.02)
        spent = time.perf_counter() - began
        runner.stop()
    return {"captions_per_second": round(count / spent)}


def once(count: int, captions: int, *, wanted: bool) -> dict[str, Any]:
    """Measure with or without the analytics."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = open_log(f"sqlite:///{folder}/log.sqlite3")
        with beside(log, folder, wanted=wanted):
            runner = start(log, folder / "recovery")
            path_ms(log, "warm", 10, 0.02)
            path = path_ms(log, "path", count, 0.02)
            time.sleep(3)
            idle = idle_share(6.0)
            runner.stop()
        log.close()
        (folder / "again").mkdir()
        log = open_log(f"sqlite:///{folder}/again/log.sqlite3")
        found = backlog(log, folder / "again", captions, wanted=wanted)
        log.close()
    return {"first_delta_ms": quantiles(path["answers"]), "idle_share_of_a_core": round(idle, 3), **found}


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--captions", type=int, default=40_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    found: dict[str, list[dict[str, Any]]] = {"without": [], "with": []}
    for _ in range(chosen.turns):
        for which, all_of in found.items():
            all_of.append(once(chosen.count, chosen.captions, wanted=which == "with"))
            print(which, json.dumps(all_of[-1]), flush=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    chosen.json.write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
