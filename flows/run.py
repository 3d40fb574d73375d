"""Runs the flows in a thread: recovery, restart after a fault, progress, stop."""

import contextlib
import shutil
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from eventlog.base import EventLog
from flows.answering_room import AnsweringRoom
from flows.answers import AnswersOptions
from flows.captions import Hearing
from flows.confirming import ConfirmingRoom
from flows.connectors import ReadingState
from flows.garbage import look_less
from flows.speaker_turns import Voices
from flows.wiring import ALL_FLOWS, FLOWS, Operators, Wiring
from operators.answering import Answering
from operators.tracing import Tracer
from schemas.errors import LogError
from schemas.hops import HopCounts, HopShown
from schemas.progress import FlowProgress

__all__ = ["FlowOptions", "FlowRunner"]

logger = structlog.get_logger("flows")

STATE_VERSION = 11
"""Grows when a step's name or its pickled state changes: old snapshots are then left aside and the log is read anew."""
EPOCH_S = 1.0
"""Seconds between snapshots where nobody says otherwise."""
RESTART_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
QUICK_FAILURES_BEFORE_FRESH = 3
PROBE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """How the flows run.

    Attributes:
        recovery_dir: Where snapshots lie.
        epoch_s: Seconds between snapshots: how much is read again after a fault.
        poll_ms: How often a source looks for more while there is traffic.
        answers_at_once: Model calls that run together.
        operators: The operators with their options.
        names: The flows to run.
        answers: Which questions are answered.
        hearing: What the flow `captions` listens with.
        voices: What the flow `speaker_turns` tells people apart with.
        tracer: Keeps traces; None = none are kept.
        confirming: Asks a language model about unsure questions; None = nobody is asked.
    """

    recovery_dir: Path
    epoch_s: float = EPOCH_S
    poll_ms: float = 2.0
    answers_at_once: int = 64
    operators: Operators = field(default_factory=Operators)
    names: tuple[str, ...] = tuple(FLOWS)
    answers: AnswersOptions = field(default_factory=AnswersOptions)
    hearing: Hearing | None = None
    voices: Voices | None = None
    tracer: Tracer | None = None
    confirming: ConfirmingRoom | None = None


