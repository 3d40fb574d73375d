"""How commands on this machine ask while another process owns the file: loopback HTTP, its key in a private file."""

import hmac
import http.client
import http.server
import json
import os
import secrets
import threading
from pathlib import Path
from typing import Any

from rejoinder.analytics.export import export_views
from rejoinder.analytics.plain import plain
from rejoinder.analytics.store import AnalyticsStore, Answered, Stopped
from schemas.errors import LogUnavailable

__all__ = ["LocalDoor", "ask_owner"]

MOST_BYTES = 1_000_000
KINDS: dict[str, type[Exception]] = {"wrong": ValueError, "stopped": Stopped, "unavailable": LogUnavailable}


def _note(store_path: Path) -> Path:
    return store_path.parent / "owner.json"


class LocalDoor:
    """Answers ``sql`` and ``export`` for whoever can read the owner's private file."""

    def __init__(self, store: AnalyticsStore) -> None:
        """Bind a free port of loopback."""
        self._store, self._key = store, secrets.token_urlsafe(24)
        door = self

        class Asked(http.server.BaseHTTPRequestHandler):
            timeout = 60

            def do_POST(self) -> None:
                given = self.headers.get("authorization", "")
                size = self.headers.get("content-length", "")
                if not hmac.compare_digest(given.encode(), f"Bearer {door._key}".encode()):
                    self._reply(401, {"error": "wrong", "detail": "not the key of this owner"})
                elif not size.isdigit() or int(size) > MOST_BYTES:
                    self._reply(413, {"error": "wrong", "detail": "the request is too large"})
                else:
                    self._reply(200, door.answer(self.rfile.read(int(size))))

            def _reply(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing: a question may hold anything."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="local-door", daemon=True)

    def start(self) -> None:
        """Answer from now on, and say where in a file that only this user can read."""
        note = _note(self._store.path)
        fresh = note.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"port": self._server.server_port, "key": self._key}, file)
        fresh.replace(note)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        _note(self._store.path).unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: bytes) -> dict[str, Any]:
        """Give the reply to one request."""
        try:
            asked = json.loads(body)
            if asked["what"] == "export":
                return {"export": export_views(self._store, Path(asked["folder"]))}
            found = self._store.ask(asked["sql"], rows=asked["rows"], timeout_s=asked["timeout_s"])
        except LogUnavailable as error:
            return {"error": "unavailable", "detail": str(error)}
        except Stopped as error:
            return {"error": "stopped", "detail": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": "wrong", "detail": str(error)}
        rows = [[plain(value) for value in row] for row in found.rows]
        return {
            "columns": found.columns,
            "types": found.types,
            "rows": rows,
            "cut": found.cut,
            "seconds": found.seconds,
        }


def ask_owner(store_path: Path, asked: dict[str, Any], timeout_s: float) -> Answered | dict[str, int]:
    """Ask the process that owns the file.

    Raises:
        LogUnavailable: No process answers.
        ValueError: The question is wrong.
        Stopped: It took too long.
    """
    try:
        note = json.loads(_note(store_path).read_text())
        connection = http.client.HTTPConnection("127.0.0.1", note["port"], timeout=timeout_s + 5)
        connection.request("POST", "/", json.dumps(asked), {"authorization": f"Bearer {note['key']}"})
        reply = json.loads(connection.getresponse().read())
        connection.close()
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        raise LogUnavailable(f"the process that owns the analytics does not answer: {type(error).__name__}") from error
    if "error" in reply:
        raise KINDS[reply["error"]](reply["detail"])
    if "export" in reply:
        return dict(reply["export"])
    rows = [tuple(row) for row in reply["rows"]]
    return Answered(reply["columns"], reply["types"], rows, reply["cut"], reply["seconds"])
