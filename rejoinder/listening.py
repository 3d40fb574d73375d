"""Sound in the engine's process: the captions flow, started with the first sound, and how long sound is kept."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from eventlog.base import EventLog
from flows.captions import SoundNeeds
from flows.run import FlowOptions, FlowRunner
from models.shelf import ModelShelf
from operators.tracing import Tracer
from rejoinder.settings import Settings
from rejoinder.speech import Speech, speech_shelf, speech_wanted
from rejoinder.voices import SpeakerModels, speakers_wanted
from schemas.errors import EngineError, LogError
from schemas.hops import HopShown
from schemas.progress import FlowProgress

__all__ = ["AudioRetention", "Listening"]

logger = structlog.get_logger("engine")

LOOK_S = 0.1
TRIM_EVERY_S = 2.0
SETTLE_S = 10.0
"""Sound that a flow no longer needs may still be needed by its last snapshot, should it be killed: a snapshot is taken
every half a second by default, so ten seconds are many of them."""


@dataclass(slots=True)
class _Reader:
    """A flow that reads sound: gives the producer time before which it needs none, 0 = not known."""

    before_s: Callable[[], float]


class AudioRetention:
    """Removes sound that is older than it is to be kept and that no flow needs any more."""

    def __init__(self, log: EventLog, keep_s: float, settle_s: float = SETTLE_S) -> None:
        """Keep sound for `keep_s` seconds, and until every reader is done with it and `settle_s` longer."""
        self._log, self._keep_s, self._settle_s = log, keep_s, settle_s
        self._readers: list[_Reader] = []
        self._seen: list[tuple[float, float]] = []

    def add_reader(self, before_s: Callable[[], float]) -> None:
        """Wait for this flow as well; see `flows.captions.SoundNeeds.before_s`."""
        self._readers.append(_Reader(before_s))

    def trim(self, now_s: float) -> int:
        """Remove what may go at a time, seconds since 1970; gives how many chunks."""
        needed_s = min((reader.before_s() for reader in self._readers), default=now_s)
        self._seen.append((now_s, needed_s))
        settled = [needed for at, needed in self._seen if at <= now_s - self._settle_s]
        self._seen = self._seen[max(0, len(settled) - 1) :]
        if not settled:
            return 0
        # The least of what was needed lately: a flow that just began anew does not know yet what it needs.
        done_s = min(needed for _, needed in self._seen)
        return self._log.trim("audio", min(done_s, now_s - self._keep_s))


class Listening:
    """The flows that listen, in a thread and a dataflow of their own.

    A Bytewax dataflow costs a few hundredths of a core even when it idles, and models take memory: neither is spent
    before the first sound lies in the log.
    """

    def __init__(self, settings: Settings, log: EventLog, tracer: Tracer | None = None) -> None:
        """Prepare; nothing runs before `start`."""
        self._settings, self._log, self._tracer = settings, log, tracer
        self.wanted = speech_wanted(settings)
        self.shelf: ModelShelf = speech_shelf(settings)
        self.retention = AudioRetention(log, settings.audio_retention_h * 3600)
        self._needs = SoundNeeds()
        self._speech: Speech | None = None
        self._runner: FlowRunner | None = None
        self.speakers = ListeningForSpeakers(settings, log)
        self._failure = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listening", daemon=True)

    def start(self) -> None:
        """Wait for sound, in a thread."""
        if self.wanted:
            # A flow that cannot start, its model missing, keeps no sound for ever.
            self.retention.add_reader(lambda: time.time() if self._failure else self._needs.before_s())
        if self.speakers.wanted:
            self.retention.add_reader(self.speakers.before_s)
        self._thread.start()

    def _run(self) -> None:
        trimmed_s = 0.0
        while not self._stopping.wait(LOOK_S):
            try:
                if self.wanted and self._runner is None and not self._failure and self._sound():
                    self._listen()
                if self.speakers.waits and self._sound():
                    self.speakers.start()
                if not self._settings.on_kafka and time.monotonic() - trimmed_s > TRIM_EVERY_S:
                    trimmed_s = time.monotonic()
                    self.retention.trim(time.time())
            except LogError as error:
                logger.warning("listening_waits_for_the_log", reason=str(error))

    def _sound(self) -> bool:
        return any(self._log.end("audio", partition) for partition in range(self._log.partitions("audio")))

    def _listen(self) -> None:
        settings = self._settings
        try:
            speech = Speech(settings, self.shelf, needs=self._needs)
        except EngineError as error:
            self._failure = str(error)
            logger.error("captions_cannot_start", reason=self._failure)
            return
        self._speech = speech
        options = FlowOptions(
            settings.data_dir / "recovery" / "captions",
            epoch_s=settings.epoch_s,
            poll_ms=max(settings.poll_ms, 5.0),
            names=("captions",),
            hearing=speech.hearing,
            tracer=self._tracer,
        )
        self._runner = FlowRunner(self._log, None, options)
        self._runner.start()

    def states(self) -> Sequence[FlowProgress]:
        """Give the progress of the flows; before the first sound there is none to make."""
        return [*self._captions(), *self.speakers.states()]

    def _captions(self) -> Sequence[FlowProgress]:
        if not self.wanted:
            return []
        if self._runner is not None:
            return self._runner.states()
        return [FlowProgress("captions", "captions", 0, 0, 0, 0.0, alive=not self._failure, detail=self._failure)]

    def hops(self) -> Sequence[HopShown]:
        """Give what the flows have done."""
        return [*(self._runner.hops() if self._runner is not None else []), *self.speakers.hops()]

    @property
    def model(self) -> str:
        """The model for final captions: as set, until sound came."""
        return self._speech.model if self._speech is not None else self._settings.speech_model if self.wanted else "off"

    def stop(self) -> None:
        """Take a last snapshot and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)
        if self._runner is not None:
            self._runner.stop()
        if self._speech is not None:
            self._speech.close()
        self.speakers.stop()


