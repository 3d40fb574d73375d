"""Writes the facts of one run into the store, many rows in one transaction with how far they reach."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from flows.analytics import Fact
from rejoinder.analytics.merging import erase_rows, merge_rows
from rejoinder.analytics.rows import Rows
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.tables import TABLES

__all__ = ["FLUSH_ROWS", "LIVE", "StoreWriter"]

LIVE = "live"
FLUSH_ROWS = 20_000
SWEEP_SESSIONS = 5_000


class StoreWriter:
    """Writes the facts of one run; see `flows.analytics.RowWriter`."""

    def __init__(
        self,
        store: AnalyticsStore,
        run_id: str = LIVE,
        *,
        texts: bool = False,
        erased: Callable[[str], bool] | None = None,
        flush_rows: int = FLUSH_ROWS,
    ) -> None:
        """Write to `store`, so many rows at once; `erased` says whether the log has erased a session."""
        self._flush_rows = flush_rows
        self._store, self._run, self._texts, self._log_erased = store, run_id, texts, erased
        self._rows = Rows(run_id, texts=texts)
        self._reached: dict[str, int] = {}
        self._gone = {row[0] for row in store.rows("SELECT session_id FROM keeping.erased")}
        self._late: set[str] = set()
        self._swept = ""
        self.records = 0
        self.stored_at_s = 0.0

    def take(self, facts: Sequence[Fact], place: str, reached: int) -> None:
        """Take facts; see `flows.analytics.RowWriter`."""
        rows, gone = self._rows, self._gone
        for record, at_s in facts:
            if record.session_id not in gone:
                rows.add(record, at_s)
        self._reached[place] = reached
        if rows.count >= self._flush_rows:
            self.flush()

    def flush(self) -> None:
        """Write what was taken; see `flows.analytics.RowWriter`."""
        if not self._reached:
            return
        rows, reached = self._rows, self._reached
        # What cannot be written is read again from where the stored rows end.
        self._rows, self._reached = Rows(self._run, texts=self._texts), {}
        late, self._late = self._late, set()
        with self._store.writing() as connection:
            for name, made in rows.tables.items():
                merge_rows(connection, TABLES[name], made)
            if gone := rows.deleted | late:
                erase_rows(connection, sorted(gone))
            connection.executemany(
                "INSERT INTO keeping.reached VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET log_offset = excluded.log_offset",
                [(self._run, place, offset) for place, offset in reached.items()],
            )
        self._gone |= rows.deleted
        self.records += rows.count
        self.stored_at_s = time.time()

    def reached(self) -> Mapping[str, int]:
        """Give how far the stored rows reach."""
        # Nothing of a run that failed may be left: it is read again from what is stored.
        self._rows, self._reached = Rows(self._run, texts=self._texts), {}
        found = self._store.rows("SELECT place, log_offset FROM keeping.reached WHERE run_id = ?", [self._run])
        return {place: offset for place, offset in found}

    def sweep(self, touched: Collection[str] = (), most: int = SWEEP_SESSIONS) -> int:
        """Remove the rows of sessions that the log has erased meanwhile; gives how many sessions.

        Looked at are the sessions of which something happened, and in turn some of all others.
        """
        if self._log_erased is None:
            return 0
        found = self._store.rows(
            "SELECT DISTINCT session_id FROM facts.sessions WHERE session_id > ? ORDER BY session_id LIMIT ?",
            [self._swept, most],
        )
        self._swept = found[-1][0] if len(found) == most else ""
        known = {session_id for (session_id,) in found} | set(touched)
        gone = [session_id for session_id in sorted(known - self._gone) if self._log_erased(session_id)]
        if gone:
            # Rows of them that were taken and not written yet are removed with the next flush.
            self._gone.update(gone)
            self._late |= set(gone)
            self._store.erase(gone)
        return len(gone)
