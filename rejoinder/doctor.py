"""Checks what the engine needs, one line each."""

import importlib.util
import shutil
import socket
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rejoinder.settings import Settings
from schemas.errors import ModelMissing

__all__ = ["Check", "checks"]

LEAST_FREE_BYTES = 1_000_000_000
EXTRAS = {
    "local-llm": "xllamacpp",
    "kafka": "confluent_kafka",
    "speech": "faster_whisper",
    "diarization": "pyannote.audio",
    "gpu": "sentence_transformers",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and what to do."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str


def checks(settings: Settings) -> Iterator[Check]:
    """Look at python, disk, log, models, ports and the model's server."""
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    yield Check(
        "python", "ok" if fits else "fail", version + ("" if fits else "; use 3.11 or 3.12: uv python install 3.12")
    )
    yield Check("sqlite", "ok", sqlite3.sqlite_version)
    yield _disk(settings)
    yield _log(settings)
    yield _vectors(settings)
    yield _language_model(settings)
    yield _speech(settings)
    for port in dict.fromkeys((settings.port, settings.qa_port)):
        yield _port(settings.host, port)
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
    from schemas.errors import LogError

    if not settings.data_dir.exists():
        return Check("log", "ok", f"new: {settings.log_url}")
    try:
        log = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
    except LogError as error:
        return Check("log", "fail", str(error))
    captions = sum(log.end("captions", partition) for partition in range(log.partitions("captions")))
    log.close()
    return Check("log", "ok", f"{settings.log_url}, captions end at {captions}")


def _vectors(settings: Settings) -> Check:
    from models.embedder import load_embedder
    from schemas.errors import ModelError

    try:
        embedder = load_embedder(settings.embedder, settings.embedder_path)
        embedder.embed(["a test"])
    except ModelError as error:
        return Check("text vectors", "fail", str(error))
    return Check("text vectors", "ok", embedder.name)


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
            return Check(f"port {port}", "warn", f"{error.strerror}: choose another with --port or --qa-port")
    return Check(f"port {port}", "ok", "free")
