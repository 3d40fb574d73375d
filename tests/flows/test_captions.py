"""The captions flow with the real small model on real speech: heard, told apart, taken up again after a fault."""

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from flows.captions import Hearing, SoundNeeds
from flows.once import run_once
from flows.run import FlowOptions, FlowRunner
from flows.wiring import Operators
from models.devices import TOGETHER_ON_GPU, Device
from rejoinder.listening import AudioRetention
from rejoinder.settings import Settings
from rejoinder.speech import Speech
from schemas.audio import AudioChunk
from schemas.codec import decode
from schemas.meeting import MeetingClosed, MeetingOpened, Participant
from schemas.speech import AudioGap, Caption
from tests.models.test_speech import plain
from tests.music import NOISES, band, song
from tests.speech import FIRST, SECOND, THIRD, room, say, silence
from tests.support import wait_for

CHUNK = 1_600
MIDST: tuple[Any, ...] = ((2.8, FIRST), (4.0, FIRST, SECOND))


def chunks(
    sound: np.ndarray, track: str = "mic", session: str = "s", at: int = 0, last: bool = True
) -> list[AudioChunk]:
    """Cut sound into chunks of 100 ms whose producer times are those of a live sender."""
    began_s = 1_760_000_000.0
    return [
        AudioChunk(
            session_id=session,
            event_id=f"{track}-{at + start}",
            created_at=datetime.fromtimestamp(began_s + (at + start + CHUNK) / 16_000, UTC),
            track=track,
            sequence=(at + start) // CHUNK,
            start_sample=at + start,
            pcm=sound[start : start + CHUNK].astype("<i2").tobytes(),
            last=last and start + CHUNK >= len(sound),
        )
        for start in range(0, len(sound), CHUNK)
    ]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def speech() -> Iterator[Speech]:
    made = Speech(Settings(_env_file=None, speech_model="tiny.en"), finishing=True)
    yield made
    made.close()


def send(log: EventLog, sound: list[AudioChunk]) -> None:
    log.append([new_record("audio", one) for one in sound])


def records(log: EventLog) -> list[Any]:
    return [decode("captions", one.value) for one in log.read("captions", 0, 0, 9_999)]


def finals(log: EventLog, track: str | None = None) -> list[Caption]:
    found = [one for one in records(log) if isinstance(one, Caption) and one.final]
    return [one for one in found if track is None or one.track == track]


def run_all(log: EventLog, speech: Speech) -> None:
    run_once(log, "captions", Operators(), hearing=speech.hearing)


def test_what_is_said_becomes_partial_and_final_captions_with_word_times(log: EventLog, speech: Speech) -> None:
    send(log, chunks(room(FIRST, SECOND)))
    run_all(log, speech)
    assert [plain(one.text) for one in finals(log)] == [plain(FIRST), plain(SECOND)]
    first, second = finals(log)
    assert first.words[0].start_s == pytest.approx(1.0, abs=0.4)
    assert second.words[0].start_s == pytest.approx(2.0 + len(say(FIRST)) / 16_000, abs=0.5)
    assert (first.track, first.language) == ("mic", "en")


def test_the_first_word_after_a_pause_is_kept(log: EventLog, speech: Speech) -> None:
    send(log, chunks(room(SECOND, "Yes, please.", THIRD, pause_s=6.0)))
    run_all(log, speech)
    assert [plain(one.text).split()[0] for one in finals(log)] == ["the", "yes", "please"]


