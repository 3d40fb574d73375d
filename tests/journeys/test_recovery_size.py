"""Sessions that are over leave nothing behind in the recovery store, however many they were."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.talk import Crowd
from eventlog import open_log
from flows import answers, logic
from flows.logic import SHARDS
from flows.run import FlowOptions, FlowRunner
from flows.wiring import FLOWS
from models.fakes import InstantModel, NoPassages
from operators.answering import Answering
from tests.support import wait_for

KEPT = """
import json, pathlib, sqlite3, sys
rows = {}
for file in pathlib.Path(sys.argv[1]).rglob("part-*.sqlite3"):
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)
    found = connection.execute(
        "SELECT step_id, state_key, snap_epoch, length(ser_change) FROM snaps WHERE step_id LIKE '%-step%'"
    ).fetchall()
    connection.close()
    for step, key, epoch, size in found:
        rows[step, key] = max(rows.get((step, key), (-1, 0)), (epoch, size or 0))
print(json.dumps([len(rows), sum(size for _, size in rows.values())]))
"""


def kept(folder: Path) -> tuple[int, int]:
    """Give rows and bytes of the newest snapshots of the flows' steps.

    Another process must look: Bytewax brings an SQLite library of its own, and two of them in one process do not see
    each other's locks (a process that closes a file drops all its locks on it), so that a reader here would cut off
    the writer's journal and spoil the file.
    """
    told = subprocess.run([sys.executable, "-c", KEPT, str(folder)], check=True, capture_output=True, timeout=60)
    rows, size = json.loads(told.stdout)
    return rows, size


def test_the_recovery_store_does_not_grow_with_the_sessions_that_ever_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logic, "FORGET_CLOSED_S", 0.3)
    monkeypatch.setattr(answers, "FORGET_CLOSED_S", 0.3)
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    runner = FlowRunner(log, Answering(NoPassages(), InstantModel()), FlowOptions(tmp_path / "recovery", epoch_s=0.1))
    runner.start()
    try:
        sizes, empty = [], SHARDS * len(FLOWS) * 60
        for wave in range(3):
            crowd = Crowd(f"w{wave}", 500, time.time() - 600)
            log.append([crowd.opened(place) for place in range(500)])
            log.append(list(crowd.captions(0, 1_000)))
            wait_for(lambda: kept(tmp_path / "recovery")[1] > 2 * empty, 60)
            log.append([crowd.closed(place, 2) for place in range(500)])
            wait_for(lambda: not any(flow.behind_records for flow in runner.states()), 60)
            wait_for(lambda: kept(tmp_path / "recovery")[1] < empty, 60)
            assert kept(tmp_path / "recovery")[0] <= SHARDS * len(FLOWS)
            sizes.append(sum(file.stat().st_size for file in (tmp_path / "recovery").rglob("part-*.sqlite3*")))
        # A journal beside the file may hold 4 MB before SQLite moves it over.
        assert sizes[2] < 1.5 * sizes[0] + 4_500_000
    finally:
        runner.stop()
        log.close()