class ListeningForSpeakers:
    """The flow that tells people apart, in a thread and a dataflow of its own."""

    def __init__(self, settings: Settings, log: EventLog) -> None:
        """Prepare; nothing runs before `start`."""
        self._settings, self._log = settings, log
        self.wanted = speakers_wanted(settings)
        self.needs = SoundNeeds()
        self._models: SpeakerModels | None = None
        self._runner: FlowRunner | None = None
        self._failure = ""

    def before_s(self) -> float:
        """Give the producer time before which this flow needs no sound; when it cannot start it needs none."""
        return time.time() if self._failure else self.needs.before_s()

    @property
    def waits(self) -> bool:
        """Whether it is wanted and was not started yet."""
        return self.wanted and self._runner is None and not self._failure

    def start(self) -> None:
        """Start the flow; what keeps it from starting is told by `states`."""
        settings = self._settings
        try:
            self._models = SpeakerModels(settings, needs=self.needs)
        except EngineError as error:
            self._failure = str(error)
            logger.error("speaker_turns_cannot_start", reason=self._failure)
            return
        options = FlowOptions(
            settings.data_dir / "recovery" / "speaker_turns",
            epoch_s=settings.epoch_s,
            poll_ms=max(settings.poll_ms, 5.0),
            names=("speaker_turns",),
            voices=self._models.voices,
        )
        self._runner = FlowRunner(self._log, None, options)
        self._runner.start()

    def states(self) -> Sequence[FlowProgress]:
        """Give the progress of the flow; before the first sound there is none to make."""
        if not self.wanted:
            return []
        if self._runner is not None:
            return self._runner.states()
        alive = not self._failure
        return [FlowProgress("speaker_turns", "speaker-turns", 0, 0, 0, 0.0, alive=alive, detail=self._failure)]

    def hops(self) -> Sequence[HopShown]:
        """Give what the flow has done."""
        return self._runner.hops() if self._runner is not None else []

    def stop(self) -> None:
        """Take a last snapshot and end."""
        if self._runner is not None:
            self._runner.stop()
        if self._models is not None:
            self._models.close()
