"""The embedded log: one SQLite file, one writer that commits what many callers append together.

Offsets are one growing number over all topics, so a cursor is that number as text and all readers of a session
see its topics in one order. Readers poll or are notified; they never wait for the writer (WAL).
"""

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

from eventlog.base import Appended, LogReader, LogRecord, NewRecord, Notify
from eventlog.checks import tell, what_is_wrong
from eventlog.direct import DirectReader
from eventlog.sqlite_readers import Readers
from eventlog.sqlite_rows import (
    COLUMNS,
    TOPIC_NAMES,
    TOPIC_NUMBERS,
    Draft,
    Submission,
    marks,
    number_of,
    record_of,
    take_group,
    unavailable,
)
from eventlog.sqlite_schema import empty_wal, open_connection, prepare
from schemas.errors import KeyErased, LogError, LogUnavailable, OffsetGone
from schemas.topics import TOPICS

__all__ = ["SqliteLog"]

FOREIGN_CHECK_S = 0.05
"""How stale `end` may be about what another process appended."""


class SqliteLog:
    """An event log in one SQLite file.

    With ``sync="normal"`` an accepted append survives the death of the process (kill -9) but the last few
    may be lost when the machine loses power; with ``sync="full"`` every commit is flushed to the disk and
    survives that as well, at several times the cost. The file is never left half written either way.
    """

    def __init__(self, path: Path, sync: Literal["normal", "full"] = "normal") -> None:
        """Open the file, making it and its folder when missing.

        Raises:
            LogUnavailable: It cannot be opened, is no log, or was written by a newer version.
        """
        self._path, self._sync = path, sync
        self._readers = Readers(path, sync)
        self._guard = threading.Lock()
        self._subscribers: tuple[Notify, ...] = ()
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = open_connection(path, sync)
        except (sqlite3.Error, OSError) as error:
            raise unavailable(path, error) from error
        self._ends = dict.fromkeys(TOPICS, 0)
        self._erased: set[str] = set()
        self._last = 0
        self._version = -1
        try:
            prepare(self._writer, path)
            self._reload()
        except sqlite3.Error as error:
            self._writer.close()
            raise unavailable(path, error) from error
        self._checked_s = time.monotonic()
        self._queue: queue.SimpleQueue[Submission | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_forever, name="log-writer", daemon=True)
        self._thread.start()

    far = False
    """An append is over within a millisecond."""

    def append(self, records: Sequence[NewRecord]) -> list[Appended]:
        """Store records and wait; see `EventLog.append`."""
        return self.submit(records).result()

    def submit(self, records: Sequence[NewRecord]) -> "Future[list[Appended]]":
        """Queue records for the next commit; see `EventLog.submit`."""
        future: Future[list[Appended]] = Future()
        wrong = what_is_wrong(records)
        with self._guard:
            if self._closed:
                future.set_exception(LogUnavailable("the log is closed"))
            elif wrong is not None:
                future.set_exception(wrong)
            else:
                self._queue.put(Submission(records, future))
        return future

    def _write_forever(self) -> None:
        while (first := self._queue.get()) is not None:
            if isinstance(first, Submission):
                group, after, ending = take_group(first, self._queue)
                self._commit(group)
                if after is not None:
                    after()
                if ending:
                    return
            else:
                first()

    def _commit(self, group: list[Submission]) -> None:
        # From here on a caller that gives up no longer changes anything: its records are stored or refused as a whole.
        taken = [submission for submission in group if submission.future.set_running_or_notify_cancel()]
        results: list[tuple[Submission, list[Appended] | LogError]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            self._reload_if_foreign()
            draft = Draft(self._last)
            for submission in taken:
                results.append((submission, self._insert(submission.records, draft)))
            if draft.last != self._last:
                self._writer.execute("UPDATE high_water SET offset = ?", (draft.last,))
            self._writer.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            for submission in taken:
                submission.future.set_exception(unavailable(self._path, error))
            return
        # Only what is committed may be seen as the end of the log.
        self._last = draft.last
        self._ends.update(draft.ends)
        keys: set[str] = set()
        for submission, result in results:
            if isinstance(result, LogError):
                submission.future.set_exception(result)
            else:
                keys.update(record.key for record in submission.records)
                submission.future.set_result(result)
        if keys:
            tell(self._subscribers, frozenset(keys))

    def _insert(self, records: Sequence[NewRecord], draft: Draft) -> list[Appended] | LogError:
        for record in records:
            if record.key in self._erased:
                return KeyErased(f"session {record.key} was erased")
        stored: list[Appended] = []
        execute = self._writer.execute
        for record in records:
            number, offset = TOPIC_NUMBERS[record.topic], draft.last + 1
            done = execute(
                "INSERT INTO records(offset, topic, key, event_id, at_s, value, trace) VALUES (?,?,?,?,?,?,?)"
                " ON CONFLICT(topic, event_id) DO NOTHING",
                (offset, number, record.key, record.event_id, record.at_s, record.value, record.trace or None),
            )
            repeat = done.rowcount == 0
            if repeat:
                row = execute(
                    "SELECT offset FROM records WHERE topic=? AND event_id=?", (number, record.event_id)
                ).fetchone()
                offset = row[0]
            else:
                draft.last, draft.ends[record.topic] = offset, offset + 1
            stored.append(Appended(record.topic, 0, offset, str(offset), repeat))
        return stored

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            try:
                self._writer.execute("ROLLBACK")
            except sqlite3.Error:
                self._writer.interrupt()

    def _reload_if_foreign(self) -> None:
        version = self._writer.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._reload()

    def _reload(self) -> None:
        """Read what another process may have changed: ends, erased keys, the last offset ever given."""
        self._version = self._writer.execute("PRAGMA data_version").fetchone()[0]
        self._last = self._writer.execute("SELECT offset FROM high_water").fetchone()[0]
        self._erased = {key for (key,) in self._writer.execute("SELECT key FROM erased")}
        for number, name in enumerate(TOPIC_NAMES):
            row = self._writer.execute("SELECT max(offset) FROM records WHERE topic=?", (number,)).fetchone()
            self._ends[name] = max(self._ends[name], row[0] + 1 if row[0] else 0)

    def _in_writer(self, work: Callable[[sqlite3.Connection], int]) -> int:
        """Run work in the writer's thread, between commits, and wait for it."""
        outcome: Future[int] = Future()

        def run() -> None:
            try:
                outcome.set_result(work(self._writer))
            except Exception as error:
                self._roll_back()
                outcome.set_exception(unavailable(self._path, error))

        with self._guard:
            if self._closed:
                raise LogUnavailable("the log is closed")
            self._queue.put(run)
        return outcome.result()

    def _in_transaction(self, work: Callable[[sqlite3.Connection], int]) -> int:
        """Run work in the writer's thread, alone in a transaction."""

        def whole(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN IMMEDIATE")
            self._reload_if_foreign()
            result = work(connection)
            connection.execute("COMMIT")
            self._reload()
            return result

        return self._in_writer(whole)

    def erase(self, key: str) -> int:
        """Remove a session for good; its bytes are overwritten in the file."""

        def work(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT OR IGNORE INTO erased(key, at_s) VALUES (?, ?)", (key, time.time()))
            return int(connection.execute("DELETE FROM records WHERE key=?", (key,)).rowcount)

        removed = self._in_transaction(work)
        self._in_writer(empty_wal)
        tell(self._subscribers, frozenset({key}))
        return removed

    def trim(self, topic: str, before_s: float) -> int:
        """Remove the oldest records of a topic; see `EventLog.trim`."""
        number = number_of(topic)

        def work(connection: sqlite3.Connection) -> int:
            oldest, kept, newest = connection.execute(
                "SELECT min(offset), min(CASE WHEN at_s >= ? THEN offset END), max(offset) FROM records WHERE topic=?",
                (before_s, number),
            ).fetchone()
            if oldest is None or oldest == kept:
                return 0
            up_to = newest if kept is None else kept - 1
            connection.execute(
                "INSERT INTO trimmed(topic, offset) VALUES (?, ?)"
                " ON CONFLICT(topic) DO UPDATE SET offset = max(offset, excluded.offset)",
                (number, up_to),
            )
            return int(
                connection.execute("DELETE FROM records WHERE topic=? AND offset <= ?", (number, up_to)).rowcount
            )

        return self._in_transaction(work)

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Give records from an offset on; see `EventLog.read`."""
        del partition
        number = number_of(topic)
        rows = self._readers.select(
            f"SELECT {COLUMNS} FROM records WHERE topic=? AND offset>=? ORDER BY offset LIMIT ?",  # noqa: S608
            (number, start, limit),
        )
        self._refuse_trimmed((number,), start, whole=start == 0)
        return [record_of(row) for row in rows]

    def _refuse_trimmed(self, numbers: Iterable[int], start: int, *, whole: bool = False) -> None:
        """Complain when records at or after `start` were trimmed; a reader from the very start takes what is left."""
        if whole:
            return
        for (trimmed,) in self._readers.select(
            f"SELECT offset FROM trimmed WHERE topic IN ({marks(numbers)})",  # noqa: S608 - our own numbers
            (),
        ):
            if isinstance(trimmed, int) and start <= trimmed:
                raise OffsetGone(f"records up to {trimmed} were trimmed")

    def read_key(self, key: str, topics: Sequence[str], cursor: str, limit: int) -> list[LogRecord]:
        """Give a session's records of several topics after a cursor; see `EventLog.read_key`."""
        after = self._offset_of(cursor)
        numbers = [number_of(topic) for topic in topics]
        rows = self._readers.select(
            f"SELECT {COLUMNS} FROM records WHERE key=? AND offset>? AND topic IN ({marks(numbers)})"  # noqa: S608
            " ORDER BY offset LIMIT ?",
            (key, after, limit),
        )
        self._refuse_trimmed(numbers, after + 1, whole=after == 0)
        return [record_of(row) for row in rows]

    def _offset_of(self, cursor: str) -> int:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            raise OffsetGone("not a cursor of this log")
        after = int(cursor)
        if after > self._last:
            self._look_for_foreign(at_once=True)
            if after > self._last:
                raise OffsetGone("the cursor lies beyond the end of this log")
        return after

    def find(self, topic: str, key: str, event_id: str) -> LogRecord | None:
        """Give the record with an id; see `EventLog.find`."""
        rows = self._readers.select(
            f"SELECT {COLUMNS} FROM records WHERE topic=? AND event_id=? AND key=?",  # noqa: S608 - our own columns
            (number_of(topic), event_id, key),
        )
        return record_of(rows[0]) if rows else None

    def end(self, topic: str, partition: int = 0) -> int:
        """Give the offset after a topic's last record; see `EventLog.end`."""
        del partition
        number_of(topic)
        self._look_for_foreign()
        return self._ends[topic]

    def _look_for_foreign(self, *, at_once: bool = False) -> None:
        """Notice what other processes appended, at most every 50 ms: our own appends are known without asking."""
        now = time.monotonic()
        if not at_once and now - self._checked_s < FOREIGN_CHECK_S:
            return
        self._checked_s = now
        rows = self._readers.select("SELECT offset FROM high_water", ())
        if isinstance(rows[0][0], int) and rows[0][0] > self._last and not self._closed:
            self._in_transaction(lambda _: 0)

    def offset_at(self, topic: str, partition: int, at_s: float) -> int:
        """Give the first offset at or after a time; see `EventLog.offset_at`."""
        rows = self._readers.select(
            "SELECT min(offset) FROM records WHERE topic=? AND at_s>=?", (number_of(topic), at_s)
        )
        found = rows[0][0]
        return found if isinstance(found, int) else self.end(topic, partition)

    def reader(self, group: str, beside: LogReader | None = None) -> DirectReader:
        """Open a reader; see `EventLog.reader`."""
        del group
        return DirectReader(self, beside)

    def load(self, key: str) -> None:
        """Every record is at hand already."""

    def loaded(self, key: str) -> bool:
        """Give True."""
        del key
        return True

    def partitions(self, topic: str) -> int:
        """Give 1: an embedded topic has one partition."""
        number_of(topic)
        return 1

    def cursor_start(self) -> str:
        """Give the cursor before the first record."""
        return "0"

    def cursor_now(self, key: str) -> str:
        """Give the cursor after the last record."""
        del key
        self._look_for_foreign()
        return str(self._last)

    def cursor_at(self, key: str, at_s: float) -> str:
        """Give the cursor before the first record at or after a time."""
        found = self._readers.select(
            "SELECT min(+offset) FROM records INDEXED BY records_by_time WHERE at_s>=?", (at_s,)
        )[0][0]
        return str(found - 1) if isinstance(found, int) else self.cursor_now(key)

    def erased(self, key: str) -> bool:
        """Say whether a session was erased."""
        return key in self._erased

    def notes(self) -> Sequence[str]:
        """Give nothing: nobody else changes this log."""
        return ()

    def subscribe(self, notify: Notify) -> Callable[[], None]:
        """Call `notify` after each commit; see `EventLog.subscribe`."""
        with self._guard:
            self._subscribers = (*self._subscribers, notify)

        def end() -> None:
            with self._guard:
                self._subscribers = tuple(other for other in self._subscribers if other is not notify)

        return end

    def close(self) -> None:
        """Commit what is queued, then close every connection."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._readers.close()
        self._writer.close()
