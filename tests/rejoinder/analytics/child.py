"""Loads a log into an analytics file in a process of its own, to be killed or to meet a full disk."""

import json
import resource
import signal
import sys
from pathlib import Path

from eventlog.sqlite import SqliteLog
from flows.analytics_run import load_once
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.writer import StoreWriter
from schemas.errors import LogUnavailable


def main(folder: Path, room: int) -> None:
    """Load; with `room`, no file may grow past it (a full disk), then it is loaded again without that limit."""
    log = SqliteLog(folder / "log.sqlite3")
    store = AnalyticsStore(folder / "analytics" / "analytics.duckdb")
    writer = StoreWriter(store, flush_rows=200)
    print("loading", flush=True)
    told = ""
    if room:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            load_once(log, writer)
        except LogUnavailable as error:
            told = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    load_once(log, writer)
    store.close()
    log.close()
    print(json.dumps({"told": told}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
