"""The flows that listen, each in processes of its own on a real Kafka, killed in the middle of a meeting."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.codec import decode
from schemas.meeting import MeetingClosed, MeetingOpened
from schemas.speech import Caption, SpeakerTurn
from tests.journeys.test_roles import flows, members, settings_of
from tests.models.test_speech import plain
from tests.speech import FIRST, SECOND, THIRD, higher, say, silence
from tests.support import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

SAID = (FIRST, SECOND, THIRD, FIRST, SECOND)
CHUNK = SAMPLE_RATE_HZ // 10
# However slow the machine is, a sound that waits is no pause of the speaker.
SPEECH = {"REJOINDER_SPEECH_MODEL": "tiny.en", "REJOINDER_SPEECH_STALLED_S": "60"}


def meeting() -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Give a talk of two people who take turns, and when each sentence is said."""
    parts, times = [silence(1.0)], []
    for number, text in enumerate(SAID):
        spoken = higher(say(text)) if number % 2 else say(text)
        start_s = sum(map(len, parts)) / SAMPLE_RATE_HZ
        times.append((start_s, start_s + len(spoken) / SAMPLE_RATE_HZ))
        parts += [spoken, silence(1.0)]
    return np.concatenate(parts), times


def speak(log: EventLog, sound: np.ndarray, first: int, past: int) -> None:
    """Send chunks about as fast as they last, as a microphone does."""
    for number in range(first, past):
        due_s = time.monotonic() + 0.09
        chunk = AudioChunk(
            session_id="s",
            event_id=f"room-{number}",
            created_at=datetime.now(UTC),
            track="room",
            sequence=number,
            start_sample=number * CHUNK,
            pcm=sound[number * CHUNK : (number + 1) * CHUNK].astype("<i2").tobytes(),
        )
        log.append([new_record("audio", chunk)])
        time.sleep(max(0.0, due_s - time.monotonic()))


def records(log: EventLog, topic: str) -> list[Any]:
    """Give what lies on a topic, repeats and all."""
    return [
        decode(topic, lying.value)
        for partition in range(log.partitions(topic))
        for lying in log.read(topic, partition, 0, 10_000)
    ]


def finals(log: EventLog) -> list[Caption]:
    found = [one for one in records(log, "captions") if isinstance(one, Caption) and one.final and one.text]
    return sorted(found, key=lambda one: one.start_s)


def turns(log: EventLog) -> list[SpeakerTurn]:
    """Give every turn in its newest revision."""
    newest: dict[str, SpeakerTurn] = {}
    for turn in records(log, "speaker-turns"):
        if turn.turn_id not in newest or turn.revision >= newest[turn.turn_id].revision:
            newest[turn.turn_id] = turn
    return [one for one in newest.values() if one.end_s > one.start_s]


def speaker_of(found: list[SpeakerTurn], start_s: float, end_s: float) -> str:
    """Give who spoke most of the time between two moments."""
    shares: dict[str, float] = {}
    for one in found:
        shares[one.speaker] = shares.get(one.speaker, 0.0) + max(0.0, min(end_s, one.end_s) - max(start_s, one.start_s))
    return max(shares, key=lambda name: shares[name])


def killed(supervisor: subprocess.Popen[bytes]) -> int:
    [member] = members(supervisor.pid)
    os.kill(member, signal.SIGKILL)
    return member


@pytest.fixture
def log(kafka_url: str) -> Iterator[EventLog]:
    opened = open_log(kafka_url)
    yield opened
    opened.close()


def test_captions_and_speakers_go_on_after_kills_in_the_middle_of_a_sentence(
    kafka_url: str, log: EventLog, tmp_path: Path
) -> None:
    # Neither flow asks for documents, so there is no server of vectors.
    settings = settings_of(kafka_url, "http://127.0.0.1:9", tmp_path / "data")
    sound, times = meeting()
    opened = MeetingOpened(
        session_id="s", event_id="opened", created_at=datetime.now(UTC), owner_id="me", language="en"
    )
    log.append([new_record("meeting", opened)])
    middle = int(sum(times[2]) / 2 * 10)
    with flows(settings, "captions", **SPEECH) as hearing, flows(settings, "speaker_turns", **SPEECH) as telling:
        speak(log, sound, 0, middle)
        wait_for(lambda: len(finals(log)) == 2 and len({one.speaker for one in turns(log)}) == 2, 60)
        before = {killed(hearing), killed(telling)}
        speak(log, sound, middle, len(sound) // CHUNK)
        wait_for(lambda: len(finals(log)) == len(SAID), 60)
        closed = MeetingClosed(session_id="s", event_id="closed", created_at=datetime.now(UTC))
        log.append([new_record("meeting", closed)])
        wait_for(lambda: any(one.end_s > times[-1][0] + 1 for one in turns(log)), 60)
        wait_for(lambda: all(one.frozen for one in turns(log)), 60)
        assert before.isdisjoint({*members(hearing.pid), *members(telling.pid)})
    captions = finals(log)
    assert [plain(one.text) for one in captions] == [plain(text) for text in SAID]
    assert len({one.caption_id for one in captions}) == len(SAID)
    for topic in ("captions", "speaker-turns"):
        ids = [one.event_id for one in records(log, topic)]
        assert len(ids) == len(set(ids)), topic
    one, other = (speaker_of(turns(log), *times[number]) for number in (0, 1))
    assert one != other
    assert [speaker_of(turns(log), *at) for at in times] == [one, other, one, other, one]
