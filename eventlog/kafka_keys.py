"""What is known of each key: a bounded memory of the records of keys that are read now, fed by the tail."""

import heapq
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from eventlog.base import LogRecord
from eventlog.kafka_records import cursor_of

__all__ = ["KeyMemory"]

MOST_RECORDS = 4_000
"""Records kept per key; what lies before is read from Kafka again when somebody asks for it."""
RECORD_COST, ID_COST = 400, 150


@dataclass(slots=True)
class _Kept:
    """Records of one key: every one of `topics` from `base` on, and the ids of all."""

    base: dict[str, int]
    offsets: dict[str, list[int]] = field(default_factory=dict)
    records: dict[str, list[tuple[int, LogRecord]]] = field(default_factory=dict)
    ids: dict[tuple[str, str], int] = field(default_factory=dict)
    count: int = 0
    cost: int = 0

    def add(self, record: LogRecord, order: int) -> bool:
        identity = (record.topic, record.event_id)
        if identity in self.ids:
            return False
        self.ids[identity] = record.offset
        self.offsets.setdefault(record.topic, []).append(record.offset)
        self.records.setdefault(record.topic, []).append((order, record))
        self.count += 1
        self.cost += RECORD_COST + len(record.value) + ID_COST
        return True

    def shorten(self) -> None:
        """Let go of the older half."""
        for topic, records in self.records.items():
            half = len(records) // 2
            if half:
                self.base[topic] = records[half - 1][1].offset + 1
                self.cost -= sum(RECORD_COST + len(record.value) for _, record in records[:half])
                self.count -= half
                del records[:half], self.offsets[topic][:half]


class KeyMemory:
    """Keys with their records, least recently used ones forgotten when the memory is full."""

    def __init__(self, topics: Sequence[str], most_bytes: int) -> None:
        """Remember records of `topics` in at most about `most_bytes`."""
        self._topics, self._most = tuple(topics), most_bytes
        self._keys: OrderedDict[str, _Kept] = OrderedDict()
        self._loading: dict[str, list[LogRecord]] = {}
        self._cost = 0
        self._order = 0
        self.guard = threading.RLock()

    def known(self, key: str) -> bool:
        """Say whether a key is remembered."""
        with self.guard:
            return key in self._keys

    def begin(self, key: str) -> None:
        """Remember a key from its first record on."""
        with self.guard:
            if key not in self._keys and key not in self._loading:
                self._keys[key] = _Kept(dict.fromkeys(self._topics, 0))

    def begin_loading(self, key: str) -> bool:
        """Keep what comes for a key aside until `finish_loading`; False when somebody loads it already."""
        with self.guard:
            if key in self._loading or key in self._keys:
                return False
            self._loading[key] = []
            return True

    def finish_loading(self, key: str, found: Iterable[LogRecord] | None) -> None:
        """Remember a key with the records that were found and those that came meanwhile; None = give up."""
        with self.guard:
            aside = self._loading.pop(key, [])
            if found is None:
                return
            self._keys[key] = _Kept(dict.fromkeys(self._topics, 0))
            for record in [*found, *aside]:
                self.take(record)

    def take(self, record: LogRecord) -> bool:
        """Add a record to its key, when that is remembered; give whether readers of the key have something new."""
        with self.guard:
            kept = self._keys.get(record.key)
            if kept is None:
                if (aside := self._loading.get(record.key)) is not None:
                    aside.append(record)
                return True
            before = kept.cost
            self._order += 1
            new = kept.add(record, self._order)
            if kept.count > MOST_RECORDS:
                kept.shorten()
            self._cost += kept.cost - before
            while self._cost > self._most and len(self._keys) > 1:
                _, oldest = self._keys.popitem(last=False)
                self._cost -= oldest.cost
            return new

    def forget(self, key: str | None = None) -> None:
        """Forget a key, or all."""
        with self.guard:
            for one in [key] if key is not None else list(self._keys):
                if (kept := self._keys.pop(one, None)) is not None:
                    self._cost -= kept.cost

    def place(self, key: str, topic: str, event_id: str) -> int | None:
        """Give the offset of a record of a remembered key, None when the key has no such record."""
        with self.guard:
            kept = self._keys.get(key)
            return kept.ids.get((topic, event_id)) if kept is not None else None

    def record(self, key: str, topic: str, offset: int) -> LogRecord | None:
        """Give a record when it is at hand."""
        with self.guard:
            kept = self._keys.get(key)
            if kept is None:
                return None
            offsets = kept.offsets.get(topic, [])
            at = bisect_left(offsets, offset)
            return kept.records[topic][at][1] if at < len(offsets) and offsets[at] == offset else None

    def read(self, key: str, topics: Sequence[str], positions: Mapping[str, int], limit: int) -> list[LogRecord] | None:
        """Give records of a remembered key from positions on; None when they are not all at hand."""
        with self.guard:
            kept = self._keys.get(key)
            if kept is None:
                return None
            self._keys.move_to_end(key)
            slices = []
            for topic in topics:
                position = positions.get(topic, 0)
                if topic not in kept.base or position < kept.base[topic]:
                    return None
                at = bisect_left(kept.offsets.get(topic, []), position)
                slices.append(kept.records.get(topic, [])[at : at + limit])
            merged = [record for _, record in heapq.merge(*slices, key=lambda one: one[0])][:limit]
        return with_cursors(merged, topics, positions)


def with_cursors(records: Iterable[LogRecord], topics: Sequence[str], positions: Mapping[str, int]) -> list[LogRecord]:
    """Give records with cursors that say, for every topic, where to read on after them."""
    at = {topic: positions.get(topic, 0) for topic in topics}
    given = []
    for record in records:
        at[record.topic] = record.offset + 1
        given.append(replace(record, cursor=cursor_of(at)))
    return given
