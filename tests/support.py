"""A running engine for tests: the real one, on loopback, and a client that follows a stream."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from rejoinder.engine import Engine
from rejoinder.player import events_of
from rejoinder.serving import serving
from rejoinder.settings import Settings


@contextmanager
def running(settings: Settings, **more: Any) -> Iterator[httpx.Client]:
    """Give a client of a running engine."""
    with (
        Engine(settings, **more) as engine,
        serving(engine) as served,
        httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=20, trust_env=False) as client,
    ):
        yield client


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until a condition holds; gives what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


class Follower:
    """Follows a session's stream in a thread and keeps its events."""

    def __init__(self, base_url: Any, session_id: str, start: str = "start", until: str = "end") -> None:
        self.events: list[tuple[str | None, dict[str, Any]]] = []
        self._url, self._session, self._start, self._until = str(base_url), session_id, start, until
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        url = f"{self._url}/api/sessions/{self._session}/stream?from={self._start}"
        with httpx.stream("GET", url, timeout=30, trust_env=False) as reply:
            for event in events_of(reply.iter_lines()):
                self.events.append(event)
                if event[1]["type"] == self._until:
                    return

    def types(self) -> list[str]:
        return [event["type"] for _, event in self.events]

    def recorded(self) -> list[tuple[str | None, dict[str, Any]]]:
        """Give the events that are records of the log."""
        return [event for event in self.events if event[0] is not None]


def open_session(client: httpx.Client, **body: Any) -> str:
    """Open a session; gives its id."""
    people = [{"id": "ann", "name": "Ann", "role": "interviewer"}, {"id": "me", "name": "Me", "is_user": True}]
    reply = client.post("/api/sessions", json={"participants": people, **body})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["session_id"])


def say(client: httpx.Client, session_id: str, *captions: tuple[str, str, float, float, str]) -> httpx.Response:
    """Post final captions: (id, speaker, start, end, text)."""
    body = [
        {"caption_id": one[0], "speaker": one[1], "start_s": one[2], "end_s": one[3], "text": one[4]}
        for one in captions
    ]
    return client.post(f"/api/sessions/{session_id}/captions", json={"captions": body})


def complete(client: httpx.Client, session_id: str) -> int:
    """Give how many questions of a session have their answer."""
    rows = client.get(f"/api/sessions/{session_id}/answers").json()["answers"]
    return sum(row["status"] == "complete" for row in rows)