def test_shuffled_repeated_and_missing_chunks_end_as_captions_and_a_gap(log: EventLog, speech: Speech) -> None:
    sound = chunks(np.concatenate([room(FIRST, pause_s=1.5), silence(2), room(SECOND, pause_s=1.0)]))
    lost = len(room(FIRST, pause_s=1.5)) // CHUNK + 5
    arriving = [one for number, one in enumerate(sound) if number != lost]
    mixed: list[AudioChunk] = []
    for at in range(0, len(arriving), 4):
        some = arriving[at : at + 4]
        random.Random(at).shuffle(some)
        mixed += some
    # Sent under ids of their own, as a second client of the same track would.
    again = [one.model_copy(update={"event_id": f"again-{one.event_id}"}) for one in mixed[::3]]
    send(log, [*mixed, *again])
    run_all(log, speech)
    assert [plain(one.text) for one in finals(log) if one.text] == [plain(FIRST), plain(SECOND)]
    gaps = [one for one in records(log) if isinstance(one, AudioGap)]
    assert [round(one.end_s - one.start_s, 3) for one in gaps] == [0.1]


def test_two_tracks_speak_at_once_and_a_participants_track_has_its_speaker(log: EventLog, speech: Speech) -> None:
    opened = MeetingOpened(
        session_id="s", event_id="o", created_at=datetime.fromtimestamp(1_760_000_000, UTC), owner_id="x",
        participants=(Participant(id="ann", name="Ann"),),
    )  # fmt: skip
    log.append([new_record("meeting", opened)])
    both = zip(chunks(room(FIRST), track="ann"), chunks(room(SECOND, THIRD), track="tab"), strict=False)
    send(log, [one for pair in both for one in pair])
    run_all(log, speech)
    assert [(plain(one.text), one.speaker) for one in finals(log, "ann")] == [(plain(FIRST), "ann")]
    assert finals(log, "tab")[0].speaker is None
    assert plain(finals(log, "tab")[0].text) == plain(SECOND)


