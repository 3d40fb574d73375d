"""Plays a recorded meeting through the public HTTP API and shows what the engine makes of it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from rejoinder.demo.meetings import Meeting

__all__ = ["Played", "Player", "Show", "events_of", "percentile"]

SETTLE_S = 6.0
Show = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Played:
    """What came of a played meeting; the waits are wall-clock milliseconds.

    A wait runs from the moment the last caption of a question was sent until the first piece of its answer
    came back to this client: it holds the pause by which the engine knows that the question is over.
    """

    session_id: str = ""
    captions: int = 0
    questions: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    waits_ms: list[float] = field(default_factory=list)


def percentile(values: list[float], share: float) -> float | None:
    """Give the value below which a share of the values lies, None when there are none.

    >>> percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def events_of(lines: Iterator[str]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Read server-sent events from lines; gives the id (None when it has none) and the data."""
    cursor: str | None = None
    text: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            text.append(line[5:].strip())
        elif line.startswith("id:"):
            cursor = line[3:].strip()
        elif not line and text:
            yield cursor, json.loads("\n".join(text))
            cursor, text = None, []


class Player:
    """Sends a meeting's documents and captions to an engine, and follows the session's stream."""

    def __init__(self, base_url: str, show: Show, speed: float = 8.0, key: str | None = None) -> None:
        """Play to the engine at `base_url`, `speed` times faster than recorded."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=30.0, trust_env=False)
        self._show, self._speed = show, speed
        self._played = Played()
        self._sent_at: dict[str, float] = {}
        self._first_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def play(self, meeting: Meeting) -> Played:
        """Play a meeting to its end; gives what came of it.

        Raises:
            httpx.HTTPError: The engine refused something or cannot be reached.
        """
        self._add_documents(meeting)
        opened = self._client.post(
            "/api/sessions",
            json={
                "kind": meeting.kind,
                "title": meeting.title,
                "participants": list(meeting.participants),
                "language": meeting.language,
                "collections": [meeting.collection] if meeting.documents else [],
            },
        ).raise_for_status()
        session_id = self._played.session_id = opened.json()["session_id"]
        follower = threading.Thread(target=self._follow, args=(session_id,), daemon=True)
        follower.start()
        self._send(session_id, meeting)
        self._wait_for_answers()
        self._client.post(f"/api/sessions/{session_id}/end").raise_for_status()
        self._ended.wait(SETTLE_S)
        self._client.close()
        with self._lock:
            return self._played

    def _add_documents(self, meeting: Meeting) -> None:
        for document in meeting.documents:
            if document.source == "resume":
                self._client.post("/api/resume", json={"text": document.text}).raise_for_status()
            else:
                body = {"collection": meeting.collection, "title": document.title, "text": document.text}
                self._client.post("/api/knowledge", json=body).raise_for_status()

    def _send(self, session_id: str, meeting: Meeting) -> None:
        began = time.monotonic()
        for caption in meeting.captions:
            left = caption["end_s"] / self._speed - (time.monotonic() - began)
            if left > 0:
                time.sleep(left)
            with self._lock:
                self._sent_at[caption["caption_id"]] = time.monotonic()
            self._client.post(f"/api/sessions/{session_id}/captions", json={"captions": [caption]}).raise_for_status()
            self._played.captions += 1

    def _wait_for_answers(self) -> None:
        end = time.monotonic() + 60.0
        quiet_until = time.monotonic() + 1.5
        while time.monotonic() < end:
            with self._lock:
                open_ = set(self._played.questions) - set(self._played.answers)
            if not open_ and time.monotonic() > quiet_until:
                return
            time.sleep(0.05)

    def _follow(self, session_id: str) -> None:
        """Follow the stream; after a drop, go on from the last id."""
        cursor: str | None = None
        for _ in range(50):
            if self._client.is_closed:
                return
            headers = {"Last-Event-ID": cursor} if cursor else {}
            try:
                with self._client.stream("GET", f"/api/sessions/{session_id}/stream", headers=headers) as reply:
                    if reply.status_code != 200:
                        return
                    for at, event in events_of(reply.iter_lines()):
                        cursor = at or cursor
                        self._take(event)
                        if event["type"] == "end":
                            self._ended.set()
                            return
            except (httpx.TransportError, RuntimeError):
                time.sleep(0.2)

    def _take(self, event: dict[str, Any]) -> None:
        with self._lock:
            match event["type"]:
                case "question":
                    self._played.questions[event["question_id"]] = event
                case "answer_delta":
                    self._first_piece(event)
                case "answer":
                    self._played.answers[event["question_id"]] = event
                case "answer_failed" if event["reason"] != "superseded":
                    self._played.answers[event["question_id"]] = event
                case _:
                    pass
        self._show(event)

    def _first_piece(self, event: dict[str, Any]) -> None:
        if event["answer_id"] in self._first_at:
            return
        self._first_at[event["answer_id"]] = time.monotonic()
        question = self._played.questions.get(event["question_id"])
        sent = [self._sent_at[one] for one in (question or {}).get("caption_ids", []) if one in self._sent_at]
        if sent:
            self._played.waits_ms.append((time.monotonic() - max(sent)) * 1000)
