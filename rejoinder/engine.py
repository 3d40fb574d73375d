"""Builds the engine from its settings: log, documents, model, flows, apps."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from fastapi import FastAPI

from api.app import create_app
from api.deps import ApiLimits, ApiParts
from eventlog import open_log
from eventlog.base import EventLog
from flows.run import FlowOptions, FlowRunner
from models.embedder import load_embedder
from models.llm import ChatOptions, ChatServer
from operators.answering import Answering
from operators.ports import LanguageModel, TextEmbedder
from rejoinder import __version__
from rejoinder.accounts.keys import KeyStore
from rejoinder.demo.routes import demo_router
from rejoinder.instance import InstanceLock
from rejoinder.knowledge.routes import knowledge_router, resume_router
from rejoinder.knowledge.store import KnowledgeStore
from rejoinder.settings import Settings
from schemas.errors import LogError, ModelMissing
from schemas.progress import FlowProgress
from schemas.topics import TOPICS

__all__ = ["Engine"]

logger = structlog.get_logger("engine")

PAGE = Path(__file__).parent / "web"
LOCAL_PROMPT_CHARS = 3_000  # a small model on a CPU reads about 300 tokens a second
LOCAL_PASSAGES = 3


@dataclass(slots=True)
class _View:
    """What the API may know of the engine."""

    runner: FlowRunner
    named: dict[str, str]

    def flows(self) -> Sequence[FlowProgress]:
        return self.runner.states()

    def models(self) -> Mapping[str, str]:
        return self.named

    def problems(self) -> Sequence[str]:
        try:
            stopped = [flow for flow in self.flows() if not flow.alive]
        except LogError as error:
            return [str(error)]
        return [f"flow {flow.name} is not running{': ' if flow.detail else ''}{flow.detail}" for flow in stopped]


class Engine:
    """Everything in one process; use it as a context, or call `start` and `stop`."""

    def __init__(self, settings: Settings, *, key_required: bool | None = None) -> None:
        """Open the stores and build the parts; nothing runs before `start`.

        Raises:
            LogUnavailable: The data folder cannot be used, or another process uses it.
            ModelMissing: A chosen model is not installed; the message names the command that adds it.
        """
        self.settings = settings
        data = settings.data_dir
        self._lock = InstanceLock(data)
        self._local: Any = None
        required = not settings.loopback if key_required is None else key_required
        self.log: EventLog = open_log(settings.log_url, settings.log_sync, kafka=settings.kafka)
        # On Kafka the flows write without waiting for what the clients of this process follow.
        self._flow_log = open_log(settings.log_url, follow=(), kafka=settings.kafka) if settings.on_kafka else self.log
        self.keys = KeyStore(data / "accounts.sqlite3", key_required=required)
        embedder: TextEmbedder = load_embedder(settings.embedder, settings.embedder_path)
        self.knowledge = KnowledgeStore(data / "knowledge", embedder)
        model = self._language_model()
        small = self._local is not None
        answering = Answering(
            self.knowledge,
            model,
            passages=LOCAL_PASSAGES if small else 6,
            prompt_chars=min(settings.llm_prompt_chars, LOCAL_PROMPT_CHARS) if small else settings.llm_prompt_chars,
        )
        options = FlowOptions(data / "recovery", epoch_s=settings.epoch_s, poll_ms=settings.poll_ms)
        self.runner = FlowRunner(self._flow_log, answering, options)
        self.view = _View(
            self.runner, {"answers": model.name if model else "extractive", "text vectors": embedder.name}
        )

    def _language_model(self) -> LanguageModel | None:
        settings = self.settings
        chosen = settings.llm_chosen
        if chosen == "off":
            return None
        base_url, name = settings.llm_base_url, settings.llm_model
        if chosen == "local":
            from models.local_llm import LocalServer

            self._local = LocalServer()
            base_url, name = self._local.base_url, self._local.model
        if not base_url or not name:
            raise ModelMissing("set REJOINDER_LLM_BASE_URL and REJOINDER_LLM_MODEL, or REJOINDER_LLM=off")
        return ChatServer(
            ChatOptions(
                base_url=base_url,
                model=name,
                api_key=settings.llm_api_key.get_secret_value() or "none",
                temperature=settings.llm_temperature,
                max_tokens=settings.llm_max_tokens if chosen == "server" else min(settings.llm_max_tokens, 160),
                first_piece_s=settings.llm_first_piece_s if chosen == "server" else settings.llm_deadline_s,
                piece_s=settings.llm_piece_s,
                deadline_s=settings.llm_deadline_s,
            )
        )

    def apps(self) -> tuple[FastAPI, FastAPI]:
        """Give the app of the realtime port and the app of the Q&A port."""
        settings = self.settings
        limits = ApiLimits(streams=settings.streams, heartbeat_s=settings.heartbeat_s, stalled_s=settings.stalled_s)
        documents = (knowledge_router(self.knowledge), resume_router(self.knowledge))

        def parts(*more: Any) -> ApiParts:
            return ApiParts(
                log=self.log,
                callers=self.keys,
                engine=self.view,
                version=__version__,
                cors_origins=tuple(settings.cors_origins),
                limits=limits,
                routers=(*documents, *more),
                page_dir=PAGE if (PAGE / "index.html").exists() else None,
            )

        return create_app(parts(demo_router(self.knowledge))), create_app(parts(), doors="qa")

    def start(self) -> None:
        """Start the flows where they stopped; records older than their topic keeps them are removed first."""
        for topic in TOPICS.values():
            if topic.retention_s is not None and not self.settings.on_kafka:  # a broker keeps to it by itself
                self.log.trim(topic.name, time.time() - topic.retention_s)
        self.runner.start()
        logger.info("engine_started", models=self.view.named)

    def stop(self) -> None:
        """Stop the flows with a last snapshot, then close everything."""
        self.runner.stop()
        self.knowledge.close()
        self.keys.close()
        self._flow_log.close()
        self.log.close()
        if self._local is not None:
            self._local.stop()
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
