"""Rows, topic numbers, groups and faults of the embedded log."""

import queue
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventlog.base import Appended, LogRecord, NewRecord
from schemas.errors import LogError, LogUnavailable
from schemas.topics import TOPICS, topic_named

__all__ = [
    "COLUMNS",
    "TOPIC_NAMES",
    "TOPIC_NUMBERS",
    "Draft",
    "Submission",
    "marks",
    "number_of",
    "record_of",
    "take_group",
    "unavailable",
]

GROUP_RECORDS = 2_000
GROUP_BYTES = 8 * 1024 * 1024

COLUMNS = "offset, topic, key, event_id, at_s, value, trace"
TOPIC_NUMBERS = {name: number for number, name in enumerate(TOPICS)}
TOPIC_NAMES = list(TOPICS)


@dataclass(slots=True)
class Submission:
    """Records of one call, and who waits for them."""

    records: Sequence[NewRecord]
    future: "Future[list[Appended]]"


@dataclass(slots=True)
class Draft:
    """The numbers of a commit while it is being made; nobody sees them before it succeeds."""

    last: int
    ends: dict[str, int] = field(default_factory=dict)


Task = Callable[[], None]


def take_group(first: Submission, waiting: "queue.SimpleQueue[Any]") -> tuple[list[Submission], Task | None, bool]:
    """Take what is queued behind a submission, up to the bounds of one commit.

    Returns:
        The submissions, a task that was queued behind them if one was met, and whether the end was met.
    """
    group, count, size = [first], len(first.records), sum(len(record.value) for record in first.records)
    while count < GROUP_RECORDS and size < GROUP_BYTES:
        try:
            taken = waiting.get_nowait()
        except queue.Empty:
            break
        if taken is None:
            return group, None, True
        if not isinstance(taken, Submission):
            return group, taken, False
        group.append(taken)
        count += len(taken.records)
        size += sum(len(record.value) for record in taken.records)
    return group, None, False


def record_of(row: Sequence[Any]) -> LogRecord:
    """Give the record of a row of `COLUMNS`."""
    offset, topic, key, event_id, at_s, value, trace = row
    return LogRecord(TOPIC_NAMES[topic], 0, offset, key, event_id, value, at_s, str(offset), trace or "")


def number_of(topic: str) -> int:
    """Give the number of a topic.

    Raises:
        UnknownTopic: It is not in the table.
    """
    number = TOPIC_NUMBERS.get(topic)
    if number is None:
        topic_named(topic)
        raise LogError(topic)
    return number


def marks(numbers: Iterable[int]) -> str:
    """Give numbers for an ``IN (...)``."""
    return ",".join(str(number) for number in numbers)


def unavailable(path: Path, error: Exception) -> LogUnavailable:
    """Give the fault in words, with what to do about it."""
    text = str(error)
    advice = ""
    if "full" in text:
        advice = "; free some space on that disk"
    elif "readonly" in text or "unable to open" in text or isinstance(error, PermissionError):
        advice = "; check that the folder exists and may be written"
    elif "malformed" in text or "not a database" in text:
        advice = "; the file is damaged or not a log: restore it from a backup or move it away"
    return LogUnavailable(f"the log {path.name} cannot be used: {text}{advice}")
