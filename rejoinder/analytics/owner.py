"""The process that owns the analytics file: runs the flow, loads runs, and answers other processes of this machine."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from eventlog.base import EventLog
from flows.analytics import Pace
from flows.analytics_run import AnalyticsRunner, load_once
from rejoinder.analytics.local_door import LocalDoor
from rejoinder.analytics.prices import read_prices
from rejoinder.analytics.quality import Finding, check_quality
from rejoinder.analytics.store import AnalyticsStore, Stopped, StoreLimits
from rejoinder.analytics.tables import TABLES
from rejoinder.analytics.writer import FLUSH_ROWS, LIVE, StoreWriter
from rejoinder.replay.runs import Runs
from rejoinder.settings import Settings
from schemas.errors import LogError, LogUnavailable

__all__ = ["Analytics", "Status", "limits_of", "load_runs", "store_path"]

logger = structlog.get_logger("analytics")

TRY_AGAIN_S = 10.0
SWEEP_S = 3.0
CHECK_S = 600.0
EPOCH_S, GENTLE_EPOCH_S = 1.0, 3.0
"""Seconds between two writes: each costs about 120 ms of a core, however little there is to write."""
GENTLE_ROWS = 4_000
EMBEDDED_SHARE = 0.25
"""Part of the time that loading may take in a process that serves live sessions; a backlog waits, they do not."""


def store_path(data_dir: Path) -> Path:
    """Give where the analytics file lies."""
    return data_dir / "analytics" / "analytics.duckdb"


def limits_of(settings: Settings) -> StoreLimits:
    """Give the bounds of the store that the settings say."""
    return StoreLimits(memory_mb=settings.analytics_memory_mb, timeout_s=settings.analytics_timeout_s)


@dataclass(frozen=True, slots=True)
class Status:
    """How the analytics are: how far the flow is, what was stored when, and what the last checks found."""

    alive: bool
    detail: str
    records: int
    behind_records: int
    stored_at_s: float
    last_record_at_s: float
    quality: tuple[Finding, ...]


class Analytics:
    """Owns the file while it runs; a fault of the analytics never stops the process around it."""

    def __init__(
        self,
        settings: Settings,
        log: EventLog,
        *,
        share: float = EMBEDDED_SHARE,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare; nothing is opened before `start`. `busy` says whether live flows beside it are behind."""
        self._settings, self._log, self._pace = settings, log, Pace(share=share, busy=busy)
        self._gentle = share < 1.0
        self._store: AnalyticsStore | None = None
        self._writer: StoreWriter | None = None
        self._runner: AnalyticsRunner | None = None
        self._door: LocalDoor | None = None
        self._failure = "starting"
        self._quality: tuple[Finding, ...] = ()
        self._touched: set[str] = set()
        self._unsubscribe: Callable[[], None] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="analytics-owner", daemon=True)

    def start(self) -> None:
        """Start in a thread."""
        # A log tells of erased sessions as well.
        self._unsubscribe = self._log.subscribe(self._note_touched)
        self._thread.start()

    def _note_touched(self, keys: frozenset[str]) -> None:
        self._touched.update(keys)

    def stop(self) -> None:
        """Write what was read, then let go of the file."""
        self._stopping.set()
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._thread.ident is not None:
            self._thread.join(12)

    def store(self) -> AnalyticsStore:
        """Give the store.

        Raises:
            LogUnavailable: It could not be opened (yet); the message says why.
        """
        if self._store is None:
            raise LogUnavailable(f"the analytics are not ready: {self._failure}")
        return self._store

    def status(self) -> Status:
        """Give how the analytics are."""
        runner, writer = self._runner, self._writer
        if runner is None or writer is None:
            return Status(False, self._failure, 0, 0, 0.0, 0.0, self._quality)
        reading = runner.reading
        detail = "" if runner.alive else runner.failure or self._failure
        return Status(
            runner.alive, detail, writer.records, reading.behind(), writer.stored_at_s, reading.last_at_s, self._quality
        )

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                self._open()
            except LogError as error:
                self._failure = str(error)
                logger.error("analytics_not_opened", reason=self._failure)
                self._stopping.wait(TRY_AGAIN_S)
                continue
            self._look_after()
            self._close()

    def _open(self) -> None:
        settings = self._settings
        limits = replace(limits_of(settings), threads=1) if self._gentle else limits_of(settings)
        prices = read_prices(settings.prices_file)
        store = AnalyticsStore(store_path(settings.data_dir), limits)
        store.set_prices(prices)
        flush_rows = GENTLE_ROWS if self._gentle else FLUSH_ROWS
        self._writer = StoreWriter(
            store, texts=settings.analytics_texts, erased=self._log.erased, flush_rows=flush_rows
        )
        recovery = settings.data_dir / "recovery" / f"analytics-{store.store_id}"
        self._runner = AnalyticsRunner(
            self._log, self._writer, recovery, self._pace, GENTLE_EPOCH_S if self._gentle else EPOCH_S
        )
        self._door = LocalDoor(store)
        self._door.start()
        self._store, self._failure = store, ""
        self._runner.start()

    def _look_after(self) -> None:
        assert self._writer is not None  # noqa: S101 - opened before
        checked, checked_records = time.monotonic(), 0
        while not self._stopping.is_set():
            try:
                touched, self._touched = self._touched, set()
                self._writer.sweep(touched)
                load_runs(self.store(), Runs(self._settings.data_dir), texts=self._settings.analytics_texts)
                if time.monotonic() - checked > CHECK_S and self._writer.records != checked_records:
                    checked, checked_records = time.monotonic(), self._writer.records
                    self._quality = tuple(check_quality(self.store()))
                    for bad in (one for one in self._quality if not one.good):
                        logger.warning("analytics_quality", check=bad.name, rows=bad.rows, failing=bad.failing)
            except (LogError, Stopped, ValueError) as error:
                logger.warning("analytics_not_looked_after", reason=str(error)[:200])
            self._stopping.wait(SWEEP_S)

    def _close(self) -> None:
        if self._runner is not None:
            self._runner.stop()
        if self._door is not None:
            self._door.stop()
        if self._store is not None:
            store, self._store = self._store, None
            self._failure = "stopped"
            store.close()


def load_runs(store: AnalyticsStore, runs: Runs, *, texts: bool) -> list[str]:
    """Load the runs of replay that are done, and forget those that were removed; gives the ones that are new."""
    there = {run.run_id: run for run in runs.everything()}
    known = {run_id for (run_id,) in store.rows("SELECT DISTINCT run_id FROM keeping.reached")} - {LIVE}
    for run_id in sorted(known - there.keys()):
        with store.writing() as connection:
            for name in TABLES:
                connection.execute(f"DELETE FROM facts.{name} WHERE run_id = ?", [run_id])  # noqa: S608 - our tables
            connection.execute("DELETE FROM keeping.reached WHERE run_id = ?", [run_id])
    loaded = []
    for run_id, run in there.items():
        if run.state == "done" and run_id not in known:
            log = runs.log(run_id)
            try:
                load_once(log, StoreWriter(store, run_id, texts=texts))
            finally:
                log.close()
            loaded.append(run_id)
    return loaded
