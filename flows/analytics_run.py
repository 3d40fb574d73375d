"""Runs the analytics flow: in a thread beside the engine, or once over what lies in a log."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import structlog
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from eventlog.base import EventLog
from flows.analytics import AnalyticsReading, Pace, RowWriter, analytics_dataflow
from flows.connectors import StopFlag
from schemas.errors import LogError, LogUnavailable

__all__ = ["AnalyticsRunner", "load_once"]

logger = structlog.get_logger("flows")

STATE_VERSION = 1
"""Grows when a step's name or what a snapshot holds changes."""
RETRY_DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0)
FAULTS = (BytewaxRuntimeError, LogError, OSError, RuntimeError, ValueError)


class AnalyticsRunner:
    """The flow in a thread; after a fault (a full disk, a log that is away) it is tried again from its snapshot."""

    def __init__(self, log: EventLog, writer: RowWriter, recovery_dir: Path, pace: Pace, epoch_s: float = 1.0) -> None:
        """Prepare; `recovery_dir` belongs to the writer's store and to no other. Nothing runs before `start`."""
        self._log, self._writer, self._dir = log, writer, recovery_dir / f"v{STATE_VERSION}"
        self._pace, self._epoch_s = pace, epoch_s
        self._stop = StopFlag()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="analytics", daemon=True)
        self.reading = AnalyticsReading()
        self.failure = ""
        self.alive = False

    def start(self) -> None:
        """Start the thread; it goes on where the stored rows end."""
        self._thread.start()

    def stop(self, timeout_s: float = 8.0) -> bool:
        """Write what was read and end; gives whether it ended in time."""
        self._stopping.set()
        self._stop.raised = True
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failed = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_once()
            except FAULTS as error:
                cause = _cause(error)
                self.failure = f"{type(cause).__name__}: {cause}"[:300]
                failed = failed + 1 if time.monotonic() - began < 30.0 else 1
                logger.error("analytics_stopped_by_fault", times=failed, reason=self.failure)
                self._stopping.wait(RETRY_DELAYS_S[min(failed, len(RETRY_DELAYS_S)) - 1])
            finally:
                self.alive = False

    def _run_once(self) -> None:
        self._dir.mkdir(parents=True, exist_ok=True)
        if not any(self._dir.glob("part-*.sqlite3")):
            init_db_dir(self._dir, 1)
        reader = self._log.reader("rejoinder.analytics")
        try:
            flow = analytics_dataflow(self._log, reader, self._writer, self.reading, self._stop, self._pace)
            self.alive = True
            run_main(
                flow,
                epoch_interval=timedelta(seconds=self._epoch_s),
                recovery_config=RecoveryConfig(str(self._dir)),
            )
            self.failure = ""
        finally:
            reader.close()


def load_once(log: EventLog, writer: RowWriter, *, buries: bool = False) -> AnalyticsReading:
    """Read every topic to its present end into the writer; gives how far it came.

    Raises:
        LogUnavailable: The rows cannot be stored, or the log cannot be read.
    """
    reading, reader = AnalyticsReading(), log.reader("rejoinder.analytics-once")
    try:
        run_main(analytics_dataflow(log, reader, writer, reading, StopFlag(), Pace(finishing=True, buries=buries)))
        writer.flush()
    except FAULTS as error:
        cause = _cause(error)
        raise LogUnavailable(f"the analytics cannot be loaded: {cause}") from error
    finally:
        reader.close()
    return reading


def _cause(error: BaseException) -> BaseException:
    """Give what an error began with: Bytewax wraps it."""
    while (before := error.__cause__ or error.__context__) is not None:
        if isinstance(error, LogError):
            break
        error = before
    return error
