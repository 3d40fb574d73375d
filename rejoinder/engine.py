"""Builds the engine from its settings: log, documents, model, flows, apps."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from fastapi import APIRouter, FastAPI

from api.app import create_app
from api.deps import ApiLimits, ApiParts
from eventlog import START_S, open_log
from eventlog.base import EventLog
from flows.run import FlowOptions, FlowRunner
from rejoinder import __version__
from rejoinder.accounts.keys import KeyStore
from rejoinder.analytics.owner import Analytics
from rejoinder.analytics.routes import analytics_router
from rejoinder.confirming import confirming_room
from rejoinder.dead_letters.routes import dead_letters_router
from rejoinder.demo.routes import demo_router
from rejoinder.enrolled import VoiceStore
from rejoinder.instance import InstanceLock
from rejoinder.knowledge.remember import remember_router
from rejoinder.knowledge.routes import knowledge_router, resume_router
from rejoinder.listening import Listening
from rejoinder.livekit import livekit_access
from rejoinder.models import Models
from rejoinder.models_routes import models_router
from rejoinder.replay.why import why_router
from rejoinder.roles import ProgressView, check_roles, metrics_doors, open_flow_log
from rejoinder.settings import Settings
from rejoinder.tracing import open_traces
from rejoinder.tuning import flows_chosen, operators_of
from rejoinder.withdrawing import withdrawing
from schemas.errors import LogError
from schemas.hops import HopShown
from schemas.progress import FlowProgress
from schemas.topics import TOPICS

__all__ = ["Engine"]

logger = structlog.get_logger("engine")

BEHIND_S = 1.0
PAGE = Path(__file__).parent / "web"


@dataclass(slots=True)
class _View:
    """What the API may know of the engine."""

    runner: FlowRunner
    listening: Listening
    named: dict[str, str]

    def flows(self) -> Sequence[FlowProgress]:
        return [*self.runner.states(), *self.listening.states()]

    def models(self) -> Mapping[str, str]:
        return {**self.named, "captions": self.listening.model}

    def problems(self) -> Sequence[str]:
        try:
            stopped = [flow for flow in self.flows() if not flow.alive]
        except LogError as error:
            return [str(error)]
        return [f"flow {flow.name} is not running{': ' if flow.detail else ''}{flow.detail}" for flow in stopped]


class Engine:
    """Everything in one process, or the API alone; use it as a context, or call `start` and `stop`."""

    def __init__(self, settings: Settings, *, key_required: bool | None = None, flows: bool = True) -> None:
        """Open the stores and build the parts; nothing runs before `start`.

        Args:
            settings: The settings.
            key_required: Whether callers need a key; None = beyond loopback.
            flows: Run the flows here; without, they run in processes of their own on the same Kafka log.

        Raises:
            LogUnavailable: The data folder cannot be used, or another process uses it.
            ModelMissing: A chosen model is not installed; the message names the command that adds it.
        """
        self.settings = settings
        if not flows:
            check_roles(settings)
        data = settings.data_dir
        self._role = "engine" if flows else f"api-{settings.port}"
        self.traces = open_traces(settings, "engine" if flows else "api")
        self._lock = InstanceLock(data, self._role)
        required = not settings.loopback if key_required is None else key_required
        self.log: EventLog = open_log(settings.log_url, settings.log_sync, kafka=settings.kafka, wait_s=START_S)
        # On Kafka the flows write without waiting for what the clients of this process follow.
        apart = flows and settings.on_kafka
        self._flow_log = open_flow_log(settings) if apart else self.log
        self.keys = KeyStore(data / "accounts.sqlite3", key_required=required)
        self.models = Models(settings, writes=flows)
        self.knowledge = self.models.knowledge
        self.analytics = Analytics(settings, self.log, busy=self._behind) if flows and settings.analytics else None
        self._key_required = required
        self.runner: FlowRunner | None = None
        self.listening: Listening | None = None
        self.view: _View | ProgressView
        if flows:
            options = FlowOptions(
                data / "recovery",
                epoch_s=settings.epoch_s,
                poll_ms=settings.poll_ms,
                operators=operators_of(settings),
                names=flows_chosen(settings),
                tracer=self.traces,
                confirming=confirming_room(settings, self.models.chat),
            )
            self.runner = FlowRunner(self._flow_log, self.models.answering, options)
            named = {"answers": self.models.answers, "text vectors": self.models.embedder.name}
            self.listening = Listening(settings, self._flow_log, self.traces)
            self.view = _View(self.runner, self.listening, named)
        else:
            self.view = ProgressView(self.log, self.models.embedder.name)

    def apps(self) -> tuple[FastAPI, FastAPI]:
        """Give the app of the realtime port and the app of the Q&A port."""
        settings = self.settings
        limits = ApiLimits(streams=settings.streams, heartbeat_s=settings.heartbeat_s, stalled_s=settings.stalled_s)
        why = why_router(self.knowledge, self.models.answering.prompts)
        knowledge = self.knowledge
        documents = [knowledge_router(knowledge), resume_router(knowledge), remember_router(knowledge), why]
        documents.append(dead_letters_router(self.log))
        if self.listening is not None:
            documents.append(models_router(self.listening.shelf, settings.speech_model))
        if self.analytics is not None:
            readers, model = tuple(settings.analytics_readers), self.models.writer()
            documents.append(
                analytics_router(self.analytics, readers=readers, key_required=self._key_required, model=model)
            )

        def parts(*more: APIRouter) -> ApiParts:
            return ApiParts(
                log=self.log,
                callers=self.keys,
                engine=self.view,
                version=__version__,
                cors_origins=tuple(settings.cors_origins),
                limits=limits,
                ice_servers=tuple(settings.webrtc_ice_servers),
                livekit=livekit_access(settings, self._role),
                routers=(*documents, *more),
                page_dir=PAGE if (PAGE / "index.html").exists() else None,
                hops=self.hops,
                notes=knowledge.vectors.notes,
                tracer=self.traces,
                consent=settings.consent,
                withdrawn=withdrawing(knowledge, VoiceStore(settings.data_dir)),
            )

        return create_app(parts(demo_router(self.knowledge))), create_app(parts(), doors="qa")

    def doors(self) -> list[tuple[FastAPI, str, int]]:
        """Give what is served where: one port for all when both settings name the same."""
        settings = self.settings
        whole, qa = self.apps()
        served = [(whole, settings.host, settings.port)]
        if settings.qa_port != settings.port or settings.port == 0:
            served.append((qa, settings.host, settings.qa_port))
        return [*served, *metrics_doors(settings, whole)]

    def hops(self) -> Sequence[HopShown]:
        """Give what the flows of this process count; none when they run in processes of their own."""
        ours = self.runner.hops() if self.runner is not None else []
        return [*ours, *(self.listening.hops() if self.listening is not None else [])]

    def _behind(self) -> bool:
        """Say whether a live flow of this process is behind, so that what can wait should."""
        try:
            return any(flow.behind_s > BEHIND_S for flow in self.view.flows())
        except LogError:
            return False  # it ends, or the log is away: nothing is in anybody's way

    def start(self) -> None:
        """Start the flows where they stopped; records older than their topic keeps them are removed first."""
        for topic in TOPICS.values():
            # How long sound is kept is a setting, and what is not written down yet stays.
            if topic.name == "audio":
                continue
            if topic.retention_s is not None and not self.settings.on_kafka:  # a broker keeps to it by itself
                self.log.trim(topic.name, time.time() - topic.retention_s)
        if self.runner is not None:
            self.runner.start()
        if self.analytics is not None:
            self.analytics.start()
        if self.listening is not None:
            self.listening.start()
        logger.info("engine_started", flows=self.runner is not None)

    def stop(self) -> None:
        """Stop the flows with a last snapshot, then close everything."""
        if self.listening is not None:
            self.listening.stop()
        if self.runner is not None:
            self.runner.stop()
        if self.analytics is not None:
            self.analytics.stop()
        if isinstance(self.view, ProgressView):
            self.view.close()
        self.models.close()
        if self.traces is not None:
            self.traces.close()
        self.keys.close()
        self._flow_log.close()
        self.log.close()
        self._lock.release()
        logger.info("engine_stopped")

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
