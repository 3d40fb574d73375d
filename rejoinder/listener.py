"""Sends a file or the microphone to a running engine and shows what the engine makes of it."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from api.audio_decoding import DecodeLimits, decode_file
from rejoinder.player import Played, Player, Show
from rejoinder.sending import Sending, TrackSender
from schemas.audio import SAMPLE_RATE_HZ
from schemas.errors import ModelMissing

__all__ = ["Listener", "file_frames", "microphone_frames"]

LIVE_S, FAST_S = 0.1, 2.0
SETTLED_S, SETTLE_MOST_S = 2.5, 120.0


def file_frames(path: Path, frame_s: float) -> Iterator[bytes]:
    """Decode a file; gives frames of 16 kHz mono PCM16.

    Raises:
        RecordingRefused: It cannot be decoded.
        OSError: It cannot be read.
    """
    size = 2 * round(SAMPLE_RATE_HZ * frame_s)
    with path.open("rb") as source:
        sound, _ = decode_file(source, DecodeLimits())
    with sound:
        while frame := sound.read(size):
            yield frame


def microphone_frames() -> Iterator[bytes]:
    """Give the microphone's sound as it comes: frames of 16 kHz mono PCM16, for ever.

    Raises:
        ModelMissing: The extra is not installed, or there is no microphone.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the system's PortAudio is missing
        reason = f"the microphone needs: uv sync --extra mic (and the system's libportaudio2): {error}"
        raise ModelMissing(reason) from None
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def take(block: Any, count: int, moment: Any, status: Any) -> None:
        del count, moment, status
        heard.put(bytes(block))

    options = {"samplerate": SAMPLE_RATE_HZ, "channels": 1, "dtype": "int16", "blocksize": SAMPLE_RATE_HZ // 10}
    try:
        with sounddevice.RawInputStream(callback=take, **options):
            while True:
                yield heard.get()
    except sounddevice.PortAudioError as error:
        raise ModelMissing(f"no microphone can be used: {error}") from None


class Listener(Player):
    """Follows a session while its sound is sent."""

    def __init__(self, base_url: str, show: Show, key: str | None = None) -> None:
        """Talk to the engine at `base_url`."""
        super().__init__(base_url, show, key=key)
        self._base_url, self._key = base_url, key
        self._last_event = time.monotonic()
        self._follower: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        self._ended.set()
        self._client.close()
        if self._follower is not None:
            self._follower.join(5)

    def open_session(self, title: str) -> str:
        """Open a session; gives its id.

        Raises:
            httpx.HTTPError: The engine refused, or cannot be reached.
        """
        opened = self._client.post("/api/sessions", json={"title": title}).raise_for_status()
        return str(opened.json()["session_id"])

    def names(self, session_id: str) -> dict[str, str]:
        """Give the names of the participants.

        Raises:
            httpx.HTTPError: No such session, or the engine cannot be reached.
        """
        found = self._client.get(f"/api/sessions/{session_id}").raise_for_status().json()
        return {one["id"]: one["name"] or one["id"] for one in found["participants"]}

    def listen(self, session_id: str, frames: Iterator[bytes], start: dict[str, Any], track: str) -> Played:
        """Send frames, live ones at the pace of their sound, and show the session; Ctrl-C ends the track.

        Raises:
            SendRefused: The engine does not take the sound.
        """
        self._played.session_id = session_id
        self._follower = threading.Thread(target=self._follow, args=(session_id,), daemon=True)
        self._follower.start()
        live = bool(start.get("live", True))
        with TrackSender(Sending(self._base_url, session_id, track, {"format": "pcm16", **start}, self._key)) as sender:
            with suppress(KeyboardInterrupt):
                self._pass_on(frames, sender, paced=live)
            sender.end()
        return self._played

    @staticmethod
    def _pass_on(frames: Iterator[bytes], sender: TrackSender, *, paced: bool) -> None:
        began, sent_s = time.monotonic(), 0.0
        for frame in frames:
            sent_s += len(frame) / 2 / SAMPLE_RATE_HZ
            # A frame is sent when its sound would be over, as a microphone does.
            if paced and (left := sent_s - (time.monotonic() - began)) > 0:
                time.sleep(left)
            sender.send(frame)

    def finish(self, *, end_session: bool) -> Played:
        """Wait until the engine has caught up and every question has its answer; then end the session, if asked to."""
        give_up = time.monotonic() + SETTLE_MOST_S
        while time.monotonic() < give_up and not self._settled():
            time.sleep(0.1)
        if end_session:
            self._client.post(f"/api/sessions/{self._played.session_id}/end").raise_for_status()
            self._ended.wait(6)
        return self._played

    def _settled(self) -> bool:
        with self._lock:
            waiting = set(self._played.questions) - set(self._played.answers)
            quiet = time.monotonic() - self._last_event > SETTLED_S
        if waiting or not quiet:
            return False
        try:
            flows = self._client.get("/api/health").json().get("flows", [])
        except (httpx.HTTPError, ValueError):
            return True  # nobody is there to wait for
        return all(flow.get("behind_s", 0) < 1 for flow in flows)

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] != "lag":
            self._last_event = time.monotonic()
        if event["type"] == "caption" and event["final"] and not event["revision"]:
            self._played.captions += 1
        super()._take(event)
