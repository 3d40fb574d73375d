"""Every setting, in one place; the only reader of the environment."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings", "env_example", "settings_page"]


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "rejoinder"


class Settings(BaseSettings):
    """Settings; each is read from ``REJOINDER_NAME`` or a ``.env`` file, and a command's option goes before both."""

    model_config = SettingsConfigDict(env_prefix="REJOINDER_", env_file=".env", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on. Beyond loopback an API key is required.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the realtime API and the page; 0 = any free one.")
    qa_port: int = Field(
        8084, ge=0, le=65535, description="Port of the Q&A and resume API; the same as `port` = one port for all."
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port that serves Prometheus metrics and nothing else; the members of a flow's cluster take this "
        "one and those after it. 0 = none; `/metrics` of the other ports stays.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of that port.")
    data_dir: Path = Field(default_factory=_default_data_dir, description="Folder of the log, documents and keys.")
    log: str = Field(
        "",
        description="Address of the event log: `kafka://host:port[,host:port][/prefix]`; "
        "empty = sqlite in the data folder.",
    )
    log_sync: Literal["normal", "full"] = Field(
        "normal",
        description="What an accepted publish survives: `normal` = the death of the process; "
        "`full` = loss of power as well, with slower writes.",
    )
    kafka_partitions: int = Field(
        8, ge=1, le=256, description="Partitions of each topic, when `topics apply` makes it."
    )
    kafka_replication: int = Field(1, ge=1, description="Copies of each partition, when `topics apply` makes it.")
    kafka_security: Literal["plaintext", "tls", "sasl_plaintext", "sasl_tls"] = Field(
        "plaintext", description="How to speak to the Kafka brokers."
    )
    kafka_ca_file: str = Field("", description="Certificates to trust for Kafka; empty = the system's.")
    kafka_cert_file: str = Field("", description="Client certificate for Kafka.")
    kafka_key_file: str = Field("", description="Key of the client certificate.")
    kafka_sasl_mechanism: str = Field("", description="SASL mechanism, such as SCRAM-SHA-512.")
    kafka_username: str = Field("", description="SASL user.")
    kafka_password: SecretStr = Field(SecretStr(""), description="SASL password.")
    vectors_url: str = Field(
        "",
        description="Address of a Chroma server for the vectors of documents, needed when API and flows run in "
        "processes of their own; empty = in the data folder.",
    )
    epoch_s: float = Field(1.0, gt=0, le=60, description="Seconds between snapshots of the flows.")
    poll_ms: float = Field(2.0, gt=0, le=1000, description="Milliseconds between two looks of a flow for new records.")
    llm: Literal["auto", "off", "local", "server"] = Field(
        "auto",
        description="Who writes answers: `server` = `llm_base_url`; `local` = a small model on this machine (extra "
        "`local-llm`); `off` = quotes from the documents; `auto` = the server when a base URL is set, else off.",
    )
    llm_base_url: str = Field(
        "", description="Base URL of an OpenAI-compatible server, such as http://127.0.0.1:11434/v1."
    )
    llm_model: str = Field("", description="Name of the model on that server.")
    llm_api_key: SecretStr = Field(SecretStr("none"), description="API key for that server.")
    llm_temperature: float = Field(0.2, ge=0, le=2, description="Sampling temperature.")
    llm_max_tokens: int = Field(400, ge=1, le=32_000, description="Longest answer, tokens.")
    llm_first_piece_s: float = Field(15.0, gt=0, description="Longest wait for the first piece of an answer, seconds.")
    llm_piece_s: float = Field(10.0, gt=0, description="Longest wait between two pieces, seconds.")
    llm_deadline_s: float = Field(60.0, gt=0, description="Longest time for a whole answer, seconds.")
    llm_prompt_chars: int = Field(9_000, ge=1_500, description="Longest prompt, characters.")
    llm_local_path: Path | None = Field(
        None, description="Weights of the local model, a .gguf file; empty = those of the extra `local-llm`."
    )
    confirm_below: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The language model is asked whether a heard question less sure than this is one; 0 = never. "
        "0.75 is where the scorer begins to be sure.",
    )
    confirm_s: float = Field(
        2.0, gt=0, le=30, description="Longest wait for what it says, seconds; after it the question stays."
    )
    prompts_dir: Path | None = Field(
        None,
        description="Folder with your own wording of prompts; a file that is not there is taken from the shipped "
        "ones (docs/answers.md).",
    )
    phases_dir: Path | None = Field(
        None,
        description="Folder with your own phases of meetings, a file `KIND.toml` per kind of session; a file that is "
        "not there is taken from the shipped ones (docs/answers.md).",
    )
    nudges: bool = Field(
        False, description="Hint at what stands out in the user's talk while it goes on (docs/answers.md)."
    )
    consent: Literal["warn", "refuse"] = Field(
        "warn",
        description="What happens to those who were not asked: `warn` = it is told and shown; `refuse` = their sound "
        "and words are not taken. What was withdrawn is never taken (docs/consent.md).",
    )
    embedder: Literal["onnx", "torch"] = Field(
        "onnx", description="What computes text vectors: `onnx` (default install) or `torch` (extra `gpu`)."
    )
    reranker: str = Field(
        "",
        description="Cross-encoder that puts passages into order: a folder with an .onnx graph and its "
        "tokenizer.json, or a model of the hub such as cross-encoder/ms-marco-MiniLM-L6-v2; empty = none.",
    )
    embedder_path: Path | None = Field(None, description="Folder with other weights for text vectors.")
    speech_model: str = Field(
        "auto",
        description="Model for captions from sound: a name (tiny.en, base, small, large-v3, ...), a folder with a "
        "CTranslate2 conversion of Whisper, `off`, or `auto` = the best that is installed, if any.",
    )
    speech_sha256: str = Field("", description="What the `model.bin` of that model must have; empty = not checked.")
    speech_partials: bool = Field(True, description="Give partial captions while somebody still speaks.")
    speech_partial_model: str = Field(
        "", description="Model for partial captions; empty = tiny.en for English when installed, else the same model."
    )
    speech_language: str = Field(
        "", description="Language of the sound (`en`, `de`, ...); `auto` = found out; empty = as the session says."
    )
    speech_device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where speech models run.")
    speech_precision: str = Field("", description="Compute type; empty = int8 on a CPU, float16 on a GPU.")
    speech_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Stretches of speech written down for good at the same time; guesses have as many of their own.",
    )
    speech_threads: int = Field(
        1,
        ge=1,
        le=64,
        description="CPU threads that work on one stretch of speech together: final captions come sooner where cores "
        "are free, later where none are. On a GPU they do nothing.",
    )
    speech_beam: int = Field(1, ge=1, le=10, description="Width of the search for the best final text; 1 = greedy.")
    speech_pause_s: float = Field(0.45, ge=0.2, le=3, description="A pause this long ends a caption, seconds.")
    speech_stalled_s: float = Field(
        2.0, ge=0.5, le=60, description="A track that sends nothing for so many seconds is taken for silent."
    )
    speech_glossary: list[str] = Field(
        default_factory=list, description='Names and terms that captions should know, as JSON: ["Kafka", "Marta"].'
    )
    speech_memory_mb: int = Field(
        4_000, ge=100, description="Most memory for speech models, MB; those used least recently are put away first."
    )
    speakers: Literal["auto", "off", "onnx", "pyannote"] = Field(
        "auto",
        description="Who tells speakers of one track apart: `onnx` = the models kept with the code; `pyannote` = a "
        "segmentation model of yours (extra `diarization`); `off`; `auto` = `onnx` where sound is written down.",
    )
    speakers_model: str = Field(
        "", description="For `pyannote`: a checkpoint file, or a name at the hub such as pyannote/segmentation-3.0."
    )
    speakers_sha256: str = Field("", description="For `pyannote`: what that checkpoint must have; needed.")
    speakers_most: int = Field(12, ge=1, le=64, description="Most speakers told apart on one track.")
    speakers_workers: int = Field(1, ge=1, le=64, description="Windows of sound heard at the same time, a CPU each.")
    audio_retention_h: float = Field(
        6.0,
        ge=0,
        le=24 * 365,
        description="Hours for which sound is kept; 0 = only until it is written down. On Kafka the topic's own.",
    )
    analytics: bool = Field(
        True, description="Run the analytics inside `rejoinder up`; else in a process of their own, or not at all."
    )
    analytics_texts: bool = Field(
        False, description="Keep what was said and asked in the analytics as well, not only counts and times."
    )
    analytics_readers: list[str] = Field(
        default_factory=list,
        description="Owners whose API keys may ask the analytics by SQL, over all owners' data, as JSON: "
        '["data-team"]. Where no key is required everybody on this machine may.',
    )
    analytics_memory_mb: int = Field(1024, ge=128, description="Most memory of the analytics database, megabytes.")
    analytics_timeout_s: float = Field(30.0, gt=0, le=3600, description="Longest question to the analytics, seconds.")
    prices_file: Path | None = Field(
        None,
        description="TOML file with what tokens and minutes of sound cost (docs/analytics.md), for the analytics; "
        "empty = no cost is told.",
    )
    cors_origins: list[str] = Field(
        default_factory=list, description='Origins allowed by CORS, as JSON: ["https://a"].'
    )
    webrtc_ice_servers: list[str] = Field(
        default_factory=list,
        description='STUN and TURN servers for WebRTC, as JSON: ["stun:a:3478"]; none = own addresses alone.',
    )
    livekit_url: str = Field(
        "",
        pattern=r"^(?:(?:wss?|https?)://[^\s/@]+(?:/\S*)?)?$",
        description="Address of a LiveKit server, such as ws://127.0.0.1:7880, as participants reach it too (extra "
        "`livekit`); empty = sessions have no rooms.",
    )
    livekit_api_key: str = Field("", description="API key of that server.")
    livekit_api_secret: SecretStr = Field(SecretStr(""), description="The secret of that key.")
    streams: int = Field(2_000, ge=1, description="Most event streams open at once.")
    heartbeat_s: float = Field(
        15.0, ge=1, le=20, description="Seconds between heartbeats on a quiet stream; the page gives up after 45."
    )
    stalled_s: float = Field(20.0, gt=0, description="A client that reads nothing for this many seconds is cut.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    otel_endpoint: str = Field(
        "",
        description="OTLP (gRPC) address that traces are sent to, such as http://127.0.0.1:4317 (extra `otel`); "
        "empty = none are kept.",
    )
    otel_ratio: float = Field(1.0, ge=0, le=1, description="Share of requests that begin a trace.")
    sentry_dsn: SecretStr = Field(
        SecretStr(""), description="Where errors are reported, as Sentry's DSN (extra `sentry`); empty = nowhere."
    )
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")

    @model_validator(mode="after")
    def _whole_livekit(self) -> Self:
        given = (self.livekit_url, self.livekit_api_key, self.livekit_api_secret.get_secret_value())
        if any(given) and not all(given):
            raise ValueError("livekit_url, livekit_api_key and livekit_api_secret are set together")
        return self

    @property
    def log_url(self) -> str:
        """Give the address of the log."""
        return self.log or f"sqlite:///{self.data_dir.resolve()}/log.sqlite3"

    @property
    def on_kafka(self) -> bool:
        """Say whether the log is Kafka."""
        return self.log.startswith("kafka:")

    @property
    def kafka(self) -> dict[str, str | int]:
        """Give what the address of a Kafka log does not say."""
        return {
            "partitions": self.kafka_partitions,
            "replication": self.kafka_replication,
            "security": self.kafka_security,
            "ca_file": self.kafka_ca_file,
            "cert_file": self.kafka_cert_file,
            "key_file": self.kafka_key_file,
            "mechanism": self.kafka_sasl_mechanism,
            "username": self.kafka_username,
            "password": self.kafka_password.get_secret_value(),
        }

    @property
    def llm_chosen(self) -> Literal["off", "local", "server"]:
        """Give who writes the answers."""
        if self.llm != "auto":
            return self.llm
        return "server" if self.llm_base_url else "off"

    @property
    def loopback(self) -> bool:
        """Say whether only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _rows() -> list[tuple[str, str, str]]:
    rows = []
    for name, one in Settings.model_fields.items():
        default = one.get_default(call_default_factory=True) if name != "data_dir" else "~/.local/share/rejoinder"
        shown = (
            default.get_secret_value() if isinstance(default, SecretStr) else "" if default is None else str(default)
        )
        rows.append((f"REJOINDER_{name.upper()}", shown, one.description or ""))
    return rows


def settings_page() -> str:
    """Give docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable, or a line of a `.env` file in the working folder. Where a command",
        "has an option of the same name, the option wins. This page is generated: `uv run rejoinder settings --page`.",
        "",
        "| Variable | Default | Meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |" for name, default, meaning in _rows()]
    return "\n".join(lines) + "\n"


def env_example() -> str:
    """Give .env.example."""
    lines = ["# Copy to .env and change what you need. Generated: uv run rejoinder settings --env", ""]
    for name, default, meaning in _rows():
        lines += [f"# {meaning}", f"# {name}={default}", ""]
    return "\n".join(lines)
