"""One process per role: the API alone, or some flows alone, over a Kafka log."""

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fastapi import APIRouter, FastAPI

from api.app import create_app, create_metrics_app
from api.deps import ApiParts
from eventlog import START_S, open_log
from eventlog.base import EventLog, LogReader, shard_of
from flows.member import FlowMember, MemberOptions
from flows.wiring import ALL_FLOWS, FLOWS
from rejoinder import __version__
from rejoinder.accounts.keys import KeyStore
from rejoinder.instance import InstanceLock
from rejoinder.settings import Settings
from rejoinder.tracing import open_traces
from rejoinder.tuning import operators_of
from schemas.codec import decode
from schemas.errors import EngineError, LogError, LogUnavailable, SchemaError
from schemas.progress import PROGRESS_KEY, FlowBeat, FlowProgress

if TYPE_CHECKING:
    from flows.confirming import ConfirmingRoom
    from rejoinder.models import Models
    from rejoinder.speech import Speech
    from rejoinder.voices import SpeakerModels

__all__ = ["FlowRole", "ProgressView", "check_roles", "metrics_doors", "open_flow_log"]

LOST_AFTER_S = 10.0
PATIENT_S = 120.0
"""How long an append of a flow may wait: a broker that is restarted must not cost the flow a restart as well, and the
client library keeps the order of what waits, which sending it anew would not."""
LOOK_AGAIN_S = 0.5
LOOK_BACK = 2_000
LOOK_MOST = 5_000


def check_roles(settings: Settings) -> None:
    """Refuse what cannot work in several processes.

    Raises:
        LogUnavailable: The log is not Kafka, or the documents' vectors lie in a folder only one process may open.
    """
    if not settings.on_kafka:
        raise LogUnavailable("a role in a process of its own needs a log that processes share: --log kafka://host:port")
    if not settings.vectors_url:
        raise LogUnavailable(
            "API and flows in processes of their own share the documents through a Chroma server: start one with "
            "`chroma run --path DIR --port 8000` and set REJOINDER_VECTORS_URL=http://127.0.0.1:8000"
        )


def metrics_doors(settings: Settings, app: FastAPI, member: int = 0) -> list[tuple[FastAPI, str, int]]:
    """Give the port of the metrics alone, when the settings name one; members of one machine take one each."""
    if not settings.metrics_port:
        return []
    return [(create_metrics_app(app), settings.metrics_host, settings.metrics_port + member)]


class ProgressView:
    """What the API knows of flows in other processes: what they wrote to the topic `progress`."""

    def __init__(self, log: EventLog, embedder: str) -> None:
        """Read from `log`; `embedder` names what computes vectors here."""
        self._log, self._embedder = log, embedder
        self._guard = threading.Lock()
        self._reader: LogReader | None = None
        self._place = 0, 0
        self._beats: dict[tuple[str, int], tuple[FlowBeat, float]] = {}
        self._looked_s = 0.0

    def _look(self) -> None:
        with self._guard:
            if time.monotonic() - self._looked_s < LOOK_AGAIN_S:
                return
            self._looked_s = time.monotonic()
            partition, start = self._place
            if self._reader is None:
                partition = shard_of(PROGRESS_KEY) % self._log.partitions("progress")
                start = max(0, self._log.end("progress", partition) - LOOK_BACK)
                self._reader = self._log.reader("rejoinder.view")
            while found := self._reader.read("progress", partition, start, LOOK_MOST):
                for record in found:
                    self._take(record.value)
                start = found[-1].offset + 1
            self._place = partition, start

    def _take(self, value: bytes) -> None:
        try:
            beat = decode("progress", value)
        except SchemaError:
            return
        if isinstance(beat, FlowBeat):
            self._beats[beat.flow, beat.member] = beat, beat.created_at.timestamp()

    def flows(self) -> Sequence[FlowProgress]:
        """Give the state of every flow, as its members last told it."""
        self._look()
        told = {flow for flow, _ in self._beats}
        return [
            self._flow(name) for name in (*FLOWS, *(name for name in ALL_FLOWS if name in told and name not in FLOWS))
        ]

    def _flow(self, name: str) -> FlowProgress:
        known = [one for (flow, _), one in self._beats.items() if flow == name]
        newest = max((at for _, at in known), default=0.0)
        members = next((beat.members for beat, at in known if at == newest), 1)
        current = [(beat, at) for beat, at in known if beat.member < members]
        lost = [beat.member for beat, at in current if time.time() - at > LOST_AFTER_S]
        missing = members - len(current)
        detail = ""
        if lost or missing:
            detail = f"{len(lost) + missing} of {members} members not heard of for {LOST_AFTER_S:.0f} s"
        positions: dict[str, int] = {}
        ends: dict[str, int] = {}
        for beat, _ in current:
            positions |= beat.positions
            ends |= beat.ends
        unread = [positions.get(place, 0) for place, end in ends.items() if positions.get(place, 0) < end]
        end = max(ends.values(), default=0)
        return FlowProgress(
            name=name,
            topic=ALL_FLOWS[name].writes,
            position=min(unread, default=end),
            end=end,
            behind_records=sum(max(0, end - positions.get(place, 0)) for place, end in ends.items()),
            behind_s=max((beat.behind_s for beat, _ in current), default=0.0),
            alive=not detail,
            detail=detail,
        )

    def models(self) -> Mapping[str, str]:
        """Give the models in use."""
        self._look()
        answers = next((beat.model for (flow, _), (beat, _) in self._beats.items() if flow == "answers"), "")
        return {"answers": answers or "unknown", "text vectors": self._embedder}

    def problems(self) -> Sequence[str]:
        """Give what keeps the engine from being ready."""
        try:
            return [f"flow {flow.name}: {flow.detail}" for flow in self.flows() if not flow.alive]
        except LogError as error:
            return [str(error)]

    def close(self) -> None:
        """Close the reader."""
        with self._guard:
            if self._reader is not None:
                self._reader.close()
                self._reader = None


