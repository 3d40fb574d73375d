"""API keys: made once, shown once, stored as a hash."""

import hashlib
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from api.deps import Caller
from rejoinder.migrations import open_database
from schemas.errors import NotSignedIn

__all__ = ["ApiKey", "KeyStore"]

SCRIPTS = (
    """CREATE TABLE api_keys(
        key_id TEXT PRIMARY KEY, name TEXT NOT NULL, owner_id TEXT NOT NULL, digest TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL, revoked_at TEXT)""",
    "ALTER TABLE api_keys ADD COLUMN operator INTEGER NOT NULL DEFAULT 0",
)
LOCAL_OWNER = "local"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is listed; the key itself is not kept."""

    key_id: str
    name: str
    owner_id: str
    created_at: str
    revoked_at: str | None
    operator: bool = False


class KeyStore:
    """Keys in a SQLite file; knows the caller of a token.

    A token holds 256 random bits, so one fast hash is enough: there is nothing to guess that a slow one
    would protect, and every request pays for the check.
    """

    def __init__(self, path: Path, *, key_required: bool) -> None:
        """Open the file; without `key_required`, a request without a key is the local user's, who is the operator."""
        self._connection = open_database(path, SCRIPTS)
        self._lock = threading.Lock()
        self._key_required = key_required

    def create(self, name: str, owner_id: str = LOCAL_OWNER, *, operator: bool = False) -> tuple[ApiKey, str]:
        """Make a key, with `operator` one for whoever runs the engine; gives it and its token, shown this once."""
        token = "rj_" + secrets.token_urlsafe(32)
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        key = ApiKey(secrets.token_hex(4), name, owner_id, made_at, None, operator)
        with self._lock:
            self._connection.execute(
                "INSERT INTO api_keys(key_id, name, owner_id, digest, created_at, operator) VALUES (?,?,?,?,?,?)",
                (key.key_id, name, owner_id, _digest(token), key.created_at, operator),
            )
        return key, token

    def everything(self) -> list[ApiKey]:
        """Give all keys, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT key_id, name, owner_id, created_at, revoked_at, operator FROM api_keys"
                " ORDER BY created_at, key_id"
            ).fetchall()
        return [
            ApiKey(key_id, name, owner_id, made_at, revoked_at, bool(operator))
            for key_id, name, owner_id, made_at, revoked_at, operator in rows
        ]

    def revoke(self, key_id: str) -> bool:
        """Make a key worthless from now on; gives whether there was such a key."""
        with self._lock:
            done = self._connection.execute(
                "UPDATE api_keys SET revoked_at=? WHERE key_id=? AND revoked_at IS NULL",
                (datetime.now(UTC).isoformat(timespec="seconds"), key_id),
            )
            return done.rowcount > 0

    def caller(self, token: str | None) -> Caller:
        """Give the caller of a token; see `api.deps.CallerCheck`."""
        if token is None:
            if self._key_required:
                raise NotSignedIn("send an API key: Authorization: Bearer rj_...")
            return Caller(LOCAL_OWNER, operator=True)
        with self._lock:
            row = self._connection.execute(
                "SELECT owner_id, operator FROM api_keys WHERE digest=? AND revoked_at IS NULL", (_digest(token),)
            ).fetchone()
        if row is None:
            raise NotSignedIn("that key is unknown or revoked")
        return Caller(row[0], operator=bool(row[1]))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
