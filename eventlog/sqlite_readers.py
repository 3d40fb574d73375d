"""One reading connection per thread, closed when its thread is gone."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from eventlog.sqlite_rows import unavailable
from eventlog.sqlite_schema import open_connection
from schemas.errors import LogUnavailable

__all__ = ["Readers"]


class Readers:
    """Runs queries of any thread on a connection of its own."""

    def __init__(self, path: Path, sync: Literal["normal", "full"]) -> None:
        """Prepare; connections are opened at a thread's first query."""
        self._path, self._sync = path, sync
        self._local = threading.local()
        self._guard = threading.Lock()
        self._open: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._closed = False

    def select(self, sql: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        """Give the rows of a query.

        Raises:
            LogUnavailable: The file cannot be read, or the readers were closed.
        """
        try:
            return self._connection().execute(sql, tuple(arguments)).fetchall()
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            return found
        with self._guard:
            if self._closed:
                raise LogUnavailable("the log is closed")
            for thread, connection in self._open:
                if not thread.is_alive():
                    connection.close()
            self._open = [one for one in self._open if one[0].is_alive()]
            found = open_connection(self._path, self._sync, read_only=True)
            self._open.append((threading.current_thread(), found))
        self._local.connection = found
        return found

    def count(self) -> int:
        """Give how many connections are open."""
        return len(self._open)

    def close(self) -> None:
        """Close every connection."""
        with self._guard:
            self._closed = True
            for _, connection in self._open:
                connection.close()
            self._open.clear()
