"""The documents as they were given."""

import sqlite3
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rejoinder.knowledge.cutting import Document
from rejoinder.migrations import open_database

__all__ = ["Documents", "now_text"]

SCRIPTS = (
    """CREATE TABLE documents(
        document_id TEXT PRIMARY KEY, owner_id TEXT NOT NULL, collection TEXT NOT NULL, title TEXT NOT NULL,
        source TEXT NOT NULL, text TEXT NOT NULL, added_at TEXT NOT NULL);
    CREATE UNIQUE INDEX documents_by_title ON documents(owner_id, collection, title);
    CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL)""",
    "ALTER TABLE documents ADD COLUMN pieces INTEGER NOT NULL DEFAULT -1",
)
_COLUMNS = "document_id, owner_id, collection, title, source, text, added_at"


class Documents:
    """The documents in a SQLite file; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open the file; see `open_database` for what is raised."""
        self._connection = open_database(path, SCRIPTS)
        self._lock = threading.Lock()

    def put(self, document: Document, pieces: int) -> list[str]:
        """Store a document that was cut into so many pieces.

        Returns:
            The ids of the documents it replaces: same owner, collection and title.
        """
        with self._lock:
            old = self._connection.execute(
                "SELECT document_id FROM documents WHERE owner_id=? AND collection=? AND title=? AND document_id<>?",
                (document.owner_id, document.collection, document.title, document.document_id),
            ).fetchall()
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM documents WHERE document_id=?", old)
            self._connection.execute(
                f"INSERT OR REPLACE INTO documents({_COLUMNS}, pieces) VALUES (?,?,?,?,?,?,?,?)",  # noqa: S608
                (
                    document.document_id,
                    document.owner_id,
                    document.collection,
                    document.title,
                    document.source,
                    document.text,
                    document.added_at,
                    pieces,
                ),
            )
            self._connection.execute("COMMIT")
        return [row[0] for row in old]

    def count_pieces(self, counts: Mapping[str, int]) -> None:
        """Note into how many pieces documents were cut; one that is gone stays gone."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            rows = [(count, document_id) for document_id, count in counts.items()]
            self._connection.executemany("UPDATE documents SET pieces=? WHERE document_id=?", rows)
            self._connection.execute("COMMIT")

    def piece_count(self) -> int:
        """Give how many pieces all documents have together."""
        with self._lock:
            return int(self._connection.execute("SELECT total(pieces) FROM documents").fetchone()[0])

    def get(self, document_id: str) -> Document | None:
        """Give a document, or None."""
        found = self._rows("WHERE document_id=?", (document_id,))
        return found[0] if found else None

    def of_owner(self, owner_id: str) -> list[Document]:
        """Give an owner's documents, newest first."""
        return self._rows("WHERE owner_id=? ORDER BY added_at DESC, title", (owner_id,))

    def everything(self) -> list[Document]:
        """Give all documents."""
        return self._rows("ORDER BY document_id", ())

    def _rows(self, rest: str, arguments: tuple[str, ...]) -> list[Document]:
        with self._lock:
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM documents {rest}", arguments).fetchall()  # noqa: S608
        return [Document(*row) for row in rows]

    def remove(self, document_id: str) -> bool:
        """Remove a document; gives whether it was there."""
        with self._lock:
            return self._connection.execute("DELETE FROM documents WHERE document_id=?", (document_id,)).rowcount > 0

    def setting(self, name: str, value: str | None = None) -> str | None:
        """Give a stored value; store it first when one is given."""
        with self._lock:
            if value is not None:
                self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))
            row = self._connection.execute("SELECT value FROM settings WHERE name=?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def version(self) -> int:
        """Give a number that changes whenever another process changed the file."""
        with self._lock:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            try:
                self._connection.close()
            except sqlite3.Error:
                return


def now_text() -> str:
    """Give the present moment as text."""
    return datetime.now(UTC).isoformat()
