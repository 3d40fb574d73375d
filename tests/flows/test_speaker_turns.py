"""Sound in, speaker turns out, through Bytewax over a real log; killed and started again, nothing is doubled."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from eventlog import open_log
from eventlog.base import EventLog
from eventlog.records import new_record
from flows.arrivals import Arrived
from flows.run import FlowOptions, FlowRunner
from flows.speaker_turns import THINNED, SpeakerTurnsLogic, Voices, _thin, _Track
from flows.track_sound import SoundLog, TrackSound
from flows.voice_room import Listening, VoiceModels, VoiceRoom
from flows.wiring import Operators, Wiring
from operators.speaker_turns import SpeakerTurns
from operators.voice_ports import Activity, Sound
from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.base import Record
from schemas.codec import decode
from schemas.errors import ModelFailed
from schemas.meeting import Consent, MeetingClosed, MeetingOpened, Participant
from schemas.speech import SpeakerTurn
from tests.support import wait_for
from tests.tones import PITCHES_HZ, ToneEncoder, ToneSegmenter, talk

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SOUND = talk((0, 1, 4), (1, 5, 8), (0, 9, 12), (2, 11, 14), seconds=15)
EXPECTED = [("room-speaker-1", 1, 4), ("room-speaker-2", 5, 8), ("room-speaker-1", 9, 12), ("room-speaker-3", 11, 14)]


def room() -> VoiceRoom:
    return VoiceRoom(VoiceModels(ToneSegmenter, ToneEncoder))


def chunks(
    sound: np.ndarray, track: str = "room", first: int = 0, ms: int = 100, began: datetime = BEGAN
) -> Iterable[AudioChunk]:
    size = SAMPLE_RATE_HZ * ms // 1000
    for number, start in enumerate(range(0, len(sound), size)):
        yield AudioChunk(
            session_id="s",
            event_id=f"{track}-{first + number}",
            created_at=began + timedelta(seconds=(start + size) / SAMPLE_RATE_HZ),
            track=track,
            sequence=first + number,
            start_sample=first * size + start,
            pcm=sound[start : start + size].tobytes(),
        )


def put(log: EventLog, topic: str, records: Iterable[Record]) -> None:
    log.append([new_record(topic, one) for one in records])


def told(log: EventLog) -> list[SpeakerTurn]:
    lying = [
        record
        for partition in range(log.partitions("speaker-turns"))
        for record in log.read("speaker-turns", partition, 0, 10_000)
    ]
    return [decode("speaker-turns", record.value) for record in lying]


def final(turns: Iterable[SpeakerTurn]) -> list[tuple[str, float, float]]:
    newest: dict[str, SpeakerTurn] = {}
    for turn in turns:
        if turn.turn_id not in newest or turn.revision >= newest[turn.turn_id].revision:
            newest[turn.turn_id] = turn
    kept = sorted((one for one in newest.values() if one.end_s > one.start_s), key=lambda one: one.start_s)
    return [(one.speaker, round(one.start_s), round(one.end_s)) for one in kept]


def finish(log: EventLog, recovery: RecoveryConfig | None = None, known: dict[str, np.ndarray] | None = None) -> None:
    """Run the flow to the end of its topics."""
    hearing, names = room(), list((known or {}).items())
    voices = Voices(hearing, finishing=True, known=lambda owner: names)
    wiring = Wiring(log, Operators(), None, 1, finishing=True, voices=voices)
    try:
        run_main(wiring.dataflow(("speaker_turns",)), epoch_interval=timedelta(0), recovery_config=recovery)
    finally:
        wiring.close()
        hearing.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterable[EventLog]:
    opened = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    yield opened
    opened.close()


def test_sound_becomes_turns_with_the_right_speakers_and_times(log: EventLog) -> None:
    put(log, "audio", chunks(SOUND))
    finish(log)
    turns = told(log)
    assert final(turns) == EXPECTED
    assert {turn.turn_id for turn in turns} == {turn.turn_id for turn in turns if turn.frozen}


def test_order_repeats_and_size_of_chunks_do_not_matter(log: EventLog) -> None:
    sent = list(chunks(SOUND, ms=370))
    mixed = [*sent[1:3], sent[0], sent[0], *sent[5:2:-1], *sent[6:]]
    put(log, "audio", [one.model_copy(update={"event_id": f"e{number}"}) for number, one in enumerate(mixed)])
    finish(log)
    assert final(told(log)) == EXPECTED


def test_a_track_that_names_its_participant_is_left_alone(log: EventLog) -> None:
    people = (Participant(id="ann"),)
    opened = MeetingOpened(session_id="s", event_id="o", created_at=BEGAN, owner_id="me", participants=people)
    put(log, "meeting", [opened])
    put(log, "audio", chunks(SOUND, track="ann"))
    finish(log)
    assert told(log) == []


def consent(name: str, at_s: float, *, given: bool) -> Consent:
    return Consent(
        session_id="s",
        event_id=f"consent-{at_s}",
        created_at=BEGAN + timedelta(seconds=at_s),
        participant_id=name,
        purposes=("voice",),
        given=given,
        recorded_by="me",
    )


@pytest.mark.parametrize(("at_s", "named"), [(None, [0, 2]), (0.05, []), (8.5, None)])
def test_who_withdraws_is_known_by_voice_no_more_though_still_told_apart(
    log: EventLog, at_s: float | None, named: list[int] | None
) -> None:
    if at_s is not None:
        put(log, "meeting", [consent("ann", at_s, given=False)])
    put(log, "audio", chunks(SOUND))
    finish(log, known={"ann": np.eye(len(PITCHES_HZ), dtype=np.float32)[0]})
    speakers = [one for one, _, _ in final(told(log))]
    by_name = [place for place, one in enumerate(speakers) if one == "ann"]
    if named is None:
        assert 2 not in by_name, "said after they withdrew"
    else:
        assert by_name == named
    assert speakers[1::2] == ["room-speaker-2", "room-speaker-3"]
    assert speakers[2] in ("ann", "room-speaker-1")


def test_the_end_of_the_meeting_makes_all_turns_final(log: EventLog) -> None:
    put(log, "audio", chunks(SOUND))
    put(log, "meeting", [MeetingClosed(session_id="s", event_id="c", created_at=BEGAN + timedelta(seconds=16))])
    finish(log)
    assert final(told(log)) == EXPECTED


def test_work_done_again_from_the_start_writes_the_same_records(log: EventLog) -> None:
    put(log, "audio", chunks(SOUND))
    finish(log)
    before = [turn.event_id for turn in told(log)]
    finish(log)
    assert [turn.event_id for turn in told(log)] == before


def test_a_stopped_flow_goes_on_with_the_same_voices(log: EventLog, tmp_path: Path) -> None:
    options = FlowOptions(tmp_path / "recovery", epoch_s=0.05, names=("speaker_turns",))
    # Made now: a track whose last sound is long past counts as silent, and its turns end.
    began = datetime.now(UTC)
    sent = list(chunks(SOUND, began=began))
    closed = MeetingClosed(session_id="s", event_id="c", created_at=began + timedelta(seconds=16))
    for part, last in ((sent[:71], False), (sent[71:], True)):
        begun = len(told(log))
        hearing = room()
        runner = FlowRunner(log, None, replace(options, voices=Voices(hearing)))
        runner.start()
        put(log, "audio", part)
        put(log, "meeting", [closed] if last else [])
        wait_for(lambda seen=begun, end=last: _settled(told(log)) if end else len(told(log)) > seen + 3)
        runner.stop()
        hearing.close()
    assert final(told(log)) == EXPECTED


def _settled(turns: list[SpeakerTurn]) -> bool:
    return final(turns) == EXPECTED and {turn.turn_id for turn in turns} == {
        turn.turn_id for turn in turns if turn.frozen
    }


@pytest.mark.parametrize("load", ["all", "thinned"])
def test_killed_in_the_middle_it_keeps_identities_and_doubles_nothing(log: EventLog, tmp_path: Path, load: str) -> None:
    """SIGKILL while windows are being heard: a second process goes on, and the outcome is that of a whole run."""
    url, recovery = f"sqlite:///{tmp_path}/log.sqlite3", tmp_path / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    parts = list(chunks(SOUND, began=datetime.now(UTC)))
    put(log, "audio", parts[:80])
    child = subprocess.Popen([sys.executable, "-m", "tests.flows.speaker_turns_child", url, str(recovery), load])
    try:
        wait_for(lambda: len(told(log)) >= 6, 60)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    put(log, "audio", parts[80:])
    finish(log, RecoveryConfig(str(recovery)))
    turns = told(log)
    assert final(turns) == EXPECTED
    assert len({turn.event_id for turn in turns}) == len(turns)
    if load == "all":  # the same windows are heard again, so the same is told
        assert len({(turn.turn_id, turn.revision) for turn in turns}) == len(turns), "one revision was told twice"


def test_a_recording_is_heard_whole_however_many_windows_wait_and_live_sound_goes_first(log: EventLog) -> None:
    class Slow(ToneSegmenter):
        def activity(self, sound: Sound) -> Activity:
            started.append(len(sound))
            assert go.wait(20)
            return super().activity(sound)

    go, started = threading.Event(), []  # type: ignore[var-annotated]
    hearing = VoiceRoom(VoiceModels(Slow, ToneEncoder))
    logic = SpeakerTurnsLogic.builder(Voices(hearing), log, None)(None)
    now_s = time.time()
    loaded = [Arrived(one, "audio", n, now_s) for n, one in enumerate(chunks(talk((0, 1, 39), seconds=40)))]
    logic.on_batch(loaded)
    assert hearing.waiting >= 75, "windows of half seconds, none left out but in the first five, when it may be live"
    wait_for(lambda: len(started) == 1)
    late = Listening(0, 25, lambda: SOUND[32_000:41_600])
    hearing.submit(late)
    go.set()
    wait_for(lambda: late.done)
    assert started.index(9_600) <= 10, "it waited for nothing but the first five seconds"
    hearing.close()


def test_a_track_far_behind_is_heard_in_longer_steps_and_to_its_end() -> None:
    jobs: deque[Listening | None] = deque(Listening(0, 25 * number, lambda: SOUND) for number in range(1, 51))
    jobs[0].begun = True  # type: ignore[union-attr]
    track = _Track(SpeakerTurns().initial("s", "room"), TrackSound(SoundLog(None, "s", "room", 0)), 0, 0, 0, 0, jobs)  # type: ignore[arg-type]
    _thin(track, THINNED)
    assert [job.end // 25 for job in track.jobs if job] == [1, 10, 20, 30, 40, 50]
    track.jobs = deque(Listening(0, 25 * number, lambda: SOUND) for number in range(1, 8))
    _thin(track, THINNED)
    assert [job.end // 25 for job in track.jobs if job] == [2, 4, 6, 7]


def test_windows_the_models_fail_on_are_left_out_and_the_flow_goes_on(log: EventLog) -> None:
    class Failing(ToneSegmenter):
        def activity(self, sound: Sound) -> Activity:
            if len(sound) < 3 * SAMPLE_RATE_HZ:
                raise ModelFailed("cannot hear this")
            return super().activity(sound)

    put(log, "audio", chunks(SOUND))
    hearing = VoiceRoom(VoiceModels(Failing, ToneEncoder))
    wiring = Wiring(log, Operators(), None, 1, finishing=True, voices=Voices(hearing, finishing=True))
    run_main(wiring.dataflow(("speaker_turns",)))
    wiring.close()
    hearing.close()
    assert final(told(log))[1:] == EXPECTED[1:]
