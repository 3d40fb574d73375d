"""The tables of the embedded log, their versions and how a connection to them is opened."""

import sqlite3
from pathlib import Path
from typing import Literal

from schemas.errors import LogUnavailable

__all__ = ["open_connection", "prepare"]

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
)


def open_connection(path: Path, sync: Literal["normal", "full"], *, read_only: bool = False) -> sqlite3.Connection:
    """Open the file in write-ahead mode with the given durability; usable from one thread at a time."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={'FULL' if sync == 'full' else 'NORMAL'}")
    connection.execute("PRAGMA secure_delete=ON")
    if read_only:
        connection.execute("PRAGMA query_only=ON")
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version.

    Raises:
        LogUnavailable: The file was written by a newer version of this program.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        connection.close()
        raise LogUnavailable(f"{path.name} was written by a newer version of Rejoinder; update, or use another folder")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version={number}; COMMIT;")
