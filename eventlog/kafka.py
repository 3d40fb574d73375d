"""The log on Apache Kafka: topics with partitions, for when one machine is not enough.

Kafka keeps no index by id or by key, so what the seam promises about both is made here: a process that serves
clients follows the topics with one consumer (`kafka_tail`), remembers the keys that are read now (`kafka_keys`), and
scans a key's partition for what it does not remember. A record may lie twice in a topic, when a writer was killed
between storing it and knowing that; every reader of this module leaves the second one out.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from eventlog.base import Appended, LogReader, LogRecord, NewRecord, Notify
from eventlog.checks import tell, what_is_wrong
from eventlog.kafka_client import ANSWER_S, ERASED_TOPIC, KafkaOptions, log_error
from eventlog.kafka_keys import KeyMemory, with_cursors
from eventlog.kafka_layout import Layout
from eventlog.kafka_reader import KafkaReader
from eventlog.kafka_records import START, RecentIds, cursor_of, partition_of, positions_of
from eventlog.kafka_scan import Scanner, Wanted
from eventlog.kafka_tail import Tail
from eventlog.kafka_writer import KafkaWriter
from schemas.errors import KeyErased, LogError, LogUnavailable, OffsetGone
from schemas.topics import TOPICS, topic_named

__all__ = ["KafkaLog"]

logger = structlog.get_logger("eventlog")

WRITTEN_BEFORE = 10_000
"""Ids of a partition's last records that a writer reads first, so that work done again is not stored again."""
STARTS_KEYS = "meeting"
AGAIN_S = 0.2