def test_on_a_gpu_stretches_of_several_sessions_are_written_down_in_one_call(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no GPU here: the CPU is told to take as many at once as one."""
    monkeypatch.setattr("rejoinder.speech.choose_device", lambda *_: Device("cpu", "int8", TOGETHER_ON_GPU))
    made = Speech(Settings(_env_file=None, speech_model="tiny.en", speech_partials=False), finishing=True)
    said = {"a": FIRST, "b": SECOND, "c": THIRD, "d": SECOND}
    by_session = [chunks(room(text), track=name, session=name) for name, text in said.items()]
    send(log, [one for together in zip_longest(*by_session) for one in together if one is not None])
    run_all(log, made)
    made.close()
    assert {one.session_id: plain(one.text) for one in finals(log)} == {name: plain(one) for name, one in said.items()}
    calls = sum(made.hearing.room.counts.model["caption_final"].classes)
    assert calls < len(said)


def test_noise_and_silence_give_no_words(log: EventLog, speech: Speech) -> None:
    send(log, chunks(np.concatenate([silence(10, 2_000), silence(5), silence(5, 200)])))
    run_all(log, speech)
    assert all(one.text == "" for one in finals(log))


def test_music_and_the_noises_of_rooms_give_no_words_and_what_is_said_between_them_is_kept(log: EventLog) -> None:
    # Guesses come from tiny.en then, so both models listen.
    made = Speech(Settings(_env_file=None, speech_model="base"), finishing=True)
    music = [song(8), silence(1), band(4, 0.1), silence(1), song(4, 0.1)]
    noises = [noise(5) for noise in NOISES.values()]
    send(log, chunks(np.concatenate([band(8), silence(1), say(FIRST), silence(1), *music, *noises])))
    run_all(log, made)
    made.close()
    assert [plain(one.text) for one in finals(log) if one.text] == [plain(FIRST)]
    with_words = [one for one in records(log) if isinstance(one, Caption) and one.words]
    assert {one.caption_id for one in with_words} == {one.caption_id for one in finals(log) if one.text}


def runner_of(log: EventLog, folder: Path, hearing: Hearing) -> FlowRunner:
    return FlowRunner(log, None, FlowOptions(folder, epoch_s=0.1, names=("captions",), hearing=hearing))


@pytest.fixture
def live() -> Iterator[Callable[..., Speech]]:
    made: list[Speech] = []

    def make(**more: Any) -> Speech:
        made.append(Speech(Settings(_env_file=None, speech_model="tiny.en", **more)))
        return made[-1]

    yield make
    for one in made:
        one.close()


PATIENT = {"speech_stalled_s": 60.0}
"""For tests that hold the sound back: however slow the machine is, that is no pause of the speaker."""


def settled(log: EventLog, runner: FlowRunner, speech: Speech) -> bool:
    return runner.states()[0].behind_records == 0 and speech.hearing.room.idle and log.end("audio") > 0


def test_a_flow_that_stops_in_the_middle_of_a_word_loses_and_doubles_nothing(
    log: EventLog, tmp_path: Path, live: Callable[..., Speech]
) -> None:
    sound = chunks(room(FIRST, SECOND, THIRD))
    # Into the second sentence, and once more into the third.
    stops = [
        int((2.8 * 16_000 + len(say(FIRST))) / CHUNK),
        int((4.0 * 16_000 + len(say(FIRST)) + len(say(SECOND))) / CHUNK),
    ]
    begun = 0
    for stop in (*stops, len(sound)):
        speech = live(**PATIENT)
        runner = runner_of(log, tmp_path / "recovery", speech.hearing)
        runner.start()
        send(log, sound[begun:stop])
        wait_for(lambda now=runner, ear=speech: settled(log, now, ear), 60)
        if stop == len(sound):
            wait_for(lambda: len(finals(log)) == 3, 60)
        time.sleep(0.3)  # a snapshot is taken every 0.1 s; there is no sign of it to wait for
        runner.stop()
        begun = stop
    assert [plain(one.text) for one in finals(log)] == [plain(FIRST), plain(SECOND), plain(THIRD)]
    assert len({one.caption_id for one in finals(log)}) == 3


def test_a_meeting_event_with_another_clock_ends_nothing_that_is_being_said(
    log: EventLog, tmp_path: Path, live: Callable[..., Speech]
) -> None:
    sound, middle = chunks(room(FIRST)), int((1.0 * 16_000 + len(say(FIRST)) / 2) / CHUNK)
    speech = live(**PATIENT)
    runner = runner_of(log, tmp_path / "recovery", speech.hearing)
    runner.start()
    send(log, sound[:middle])
    wait_for(lambda: settled(log, runner, speech), 60)
    # Its clock is years ahead of the one by which the sound was sent.
    opened = MeetingOpened(session_id="s", event_id="opened", created_at=datetime.now(UTC), owner_id="me")
    log.append([new_record("meeting", opened)])
    wait_for(lambda: settled(log, runner, speech), 60)
    send(log, sound[middle:])
    wait_for(lambda: finals(log) and settled(log, runner, speech), 60)
    runner.stop()
    assert [plain(one.text) for one in finals(log)] == [plain(FIRST)]


def test_a_snapshot_holds_no_sound(log: EventLog, tmp_path: Path, live: Callable[..., Speech]) -> None:
    speech = live()
    runner = runner_of(log, tmp_path / "recovery", speech.hearing)
    runner.start()
    send(log, chunks(room(FIRST)[: 4 * 16_000], last=False))
    wait_for(lambda: settled(log, runner, speech), 60)
    time.sleep(0.3)  # as above
    runner.stop()
    kept = b"".join(file.read_bytes() for file in (tmp_path / "recovery").rglob("*.sqlite3*"))
    spoken = room(FIRST)[16_000 : 4 * 16_000]
    pieces = [spoken[at : at + 32] for at in range(0, len(spoken) - 32, 32)]
    loud = [piece.tobytes() for piece in pieces if np.abs(piece.astype(int)).mean() > 300]
    assert len(loud) > 100
    assert not any(piece in kept for piece in loud)


def test_a_speaker_who_falls_silent_because_the_sender_is_gone_is_written_down(
    log: EventLog, tmp_path: Path, live: Callable[..., Speech]
) -> None:
    speech = live()
    runner = runner_of(log, tmp_path / "recovery", speech.hearing)
    runner.start()
    send(log, chunks(np.concatenate([silence(0.5), say(SECOND)]), last=False))
    wait_for(lambda: finals(log), 60)
    runner.stop()
    assert plain(finals(log)[0].text).startswith(plain(SECOND)[:20])


def test_a_deleted_session_leaves_no_captions_behind(
    log: EventLog, tmp_path: Path, live: Callable[..., Speech]
) -> None:
    speech = live()
    runner = runner_of(log, tmp_path / "recovery", speech.hearing)
    runner.start()
    send(log, chunks(room(FIRST), session="gone", last=False))
    closed = MeetingClosed(session_id="gone", event_id="c", created_at=datetime.now(UTC), reason="deleted")
    log.append([new_record("meeting", closed)])
    log.erase("gone")
    send(log, chunks(room(SECOND), session="kept"))
    wait_for(lambda: [one for one in finals(log) if one.session_id == "kept"], 60)
    runner.stop()
    assert {one.session_id for one in finals(log)} == {"kept"}


def test_sound_is_removed_behind_the_flow_and_never_before_it(
    log: EventLog, tmp_path: Path, live: Callable[..., Speech]
) -> None:
    speech = live(**PATIENT)
    runner = runner_of(log, tmp_path / "recovery", speech.hearing)
    retention = AudioRetention(log, keep_s=0, settle_s=0)
    retention.add_reader(speech.hearing.needs.before_s)
    send(log, chunks(room(FIRST, SECOND), last=False))
    assert retention.trim(1_760_000_100.0) == 0, "nobody has heard it yet"
    runner.start()
    wait_for(lambda: settled(log, runner, speech) and len(finals(log)) == 2, 60)

    def left() -> int:
        retention.trim(1_760_000_100.0)
        return len(log.read("audio", 0, log.offset_at("audio", 0, 0.0), 9_999))

    # What is left is the second that may hold the silence before a first word.
    wait_for(lambda: 0 < left() < 30, 20)
    send(log, chunks(room(THIRD), at=len(room(FIRST, SECOND)) // CHUNK * CHUNK + CHUNK))
    wait_for(lambda: len(finals(log)) == 3, 60)
    runner.stop()
    assert plain(finals(log)[2].text) == plain(THIRD)


def test_a_flow_that_begins_anew_and_does_not_know_its_needs_yet_loses_no_sound(log: EventLog) -> None:
    needs = SoundNeeds(newest_s=1_760_000_010.0)
    retention = AudioRetention(log, keep_s=0, settle_s=10)
    retention.add_reader(needs.before_s)
    send(log, chunks(silence(20)))
    needs.since_s[1] = 1_760_000_005.0
    assert retention.trim(1_760_000_020.0) == 0
    needs.since_s.clear()
    assert retention.trim(1_760_000_022.0) == 0
    needs.since_s[1] = 1_760_000_005.0
    assert retention.trim(1_760_000_032.0) == pytest.approx(49, abs=2), "only what nobody needed all the while"


def test_old_sound_that_was_not_heard_yet_is_kept_past_its_hours(log: EventLog) -> None:
    retention = AudioRetention(log, keep_s=3_600, settle_s=0)
    retention.add_reader(SoundNeeds(newest_s=1_760_000_010.0).before_s)
    send(log, chunks(silence(20)))
    assert retention.trim(1_770_000_000.0) == pytest.approx(99, abs=2)


def test_sound_is_kept_for_its_hours_even_when_it_was_heard(log: EventLog) -> None:
    needs = SoundNeeds(newest_s=1_760_000_100.0)
    retention = AudioRetention(log, keep_s=3_600, settle_s=0)
    retention.add_reader(needs.before_s)
    send(log, chunks(silence(20)))
    retention.trim(1_760_000_000.0)
    assert retention.trim(1_760_000_000.0 + 3_590) == 0
    assert retention.trim(1_760_000_000.0 + 3_610) == pytest.approx(100, abs=2)
