"""Opens the log that an address names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eventlog.base import EventLog
from eventlog.inmemory import InMemoryLog
from eventlog.sqlite import SqliteLog
from schemas.errors import LogUnavailable
from schemas.topics import SHOWN_TOPICS

if TYPE_CHECKING:
    from eventlog.kafka_client import KafkaOptions

__all__ = ["kafka_options", "open_log"]


def open_log(
    url: str,
    sync: Literal["normal", "full"] = "normal",
    *,
    follow: Sequence[str] = SHOWN_TOPICS,
    kafka: Mapping[str, Any] | None = None,
) -> EventLog:
    """Open ``sqlite:///absolute/path``, ``kafka://host:port[,host:port][/prefix]`` or ``memory:``.

    Args:
        url: The address.
        sync: What an append to the embedded log survives; see `SqliteLog`.
        follow: Topics that clients of this process read by session; none for a flow. The embedded log needs no telling.
        kafka: Further fields of `KafkaOptions`.

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
        from eventlog.kafka import KafkaLog

        return KafkaLog(options, follow)
    raise LogUnavailable(f"no log is opened by {url!r}; use sqlite:///absolute/path, kafka://host:port or memory:")


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
