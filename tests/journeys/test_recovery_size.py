"""Sessions that are over leave nothing behind in the recovery store, however many they were."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.talk import Crowd
from eventlog import open_log
from flows import answers, logic
from flows.arrivals import SHARDS_ALONE
from flows.run import FlowOptions, FlowRunner
from flows.wiring import FLOWS
from models.fakes import InstantModel, NoPassages
from operators.answering import Answering
from tests.support import wait_for

ROWS = """
import pathlib, sqlite3, sys
rows = set()
for file in pathlib.Path(sys.argv[1]).rglob("part-*.sqlite3"):
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)
    rows |= set(connection.execute("SELECT step_id, state_key FROM snaps WHERE step_id LIKE '%-step%'"))
    connection.close()
print(len(rows))
"""


def rows(folder: Path) -> int:
    """Give the rows that Bytewax keeps for the flows' steps.

    Another process must look: Bytewax brings an SQLite library of its own, and two of them in one process do not see
    each other's locks (a process that closes a file drops all its locks on it), so that a reader here would cut off
    the writer's journal and spoil the file.
    """
    told = subprocess.run([sys.executable, "-c", ROWS, str(folder)], check=True, capture_output=True, timeout=60)
    return int(told.stdout)


def kept(folder: Path) -> list[int]:
    """Give the sizes of the files with the sessions."""
    sizes = []
    for path in folder.rglob("sessions/*/*"):
        with contextlib.suppress(FileNotFoundError):  # its time is over
            sizes.append(path.stat().st_size)
    return sizes


def test_the_recovery_store_does_not_grow_with_the_sessions_that_ever_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logic, "FORGET_CLOSED_S", 0.3)
    monkeypatch.setattr(answers, "FORGET_CLOSED_S", 0.3)
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    runner = FlowRunner(log, Answering(NoPassages(), InstantModel()), FlowOptions(tmp_path / "recovery", epoch_s=0.1))
    runner.start()
    try:
        shards, sizes = SHARDS_ALONE * len(FLOWS), []
        for wave in range(3):
            crowd = Crowd(f"w{wave}", 500, time.time() - 600)
            log.append([crowd.opened(place) for place in range(500)])
            log.append(list(crowd.captions(0, 1_000)))
            wait_for(lambda: sum(kept(tmp_path / "recovery")) > 500 * len(FLOWS) * 200, 60)
            log.append([crowd.closed(place, 2) for place in range(500)])
            wait_for(lambda: not any(flow.behind_records for flow in runner.states()), 60)
            wait_for(lambda: sum(kept(tmp_path / "recovery")) == 0, 60)
            assert len(kept(tmp_path / "recovery")) <= 3 * shards
            assert rows(tmp_path / "recovery") <= shards
            sizes.append(sum(file.stat().st_size for file in (tmp_path / "recovery").rglob("part-*.sqlite3*")))
        # A journal beside the file may hold 4 MB before SQLite moves it over.
        assert sizes[2] < 1.5 * sizes[0] + 4_500_000
    finally:
        runner.stop()
        log.close()