class KafkaLog:
    """An event log in Kafka topics.

    With `follow` it serves clients: what an append acknowledged is at once seen by `find`, `read_key` and
    subscribers of this process. Without, it serves a flow: `find` knows the last records of a partition only.
    """

    def __init__(self, options: KafkaOptions, follow: Sequence[str] = ()) -> None:
        """Connect, check the topics, and read which keys there are.

        Raises:
            LogUnavailable: No broker answers, or the topics are not as they must be.
        """
        self._options, self._followed = options, tuple(follow)
        self._layout = Layout(options)
        self._partitions = self._layout.partitions
        self._closed = False
        self._subscribers: tuple[Notify, ...] = ()
        self._erased: set[str] = set()
        self._first_at: dict[str, float] = {}
        self._orphans: OrderedDict[str, None] = OrderedDict()
        self._written: dict[tuple[str, int], RecentIds] = {}
        self._guard = threading.Lock()
        self._memory = KeyMemory(self._followed, options.cache_bytes)
        self._scanner = Scanner(options, self.erased)
        self._loaders = ThreadPoolExecutor(4, thread_name_prefix="log-load")
        self._writer = KafkaWriter(options)
        whole = tuple(topic for topic in self._followed if topic == STARTS_KEYS)
        rest = tuple(topic for topic in self._followed if topic != STARTS_KEYS)
        self._tail = Tail(options, rest, whole, self._partitions, self._take)
        try:
            self._tail.start()
        except LogError:
            self.close()
            raise

    def _take(self, records: list[LogRecord], behind: bool) -> None:
        keys = set()
        for record in records:
            if record.topic == ERASED_TOPIC:
                self._erased.add(record.key)
                self._memory.forget(record.key)
                keys.add(record.key)
                continue
            if record.topic == STARTS_KEYS and record.key not in self._first_at:
                self._first_at[record.key] = record.at_s
                if not behind and record.key not in self._orphans:
                    self._memory.begin(record.key)
            if behind or record.key in self._erased:
                continue
            if record.key not in self._first_at:
                # Another process opened this session, and its captions came here before its opening.
                self._orphans[record.key] = None
                if len(self._orphans) > WRITTEN_BEFORE:
                    self._orphans.popitem(last=False)
            if self._memory.take(record):
                keys.add(record.key)
        if keys and not behind:
            tell(self._subscribers, frozenset(keys))

    far = True
    """An append waits for the broker."""

    def append(self, records: Sequence[NewRecord]) -> list[Appended]:
        """Store records and wait; see `EventLog.append`."""
        return self.submit(records).result()

    def submit(self, records: Sequence[NewRecord]) -> "Future[list[Appended]]":
        """Send records; see `EventLog.submit`."""
        outcome: Future[list[Appended]] = Future()
        outcome.set_running_or_notify_cancel()
        wrong = what_is_wrong(records)
        if wrong is None and self._closed:
            wrong = LogUnavailable("the log is closed")
        if wrong is None and (gone := next((one.key for one in records if one.key in self._erased), None)):
            wrong = KeyErased(f"session {gone} was erased")
        if wrong is not None:
            outcome.set_exception(wrong)
        elif self._followed and not all(self._memory.known(record.key) for record in records):
            self._loaders.submit(self._load_and_send, list(records), outcome)
        else:
            self._send(records, outcome)
        return outcome

    def _load_and_send(self, records: Sequence[NewRecord], outcome: "Future[list[Appended]]") -> None:
        try:
            for key in {record.key for record in records}:
                self.load(key)
            self._send(records, outcome)
        except LogError as error:
            outcome.set_exception(error)

    def _send(self, records: Sequence[NewRecord], outcome: "Future[list[Appended]]") -> None:
        results: list[int | None] = []
        fresh: list[tuple[NewRecord, int]] = []
        mine: dict[tuple[str, str], int] = {}
        slots: list[int] = []
        for record in records:
            partition = partition_of(record.key, self._partitions)
            place = self._place(record, partition)
            identity = (record.topic, record.event_id)
            results.append(place)
            if place is not None:
                slots.append(-1)
            elif identity in mine:
                slots.append(mine[identity])
            else:
                mine[identity] = len(fresh)
                slots.append(len(fresh))
                fresh.append((record, partition))

        def stored(done: "Future[list[int]]") -> None:
            error = done.exception()
            if error is not None:
                outcome.set_exception(error)
                return
            self._acknowledge(records, fresh, done.result(), (results, slots), outcome)

        self._writer.write(fresh).add_done_callback(stored)

    def _acknowledge(
        self,
        records: Sequence[NewRecord],
        fresh: Sequence[tuple[NewRecord, int]],
        offsets: Sequence[int],
        found: tuple[list[int | None], list[int]],
        outcome: "Future[list[Appended]]",
    ) -> None:
        last: dict[tuple[str, int], int] = {}
        for (record, partition), offset in zip(fresh, offsets, strict=True):
            last[record.topic, partition] = max(offset, last.get((record.topic, partition), -1))
            if (written := self._written.get((record.topic, partition))) is not None:
                written.first(record.event_id, offset)
        given: list[Appended] = []
        used: set[int] = set()
        for record, known, slot in zip(records, *found, strict=True):
            partition = partition_of(record.key, self._partitions)
            offset = known if known is not None else offsets[slot]
            repeat = known is not None or slot in used
            used.add(slot)
            cursor = self._cursor_after(partition, record.topic, offset)
            given.append(Appended(record.topic, partition, offset, cursor, repeat))
        self._once_seen(
            [(place, offset) for place, offset in last.items() if place[0] in self._followed], outcome, given
        )

    def _once_seen(
        self, places: list[tuple[tuple[str, int], int]], outcome: "Future[list[Appended]]", given: list[Appended]
    ) -> None:
        """Acknowledge once this process itself has seen what it stored."""
        if not places:
            outcome.set_result(given)
            return
        (topic, partition), offset = places[0]
        passed: Future[None] = Future()
        passed.add_done_callback(lambda _: self._once_seen(places[1:], outcome, given))
        self._tail.resolve_after(topic, partition, offset, passed, None)

    def _place(self, record: NewRecord, partition: int) -> int | None:
        """Give where a record lies already, as far as this process knows."""
        if record.topic in self._followed:
            return self._memory.place(record.key, record.topic, record.event_id)
        return self._written_to(record.topic, partition).place(record.event_id)

    def _written_to(self, topic: str, partition: int) -> RecentIds:
        with self._guard:
            known = self._written.get((topic, partition))
            if known is None:
                known = self._written[topic, partition] = self._lately_written(topic, partition)
            return known

    def _lately_written(self, topic: str, partition: int) -> RecentIds:
        """Read the ids of a partition's last records; waits for the broker as long as an append does."""
        end = time.monotonic() + self._options.deliver_s
        while True:
            try:
                return self._scanner.last_ids(topic, partition, WRITTEN_BEFORE)
            except LogUnavailable:
                if self._closed or time.monotonic() > end:
                    raise
                time.sleep(AGAIN_S)

    def _cursor_after(self, partition: int, topic: str, offset: int) -> str:
        positions = {name: self._tail.position(name, partition) or 0 for name in self._followed}
        return cursor_of(positions | {topic: offset + 1})

    def load(self, key: str) -> None:
        """Read a key's followed topics into memory; see `EventLog.load`."""
        end = time.monotonic() + 60
        while not self._memory.known(key) and time.monotonic() < end:
            if not self._memory.begin_loading(key):
                time.sleep(0.005)  # another thread reads it
                continue
            found: list[LogRecord] | None = None
            try:
                found = self._scan_key(key, self._followed)
            finally:
                self._memory.finish_loading(key, found)

    def loaded(self, key: str) -> bool:
        """Say whether a key's followed topics are in memory."""
        return self._memory.known(key)

    def _scan_key(
        self, key: str, topics: Sequence[str], positions: Mapping[str, int] | None = None, limit: int | None = None
    ) -> list[LogRecord]:
        wanted = Wanted(positions or {}, limit, self._first_at.get(key))
        return self._scanner.of_key(key, partition_of(key, self._partitions), topics, wanted)

    def reader(self, group: str, beside: LogReader | None = None) -> KafkaReader:
        """Open a reader; see `EventLog.reader`."""
        mine = beside if isinstance(beside, KafkaReader) else None
        return KafkaReader(self._options, group, self.erased, self._scanner.bounds, mine)

    def read(self, topic: str, partition: int, start: int, limit: int) -> list[LogRecord]:
        """Scan a partition; see `EventLog.read`."""
        topic_named(topic)
        low, high = self._scanner.bounds(topic, partition)
        if 0 < start < low:
            raise OffsetGone(f"{topic}/{partition}: records up to {low - 1} were trimmed")
        found = []
        for record in self._scanner.scan(topic, partition, max(start, low), high):
            found.append(record)
            if len(found) == limit:
                break
        return found

    def read_key(self, key: str, topics: Sequence[str], cursor: str, limit: int) -> list[LogRecord]:
        """Give a key's records after a cursor; see `EventLog.read_key`."""
        for topic in topics:
            topic_named(topic)
        positions = positions_of(cursor)
        if key in self._erased:
            return []
        partition = partition_of(key, self._partitions)
        if all(topic in self._followed for topic in topics):
            for topic in topics:
                if positions.get(topic, 0) > (self._tail.position(topic, partition) or 0):
                    self._refuse_beyond(topic, partition, positions[topic])
            self.load(key)
            if (found := self._memory.read(key, topics, positions, limit)) is not None:
                return found
        return with_cursors(self._scan_key(key, topics, positions, limit), topics, positions)

    def _refuse_beyond(self, topic: str, partition: int, position: int) -> None:
        if position > self._scanner.bounds(topic, partition)[1]:
            raise OffsetGone("the cursor lies beyond the end of this log")

    def find(self, topic: str, key: str, event_id: str) -> LogRecord | None:
        """Give the record of a key with an id; see `EventLog.find`."""
        topic_named(topic)
        if key in self._erased:
            return None
        partition = partition_of(key, self._partitions)
        if topic in self._followed:
            self.load(key)
            place = self._memory.place(key, topic, event_id)
            if place is not None and (held := self._memory.record(key, topic, place)) is not None:
                return held
        else:
            place = self._written_to(topic, partition).place(event_id)
        found = next(self._scanner.scan(topic, partition, place, place + 1), None) if place is not None else None
        return found if found is not None and found.key == key else None

    def end(self, topic: str, partition: int = 0) -> int:
        """Ask for the offset after a partition's last record; see `EventLog.end`."""
        topic_named(topic)
        return self._scanner.bounds(topic, partition)[1]

    def offset_at(self, topic: str, partition: int, at_s: float) -> int:
        """Give the first offset at or after a time; see `EventLog.offset_at`."""
        topic_named(topic)
        if at_s <= 0:
            return self._scanner.bounds(topic, partition)[0]
        return self._scanner.offsets_at(partition, [topic], at_s)[topic]

    def partitions(self, topic: str) -> int:
        """Give the number of partitions, the same for every topic."""
        topic_named(topic)
        return self._partitions

    def cursor_start(self) -> str:
        """Give the cursor before the first record."""
        return START

    def cursor_now(self, key: str) -> str:
        """Give the cursor after a key's last record."""
        partition = partition_of(key, self._partitions)
        return cursor_of({topic: self._tail.position(topic, partition) or 0 for topic in self._followed})

    def cursor_at(self, key: str, at_s: float) -> str:
        """Give the cursor before a key's first record at or after a time."""
        return cursor_of(self._scanner.offsets_at(partition_of(key, self._partitions), self._followed, at_s))

    def erase(self, key: str) -> int:
        """Hide a key from every reader and refuse it; the bytes go when retention takes their segments."""
        topics = [topic for topic in TOPICS if topic != "audio"]
        count = len(self._scan_key(key, topics)) if key not in self._erased else 0
        marker = NewRecord(ERASED_TOPIC, key, key, b"erased", time.time())
        offset = self._writer.write([(marker, 0)]).result()[0]
        passed: Future[None] = Future()
        self._tail.resolve_after(ERASED_TOPIC, 0, offset, passed, None)
        passed.result()
        self._erased.add(key)
        return count

    def erased(self, key: str) -> bool:
        """Say whether a key was erased."""
        return key in self._erased

    def trim(self, topic: str, before_s: float) -> int:
        """Have the broker delete the oldest records of a topic; see `EventLog.trim`."""
        topic_named(topic)
        places, count = [], 0
        for partition in range(self._partitions):
            low = self._scanner.bounds(topic, partition)[0]
            upto = self.offset_at(topic, partition, before_s)
            if upto > low:
                count += upto - low
                places.append(TopicPartition(self._options.topic(topic), partition, upto))
        if not places:
            return 0
        admin = AdminClient(self._options.client())
        try:
            for done in admin.delete_records(places, request_timeout=ANSWER_S).values():
                done.result(ANSWER_S)
        except KafkaException as error:
            raise log_error(error, f"{topic} cannot be trimmed") from error
        self._memory.forget()
        return count

    def notes(self) -> Sequence[str]:
        """Say which topics got partitions that are not used; see `EventLog.notes`."""
        return self._layout.notes(self._loaders)

    def subscribe(self, notify: Notify) -> Callable[[], None]:
        """Call `notify` for what comes; see `EventLog.subscribe`."""
        with self._guard:
            self._subscribers = (*self._subscribers, notify)

        def end() -> None:
            with self._guard:
                self._subscribers = tuple(other for other in self._subscribers if other is not notify)

        return end

    def waiting(self) -> int:
        """Give how many records wait for the broker."""
        return self._writer.waiting()

    def close(self) -> None:
        """Send what waits, then release everything."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        self._tail.stop()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._scanner.close()
