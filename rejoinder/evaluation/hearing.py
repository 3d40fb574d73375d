"""Plays a recording through the real flows, in real time or as fast as it goes, and notes what came when."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from eventlog.base import EventLog
from eventlog.records import new_record
from rejoinder.engine import Engine
from rejoinder.settings import Settings
from rejoinder.speech import chosen_model, speech_wanted
from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.base import derive_id
from schemas.codec import decode
from schemas.errors import LogUnavailable, SchemaError
from schemas.meeting import MeetingClosed, MeetingOpened

__all__ = ["Came", "Heard", "engine_for", "hear", "wait_until_quiet"]

CHUNK_S = 0.1
TOPICS = ("captions", "speaker-turns", "utterances")
WARM_S = 2.0
QUIET_S = 3.0
QUIET_SHARE = 0.3
LONGEST_WAIT_S = 1_200.0


@dataclass(frozen=True, slots=True)
class Came:
    """A record with the moment it lay in the log, seconds after the first sample was sent."""

    record: Any
    at_s: float


@dataclass(slots=True)
class Heard:
    """What the flows made of one recording.

    Attributes:
        came: Records of the topics captions, speaker-turns and utterances, in the order in which they came.
        audio_s: Length of the sound.
        cpu_s: Processor time of the whole engine from the first sample to the last record.
        wall_s: Time until the last record.
    """

    came: list[Came] = field(default_factory=list)
    audio_s: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0


@contextmanager
def engine_for(settings: Settings) -> Iterator[Engine]:
    """Run an engine for measuring, its models loaded: that takes seconds and comes once in the engine's life.

    Raises:
        ModelMissing: The speech model is not installed.
    """
    with Engine(settings) as engine:
        if engine.listening is not None and speech_wanted(settings):
            # Captions wait for a model that is not there, and here nobody would bring it.
            engine.listening.shelf.get(chosen_model(settings))
        hear(engine, "before", bytes(int(WARM_S * SAMPLE_RATE_HZ) * 2))
        if engine.listening is not None:
            engine.listening.wait_loaded(LONGEST_WAIT_S)
        yield engine


def hear(engine: Engine, name: str, pcm: bytes, *, fast: bool = False) -> Heard:
    """Play sound as one track of a new session; gives what the flows made of it.

    Args:
        engine: A started engine.
        name: The session.
        pcm: 16 kHz mono int16.
        fast: As fast as it goes; times of records then say nothing.

    Raises:
        LogUnavailable: A flow stopped, or they did not come to an end.
    """
    log, heard = engine.log, Heard(audio_s=len(pcm) / 2 / SAMPLE_RATE_HZ)
    opened = MeetingOpened(
        session_id=name, event_id=derive_id(name, "opened"), created_at=datetime.now(UTC), owner_id="evaluation"
    )
    log.append([new_record("meeting", opened)])
    ended = threading.Event()
    began, cpu = time.monotonic(), time.process_time()
    follower = threading.Thread(target=_follow, args=(log, name, heard, began, ended), daemon=True)
    follower.start()
    try:
        for chunk in _chunks(name, pcm):
            due_s = (chunk.start_sample + len(chunk.pcm) // 2) / SAMPLE_RATE_HZ
            if not fast and (left := began + due_s - time.monotonic()) > 0:
                time.sleep(left)
            log.append([new_record("audio", chunk)])
        heard.cpu_s = wait_until_quiet(engine, lambda: len(heard.came)) - cpu
    finally:
        ended.set()
        follower.join(5)
    heard.wall_s = max((one.at_s for one in heard.came), default=0.0)
    closed = MeetingClosed(session_id=name, event_id=derive_id(name, "closed"), created_at=datetime.now(UTC))
    log.append([new_record("meeting", closed)])
    return heard


def _chunks(name: str, pcm: bytes) -> Iterator[AudioChunk]:
    size = int(CHUNK_S * SAMPLE_RATE_HZ) * 2
    for number, start in enumerate(range(0, max(len(pcm), 1), size)):
        yield AudioChunk(
            session_id=name,
            event_id=derive_id(name, "audio", number),
            created_at=datetime.now(UTC),
            track="room",
            sequence=number,
            start_sample=start // 2,
            pcm=pcm[start : start + size],
            last=start + size >= len(pcm),
        )


def _follow(log: EventLog, name: str, heard: Heard, began: float, ended: threading.Event) -> None:
    woken = threading.Event()
    end = log.subscribe(lambda keys: woken.set() if name in keys else None)
    cursor = log.cursor_start()
    while not ended.is_set():
        woken.wait(0.1)
        woken.clear()
        at_s = time.monotonic() - began
        while records := log.read_key(name, TOPICS, cursor, 500):
            cursor = records[-1].cursor
            heard.came += [Came(record, at_s) for record in _decoded(records)]
    end()


def _decoded(records: Sequence[Any]) -> Iterator[Any]:
    for lying in records:
        try:
            yield decode(lying.topic, lying.value)
        except SchemaError:
            continue  # the flows bury it


def wait_until_quiet(engine: Engine, came: Callable[[], int]) -> float:
    """Wait until the flows have read everything, nothing came for a while and no model works any more.

    Args:
        engine: A started engine.
        came: Gives how much came so far.

    Returns:
        The processor time of this process when that while began.

    Raises:
        LogUnavailable: A flow stopped, or they did not come to an end.
    """
    end = time.monotonic() + LONGEST_WAIT_S
    quiet_since, count, cpu = time.monotonic(), came(), time.process_time()
    while time.monotonic() < end:
        time.sleep(0.1)
        if problems := engine.view.problems():
            raise LogUnavailable("; ".join(problems))
        behind = any(flow.behind_records for flow in engine.view.flows())
        busy = time.process_time() - cpu > QUIET_SHARE * max(0.5, time.monotonic() - quiet_since)
        if behind or busy or came() != count:
            quiet_since, count, cpu = time.monotonic(), came(), time.process_time()
        elif time.monotonic() - quiet_since > QUIET_S:
            return cpu
    raise LogUnavailable(f"the flows did not come to an end within {LONGEST_WAIT_S:.0f} s")
