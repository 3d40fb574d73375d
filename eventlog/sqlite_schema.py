"""The tables of the embedded log, their versions and how a connection to them is opened."""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from schemas.errors import LogUnavailable

__all__ = ["empty_wal", "open_connection", "prepare", "run_scripts"]

OPEN_WAIT_S = 5.0

# Topics are stored by their number in schemas.topics.TOPICS: new ones are added at its end, none is moved.
MIGRATIONS = (
    """
    CREATE TABLE records(
        offset INTEGER PRIMARY KEY, topic INTEGER NOT NULL, key TEXT NOT NULL, event_id TEXT NOT NULL,
        at_s REAL NOT NULL, value BLOB NOT NULL, UNIQUE(topic, event_id));
    CREATE INDEX records_by_topic ON records(topic, offset);
    CREATE INDEX records_by_key ON records(key, offset);
    CREATE TABLE high_water(offset INTEGER NOT NULL);
    INSERT INTO high_water VALUES (0);
    CREATE TABLE erased(key TEXT PRIMARY KEY, at_s REAL NOT NULL);
    CREATE TABLE trimmed(topic INTEGER PRIMARY KEY, offset INTEGER NOT NULL);
    """,
    "CREATE INDEX records_by_time ON records(at_s)",
    "ALTER TABLE records ADD COLUMN trace TEXT",
)


def open_connection(path: Path, sync: Literal["normal", "full"], *, read_only: bool = False) -> sqlite3.Connection:
    """Open the file in write-ahead mode with the given durability; usable from one thread at a time."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=OPEN_WAIT_S)
    _write_ahead(connection)
    connection.execute(f"PRAGMA synchronous={'FULL' if sync == 'full' else 'NORMAL'}")
    connection.execute("PRAGMA secure_delete=ON")
    if read_only:
        connection.execute("PRAGMA query_only=ON")
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead mode; SQLite does not wait for its lock here, so many who open a new file at once must."""
    end = time.monotonic() + OPEN_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version.

    Raises:
        LogUnavailable: The file was written by a newer version of this program.
    """
    run_scripts(connection, path, MIGRATIONS)


def run_scripts(connection: sqlite3.Connection, path: Path, scripts: Sequence[str]) -> None:
    """Run the numbered scripts that a file has not seen, all or none; several processes may do so at once.

    Raises:
        LogUnavailable: The file was written by a newer version of this program.
    """
    # The version is read inside the transaction: whoever comes second waits, and finds nothing left to do.
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(scripts):
        connection.execute("ROLLBACK")
        connection.close()
        raise LogUnavailable(f"{path.name} was written by a newer version of Rejoinder; update, or use another folder")
    for script in scripts[version:]:
        for statement in script.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={len(scripts)}")
    connection.execute("COMMIT")


def empty_wal(connection: sqlite3.Connection) -> int:
    """Bring the overwritten pages into the file and cut the write-ahead log, where the old ones still lie."""
    for _ in range(20):
        if not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            break
        time.sleep(0.01)
    return 0
