"""audio + meeting -> captions: speech is found here, written down beside the flow, and told as captions."""

import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from bytewax.operators import StatefulBatchLogic

from eventlog.base import EventLog
from eventlog.base import shard_of as log_shard_of
from flows.arrivals import Arrived
from flows.clock import FlowClock
from flows.decoding_room import DecodingRoom, Job
from flows.logic import FORGET_CLOSED_S, FORGET_IDLE_S
from flows.marks import Mark
from flows.track_sound import SoundLog, TrackSound
from operators.audio_tracks import AudioRun, AudioTracks, AudioTracksState
from operators.speech_activity import NO_SAMPLES, ActivityState, SpeechActivity
from operators.transcription import Decoded, DecodeRequest, Event, Heard, Transcription, TranscriptionState
from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.base import Record
from schemas.meeting import MeetingClosed, MeetingOpened, ParticipantJoined

__all__ = ["CaptionsLogic", "Hearing", "SoundNeeds"]

logger = structlog.get_logger("flows")

DRAIN_MS = 10.0
LOOK_BACK_S = 1.0
"""Sound before the present that is kept: more than the silence that is taken along before a first word."""


@dataclass(slots=True)
class SoundNeeds:
    """Which sound is still needed, by shard: producer times, seconds since 1970. The flow writes it, others read."""

    since_s: dict[int, float] = field(default_factory=dict)
    newest_s: float = 0.0

    def before_s(self) -> float:
        """Give the time before which no sound is needed any more; 0 when nothing was heard."""
        return min([*list(self.since_s.values()), self.newest_s])


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the flow works with.

    Attributes:
        room: Writes sound down, in threads of its own.
        activity: Finds speech.
        transcription: Decides what is decoded when.
        tracks: Puts chunks in order.
        language: ISO 639-1 code; "" = as the session says; "auto" = find out for each stretch.
        stalled_s: A track that sends nothing for so long is silent: what was said is written down.
        finishing: The topics end: wait for the last captions there.
        needs: Told which sound is still needed.
    """

    room: DecodingRoom
    activity: SpeechActivity
    transcription: Transcription = field(default_factory=Transcription)
    tracks: AudioTracks = field(default_factory=AudioTracks)
    language: str = ""
    stalled_s: float = 2.0
    finishing: bool = False
    needs: SoundNeeds = field(default_factory=SoundNeeds)


@dataclass(slots=True)
class _Track:
    activity: ActivityState
    transcription: TranscriptionState
    sound: TrackSound
    jobs: dict[DecodeRequest, Job] = field(default_factory=dict)


@dataclass(slots=True)
class _Session:
    order: AudioTracksState
    tracks: dict[str, _Track] = field(default_factory=dict)
    language: str = ""
    people: frozenset[str] = frozenset()
    sound_at_s: float = 0.0
    closed_s: float | None = None
    arrived_s: float = field(default_factory=time.monotonic)
    sound_came_s: float = field(default_factory=time.monotonic)

    def time_s(self) -> float:
        """Give the session's own time: the producer time of its last sound and what passed since it came.

        A recording that is played into the log again carries old times; its pauses are still as long as they were.
        """
        return self.sound_at_s + time.monotonic() - self.sound_came_s

    def speaks(self, name: str) -> bool:
        """Say whether somebody speaks on a track."""
        track = self.tracks.get(name)
        return track is not None and track.activity.speech is not None


@dataclass(slots=True, eq=False)
class CaptionsLogic(StatefulBatchLogic[Arrived | Mark, Record | Mark, dict[str, bytes]]):
    """One shard of the captions flow.

    Nothing here waits: models run in the room's threads. A snapshot holds no sound, only how far each track came and
    where the sound that is still needed lies in the log; after a fault open stretches are asked for again, and their
    captions get the same ids.
    """

    hearing: Hearing
    log: EventLog
    clock: FlowClock | None
    sessions: dict[str, _Session] = field(default_factory=dict)

    @classmethod
    def builder(
        cls, hearing: Hearing, log: EventLog, clock: FlowClock | None
    ) -> Callable[[dict[str, bytes] | None], "CaptionsLogic"]:
        """Give the function that Bytewax calls to make or restore a shard."""

        def build(snapshot: dict[str, bytes] | None) -> CaptionsLogic:
            logic = cls(hearing, log, clock)
            for session_id, packed in (snapshot or {}).items():
                logic._restore(session_id, packed)
            return logic

        return build

    def on_batch(self, values: list[Arrived | Mark]) -> tuple[Iterable[Record | Mark], bool]:
        """Take sound and meeting events in, and hand on the captions that came meanwhile."""
        out: list[Record | Mark] = []
        for arrived in values:
            if isinstance(arrived, Mark):
                out.append(arrived)
                continue
            record = arrived.record
            session = self.sessions.get(record.session_id)
            if session is None:
                session = self.sessions[record.session_id] = _Session(self.hearing.tracks.initial())
            session.arrived_s = time.monotonic()
            match record:
                case AudioChunk():
                    # Sound alone moves time on: what else is told of a meeting may bear another machine's clock, and
                    # would end in the middle of a word what is being said.
                    session.sound_at_s, session.sound_came_s = arrived.at_s, session.arrived_s
                    self._tick(session, arrived.at_s, out)
                    self._chunk(session, arrived, out)
                case MeetingOpened():
                    session.language = record.language
                    session.people = frozenset(one.id for one in record.participants)
                case ParticipantJoined():
                    session.people |= {record.participant.id}
                case MeetingClosed():
                    self._close(record.session_id, session, record, out)
                case _:
                    pass
        self._drain(out)
        return out, self.RETAIN

    def _chunk(self, session: _Session, arrived: Arrived, out: list[Record | Mark]) -> None:
        chunk: AudioChunk = arrived.record
        self.hearing.needs.newest_s = max(self.hearing.needs.newest_s, arrived.at_s)
        track = session.tracks.get(chunk.track)
        if track is None:
            track = session.tracks[chunk.track] = self._new_track(session, chunk)
        track.sound.note(chunk, arrived.offset, arrived.at_s)
        session.order, made = self.hearing.tracks.step(session.order, chunk, arrived.at_s)
        self._runs(session, made, out)
        if len(session.tracks) > len(session.order.tracks):
            self._forget_tracks(session, out)

    def _new_track(self, session: _Session, chunk: AudioChunk) -> _Track:
        hearing = self.hearing
        hearing.room.prepare()
        # A track that bears the name of a participant is theirs alone.
        speaker = chunk.track if chunk.track in session.people else None
        state = hearing.transcription.initial(chunk.session_id, chunk.track, speaker)
        return _Track(hearing.activity.initial(), state, TrackSound(self._sound_log(chunk.session_id, chunk.track)))

    def _sound_log(self, session_id: str, track: str) -> SoundLog:
        return SoundLog(self.log, session_id, track, log_shard_of(session_id) % self.log.partitions("audio"))

    def _runs(self, session: _Session, made: Iterable[Any], out: list[Record | Mark]) -> None:
        for one in made:
            if not isinstance(one, AudioRun):
                out.append(one)
                continue
            track = session.tracks[one.track]
            track.sound.put(one)
            track.activity, events = self.hearing.activity.step(track.activity, one)
            self._feed(session, track, events, out)

    def _feed(self, session: _Session, track: _Track, events: Iterable[Event], out: list[Record | Mark]) -> None:
        """Let the operator take events, and after them how far the sound came; ask for what it wants decoded."""
        now_s = time.time()
        activity = track.activity
        voiced_end = activity.speech.voiced_end if activity.speech is not None else 0
        for event in (*events, Heard(activity.next_sample or 0, voiced_end)):
            track.transcription, made = self.hearing.transcription.step(track.transcription, event, now_s)
            for one in made:
                if isinstance(one, DecodeRequest):
                    self._ask(session, track, one)
                else:
                    out.append(one)
        waiting = track.transcription.waiting
        for request in [request for request in track.jobs if request not in waiting]:
            self.hearing.room.drop(track.jobs.pop(request))
        present = (activity.next_sample or 0) - int(LOOK_BACK_S * SAMPLE_RATE_HZ)
        needed = track.transcription.needed_sample
        track.sound.forget_before(present if needed is None else min(present, needed))

    def _ask(self, session: _Session, track: _Track, request: DecodeRequest) -> None:
        language = (self.hearing.language or session.language or "auto").partition("-")[0].casefold()
        owner = (track.transcription.session_id, track.transcription.track)
        sound = track.sound.cut(request.start_sample, request.end_sample)
        job = Job(owner, request, sound, None if language == "auto" else language, track.sound.is_live)
        track.jobs[request] = job
        self.hearing.room.submit(job)

    def _drain(self, out: list[Record | Mark]) -> None:
        for session in self.sessions.values():
            for track in session.tracks.values():
                if not track.jobs:
                    continue
                owner = (track.transcription.session_id, track.transcription.track)
                done = [Decoded(job.request, job.found) for job in self.hearing.room.fetch(owner)]
                for one in done:
                    track.jobs.pop(one.request, None)
                if done:
                    self._feed(session, track, done, out)

    def _tick(self, session: _Session, until_s: float, out: list[Record | Mark]) -> None:
        due_s = self.hearing.tracks.due_s(session.order)
        if due_s is not None and due_s <= until_s:
            session.order, made = self.hearing.tracks.tick(session.order, until_s)
            self._runs(session, made, out)
        for name, order in session.order.tracks:
            if order.seen_s + self.hearing.stalled_s <= until_s and session.speaks(name):
                self._end_speech(session, session.tracks[name], out)

    def _end_speech(self, session: _Session, track: _Track, out: list[Record | Mark]) -> None:
        track.activity, events = self.hearing.activity.close(track.activity)
        self._feed(session, track, events, out)

    def _forget_tracks(self, session: _Session, out: list[Record | Mark]) -> None:
        """Let go of tracks that made room for others, once everything said on them is written down."""
        known = {name for name, _ in session.order.tracks}
        for name in [name for name in session.tracks if name not in known]:
            track = session.tracks[name]
            self._end_speech(session, track, out)
            if not track.jobs:
                del session.tracks[name]

    def _close(self, session_id: str, session: _Session, closed: MeetingClosed, out: list[Record | Mark]) -> None:
        if closed.reason == "deleted":
            for track in self.sessions.pop(session_id).tracks.values():
                for job in track.jobs.values():
                    self.hearing.room.drop(job)
            return
        session.closed_s = time.time()
        for track in session.tracks.values():
            self._end_speech(session, track, out)

    def on_notify(self) -> tuple[Iterable[Record | Mark], bool]:
        """Hand on captions that came, give up missing sound, and forget sessions that are over."""
        out: list[Record | Mark] = []
        self._drain(out)
        now_s, wall_s = self.clock.now_s() if self.clock is not None else None, time.time()
        for session_id, session in list(self.sessions.items()):
            if now_s is not None:
                self._tick(session, min(now_s, session.time_s()), out)
            over = session.closed_s is not None and wall_s - session.closed_s >= FORGET_CLOSED_S
            idle = time.monotonic() - session.arrived_s > FORGET_IDLE_S
            if (over or idle) and not any(track.jobs for track in session.tracks.values()):
                del self.sessions[session_id]
        return out, self.RETAIN

    def on_eof(self) -> tuple[Iterable[Record | Mark], bool]:
        """Where the topics end for good, end what is being said and wait for its captions."""
        out: list[Record | Mark] = []
        if self.hearing.finishing:
            for session in self.sessions.values():
                self._tick(session, session.sound_at_s + 2 * self.hearing.stalled_s, out)
            while any(track.jobs for session in self.sessions.values() for track in session.tracks.values()):
                self._drain(out)
                time.sleep(DRAIN_MS / 1000)
        return out, self.RETAIN

    def notify_at(self) -> datetime | None:
        """Say when to look again: soon while something is being written down."""
        if any(track.jobs for session in self.sessions.values() for track in session.tracks.values()):
            return datetime.now(UTC) + timedelta(milliseconds=DRAIN_MS)
        waits: list[float] = []
        for session in self.sessions.values():
            due = [
                order.seen_s + self.hearing.stalled_s for name, order in session.order.tracks if session.speaks(name)
            ]
            if (due_s := self.hearing.tracks.due_s(session.order)) is not None:
                due.append(due_s)
            waits += [one - session.time_s() for one in due]
            if session.closed_s is not None:
                waits.append(session.closed_s + FORGET_CLOSED_S - time.time())
        if not waits:
            return None
        # While the flow's clock stands still (a backlog), looking again every few milliseconds is enough.
        return datetime.now(UTC) + timedelta(seconds=max(min(waits), DRAIN_MS / 1000))

    def snapshot(self) -> dict[str, bytes]:
        """Give the sessions without their sound."""
        since = [one for session in self.sessions.values() for track in session.tracks.values()
                 if (one := track.sound.since_s) is not None]  # fmt: skip
        needs = self.hearing.needs.since_s
        if since:
            needs[id(self)] = min(since)
        else:
            needs.pop(id(self), None)
        return {session_id: _packed(session) for session_id, session in self.sessions.items()}

    def _restore(self, session_id: str, packed: bytes) -> None:
        tracks: dict[str, Any]
        order, tracks, language, people, sound_at_s, closed_s = pickle.loads(packed)  # noqa: S301 - our own snapshot
        session = _Session(order, {}, language, people, sound_at_s, closed_s)
        self.sessions[session_id] = session
        for name, (heard, transcription, places, waiting) in tracks.items():
            log = self._sound_log(session_id, name)
            sound = TrackSound(log, places)
            at, end = heard.next_sample or 0, session.order.track(name).next_sample or 0
            activity = replace(heard, rest=sound.cut(at, end)()) if at < end else heard
            track = session.tracks[name] = _Track(activity, transcription, sound)
            kept = replace(order.track(name), waiting=track.sound.again(waiting))
            session.order = session.order.having(name, kept)
            for request in transcription.waiting:
                self._ask(session, track, request)


def _packed(session: _Session) -> bytes:
    order, tracks = session.order, {}
    for name, track in session.tracks.items():
        waiting = tuple(chunk.sequence for chunk in order.track(name).waiting)
        if waiting:
            order = order.having(name, replace(order.track(name), waiting=()))
        activity = replace(track.activity, rest=NO_SAMPLES)
        tracks[name] = (activity, track.transcription, track.sound.places, waiting)
    whole = (order, tracks, session.language, session.people, session.sound_at_s, session.closed_s)
    return pickle.dumps(whole, pickle.HIGHEST_PROTOCOL)
