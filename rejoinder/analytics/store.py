"""Owns the DuckDB file: its shape, loads, erasure and questions. Nothing else imports duckdb."""

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from rejoinder.analytics.merging import erase_rows
from rejoinder.analytics.migrations import SCRIPTS
from rejoinder.analytics.prices import Price
from rejoinder.analytics.views import views_script
from schemas.errors import LogUnavailable

__all__ = ["AnalyticsStore", "Answered", "NotReadOnly", "Stopped", "StoreLimits"]

logger = structlog.get_logger("analytics")

FETCH_ROWS = 1_000


class NotReadOnly(ValueError):
    """A statement is not one that only reads."""


class Stopped(Exception):
    """A question took longer, or wanted more memory, than it may."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of the store.

    Attributes:
        memory_mb: Most memory of DuckDB, for loads and questions together.
        threads: Threads of DuckDB.
        timeout_s: Longest question.
        rows: Most rows of an answer.
    """

    memory_mb: int = 1024
    threads: int = 2
    timeout_s: float = 30.0
    rows: int = 100_000


@dataclass(frozen=True, slots=True)
class Answered:
    """What a question gave; `cut` when there were more rows than asked for."""

    columns: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]
    cut: bool
    seconds: float


class AnalyticsStore:
    """One DuckDB file, opened by one process; loads and questions may come from any thread."""

    def __init__(self, path: Path, limits: StoreLimits | None = None, *, read_only: bool = False) -> None:
        """Open the file, making it when missing, and bring it to the newest shape.

        Raises:
            LogUnavailable: Another process has it open, it cannot be written, or a newer version wrote it.
        """
        self.path, self.limits, self._read_only = path, limits or StoreLimits(), read_only
        self._guard = threading.Lock()
        self._connection: Any = None
        self._epoch = 0
        with self._guard:
            self._open()

    def _open(self) -> None:
        import duckdb

        config: dict[str, Any] = {
            "memory_limit": f"{self.limits.memory_mb}MB",
            "threads": self.limits.threads,
            "max_temp_directory_size": f"{2 * self.limits.memory_mb}MB",
            "python_enable_replacements": "false",
            "pandas_analyze_sample": 0,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "false",
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = duckdb.connect(str(self.path), read_only=self._read_only, config=config)
            if not self._read_only:
                self._migrate()
            # This connection merges rows, by statements that cannot be planned any better: looking for it would be a
            # sixth of a small write and a quarter of a large one. Questions have connections of their own.
            self._connection.execute("PRAGMA disable_optimizer")
            self._lock_up()
        except (duckdb.Error, OSError) as error:
            self._drop()
            raise LogUnavailable(f"the analytics file {self.path.name} cannot be opened: {_line(error)}") from error

    def _lock_up(self) -> None:
        """See to it that a question cannot read or write files, load extensions or change this."""
        folder = str(self.exports).replace("'", "''")
        self._connection.execute(f"SET allowed_directories = ['{folder}']")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def _migrate(self) -> None:
        self._connection.execute("CREATE SCHEMA IF NOT EXISTS keeping")
        self._connection.execute("CREATE TABLE IF NOT EXISTS keeping.shape(version BIGINT)")
        row = self._connection.execute("SELECT max(version) FROM keeping.shape").fetchone()
        version = row[0] or 0
        if version > len(SCRIPTS):
            self._drop()
            raise LogUnavailable(
                f"{self.path.name} was written by a newer version of Rejoinder; update, or use another folder"
            )
        for number, script in enumerate(SCRIPTS[version:], version + 1):
            with self._transaction():
                self._connection.execute(script)
                self._connection.execute("INSERT INTO keeping.shape VALUES (?)", [number])
        self._connection.execute(views_script())
        if version == 0:
            made = datetime.now(UTC).replace(tzinfo=None)
            self._connection.execute("INSERT INTO keeping.store VALUES (?, ?)", [uuid.uuid4().hex, made])

    @property
    def exports(self) -> Path:
        """Give the one folder to which DuckDB may write files beside its own."""
        return self.path.parent.resolve() / "exports"

    @property
    def store_id(self) -> str:
        """Give the identity of the file: another file has another one, wherever it lies."""
        return str(self.one("SELECT store_id FROM keeping.store")[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        connection = self._connection
        connection.execute("BEGIN TRANSACTION")
        with contextlib.ExitStack() as undo:
            undo.callback(_roll_back, connection)
            yield connection
            undo.pop_all()
        connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Any]:
        """Give the connection inside a transaction: all or nothing.

        Raises:
            LogUnavailable: It cannot be stored (a full disk, too little memory); nothing was.
        """
        import duckdb

        with self._guard:
            self._ready()
            try:
                with self._transaction() as connection:
                    yield connection
            except duckdb.Error as error:
                self._after_fault(error)
                raise LogUnavailable(f"the analytics cannot be stored: {_line(error)}") from error

    def _ready(self) -> None:
        if self._connection is None:
            self._open()

    def _after_fault(self, error: Exception) -> None:
        """Open the file anew after a fault that DuckDB does not go on from: what was committed is in it."""
        import duckdb

        if isinstance(error, duckdb.FatalException | duckdb.InternalException | duckdb.IOException):
            logger.warning("analytics_reopened", reason=_line(error))
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._epoch += 1
        if connection is not None:
            with contextlib.suppress(*_errors()):
                connection.close()

    def cursor(self) -> Any:
        """Give a connection of one's own to the same file, for one thread; close it.

        Raises:
            LogUnavailable: The file cannot be opened.
        """
        with self._guard:
            self._ready()
            return self._connection.cursor()

    def rows(self, sql: str, arguments: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Give the rows of a question of our own.

        Raises:
            LogUnavailable: It cannot be asked now.
            Stopped: It took too long.
        """
        return self._run(sql, arguments, None).rows

    def tell(self, sql: str, arguments: Sequence[Any] | Mapping[str, Any] = ()) -> Answered:
        """Give the answer to a question of our own with the names of its columns; raises as `rows` does."""
        return self._run(sql, arguments, None)

    def one(self, sql: str, arguments: Sequence[Any] | Mapping[str, Any] = ()) -> tuple[Any, ...]:
        """Give the first row of a question of our own."""
        return self.rows(sql, arguments)[0]

    def ask(self, sql: str, *, rows: int | None = None, timeout_s: float | None = None) -> Answered:
        """Answer a question of somebody else: one statement that only reads.

        Raises:
            NotReadOnly: It is no such statement.
            ValueError: It is wrong; the message says where.
            Stopped: It took too long or wanted too much memory.
            LogUnavailable: The file cannot be read.
        """
        import duckdb

        try:
            statements = duckdb.extract_statements(sql)
        except duckdb.Error as error:
            raise ValueError(_line(error, 6)) from None
        readers = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
        if len(statements) != 1 or statements[0].type not in readers:
            raise NotReadOnly("one SELECT (or EXPLAIN) statement, please: this connection only reads")
        return self._run(sql, (), min(rows or self.limits.rows, self.limits.rows), timeout_s)

    def _run(
        self, sql: str, arguments: Sequence[Any] | Mapping[str, Any], most: int | None, timeout_s: float | None = None
    ) -> Answered:
        import duckdb

        cursor = self.cursor()
        late = threading.Event()

        def stop() -> None:
            late.set()
            cursor.interrupt()

        allowed = min(timeout_s or self.limits.timeout_s, self.limits.timeout_s)
        timer = threading.Timer(allowed, stop)
        timer.daemon = True
        began = time.perf_counter()
        timer.start()
        try:
            # The kind of a statement says little: WITH and EXPLAIN ANALYZE may hold a DELETE. The transaction decides.
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            cursor.execute(sql, arguments if isinstance(arguments, Mapping) else list(arguments))
            found = cursor.fetchall() if most is None else _some(cursor, most)
            shape = [(str(column[0]), str(column[1])) for column in cursor.description or ()]
            cut = most is not None and len(found) > most
            return Answered(
                [n for n, _ in shape], [k for _, k in shape], found[:most], cut, time.perf_counter() - began
            )
        except duckdb.InterruptException as error:
            raise Stopped(f"stopped after {allowed:g} s; ask for less, or for a shorter time range") from error
        except duckdb.OutOfMemoryException as error:
            raise Stopped(f"it wanted more than {self.limits.memory_mb} MB of memory; ask for less") from error
        except (duckdb.FatalException, duckdb.IOException, duckdb.ConnectionException) as error:
            with self._guard:
                self._after_fault(error)
            raise LogUnavailable(f"the analytics cannot be read: {_line(error)}") from error
        except duckdb.Error as error:
            if late.is_set():
                raise Stopped(f"stopped after {allowed:g} s; ask for less, or for a shorter time range") from error
            raise ValueError(_line(error, 6)) from None
        finally:
            timer.cancel()
            with contextlib.suppress(*_errors()):
                cursor.close()

    def copy_out(self, sql: str) -> None:
        """Run a COPY of our own into the folder `exports`.

        Raises:
            LogUnavailable: It cannot be written.
        """
        import duckdb

        cursor = self.cursor()
        try:
            cursor.execute(sql)
        except duckdb.Error as error:
            raise LogUnavailable(f"the export cannot be written: {_line(error)}") from error
        finally:
            cursor.close()

    def erase(self, session_ids: Sequence[str]) -> None:
        """Remove the rows of sessions from every run and take nothing more of them."""
        with self.writing() as connection:
            erase_rows(connection, session_ids)

    def set_prices(self, prices: Sequence[Price]) -> None:
        """Put these prices in the place of those before; the views compute costs by them.

        Raises:
            LogUnavailable: They cannot be stored.
        """
        with self.writing() as connection:
            connection.execute("DELETE FROM keeping.prices")
            if prices:
                connection.executemany("INSERT INTO keeping.prices VALUES (?, ?, ?, ?)", [list(one) for one in prices])

    def close(self) -> None:
        """Close the file, everything in it."""
        with self._guard:
            self._drop()


def _some(cursor: Any, most: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    while len(found) <= most and (more := cursor.fetchmany(min(FETCH_ROWS, most + 1 - len(found)))):
        found += more
    return found


def _roll_back(connection: Any) -> None:
    with contextlib.suppress(*_errors()):
        connection.execute("ROLLBACK")


def _errors() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.Error,)


def _line(error: Exception, lines: int = 1) -> str:
    return "\n".join(str(error).strip().splitlines()[:lines])[:500]
