"""Opens the log that an address names."""

from pathlib import Path
from typing import Literal

from eventlog.base import EventLog
from eventlog.inmemory import InMemoryLog
from eventlog.sqlite import SqliteLog
from schemas.errors import LogUnavailable

__all__ = ["open_log"]


def open_log(url: str, sync: Literal["normal", "full"] = "normal") -> EventLog:
    """Open ``sqlite:///absolute/path`` (the embedded log) or ``memory:`` (nothing survives).

    Raises:
        LogUnavailable: The address is of another kind, or the file cannot be used.
    """
    if url == "memory:":
        return InMemoryLog()
    scheme, found, path = url.partition(":///")
    if found and scheme == "sqlite" and path:
        return SqliteLog(Path("/" + path.lstrip("/")), sync)
    if url.startswith("kafka:"):
        raise LogUnavailable("this version has no Kafka log yet; use sqlite:///path (the default)")
    raise LogUnavailable(f"no log is opened by {url!r}; use sqlite:///absolute/path or memory:")
