"""Makes the analytics file anew from the topics, compares it with the one that was there, and puts it in its place."""

from dataclasses import dataclass
from pathlib import Path

from eventlog.base import EventLog
from flows.analytics_run import load_once
from rejoinder.analytics.merging import merge_rows
from rejoinder.analytics.owner import limits_of, load_runs, store_path
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.tables import TABLES
from rejoinder.analytics.writer import StoreWriter
from rejoinder.replay.runs import Runs
from rejoinder.settings import Settings
from schemas.errors import LogUnavailable

__all__ = ["Rebuilt", "digests", "rebuild"]

CARRIED = ("flow_lag", "dead_letters")
"""Their topics are trimmed after hours or days: what the old file still knows of them goes into the new one."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One table: its rows now, and whether it is the same as before; None when there was nothing to compare with."""

    table: str
    rows: int
    same: bool | None


def digests(store: AnalyticsStore) -> dict[str, tuple[int, int]]:
    """Give the rows of each table and a hash over all of them, whatever their order."""
    return {
        name: store.one(f"SELECT count(*), coalesce(bit_xor(hash(t)), 0) FROM facts.{name} t")  # noqa: S608
        for name in TABLES
    }


def rebuild(settings: Settings, log: EventLog) -> list[Rebuilt]:
    """Read every topic and every run into a new file that takes the old one's place.

    Raises:
        LogUnavailable: Another process owns the file, or the new one cannot be written; the old one stays.
    """
    path = store_path(settings.data_dir)
    fresh_path = path.with_name("rebuild.duckdb")
    old = _old(path, settings)
    try:
        _remove(fresh_path)
        fresh = AnalyticsStore(fresh_path, limits_of(settings))
        try:
            load_once(log, StoreWriter(fresh, texts=settings.analytics_texts, erased=log.erased))
            load_runs(fresh, Runs(settings.data_dir), texts=settings.analytics_texts)
            if old is not None:
                _carry(old, fresh)
            before = digests(old) if old is not None else None
            after = digests(fresh)
        finally:
            fresh.close()
    finally:
        if old is not None:
            old.close()
    _remove(path)
    fresh_path.replace(path)
    return [
        Rebuilt(name, rows, None if before is None else before[name] == (rows, mark))
        for name, (rows, mark) in after.items()
    ]


def _old(path: Path, settings: Settings) -> AnalyticsStore | None:
    """Open the file that is there; one that is broken is put aside."""
    if not path.exists():
        return None
    try:
        return AnalyticsStore(path, limits_of(settings))
    except LogUnavailable as error:
        if "lock" in str(error):
            raise LogUnavailable("another process owns the analytics file; stop it, then rebuild") from None
        path.replace(path.with_name("broken.duckdb"))
        _remove(path)
        return None


def _carry(old: AnalyticsStore, fresh: AnalyticsStore) -> None:
    gone = [session_id for (session_id,) in old.rows("SELECT session_id FROM keeping.erased")]
    for name in CARRIED:
        table = TABLES[name]
        columns = ", ".join(f"epoch_us({c.name})" if c.kind == "time" else c.name for c in table.all)
        if rows := old.rows(f"SELECT {columns} FROM facts.{name}"):  # noqa: S608 - our own tables
            with fresh.writing() as connection:
                merge_rows(connection, table, rows)
    if gone:
        fresh.erase(gone)


def _remove(path: Path) -> None:
    for file in (path, path.with_name(path.name + ".wal")):
        file.unlink(missing_ok=True)
