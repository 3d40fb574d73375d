"""Sound in the engine's process: the flows that listen, started with the first sound, and how long sound is kept."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from eventlog.base import EventLog
from flows.captions import SoundNeeds
from flows.run import FlowOptions, FlowRunner
from flows.wiring import SPEECH_FLOWS
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

Models = TypeVar("Models", Speech, SpeakerModels)

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
    before the first sound lies in the log, and both flows share one dataflow. Neither of them waits for its models, so
    they do not hold each other up.
    """

    def __init__(self, settings: Settings, log: EventLog, tracer: Tracer | None = None) -> None:
        """Prepare; nothing runs before `start`."""
        self._settings, self._log, self._tracer = settings, log, tracer
        wanted = {"captions": speech_wanted(settings), "speaker_turns": speakers_wanted(settings)}
        self._wanted = [name for name, is_wanted in wanted.items() if is_wanted]
        self.shelf: ModelShelf = speech_shelf(settings)
        self.retention = AudioRetention(log, settings.audio_retention_h * 3600)
        self._needs = {name: SoundNeeds() for name in self._wanted}
        self._failures: dict[str, str] = {}
        self._speech: Speech | None = None
        self._speakers: SpeakerModels | None = None
        self._runner: FlowRunner | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listening", daemon=True)

    def start(self) -> None:
        """Wait for sound, in a thread."""
        for name in self._wanted:
            self.retention.add_reader(partial(self._before_s, name))
        self._thread.start()

    def _before_s(self, name: str) -> float:
        # A flow that cannot start, its model missing, keeps no sound for ever.
        return time.time() if name in self._failures else self._needs[name].before_s()

    def _run(self) -> None:
        trimmed_s, begun = 0.0, not self._wanted
        while not self._stopping.wait(LOOK_S):
            try:
                if not begun and self._sound():
                    begun = True
                    self._listen()
                if not self._settings.on_kafka and time.monotonic() - trimmed_s > TRIM_EVERY_S:
                    trimmed_s = time.monotonic()
                    self.retention.trim(time.time())
            except LogError as error:
                logger.warning("listening_waits_for_the_log", reason=str(error))

    def _sound(self) -> bool:
        return any(self._log.end("audio", partition) for partition in range(self._log.partitions("audio")))

    def _listen(self) -> None:
        """Start the flows whose models are there; what keeps the others from starting is told by `states`."""
        settings, needs = self._settings, self._needs
        if "captions" in needs:
            self._speech = self._made("captions", lambda: Speech(settings, self.shelf, needs=needs["captions"]))
        if "speaker_turns" in needs:
            self._speakers = self._made("speaker_turns", lambda: SpeakerModels(settings, needs=needs["speaker_turns"]))
        names = tuple(name for name in self._wanted if name not in self._failures)
        if not names:
            return
        options = FlowOptions(
            # Snapshots of one set of flows are of no use to another.
            settings.data_dir / "recovery" / "-".join(names),
            epoch_s=settings.epoch_s,
            poll_ms=max(settings.poll_ms, 5.0),
            names=names,
            hearing=self._speech.hearing if self._speech is not None else None,
            voices=self._speakers.voices if self._speakers is not None else None,
            tracer=self._tracer,
        )
        runner = FlowRunner(self._log, None, options)
        runner.start()
        self._runner = runner

    def _made(self, flow: str, make: Callable[[], Models]) -> Models | None:
        try:
            return make()
        except EngineError as error:
            self._failures[flow] = str(error)
            logger.error(f"{flow}_cannot_start", reason=str(error))
            return None

    def states(self) -> Sequence[FlowProgress]:
        """Give the progress of the flows; before the first sound there is none to make."""
        running = {state.name: state for state in self._runner.states()} if self._runner is not None else {}
        return [running.get(name) or self._standing(name) for name in self._wanted]

    def _standing(self, name: str) -> FlowProgress:
        failure = self._failures.get(name, "")
        return FlowProgress(name, SPEECH_FLOWS[name].writes, 0, 0, 0, 0.0, alive=not failure, detail=failure)

    def hops(self) -> Sequence[HopShown]:
        """Give what the flows have done."""
        return self._runner.hops() if self._runner is not None else []

    @property
    def model(self) -> str:
        """The model for final captions: as set, until sound came."""
        if self._speech is not None:
            return self._speech.model
        return self._settings.speech_model if "captions" in self._wanted else "off"

    def wait_loaded(self, timeout_s: float) -> bool:
        """Wait until the models for words are loaded, once sound came; gives whether they are."""
        return self._speech is None or self._speech.hearing.room.wait_loaded(timeout_s)

    def stop(self) -> None:
        """Take a last snapshot and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)
        if self._runner is not None:
            self._runner.stop()
        if self._speech is not None:
            self._speech.close()
        if self._speakers is not None:
            self._speakers.close()
