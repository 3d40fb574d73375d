"""Brings a SQLite file to its newest shape: numbered scripts, each run once, in order."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from eventlog.sqlite_schema import run_scripts
from schemas.errors import LogUnavailable

__all__ = ["open_database"]


def open_database(path: Path, scripts: Sequence[str]) -> sqlite3.Connection:
    """Open a file (making it when missing) and run the scripts it has not seen.

    Raises:
        LogUnavailable: The file was written by a newer version, or cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA secure_delete=ON")
        run_scripts(connection, path, scripts)
    except (sqlite3.Error, OSError) as error:
        raise LogUnavailable(f"{path.name} cannot be opened: {error}") from error
    return connection
