"""Checks what the engine needs, one line each."""

import importlib.metadata
import importlib.util
import json
import shutil
import socket
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from rejoinder import __version__
from rejoinder.settings import Settings
from schemas.errors import LogError, ModelMissing

__all__ = ["Check", "checks"]

LEAST_FREE_BYTES = 1_000_000_000
CLOCKS_AGREE_S = 5.0
SHOWN_VERSIONS = ("bytewax", "pydantic", "fastapi", "numpy", "chromadb", "onnxruntime", "openai")
EXTRAS = {
    "local-llm": "xllamacpp",
    "kafka": "confluent_kafka",
    "speech": "faster_whisper",
    "diarization": "pyannote.audio",
    "gpu": "sentence_transformers",
    "otel": "opentelemetry.exporter",
    "sentry": "sentry_sdk",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and what to do."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str


def checks(settings: Settings) -> Iterator[Check]:
    """Look at versions, disk, log, topics, clock, models, GPU, ports and the model's server."""
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    yield Check(
        "python", "ok" if fits else "fail", version + ("" if fits else "; use 3.11 or 3.12: uv python install 3.12")
    )
    yield Check("sqlite", "ok", sqlite3.sqlite_version)
    yield _versions()
    yield _disk(settings)
    yield _log(settings)
    yield _topics(settings)
    yield _clock(settings)
    yield _gpu(settings)
    yield _vectors(settings)
    if settings.vectors_url:
        yield _vector_server(settings.vectors_url)
    yield _language_model(settings)
    yield _speech(settings)
    for port in dict.fromkeys((settings.port, settings.qa_port)):
        yield _port(settings.host, port)
    if settings.metrics_port:
        yield _port(settings.metrics_host, settings.metrics_port)
    for extra, module in EXTRAS.items():
        there = importlib.util.find_spec(module.partition(".")[0]) is not None
        yield Check(
            f"extra {extra}"[:14],
            "ok" if there else "warn",
            "installed" if there else f"add with: uv sync --extra {extra}",
        )


def _speech(settings: Settings) -> Check:
    from rejoinder.speech import chosen_model, speech_wanted

    if not speech_wanted(settings):
        return Check("speech", "ok", "off; captions from sound need: uv sync --extra speech")
    try:
        return Check("speech", "ok", f"{chosen_model(settings)}, loaded when the first sound comes")
    except ModelMissing as error:
        return Check("speech", "warn", str(error))


def _disk(settings: Settings) -> Check:
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    state: Literal["ok", "warn"] = "ok" if free > LEAST_FREE_BYTES else "warn"
    return Check("disk", state, f"{free / 1e9:.1f} GB free for {settings.data_dir}")


def _log(settings: Settings) -> Check:
    from eventlog import open_log

    if not settings.data_dir.exists():
        return Check("log", "ok", f"new: {settings.log_url}")
    try:
        log = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
    except LogError as error:
        return Check("log", "fail", str(error))
    captions = sum(log.end("captions", partition) for partition in range(log.partitions("captions")))
    log.close()
    return Check("log", "ok", f"{settings.log_url}, captions end at {captions}")


def _versions() -> Check:
    found = [f"{name} {importlib.metadata.version(name)}" for name in SHOWN_VERSIONS]
    return Check("versions", "ok", f"rejoinder {__version__}; {', '.join(found)}")


def _topics(settings: Settings) -> Check:
    from schemas.topics import TOPICS

    if not settings.on_kafka:
        return Check("topics", "ok", f"{len(TOPICS)}, made with the embedded log")
    from eventlog.opening import kafka_options

    try:
        options = kafka_options(settings.log_url, settings.kafka)
        from eventlog.kafka_client import check_topics

        reports = check_topics(options)
    except LogError as error:
        return Check("topics", "fail", str(error))
    bad = [f"{one.name} {one.state}: {one.detail}" for one in reports if one.state != "right"]
    missing = any(one.state == "missing" for one in reports)
    state: Literal["ok", "warn", "fail"] = "fail" if missing else "warn" if bad else "ok"
    return Check("topics", state, "; ".join(bad[:3]) if bad else f"{len(reports)} as they should be")


def _clock(settings: Settings) -> Check:
    """Look whether this clock lies behind what the log or the model's server says."""
    ahead = _newest_in_log(settings) - time.time()
    if ahead > CLOCKS_AGREE_S:
        return Check("clock", "fail", f"{ahead:.0f} s behind the newest record of the log; set it by NTP")
    told = _servers_clock(settings) if settings.llm_chosen == "server" else None
    if told is not None and abs(told - time.time()) > CLOCKS_AGREE_S:
        return Check("clock", "warn", f"{told - time.time():+.0f} s off the model server's; set both by NTP")
    return Check("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _newest_in_log(settings: Settings) -> float:
    from eventlog import open_log

    newest = 0.0
    if settings.data_dir.exists() or settings.on_kafka:
        try:
            log = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
        except LogError:
            return newest  # another line tells of it
        try:
            for topic in ("captions", "meeting"):
                for partition in range(log.partitions(topic)):
                    for lying in log.read(topic, partition, max(0, log.end(topic, partition) - 1), 1):
                        newest = max(newest, lying.at_s)
        except LogError:
            return newest
        finally:
            log.close()
    return newest


def _servers_clock(settings: Settings) -> float | None:
    if not settings.llm_base_url.startswith(("http://", "https://")):
        return None
    request = urllib.request.Request(settings.llm_base_url.rstrip("/") + "/models")  # noqa: S310 - http(s) only, checked
    request.add_header("Authorization", f"Bearer {settings.llm_api_key.get_secret_value()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - as above
            said = reply.headers.get("Date")
    except urllib.error.HTTPError as error:
        said = error.headers.get("Date")
    except OSError:
        return None
    try:
        return parsedate_to_datetime(said).timestamp() if said else None
    except ValueError:
        return None


def _gpu(settings: Settings) -> Check:
    from models.devices import choose_device

    try:
        device = choose_device(settings.speech_device, settings.speech_precision)
    except ValueError as error:
        return Check("gpu", "fail", str(error))
    if device.kind == "cuda":
        return Check("gpu", "ok", f"CUDA, {device.precision}")
    return Check("gpu", "ok", "none in use: models run on the CPU")


def _vectors(settings: Settings) -> Check:
    from models.embedder import OnnxReader, load_embedder
    from models.reranker import OnnxReranker
    from schemas.errors import ModelError

    try:
        embedder = load_embedder(settings.embedder, settings.embedder_path)
        embedder.embed(["a test"])
        OnnxReader()
        names = [embedder.name]
        if settings.reranker:
            reranker = OnnxReranker(settings.reranker)
            reranker.scores("a test", ["of it"])
            names.append(reranker.name)
    except ModelError as error:
        return Check("text vectors", "fail", str(error))
    return Check("text vectors", "ok", ", ".join(names))


def _vector_server(address: str) -> Check:
    from rejoinder.knowledge.vectors import check_server

    try:
        check_server(address)
    except LogError as error:
        return Check("vector server", "fail", str(error))
    return Check("vector server", "ok", f"a Chroma server answers at {address}")


def _language_model(settings: Settings) -> Check:
    name = "language model"
    chosen = settings.llm_chosen
    if chosen == "off":
        return Check(name, "ok", "none: answers quote your documents; set REJOINDER_LLM_BASE_URL for written ones")
    if chosen == "local":
        from models.local_llm import local_weights
        from schemas.errors import ModelError

        try:
            return Check(name, "ok", local_weights().name)
        except ModelError as error:
            return Check(name, "fail", str(error))
    if not settings.llm_base_url.startswith(("http://", "https://")):
        return Check(name, "fail", "REJOINDER_LLM_BASE_URL must begin with http:// or https://")
    request = urllib.request.Request(settings.llm_base_url.rstrip("/") + "/models")  # noqa: S310 - http(s) only, checked
    request.add_header("Authorization", f"Bearer {settings.llm_api_key.get_secret_value()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - as above
            return Check(name, "ok", f"{settings.llm_base_url} answers ({reply.status})")
    except urllib.error.HTTPError as error:
        return Check(name, "warn", f"{settings.llm_base_url} answers with status {error.code}; is the key right?")
    except OSError as error:
        return Check(name, "fail", f"{settings.llm_base_url} cannot be reached: {error}")


def _port(host: str, port: int) -> Check:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if _is_ours(host, port):
                return Check(f"port {port}", "ok", "a running Rejoinder answers there")
            return Check(f"port {port}", "warn", f"{error.strerror}: choose another with --port or --qa-port")
    return Check(f"port {port}", "ok", "free")


def _is_ours(host: str, port: int) -> bool:
    shown = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host  # noqa: S104 - compared, not bound
    try:
        with urllib.request.urlopen(f"http://{shown}:{port}/api/health/live", timeout=2) as reply:
            return bool(json.load(reply) == {"live": True})
    except (OSError, ValueError):
        return False
