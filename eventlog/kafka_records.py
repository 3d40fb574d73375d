"""How a record of ours lies in Kafka, where a key's records lie, and what a cursor of a Kafka log looks like."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from eventlog.base import LogRecord, NewRecord, shard_of
from schemas.errors import OffsetGone
from schemas.topics import TOPICS

__all__ = ["RecentIds", "cursor_of", "headers_of", "partition_of", "positions_of", "record_of"]

# A cursor is one letter and one number per topic: where to read on. Letters follow the table of topics.
_LETTERS = dict(zip(TOPICS, "abcdefghijklmnopqrstuvwxyz", strict=False))
_NAMES = {letter: name for name, letter in _LETTERS.items()}
_CURSOR = re.compile(r"(?:[a-z]\d{1,18}){1,26}")
_PLACE = re.compile(r"([a-z])(\d+)")
START = "0"
TRACE_CHARS = 55


def partition_of(key: str, partitions: int) -> int:
    """Give the partition of a key, the same in every topic.

    It follows from the key's shard, so a shard of a flow's state reads one partition.
    """
    return shard_of(key) % partitions


def headers_of(record: NewRecord) -> list[tuple[str, str | bytes | None]]:
    """Give the headers that carry what Kafka itself has no exact place for."""
    headers: list[tuple[str, str | bytes | None]] = [
        ("id", record.event_id.encode()),
        ("at", repr(float(record.at_s)).encode()),
    ]
    if record.trace:
        headers.append(("traceparent", record.trace.encode()))
    return headers


def record_of(message: Any, topic: str) -> LogRecord:
    """Give a record as the seam knows it; one that another program wrote gets an id from its place."""
    trace = ""
    event_id, at_s = f"{message.partition()}-{message.offset()}", message.timestamp()[1] / 1000
    for name, value in message.headers() or ():
        try:
            if name == "id":
                event_id = value.decode()
            elif name == "at":
                at_s = float(value)
            elif name == "traceparent" and len(value) == TRACE_CHARS:
                trace = value.decode("ascii")
        except (ValueError, AttributeError):
            continue
    key = (message.key() or b"").decode("utf-8", "replace")
    partition, offset = message.partition(), message.offset()
    cursor = f"{_LETTERS.get(topic, 'z')}{offset + 1}"
    return LogRecord(topic, partition, offset, key, event_id, message.value() or b"", at_s, cursor, trace)


def cursor_of(positions: Mapping[str, int]) -> str:
    """Give the cursor for positions by topic.

    >>> positions_of(cursor_of({"captions": 7, "answers": 0}))
    {'captions': 7, 'answers': 0}
    """
    return "".join(f"{_LETTERS[topic]}{offset}" for topic, offset in positions.items()) or START


def positions_of(cursor: str) -> dict[str, int]:
    """Give the positions by topic that a cursor stands for; topics it does not name are read from their start.

    Raises:
        OffsetGone: It is no cursor of a Kafka log.
    """
    if cursor == START:
        return {}
    if len(cursor) > 500 or not _CURSOR.fullmatch(cursor):
        raise OffsetGone("not a cursor of this log")
    places = _PLACE.findall(cursor)
    if any(letter not in _NAMES for letter, _ in places) or len({letter for letter, _ in places}) != len(places):
        raise OffsetGone("not a cursor of this log")
    return {_NAMES[letter]: int(number) for letter, number in places}


class RecentIds:
    """The ids of the last records of one partition: work that is done again after a fault repeats recent ids only."""

    def __init__(self, most: int = 5_000) -> None:
        """Keep at most this many."""
        self._most, self._places = most, OrderedDict[str, int]()

    def first(self, event_id: str, offset: int) -> bool:
        """Note an id; give whether `offset` is where it was seen first."""
        known = self._places.setdefault(event_id, offset)
        if len(self._places) > self._most:
            self._places.popitem(last=False)
        return known == offset

    def place(self, event_id: str) -> int | None:
        """Give the offset at which an id was seen first."""
        return self._places.get(event_id)
