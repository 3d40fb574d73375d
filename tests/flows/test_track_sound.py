"""The sound of a track: from memory while it is new, from the log when it is not; and it does not pile up."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from flows.arrivals import Arrived
from flows.captions import CaptionsLogic
from flows.track_sound import SoundLog, TrackSound
from operators.audio_tracks import AudioRun
from rejoinder.settings import Settings
from rejoinder.speech import Speech
from tests.flows.test_captions import chunks
from tests.speech import silence

SOUND = (np.arange(60 * 16_000) % 20_011).astype(np.int16)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def sound(log: EventLog) -> TrackSound:
    held = TrackSound(SoundLog(log, "s", "mic", 0))
    for one, other in zip(chunks(SOUND), chunks(SOUND[::-1], track="tab"), strict=True):
        stored = log.append([new_record("audio", other), new_record("audio", one)])
        held.note(one, stored[1].offset, one.created_at.timestamp())
        held.put(AudioRun("mic", one.start_sample, np.frombuffer(one.pcm, "<i2").astype(np.int16)))
    return held


@pytest.mark.parametrize(
    ("start", "end"), [(0, 16_000), (123, 456_789), (29 * 16_000, 31 * 16_000), (900_000, 960_000)]
)
def test_any_stretch_is_what_was_sent_whether_in_memory_or_not(sound: TrackSound, start: int, end: int) -> None:
    assert np.array_equal(sound.cut(start, end)(), SOUND[start:end])


def test_a_new_process_reads_it_all_from_the_log_by_the_places_it_kept(log: EventLog, sound: TrackSound) -> None:
    again = TrackSound(SoundLog(log, "s", "mic", 0), pickle.loads(pickle.dumps(sound.places)))
    assert np.array_equal(again.cut(300_000, 500_000)(), SOUND[300_000:500_000])


def test_what_is_not_needed_any_more_is_forgotten(sound: TrackSound) -> None:
    sound.forget_before(59 * 16_000)
    assert len(sound.places) <= 2
    assert np.array_equal(sound.cut(59 * 16_000, 60 * 16_000)(), SOUND[59 * 16_000 :])


def test_sound_that_was_trimmed_away_is_silence(log: EventLog, sound: TrackSound) -> None:
    log.trim("audio", 2_000_000_000.0)
    assert not sound.cut(0, 16_000)().any()


def test_sound_that_comes_faster_than_it_lasts_is_a_recording() -> None:
    live, loaded = (TrackSound(SoundLog(None, "s", "mic", 0)) for _ in range(2))  # type: ignore[arg-type]
    for number, one in enumerate(chunks(SOUND)):
        live.note(one, number, one.created_at.timestamp())
        loaded.note(one, number, 1_760_000_000.0 + number / 1_000)
    assert live.is_live
    assert not loaded.is_live
    loaded.forget_before(len(SOUND) - 16_000)
    assert loaded.is_live, "once all of it was heard, what follows may be live"


def test_a_quarter_of_an_hour_leaves_no_more_behind_than_a_minute(log: EventLog) -> None:
    speech = Speech(Settings(_env_file=None, speech_model="tiny.en"))
    logic = CaptionsLogic.builder(speech.hearing, log, None)(None)
    sizes = []
    for minute in range(15):
        sound = chunks(silence(60, 100), at=minute * 60 * 16_000, last=False)
        logic.on_batch([Arrived(one, "audio", n, one.created_at.timestamp()) for n, one in enumerate(sound)])
        sizes.append(len(pickle.dumps(logic.snapshot())))
    speech.close()
    assert max(sizes) < 10_000
    assert sizes[-1] <= sizes[0] * 1.2
