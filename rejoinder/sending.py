"""Sends one track of sound to a running engine, through lost connections, without a gap or a repeat."""

import json
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

__all__ = ["SendRefused", "Sending", "TrackSender"]

IN_FLIGHT = 64
GIVE_UP_S = 120.0
FOR_GOOD = frozenset({4400, 4401, 4403, 4404, 4409, 4410, 4413, 4422, 1009})


class SendRefused(Exception):
    """The engine does not take this sound; the message says why."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What is sent where.

    Attributes:
        base_url: Of the engine, such as http://127.0.0.1:8080.
        session_id: The session.
        track: The name of the track.
        key: The API key, if one is needed.
        start: What the start message says besides its type.
    """

    base_url: str
    session_id: str
    track: str
    start: dict[str, Any]
    key: str | None = None

    @property
    def address(self) -> str:
        """Give the address of the WebSocket."""
        parts = urlsplit(self.base_url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        path = f"{parts.path.rstrip('/')}/api/sessions/{quote(self.session_id, safe='')}/audio"
        return f"{scheme}://{parts.netloc}{path}?track={quote(self.track, safe='')}"


class TrackSender:
    """Takes PCM16 frames, keeps each until it is acknowledged, and connects again when the connection is lost."""

    def __init__(self, sending: Sending, give_up_s: float = GIVE_UP_S) -> None:
        """Start to connect; nothing is raised before `send` or `end`."""
        self._sending, self._give_up_s = sending, give_up_s
        self._frames: deque[bytes] = deque()
        self._first = 0  # the number of the oldest frame that is kept
        self._told = 0  # the number of the next frame to be sent on this connection
        self._over = False
        self._ended = threading.Event()
        self._failed: SendRefused | None = None
        self._changed = threading.Condition(threading.RLock())
        self._socket: ClientConnection | None = None
        self.stored_s = 0.0
        self.connections = 0
        self._thread = threading.Thread(target=self._run, name="track-sender", daemon=True)
        self._thread.start()

    def send(self, frame: bytes) -> None:
        """Take a frame; waits while many are unacknowledged.

        Raises:
            SendRefused: The engine takes no more, or cannot be reached for too long.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._frames) < IN_FLIGHT or self._failed is not None)
            self._check()
            self._frames.append(frame)
            self._changed.notify_all()

    def end(self, timeout_s: float = 60.0) -> None:
        """Say that nothing more comes, and wait until everything is stored.

        Raises:
            SendRefused: As `send`.
        """
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if not self._ended.wait(timeout_s) and self._failed is None:
            self._failed = SendRefused("the engine did not acknowledge the last sound in time")
        self._check()

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Hang up; what is not acknowledged is lost."""
        with self._changed:
            self._failed = self._failed or SendRefused("the sender was closed")
            self._changed.notify_all()
        if self._socket is not None:
            self._socket.close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        self.close()

    def _run(self) -> None:
        lost_at, wait_s = time.monotonic(), 0.1
        while self._failed is None and not self._ended.is_set():
            reason, before = "", self._acknowledged
            try:
                self._connect()
            except ConnectionClosed as closed:
                code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
                if code in FOR_GOOD:
                    self._fail(reason or f"the engine closed the connection ({code})")
                    return
            except (OSError, WebSocketException, TimeoutError) as error:
                reason = str(error)
            if self._acknowledged > before:
                lost_at, wait_s = time.monotonic(), 0.1
            if self._ended.is_set():
                return
            if time.monotonic() - lost_at > self._give_up_s:
                self._fail(f"the engine cannot be reached: {reason}")
                return
            with self._changed:
                self._changed.wait_for(lambda: self._failed is not None, wait_s)
            wait_s = min(5.0, 2 * wait_s)

    @property
    def _acknowledged(self) -> int:
        return self._first

    def _fail(self, reason: str) -> None:
        with self._changed:
            self._failed = self._failed or SendRefused(reason)
            self._ended.set()
            self._changed.notify_all()

    def _connect(self) -> None:
        headers = {"Authorization": f"Bearer {self._sending.key}"} if self._sending.key else {}
        address = self._sending.address
        with connect(address, additional_headers=headers, compression=None, open_timeout=10, proxy=None) as socket:
            socket.send(json.dumps({"type": "start", **self._sending.start}))
            ready = self._heard(socket.recv(20))
            if ready["type"] != "ready":
                socket.recv(20)  # the reason follows as the close of the connection
            if ready.get("ended"):
                if self.connections == 0:
                    self._fail("the track has ended; send on a track of another name")
                self._ended.set()
                return
            with self._changed:
                if ready["next"] < self._first:
                    self._fail("the engine asks for sound that it had acknowledged")
                    return
                if self.connections == 0:
                    self._first = ready["next"]  # the track was begun by somebody before us
                self._told = ready["next"]
                self.connections += 1
            self._socket = socket
            listening = threading.Thread(target=self._listen, args=(socket,), daemon=True)
            listening.start()
            self._speak(socket, listening)
            listening.join(20)
            socket.recv(0.1)  # raises how the connection ended

    @staticmethod
    def _heard(text: str | bytes) -> dict[str, Any]:
        return dict(json.loads(text))

    def _listen(self, socket: ClientConnection) -> None:
        """Take acknowledgements until the connection ends."""
        try:
            for text in socket:
                self._take(self._heard(text))
        except ConnectionClosed:
            pass
        finally:
            with self._changed:
                self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        with self._changed:
            if message["type"] in ("ack", "ended", "resend"):
                self.stored_s = message["stored_s"]
                while self._frames and self._first < message["keep"]:
                    self._frames.popleft()
                    self._first += 1
            if message["type"] == "resend":
                self._told = message["next"]
            elif message["type"] == "ended":
                self._ended.set()
            self._changed.notify_all()

    def _speak(self, socket: ClientConnection, listening: threading.Thread) -> None:
        """Send what there is until the connection or the track ends."""
        end_told = False
        while not end_told:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._unsent or self._over or self._failed is not None or not listening.is_alive()
                )
                if self._failed is not None or not listening.is_alive():
                    return
                number, frame = self._told, self._frames[self._told - self._first] if self._unsent else None
                self._told += frame is not None
            if frame is not None:
                socket.send(number.to_bytes(8, "big") + frame)
            else:
                socket.send(json.dumps({"type": "end"}))
                end_told = True

    @property
    def _unsent(self) -> bool:
        return self._told < self._first + len(self._frames)
