"""Which records a replay is given: the sessions in a range, and of each what the stage and those before it read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eventlog.base import EventLog, LogRecord, NewRecord
from flows.wiring import FLOWS
from schemas.codec import decode
from schemas.errors import LogUnavailable, OffsetGone, SchemaError
from schemas.topics import TOPICS

__all__ = ["Range", "copied_topics", "inputs_of", "rerun_flows", "sessions_in"]

BATCH = 1_000
NEVER_COPIED = ("audio", "usage", "dead-letters", "progress", "feedback")


@dataclass(frozen=True, slots=True)
class Range:
    """What is replayed; empty = everything there is.

    A session is always replayed from its start, since what was said before is part of what a question means;
    `until_s` ends it early.

    Attributes:
        sessions: These sessions.
        since_s: Sessions with a record at or after this, seconds since 1970.
        until_s: Only records before this.
        place: Sessions with a record in a partition: topic, partition, first offset, offset after the last.
    """

    sessions: tuple[str, ...] = ()
    since_s: float = 0.0
    until_s: float = float("inf")
    place: tuple[str, int, int, int] | None = None


def rerun_flows(stage: str) -> tuple[str, ...]:
    """Give a flow and all that follow from it, in order.

    >>> rerun_flows("questions")
    ('questions', 'answers')
    """
    rerun = [stage]
    for name, spec in FLOWS.items():
        if name not in rerun and any(FLOWS[before].writes in spec.reads for before in rerun):
            rerun.append(name)
    return tuple(rerun)


def copied_topics(stage: str) -> tuple[str, ...]:
    """Give the topics a replay from a stage takes over as they are.

    >>> copied_topics("questions")
    ('captions', 'speaker-turns', 'utterances', 'meeting', 'questions', 'memory')
    """
    rerun = rerun_flows(stage)
    made = {FLOWS[name].writes for name in rerun} - {"questions"}
    return tuple(topic for topic in TOPICS if topic not in made and topic not in NEVER_COPIED)


def sessions_in(log: EventLog, chosen: Range) -> list[str]:
    """Give the sessions of a range, in the order they are met.

    Raises:
        LogUnavailable: A named session is not there, or the range was trimmed away.
    """
    if chosen.sessions:
        for session in chosen.sessions:
            if not log.read_key(session, ["meeting"], log.cursor_start(), 1):
                raise LogUnavailable(f"no session {session!r} in this log")
        return list(dict.fromkeys(chosen.sessions))
    found: dict[str, None] = {}
    try:
        for record in _range(log, chosen):
            found[record.key] = None
    except OffsetGone as gone:
        raise LogUnavailable(f"the range is not there any more: {gone}") from gone
    return list(found)


def _range(log: EventLog, chosen: Range) -> Iterator[LogRecord]:
    if chosen.place is not None:
        topic, partition, start, stop = chosen.place
        if not 0 <= partition < log.partitions(topic):
            raise LogUnavailable(f"{topic} has partitions 0 to {log.partitions(topic) - 1}")
        if start >= log.end(topic, partition):
            raise LogUnavailable(f"{topic}/{partition} ends at {log.end(topic, partition)}, before {start}")
        # A log takes 0 for "from whatever there is"; who names offset 0 means that record.
        log.read(topic, partition, max(start, 1), 1)
        if stop <= (first := log.offset_at(topic, partition, 0.0)):
            raise OffsetGone(f"{topic}/{partition} begins at {first}")
        yield from _records(log, topic, partition, start, stop)
        return
    for topic in ("meeting", "captions", "questions"):
        for partition in range(log.partitions(topic)):
            start = log.offset_at(topic, partition, chosen.since_s)
            for record in _records(log, topic, partition, start, log.end(topic, partition)):
                if chosen.since_s <= record.at_s < chosen.until_s:
                    yield record


def _records(log: EventLog, topic: str, partition: int, start: int, stop: int) -> Iterator[LogRecord]:
    while start < stop and (found := log.read(topic, partition, start, BATCH)):
        for record in found:
            if record.offset >= stop:
                return
            yield record
        start = found[-1].offset + 1


def inputs_of(log: EventLog, session: str, stage: str, until_s: float) -> list[NewRecord]:
    """Give a session's records that a replay from a stage begins with, as they lie, in the order they were made."""
    topics = copied_topics(stage)
    remade = FLOWS[stage].writes == "questions" or "questions" in rerun_flows(stage)
    found = [
        NewRecord(record.topic, record.key, record.event_id, record.value, record.at_s)
        for record in everything_of(log, session, topics)
        if record.at_s < until_s and not (remade and record.topic == "questions" and _made_by_flow(record))
    ]
    return sorted(found, key=lambda record: record.at_s)


def everything_of(log: EventLog, session: str, topics: Sequence[str]) -> Iterator[LogRecord]:
    """Give every record of a session's topics."""
    cursor = log.cursor_start()
    while found := log.read_key(session, topics, cursor, BATCH):
        yield from found
        cursor = found[-1].cursor


def _made_by_flow(record: LogRecord) -> bool:
    try:
        question: Any = decode("questions", record.value)
    except SchemaError:
        return False
    return bool(question.type == "question" and question.origin == "heard")
