"""With more to hear than can be written down partial captions give way, final ones never, and the delay is told."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from flows.captions import Hearing
from flows.decoding_room import DecodingRoom, Ear
from flows.run import FlowOptions, FlowRunner
from models.silero import load_silero
from operators.ports import SoundStretch, Transcript
from operators.speech_activity import SpeechActivity
from schemas.codec import decode
from schemas.speech import Caption, TranscriptionLag
from tests.flows.test_captions import chunks
from tests.speech import FIRST, SECOND, THIRD, room
from tests.support import wait_for

TRACKS = ("mic", "tab", "desk", "phone")
EMPTY = Transcript((), "en", 0.0, 0.0, 0.0)


class Slow:
    """A recogniser that is as slow as the test wants it and keeps which captions it was asked for."""

    name = "slow"
    multilingual = True

    def __init__(self) -> None:
        self.go = threading.Event()
        self.finals: list[bool] = []

    def transcribe(self, stretches: Sequence[SoundStretch]) -> list[Transcript]:
        assert self.go.wait(60)
        self.finals += [one.best for one in stretches]
        return [EMPTY for _ in stretches]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    yield opened
    opened.close()


def test_under_load_partials_give_way_no_final_is_lost_and_the_delay_is_a_record(log: EventLog, tmp_path: Path) -> None:
    model = Slow()
    decoding = DecodingRoom(Ear(lambda: model, lambda _: model))
    hearing = Hearing(decoding, SpeechActivity(load_silero()), stalled_s=60.0)
    runner = FlowRunner(log, None, FlowOptions(tmp_path / "recovery", names=("captions",), hearing=hearing))
    sound = room(FIRST, SECOND, THIRD)
    runner.start()
    try:
        # Everything is said before the first stretch is written down: half a minute behind on four tracks.
        log.append([new_record("audio", one) for track in TRACKS for one in chunks(sound, track=track)])
        wait_for(lambda: log.end("audio") and runner.states()[0].behind_records == 0, 60)
        wait_for(lambda: lags(log, TRACKS[0]), 20)
        waiting = runner.hops()[0].queues["decoding"]
        model.go.set()
        wait_for(lambda: all(len(finals(log, track)) == 3 for track in TRACKS), 60)
        wait_for(lambda: all(lags(log, track)[-1] == 0.0 for track in TRACKS), 20)
    finally:
        model.go.set()
        runner.stop()
        decoding.close()
    assert waiting >= len(TRACKS)
    for track in TRACKS:
        told = lags(log, track)
        assert max(told) >= 3.0
        assert told[-1] == 0.0, "having caught up is told as well"
        ids = [one.caption_id for one in finals(log, track)]
        assert len(set(ids)) == 3, "each stretch of speech has exactly one final caption"
    # The one that was being written down when the load came, then finals before any guess that waited.
    after = model.finals[1:]
    guesses = after.count(False)
    assert after.count(True) >= 3 * len(TRACKS) - 1
    assert guesses <= len(TRACKS), "one guess at a time on each track, however much was said"


def records(log: EventLog) -> list[Any]:
    return [decode("captions", one.value) for one in log.read("captions", 0, 0, 9_999)]


def finals(log: EventLog, track: str) -> list[Caption]:
    return [one for one in records(log) if isinstance(one, Caption) and one.final and one.track == track]


def lags(log: EventLog, track: str) -> list[float]:
    return [one.behind_s for one in records(log) if isinstance(one, TranscriptionLag) and one.track == track]
