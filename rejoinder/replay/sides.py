"""Opens the logs that a comparison or an import needs."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from eventlog import open_log
from eventlog.base import EventLog
from eventlog.sqlite import SqliteLog
from rejoinder.instance import InstanceLock
from rejoinder.replay.bundles import Imported, import_session, read_bundle
from rejoinder.replay.comparing import Comparison, Side, compare
from rejoinder.replay.replaying import sessions_answered
from rejoinder.replay.runs import Run, Runs, new_name
from rejoinder.settings import Settings
from schemas.errors import LogUnavailable

__all__ = ["compare_runs", "import_bundle"]

LIVE = "live"


def compare_runs(settings: Settings, a: str, b: str, sessions: Sequence[str]) -> Comparison:
    """Compare two runs, or a run with `live`, over the sessions that both have.

    Raises:
        LogUnavailable: No such run, nothing in common, or a log that cannot be opened.
    """
    runs = Runs(settings.data_dir)
    with ExitStack() as stack:
        opened: dict[str, EventLog] = {}

        def log_of(name: str) -> EventLog:
            if name not in opened:
                if name == LIVE:
                    log = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
                else:
                    log = runs.log(name)
                stack.callback(log.close)
                opened[name] = log
            return opened[name]

        def side_of(name: str) -> tuple[Side, list[str] | None]:
            if name == LIVE:
                return Side(name, log_of(LIVE), log_of(LIVE)), None
            run, own = runs.get(name), log_of(name)
            if run.kind == "shadow":
                assert isinstance(own, SqliteLog)  # noqa: S101 - a run's log is a file
                return Side(name, own, log_of(LIVE)), sessions_answered(own)
            return Side(name, own, own), run.sessions

        side_a, in_a = side_of(a)
        side_b, in_b = side_of(b)
        known = [one for one in (in_a, in_b) if one is not None]
        if not known and not sessions:
            raise LogUnavailable("name a run, or a session with --session")
        common = list(sessions) or [one for one in known[0] if all(one in other for other in known[1:])]
        if not common:
            raise LogUnavailable(f"{a} and {b} have no session in common")
        return compare(side_a, side_b, common)


def import_bundle(settings: Settings, bundle: Path, name: str | None, *, as_run: bool) -> tuple[Imported, str | None]:
    """Take a bundle into the installation's log, or into a run of its own.

    Returns:
        What was done, and the run when one was made.

    Raises:
        SchemaError: It is no whole bundle.
        LogUnavailable: The engine runs on the embedded log, the session was erased, or the log cannot store.
    """
    if as_run:
        session, records = read_bundle(bundle)
        runs = Runs(settings.data_dir)
        run = Run(
            run_id=name or new_name("import"),
            kind="import",
            created_at=datetime.now(UTC),
            source=bundle.name,
            sessions=[session],
            records=len(records),
            state="done",
        )
        runs.begin(run)
        own = runs.log(run.run_id)
        try:
            return import_session(own, bundle), run.run_id
        finally:
            own.close()
    # The embedded log has one writer; an engine that runs is asked to be stopped first.
    lock = None if settings.on_kafka else InstanceLock(settings.data_dir)
    try:
        log = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
        try:
            return import_session(log, bundle), None
        finally:
            log.close()
    finally:
        if lock is not None:
            lock.release()
