"""Runs flows as one process of a Bytewax cluster: no repair inside, a fault ends the process and all start again."""

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from eventlog.base import EventLog
from eventlog.records import new_record
from flows.answering_room import AnsweringRoom
from flows.captions import Hearing
from flows.confirming import ConfirmingRoom
from flows.garbage import look_less
from flows.run import EPOCH_S, STATE_VERSION
from flows.speaker_turns import Voices
from flows.wiring import ALL_FLOWS, Operators, Wiring
from operators.answering import Answering
from operators.tracing import Tracer
from schemas.base import Record, derive_id
from schemas.errors import LogError
from schemas.hops import HopShown
from schemas.progress import PROGRESS_KEY, FlowBeat, FlowProgress

__all__ = ["FlowMember", "MemberOptions"]

logger = structlog.get_logger("flows")

RECOVERY_PARTS = 8
"""Fixed when the recovery folder is made; more members than this gain nothing by it, fewer are no matter."""
BEAT_S = 1.0
EPOCH_OF_ATTEMPTS_S = 1_767_225_600
"""2026-01-01: an attempt is counted in seconds since then, so that every member's later start has a higher one."""


@dataclass(frozen=True, slots=True)
class MemberOptions:
    """Which flows this process runs, and with whom.

    Attributes:
        names: The flows, put into one dataflow.
        recovery_dir: Where snapshots lie; all members of the cluster see the same folder.
        addresses: ``host:port`` of every member, in order; empty = there is one member.
        member: Which of them this is.
        workers: Bytewax workers in this process.
        epoch_s: Seconds between snapshots.
        poll_ms: How often a source looks for more while there is traffic.
        answers_at_once: Model calls that run together.
        model: What writes answers, to be told to those who watch.
        operators: The operators with their options.
        hearing: What the flow `captions` listens with.
        voices: What the flow `speaker_turns` tells people apart with.
        tracer: Keeps traces; None = none are kept.
        confirming: Asks a language model about unsure questions; None = nobody is asked.
    """

    names: tuple[str, ...]
    recovery_dir: Path
    addresses: tuple[str, ...] = ()
    member: int = 0
    workers: int = 1
    epoch_s: float = EPOCH_S
    poll_ms: float = 2.0
    answers_at_once: int = 64
    model: str = ""
    operators: Operators = field(default_factory=Operators)
    hearing: Hearing | None = None
    voices: Voices | None = None
    tracer: Tracer | None = None
    confirming: ConfirmingRoom | None = None


class FlowMember:
    """One process of the cluster that runs some flows."""

    def __init__(self, log: EventLog, answering: Answering | None, options: MemberOptions) -> None:
        """Prepare; `answering` is needed where `answers` is among the flows."""
        self._log, self._options = log, options
        self._room = AnsweringRoom(answering, options.answers_at_once) if answering is not None else None
        attempt = max(1, int(time.time()) - EPOCH_OF_ATTEMPTS_S)
        self._wiring = Wiring(log, options.operators, self._room, attempt, options.poll_ms, marks=True)
        self._wiring.hearing, self._wiring.voices = options.hearing, options.voices
        self._wiring.tracer, self._wiring.confirming = options.tracer, options.confirming
        self._wiring.alone = self._members == 1 and options.workers == 1
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flows", daemon=True)
        self._beats = threading.Thread(target=self._beat, name="beats", daemon=True)
        self.failure = ""

    def start(self) -> None:
        """Start; the flows go on where the cluster's last snapshot stands."""
        look_less()
        self._thread.start()
        self._beats.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; gives whether it came."""
        return self._ended.wait(seconds)

    def stop(self, timeout_s: float = 8.0) -> bool:
        """Take a last snapshot and end; all members must be told to. Gives whether the flows ended in time."""
        self._wiring.stop.raised = True
        done = self._ended.wait(timeout_s)
        if self._room is not None:
            self._room.close()
        if self._options.confirming is not None:
            self._options.confirming.close()
        return done

    def _run(self) -> None:
        options = self._options
        try:
            where = self._recovery()
            self._wiring.pieces = where / "sessions"
            flow = self._wiring.dataflow(options.names)
            logger.info("flows_started", flows=options.names, member=options.member, members=self._members)
            cluster_main(
                flow,
                list(options.addresses),
                options.member,
                epoch_interval=timedelta(seconds=options.epoch_s),
                recovery_config=RecoveryConfig(str(where)),
                worker_count_per_proc=options.workers,
            )
        except (BytewaxRuntimeError, LogError, OSError, RuntimeError, ValueError) as error:
            self.failure = f"{type(error).__name__}: {error}"[:200]
            logger.exception("flows_stopped_by_fault")
        finally:
            self._wiring.close()
            self._ended.set()

    @property
    def _members(self) -> int:
        return max(1, len(self._options.addresses))

    def _recovery(self) -> Path:
        """Give the recovery folder; whoever comes first makes it, whole or not at all."""
        where = self._options.recovery_dir / f"v{STATE_VERSION}"
        self._options.recovery_dir.mkdir(parents=True, exist_ok=True)
        if not where.exists():
            fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self._options.recovery_dir))
            init_db_dir(fresh, RECOVERY_PARTS)
            with contextlib.suppress(OSError):  # another member was quicker
                fresh.rename(where)
            shutil.rmtree(fresh, ignore_errors=True)
        return where

    def progress(self) -> list[FlowProgress]:
        """Give how far the flows of this process have come, over the partitions that it reads."""
        return [self._progress(name) for name in self._options.names]

    def hops(self) -> list[HopShown]:
        """Give what the flows of this process have done and what waits, over the partitions that it reads."""
        return [self._wiring.hop(name) for name in self._options.names]

    def _progress(self, name: str) -> FlowProgress:
        reading = self._wiring.readings.get(name)
        positions = dict(reading.positions) if reading is not None else {}
        ends = dict(reading.ends) if reading is not None else {}
        behind = sum(max(0, end - positions.get(place, 0)) for place, end in ends.items())
        late_s = max(0.0, time.time() - reading.last_at_s) if behind and reading is not None else 0.0
        least = min((at for place, at in positions.items() if at < ends.get(place, 0)), default=None)
        end = max(ends.values(), default=0)
        return FlowProgress(
            name=name,
            topic=ALL_FLOWS[name].writes,
            position=end if least is None else least,
            end=end,
            behind_records=behind,
            behind_s=late_s,
            alive=not self._ended.is_set(),
            detail=self.failure,
        )

    def _beat(self) -> None:
        began, count = time.time_ns(), 0
        while not self._ended.wait(BEAT_S):
            count += 1
            beats = [self._beat_of(name, derive_id("beat", began, count)) for name in self._options.names]
            self._tell(beats)

    def _beat_of(self, name: str, tick: str) -> FlowBeat:
        reading = self._wiring.readings.get(name)
        return FlowBeat(
            session_id=PROGRESS_KEY,
            event_id=derive_id(name, self._options.member, tick),
            created_at=datetime.now(UTC),
            flow=name,
            member=self._options.member,
            members=self._members,
            positions=dict(reading.positions) if reading is not None else {},
            ends=dict(reading.ends) if reading is not None else {},
            behind_s=self._progress(name).behind_s,
            model=self._options.model,
        )

    def _tell(self, beats: Sequence[Record]) -> None:
        # Not waited for: while the broker is away beats are late, and that is what they are for.
        self._log.submit([new_record("progress", beat) for beat in beats]).add_done_callback(
            lambda done: logger.warning("beat_not_written") if done.exception() is not None else None
        )
