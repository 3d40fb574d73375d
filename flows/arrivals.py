"""What a flow's steps are given: records by shard, decoded; what cannot be read is buried."""

import base64
import itertools
import re
import time
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog

from eventlog.base import SHARDS, EventLog
from flows.connectors import Read
from flows.marks import Mark
from flows.sink import DEAD_VALUE_BYTES, append_unless_erased
from schemas.base import derive_id
from schemas.codec import decode
from schemas.dead_letters import DeadLetter
from schemas.errors import SchemaError
from schemas.hops import HopCounts

__all__ = ["NO_SESSION", "SHARDS_ALONE", "Arrived", "Decoder", "bury", "shard_name", "shard_of"]

logger = structlog.get_logger("flows")

SHARDS_ALONE = 32
"""Instead of `eventlog.base.SHARDS`, where one worker has all: a call costs what several records do, so few shall take
many. Bytewax never forgets a key (it leaves a row per key for ever), so sessions live inside so many keys."""
CLOCKS_AGREE_S = 0.2
"""Clocks of several machines differ by less than this."""
NO_SESSION = "no-session"
"""The key of a dead letter whose record has none that could be a session's."""
_KEY = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


class Arrived(NamedTuple):
    """A record with where it lay, its producer time, seconds since 1970, and its bytes as far as they are needed."""

    record: Any
    topic: str
    offset: int
    at_s: float
    trace: str = ""
    value: bytes = b""


def shard_name(first: "Arrived | Mark", shards: int) -> str:
    """Give the key of a shard by anything that came for it."""
    return str(first.shard) if isinstance(first, Mark) else shard_of(first.record.session_id, shards)


def shard_of(session_id: str, shards: int = SHARDS) -> str:
    """Give the Bytewax key of a session, the same in every process.

    >>> shard_of("a") == shard_of("a")
    True
    """
    return str(zlib.crc32(session_id.encode()) % shards)


class Decoder:
    """Turns log records into ``(shard, Arrived)``; what cannot be read goes to ``dead-letters``."""

    def __init__(self, log: EventLog, flow: str, counts: HopCounts | None = None, shards: int = SHARDS) -> None:
        """Decode for `flow`, whose sessions live in so many shards."""
        self._log, self._flow, self._counts, self._shards = log, flow, counts or HopCounts(), shards

    def __call__(self, batch: list[Read]) -> Iterable[tuple[str, Arrived | Mark]]:
        """Decode what was read for this flow, keeping its order; marks pass through to their shard."""
        good: list[tuple[str, Arrived | Mark]] = []
        # A producer whose clock has jumped ahead must not set timers that wait until the others have caught up.
        now_s = time.time()
        latest_s, counts = now_s + CLOCKS_AGREE_S, self._counts
        for lying in itertools.chain.from_iterable(found for flow, found in batch if flow == self._flow):
            if isinstance(lying, Mark):
                good.append((str(lying.shard), lying))
                continue
            counts.read[lying.topic] = counts.read.get(lying.topic, 0) + 1
            counts.wait.add(now_s - lying.at_s)
            try:
                record = decode(lying.topic, lying.value)
            except SchemaError as error:
                counts.buried[lying.topic] = counts.buried.get(lying.topic, 0) + 1
                bury(
                    self._log,
                    self._flow,
                    lying.key,
                    lying.topic,
                    lying.offset,
                    str(error),
                    lying.value,
                    unreadable=True,
                )
            else:
                at_s = min(lying.at_s, latest_s)
                # Sound is not what operators step through, and much.
                value = b"" if lying.topic == "audio" else lying.value
                arrived = Arrived(record, lying.topic, lying.offset, at_s, lying.trace, value)
                good.append((shard_of(record.session_id, self._shards), arrived))
        return good


def bury(  # noqa: PLR0913, PLR0917 - one letter has this many lines
    log: EventLog, flow: str, key: str, topic: str, offset: int, reason: str, value: bytes, *, unreadable: bool = False
) -> None:
    """Write a dead letter, once however often the record is met.

    What is `unreadable` is so for every flow that reads its topic: the first one to meet it writes the only letter.
    """
    # Another program may have written a record whose key can be none of ours.
    session_id = key if _KEY.fullmatch(key) else NO_SESSION
    logger.error("record_buried", flow=flow, topic=topic, offset=offset, session_id=session_id, reason=reason)
    letter = DeadLetter(
        session_id=session_id,
        event_id=derive_id(topic, key, offset, "unreadable" if unreadable else flow, "dead"),
        created_at=datetime.now(UTC),
        topic=topic,
        offset=offset,
        flow=flow,
        reason=reason,
        value_base64=base64.b64encode(value[:DEAD_VALUE_BYTES]).decode(),
    )
    append_unless_erased(log, "dead-letters", [letter])