def open_flow_log(settings: Settings) -> EventLog:
    """Open the Kafka log as flows use it: they follow nothing by session, and wait longer for the broker.

    Raises:
        LogUnavailable: No broker answers, or the topics are not as they must be.
    """
    patient = {**settings.kafka, "deliver_s": PATIENT_S}
    return open_log(settings.log_url, follow=(), kafka=patient, wait_s=START_S)


class _MemberView:
    """What the health page of a flow's own process says."""

    def __init__(self, member: FlowMember, models: Mapping[str, str]) -> None:
        self._member, self._models = member, models

    def flows(self) -> Sequence[FlowProgress]:
        return self._member.progress()

    def models(self) -> Mapping[str, str]:
        return self._models

    def problems(self) -> Sequence[str]:
        return [f"flow {flow.name} is not running: {flow.detail}" for flow in self.flows() if not flow.alive]


def _check_member(names: tuple[str, ...], addresses: tuple[str, ...], member: int) -> None:
    unknown = [name for name in names if name not in ALL_FLOWS]
    if unknown or not names:
        raise ValueError(f"no flow {', '.join(unknown) or 'named'}; there are {', '.join(ALL_FLOWS)}")
    if not 0 <= member < max(1, len(addresses)):
        raise ValueError(f"member {member} has no address among {len(addresses)}")


class FlowRole:
    """One member of the cluster that runs some flows, with its health page."""

    def __init__(
        self, settings: Settings, names: tuple[str, ...], addresses: tuple[str, ...], member: int, workers: int
    ) -> None:
        """Open log and models.

        Raises:
            LogUnavailable: No broker, or settings that cannot work in several processes.
            ModelMissing: A chosen model is not installed.
            ValueError: No such flow, or `member` has no address.
        """
        _check_member(names, addresses, member)
        check_roles(settings)
        self.settings, self._place = settings, member
        self.traces = open_traces(settings, "-".join(names))
        self._lock = InstanceLock(settings.data_dir, f"flow-{'-'.join(names)}-{member}")
        self.log = open_flow_log(settings)
        self.keys = KeyStore(settings.data_dir / "accounts.sqlite3", key_required=False)
        self._models: Models | None = None
        self._speech: Speech | None = None
        self._speakers: SpeakerModels | None = None
        self._confirming: ConfirmingRoom | None = None
        try:
            self._load(names)
        except EngineError:
            self.log.close()
            raise
        answers = self._models.answers if self._models is not None else ""
        options = MemberOptions(
            names=names,
            recovery_dir=settings.data_dir / "recovery" / "-".join(names),
            addresses=addresses,
            member=member,
            workers=workers,
            epoch_s=settings.epoch_s,
            poll_ms=settings.poll_ms,
            model=answers,
            operators=operators_of(settings),
            hearing=self._speech.hearing if self._speech is not None else None,
            voices=self._speakers.voices if self._speakers is not None else None,
            tracer=self.traces,
            confirming=self._confirming,
        )
        self.member = FlowMember(self.log, self._models.answering if self._models is not None else None, options)
        self.view = _MemberView(self.member, self._named(answers))

    def _load(self, names: tuple[str, ...]) -> None:
        # Imported here: a process pays at its start for what its flows use, and for nothing else.
        if "answers" in names:
            from rejoinder.models import Models

            self._models = Models(self.settings, follows=True)
        if "captions" in names:
            from rejoinder.speech import Speech

            self._speech = Speech(self.settings)
        if "speaker_turns" in names:
            from rejoinder.voices import SpeakerModels

            self._speakers = SpeakerModels(self.settings)
        if "questions" in names:
            from rejoinder.confirming import confirming_room

            self._confirming = confirming_room(self.settings)

    def _named(self, answers: str) -> dict[str, str]:
        """Name the models in use."""
        named = {"answers": answers} if answers else {}
        if self._speech is not None:
            named["captions"] = self._speech.model
        if self._speakers is not None:
            named["speaker turns"] = self._speakers.model
        return named

    def doors(self, port: int) -> list[tuple[FastAPI, str, int]]:
        """Give the health page, to be served on a port."""
        routers: tuple[APIRouter, ...] = ()
        if self._speech is not None:
            from rejoinder.models_routes import models_router

            routers = (models_router(self._speech.shelf, self._speech.model),)
        models = self._models
        parts = ApiParts(
            log=self.log,
            callers=self.keys,
            engine=self.view,
            version=__version__,
            routers=routers,
            hops=self.member.hops,
            notes=models.knowledge.vectors.notes if models is not None else lambda: (),
        )
        app = create_app(parts, doors="health")
        return [(app, self.settings.host, port), *metrics_doors(self.settings, app, self._place)]

    def __enter__(self) -> Self:
        """Start."""
        self.member.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop with a last snapshot."""
        self.member.stop()
        if self._models is not None:
            self._models.close()
        if self._speech is not None:
            self._speech.close()
        if self._speakers is not None:
            self._speakers.close()
        if self.traces is not None:
            self.traces.close()
        self.keys.close()
        self.log.close()
        self._lock.release()
