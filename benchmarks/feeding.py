"""Sessions that are fed sound on one engine, and their captions with the moments at which they came."""

import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.audio_decoding import read_recording
from eventlog.records import new_record
from rejoinder.engine import Engine
from rejoinder.evaluation.hearing import wait_until_quiet
from rejoinder.evaluation.recordings import recordings_in
from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.base import derive_id
from schemas.codec import decode
from schemas.meeting import MeetingClosed, MeetingOpened
from schemas.speech import Caption

__all__ = ["CHUNK", "Feeding", "Final", "Samples", "sound_in"]

CHUNK = SAMPLE_RATE_HZ // 10
LOOK_S = 0.02
READ = 2_000

Samples = NDArray[np.int16]


def sound_in(folder: Path) -> Samples:
    """Give all recordings of a folder, or one file, one after the other: 16 kHz mono.

    Raises:
        LogUnavailable: There are none.
        RecordingRefused: One cannot be decoded.
    """
    return np.concatenate([np.frombuffer(read_recording(one.path), "<i2") for one in recordings_in(folder)])


@dataclass(frozen=True, slots=True)
class Final:
    """A final caption with words.

    Attributes:
        session: Whose.
        end_s: End of its last word on the session's clock.
        words: How many it has.
        wait_s: From the moment at which that end was sent until the caption lay in the log.
    """

    session: str
    end_s: float
    words: int
    wait_s: float


class Feeding:
    """Feeds sessions; follows the topic of captions in a thread. Use it as a context."""

    def __init__(self, engine: Engine, sessions: Sequence[str]) -> None:
        """Open the sessions."""
        self.engine, self.sessions = engine, list(sessions)
        self.finals: list[Final] = []
        self.partials = 0
        self._sent: dict[str, list[tuple[int, float]]] = {name: [] for name in sessions}
        self._places = {n: engine.log.end("captions", n) for n in range(engine.log.partitions("captions"))}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        now = datetime.now(UTC)
        opened = [
            MeetingOpened(
                session_id=name, event_id=derive_id(name, "opened"), created_at=now, owner_id="benchmark", language="en"
            )
            for name in sessions
        ]
        engine.log.append([new_record("meeting", one) for one in opened])

    def __enter__(self) -> "Feeding":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(10)
        now = datetime.now(UTC)
        closed = [
            MeetingClosed(session_id=name, event_id=derive_id(name, "closed"), created_at=now) for name in self.sessions
        ]
        self.engine.log.append([new_record("meeting", one) for one in closed])

    def send(self, sounds: Sequence[Samples], *, last: bool = False) -> None:
        """Append the next chunk of each session, of any length up to 10 s."""
        records = []
        for name, sound in zip(self.sessions, sounds, strict=True):
            sent = self._sent[name]
            number, start = len(sent), sent[-1][0] if sent else 0
            chunk = AudioChunk(
                session_id=name, event_id=derive_id(name, "audio", number), created_at=datetime.now(UTC), track="room",
                sequence=number, start_sample=start, pcm=sound.astype("<i2").tobytes(), last=last,
            )  # fmt: skip
            records.append(new_record("audio", chunk))
        self.engine.log.append(records)
        for name, sound in zip(self.sessions, sounds, strict=True):
            sent = self._sent[name]
            sent.append(((sent[-1][0] if sent else 0) + len(sound), time.monotonic()))

    def in_real_time(self, sounds: Sequence[Samples], *, last: bool = True) -> None:
        """Send sounds of one length as microphones do."""
        began, count = time.monotonic(), len(sounds[0]) // CHUNK
        for number in range(count):
            due_s = began + (number + 1) * CHUNK / SAMPLE_RATE_HZ
            time.sleep(max(0.0, due_s - time.monotonic()))
            part = slice(number * CHUNK, (number + 1) * CHUNK)
            self.send([sound[part] for sound in sounds], last=last and number == count - 1)

    def settle(self) -> None:
        """Wait until everything sent is written down."""
        wait_until_quiet(self.engine, lambda: len(self.finals) + self.partials)

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_S):
            for partition, start in list(self._places.items()):
                found = self.engine.log.read("captions", partition, start, READ)
                now_s = time.monotonic()
                for record in found:
                    self._take(decode("captions", record.value), now_s)
                if found:
                    self._places[partition] = found[-1].offset + 1

    def _take(self, record: object, now_s: float) -> None:
        if not isinstance(record, Caption) or record.session_id not in self._sent or record.revision:
            return
        if not record.final:
            self.partials += 1
        elif record.words:
            end_s = record.words[-1].end_s
            sent = self._sent[record.session_id]
            at = min(len(sent) - 1, bisect_left(sent, (int(end_s * SAMPLE_RATE_HZ), 0.0)))
            self.finals.append(Final(record.session_id, end_s, len(record.words), now_s - sent[at][1]))