class FlowRunner:
    """Some flows in one thread, restarted from their snapshot when they fail."""

    def __init__(self, log: EventLog, answering: Answering | None, options: FlowOptions) -> None:
        """Prepare the flows; nothing runs before `start`. `answering` is needed where `answers` is among them."""
        self._log, self._answering, self._options = log, answering, options
        self._thread: threading.Thread | None = None
        self._room: AnsweringRoom | None = None
        self._wiring: Wiring | None = None
        self._counts: dict[str, HopCounts] = {name: HopCounts() for name in options.names}
        self._stopping = threading.Event()
        self._alive = False
        self._failure: BaseException | None = None
        self._watch = log.reader("watch")

    def start(self) -> None:
        """Start the thread; the flows go on where their last snapshot stands."""
        look_less()
        if self._answering is not None:
            self._room = AnsweringRoom(self._answering, self._options.answers_at_once)
        # A flow that is being started is not one that failed: nobody is to be told so.
        self._alive = True
        self._thread = threading.Thread(target=self._run, name="flows", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 4.0) -> None:
        """Take a last snapshot and end; unfinished answers are asked again at the next start."""
        self._stopping.set()
        if self._wiring is not None:
            self._wiring.stop.raised = True
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self._room is not None:
            self._room.close()
        if self._options.confirming is not None:
            self._options.confirming.close()
        self._watch.close()

    def _run(self) -> None:
        quick = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_once()
            except (BytewaxRuntimeError, LogError, OSError, RuntimeError, ValueError) as error:
                self._failure = error
                quick = quick + 1 if time.monotonic() - began < 1.0 else 1
                logger.exception("flows_stopped_by_fault", times=quick)
                if quick == QUICK_FAILURES_BEFORE_FRESH and not self._is_passing(error):
                    self._set_snapshots_aside()
                self._stopping.wait(RESTART_DELAYS_S[min(quick, len(RESTART_DELAYS_S)) - 1])
            finally:
                self._alive = False

    def _run_once(self) -> None:
        where = self._options.recovery_dir / f"v{STATE_VERSION}"
        where.mkdir(parents=True, exist_ok=True)
        if not any(where.glob("part-*.sqlite3")):
            init_db_dir(where, 1)
        wiring = Wiring(self._log, self._options.operators, self._room, next_incarnation(where), self._options.poll_ms)
        self._wiring, wiring.counts, wiring.alone = wiring, self._counts, True
        wiring.stop.raised = self._stopping.is_set()
        wiring.answers, wiring.hearing = self._options.answers, self._options.hearing
        wiring.voices, wiring.tracer = self._options.voices, self._options.tracer
        wiring.pieces = where / "sessions"
        wiring.confirming = self._options.confirming
        flow = wiring.dataflow(self._options.names)
        self._alive = True
        logger.info("flows_started", attempt=wiring.attempt)
        try:
            run_main(
                flow,
                epoch_interval=timedelta(seconds=self._options.epoch_s),
                recovery_config=RecoveryConfig(str(where)),
            )
        finally:
            wiring.close()

    def _is_passing(self, error: BaseException) -> bool:
        """Say whether a fault is the log's or the disk's and will pass: the snapshots are not to blame for it."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, LogError):
                return True
            cause = cause.__cause__ or cause.__context__
        return not can_be_written(self._options.recovery_dir)

    def _set_snapshots_aside(self) -> None:
        """Leave snapshots that cannot be resumed and read the log anew; ids keep the topics free of repeats."""
        where = self._options.recovery_dir / f"v{STATE_VERSION}"
        aside = self._options.recovery_dir / f"broken-{int(time.time())}"
        with contextlib.suppress(OSError):
            shutil.move(where, aside)
            logger.error("snapshots_set_aside", kept_in=aside.name)

    def states(self) -> list[FlowProgress]:
        """Give the progress of every flow."""
        return [self._progress(name) for name in self._options.names]

    def hops(self) -> list[HopShown]:
        """Give what every flow has done and what waits; while it stands still its lag grows here all the same."""
        return [self._hop(name) for name in self._options.names]

    def _hop(self, name: str) -> HopShown:
        reading = self._wiring.readings.get(name) if self._wiring is not None else None
        lag = {}
        for topic in ALL_FLOWS[name].reads:
            for partition in range(self._log.partitions(topic)):
                place = f"{topic}/{partition}"
                end = self._watch.end(topic, partition)
                if end is None and reading is not None:
                    end = reading.ends.get(place)
                lag[place] = max(0, (end or 0) - (reading.positions.get(place, 0) if reading is not None else 0))
        queues = self._wiring.hop(name).queues if self._wiring is not None else {}
        return HopShown(name, self._counts[name], lag, queues)

    def _age_s(self, topic: str, partition: int, offset: int, reading: ReadingState | None) -> float:
        """Give how long the record at an offset waits; where looking costs a round trip, by the newest one read."""
        if reading is not None:
            return time.time() - reading.last_at_s if reading.last_at_s else 0.0
        waiting = self._watch.read(topic, partition, offset, 1)
        return time.time() - waiting[0].at_s if waiting else 0.0

    def _progress(self, name: str) -> FlowProgress:
        spec = ALL_FLOWS[name]
        reading = self._wiring.readings.get(name) if self._wiring is not None else None
        positions = dict(reading.positions) if reading is not None else {}
        ends = dict(reading.ends) if reading is not None else {}
        behind, behind_s, end = 0, 0.0, 0
        unread: list[int] = []
        for topic in spec.reads:
            for partition in range(self._log.partitions(topic)):
                place = f"{topic}/{partition}"
                known, done = self._watch.end(topic, partition), positions.get(place, 0)
                last = known if known is not None else ends.get(place, 0)
                end = max(end, last)
                if done < last:
                    unread.append(done)
                    behind += last - done
                    behind_s = max(behind_s, self._age_s(topic, partition, done, reading if known is None else None))
        detail = f"{type(self._failure).__name__}: {self._failure}"[:200] if self._failure and not self._alive else ""
        # Everything below this offset was read, in all topics of the flow.
        position = min(unread, default=end)
        return FlowProgress(name, spec.writes, position, end, behind, behind_s, self._alive, detail)


def can_be_written(folder: Path) -> bool:
    """Say whether a folder takes a file as large as a snapshot may be."""
    probe = folder / "probe"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return True


def next_incarnation(where: Path) -> int:
    """Count the starts of the flows in this directory; gives 1, 2, ... and survives restarts."""
    file = where / "incarnation"
    try:
        number = int(file.read_text()) + 1
    except (OSError, ValueError):
        number = 1
    fresh = file.with_suffix(".new")
    fresh.write_text(str(number))
    fresh.replace(file)
    return number
