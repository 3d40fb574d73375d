"""Runs the speaker models beside the dataflow: threads that hear windows, those of one track in order."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog

from flows.native_threads import end_before_exit
from operators.audio_tracks import Samples
from operators.diarization import Heard, hear
from operators.voice_ports import SpeakerSegmenter, VoiceEncoder
from schemas.errors import EngineError, LogError, ModelMissing
from schemas.hops import HopCounts

__all__ = ["Listening", "VoiceModels", "VoiceRoom"]

logger = structlog.get_logger("flows")

MOST_TRIES = 3
AWAY_S = 0.3
FULL_SCALE = np.float32(1 / 32768)


@dataclass(frozen=True, slots=True)
class VoiceModels:
    """The models that tell people apart.

    Attributes:
        segmenter: Gives the model that hears who talks when, loading it when need be.
        encoder: Gives the model whose voice vectors are compared.
        workers: Windows that are heard at the same time.
    """

    segmenter: Callable[[], SpeakerSegmenter]
    encoder: Callable[[], VoiceEncoder]
    workers: int = 1


@dataclass(slots=True, eq=False)
class Listening:
    """One window to hear: from sample `first` to before frame `end`; those of recordings wait for what is live.

    `heard` is set when `done`, and stays None when the models cannot hear it.
    """

    first: int
    end: int
    sound: Callable[[], Samples]
    live: bool = True
    begun: bool = False
    done: bool = False
    dropped: bool = False
    heard: Heard | None = None
    tries: int = 0


class VoiceRoom:
    """Threads that hear windows: live ones first, and first come, first served."""

    def __init__(self, models: VoiceModels) -> None:
        """Start the threads; models are loaded with the first window."""
        self._models = models
        self.counts = HopCounts()
        self._guard = threading.Condition()
        self._live: deque[Listening] = deque()
        self._recorded: deque[Listening] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"voices-{number}", daemon=True)
            for number in range(models.workers)
        ]
        for thread in self._threads:
            thread.start()
        end_before_exit(self)

    def submit(self, window: Listening) -> None:
        """Queue a window; returns at once."""
        with self._guard:
            (self._live if window.live else self._recorded).append(window)
            self._guard.notify()

    @property
    def waiting(self) -> int:
        """How many windows wait for their turn."""
        return len(self._live) + len(self._recorded)

    def _work(self) -> None:
        while True:
            with self._guard:
                while not self._live and not self._recorded and not self._closed:
                    self._guard.wait()
                if self._closed:
                    return
                window = (self._live or self._recorded).popleft()
                window.begun = True
            if not window.dropped:
                self._hear(window)

    def _hear(self, window: Listening) -> None:
        while not self._closed:
            try:
                sound = window.sound().astype(np.float32) * FULL_SCALE
                segmenter, encoder = self._models.segmenter(), self._models.encoder()
                began = time.perf_counter()
                window.heard = hear(sound, window.end, segmenter, encoder)
                self.counts.took("voice_window", time.perf_counter() - began)
            except (EngineError, OSError, MemoryError, RuntimeError, ValueError) as error:
                # Without log or model no window can be heard, so it is waited for; a fault of one window passes.
                if isinstance(error, LogError | ModelMissing):
                    time.sleep(AWAY_S)
                    continue
                window.tries += 1
                if window.tries < MOST_TRIES:
                    continue
                logger.error("window_not_heard", kind=type(error).__name__)
            window.done = True
            return

    def close(self, timeout_s: float = 2.0) -> None:
        """End the threads; windows that wait are asked for again after the next start."""
        with self._guard:
            self._closed = True
            self._live.clear()
            self._recorded.clear()
            self._guard.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)
