"""Opens the log that an address names."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog

from eventlog.base import EventLog
from eventlog.inmemory import InMemoryLog
from eventlog.sqlite import SqliteLog
from schemas.errors import LogUnavailable
from schemas.topics import SHOWN_TOPICS

if TYPE_CHECKING:
    from eventlog.kafka_client import KafkaOptions

__all__ = ["START_S", "kafka_options", "open_log"]

logger = structlog.get_logger("eventlog")

START_S = 30.0
"""How long a process that serves waits at its start: machines and brokers come up in any order, and to end and be
started again costs it its own start each time."""
AGAIN_S = 0.2


def open_log(
    url: str,
    sync: Literal["normal", "full"] = "normal",
    *,
    follow: Sequence[str] = SHOWN_TOPICS,
    kafka: Mapping[str, Any] | None = None,
    wait_s: float = 0.0,
) -> EventLog:
    """Open ``sqlite:///absolute/path``, ``kafka://host:port[,host:port][/prefix]`` or ``memory:``.

    Args:
        url: The address.
        sync: What an append to the embedded log survives; see `SqliteLog`.
        follow: Topics that clients of this process read by session; none for a flow. The embedded log needs no telling.
        kafka: Further fields of `KafkaOptions`.
        wait_s: How long to try again where brokers do not answer or are not ready; said once in the program's log.

    Raises:
        LogUnavailable: The address is of another kind, or the store cannot be used.
    """
    if url == "memory:":
        return InMemoryLog()
    scheme, found, path = url.partition(":///")
    if found and scheme == "sqlite" and path:
        return SqliteLog(Path("/" + path.lstrip("/")), sync)
    if url.startswith("kafka:"):
        options = kafka_options(url, kafka)
        return _open_kafka(options, follow, wait_s)
    raise LogUnavailable(f"no log is opened by {url!r}; use sqlite:///absolute/path, kafka://host:port or memory:")


def _open_kafka(options: "KafkaOptions", follow: Sequence[str], wait_s: float) -> EventLog:
    from eventlog.kafka import KafkaLog

    end, said = time.monotonic() + wait_s, False
    while True:
        try:
            return KafkaLog(options, follow)
        except LogUnavailable as error:
            if time.monotonic() > end:
                raise
            if not said:
                logger.warning("log_awaited", reason=str(error), seconds=wait_s)
            said = True
            time.sleep(AGAIN_S)


def kafka_options(url: str, more: Mapping[str, Any] | None = None) -> "KafkaOptions":
    """Give the options of a Kafka log from its address.

    Raises:
        LogUnavailable: It is no such address, or the client library is not installed.
    """
    try:
        from eventlog.kafka_client import KafkaOptions
    except ImportError:
        raise LogUnavailable("a Kafka log needs the extra `kafka`: uv sync --extra kafka") from None
    scheme, _, rest = url.partition("://")
    brokers, _, prefix = rest.partition("/")
    hosts = brokers.split(",")
    if scheme != "kafka" or any(not host or not port.isdigit() for host, _, port in (h.rpartition(":") for h in hosts)):
        raise LogUnavailable(f"{url!r} is no address of a Kafka log; use kafka://host:port[,host:port][/prefix]")
    return KafkaOptions(brokers, prefix=prefix.strip("/"), **(more or {}))
