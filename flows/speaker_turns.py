"""audio + meeting -> speaker-turns: windows are cut here, heard beside the flow, and told as turns."""

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from bytewax.operators import StatefulBatchLogic

from eventlog.base import EventLog
from eventlog.base import shard_of as log_shard_of
from flows.arrivals import Arrived
from flows.captions import SoundNeeds
from flows.clock import FlowClock
from flows.logic import FORGET_CLOSED_S, FORGET_IDLE_S
from flows.marks import Mark
from flows.track_sound import SoundLog, TrackSound
from flows.voice_room import Listening, VoiceRoom
from operators.audio_tracks import AudioRun, AudioTracks, AudioTracksState
from operators.diarization import FRAME, nothing_heard
from operators.ports import Vectors
from operators.speaker_turns import SpeakerTurns, SpeakerTurnsState
from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.base import Record
from schemas.meeting import Consent, MeetingClosed, MeetingOpened, ParticipantJoined

__all__ = ["SpeakerTurnsLogic", "Voices"]

DRAIN_MS = 20.0
STALLED_S = 6.0
"""A track that sends nothing for so long is silent: its labels are made final."""
WINDOW = 5 * SAMPLE_RATE_HZ
STEP = SAMPLE_RATE_HZ // 2
THINNED = ((40, 10), (4, 2))
"""When so many windows of a track wait, only those are heard that end at a multiple of so many steps. Steps of 1 s cost
half and lose little; with steps of 5 s, the length of a window, everything is still heard once."""
LEAST_TAIL = SAMPLE_RATE_HZ // 10


@dataclass(frozen=True, slots=True)
class Voices:
    """What the flow works with.

    Attributes:
        room: Hears windows, in threads of its own.
        turns: Tells turns.
        tracks: Puts chunks in order.
        known: Enrolled voices that a session's owner may use: owner -> names with unit vectors.
        finishing: The topics end: wait for the last turns there.
        needs: Told which sound is still needed.
        thinned: What is left out when windows wait: how many wait, and of how many steps one is still heard.
    """

    room: VoiceRoom
    turns: SpeakerTurns = field(default_factory=SpeakerTurns)
    tracks: AudioTracks = field(default_factory=AudioTracks)
    known: Callable[[str], Sequence[tuple[str, Vectors]]] = lambda owner: ()
    finishing: bool = False
    needs: SoundNeeds = field(default_factory=SoundNeeds)
    thinned: tuple[tuple[int, int], ...] = THINNED


@dataclass(slots=True)
class _Track:
    """One room mix; all in samples.

    Attributes:
        start: Where the sound begins that goes on without a break.
        end: How far the sound came.
        asked: End of the last window that was asked for.
        stepped: End of the last window the operator took.
        jobs: Windows in order; None = the sound breaks here.
    """

    turns: SpeakerTurnsState
    sound: TrackSound
    start: int
    end: int
    asked: int
    stepped: int
    jobs: deque[Listening | None] = field(default_factory=deque)


@dataclass(slots=True)
class _Session:
    order: AudioTracksState
    tracks: dict[str, _Track] = field(default_factory=dict)
    owner: str = ""
    people: frozenset[str] = frozenset()
    touched_s: float = 0.0
    closed_s: float | None = None
    unnamed: frozenset[str] = frozenset()

    def consented(self, consent: Consent) -> None:
        """From now on know somebody by their voice no more, or, on tracks that begin later, again."""
        names = {consent.participant_id, consent.name} - {""}
        self.unnamed = self.unnamed - names if consent.given else self.unnamed | names
        if not consent.given:
            for track in self.tracks.values():
                track.turns = replace(track.turns, diarization=track.turns.diarization.without(names))


@dataclass(slots=True, eq=False)
class SpeakerTurnsLogic(StatefulBatchLogic[Arrived | Mark, Record | Mark, dict[str, bytes]]):
    """One shard of the speaker-turns flow.

    Nothing here waits: models run in the room's threads. Windows end at whole half seconds of the session, so the same
    sound gives the same windows. A snapshot holds voices and open turns but no sound, only where it lies in the log;
    after a fault the windows that were not taken yet are cut from there again.
    """

    voices: Voices
    log: EventLog
    clock: FlowClock | None
    sessions: dict[str, _Session] = field(default_factory=dict)

    @classmethod
    def builder(
        cls, voices: Voices, log: EventLog, clock: FlowClock | None
    ) -> Callable[[dict[str, bytes] | None], "SpeakerTurnsLogic"]:
        """Give the function that Bytewax calls to make or restore a shard."""

        def build(snapshot: dict[str, bytes] | None) -> SpeakerTurnsLogic:
            logic = cls(voices, log, clock)
            for session_id, packed in (snapshot or {}).items():
                logic._restore(session_id, packed)
            return logic

        return build

    def on_batch(self, values: list[Arrived | Mark]) -> tuple[Iterable[Record | Mark], bool]:
        """Take sound and meeting events in, and hand on the turns that came meanwhile."""
        out: list[Record | Mark] = []
        for arrived in values:
            if isinstance(arrived, Mark):
                out.append(arrived)
                continue
            record = arrived.record
            session = self.sessions.get(record.session_id)
            if session is None:
                session = self.sessions[record.session_id] = _Session(self.voices.tracks.initial())
            session.touched_s = arrived.at_s
            match record:
                case AudioChunk():
                    # Sound alone moves time on; see `flows.captions`.
                    self._tick(session, arrived.at_s)
                    self._chunk(session, arrived)
                case MeetingOpened():
                    session.owner = record.owner_id
                    session.people = frozenset(one.id for one in record.participants)
                case ParticipantJoined():
                    session.people |= {record.participant.id}
                case Consent() if "voice" in record.purposes:
                    session.consented(record)
                case MeetingClosed():
                    self._close(record.session_id, session, record)
                case _:
                    pass
        self._drain(out)
        return out, self.RETAIN

    def _chunk(self, session: _Session, arrived: Arrived) -> None:
        chunk: AudioChunk = arrived.record
        self.voices.needs.newest_s = max(self.voices.needs.newest_s, arrived.at_s)
        if chunk.track in session.people:
            return  # a track that bears the name of a participant is theirs alone
        session.order, made = self.voices.tracks.step(session.order, chunk, arrived.at_s)
        track = session.tracks.get(chunk.track)
        if track is None:
            first = chunk.start_sample
            known = [one for one in self.voices.known(session.owner) if one[0] not in session.unnamed]
            turns = self.voices.turns.initial(chunk.session_id, chunk.track, first, known)
            sound = TrackSound(self._sound_log(chunk.session_id, chunk.track))
            track = session.tracks[chunk.track] = _Track(turns, sound, first, first, first, first)
        track.sound.note(chunk, arrived.offset, arrived.at_s)
        self._runs(session, made)
        known_tracks = {name for name, _ in session.order.tracks}
        for name in [name for name in session.tracks if name not in known_tracks and not session.tracks[name].jobs]:
            del session.tracks[name]

    def _sound_log(self, session_id: str, track: str) -> SoundLog:
        return SoundLog(self.log, session_id, track, log_shard_of(session_id) % self.log.partitions("audio"))

    def _runs(self, session: _Session, made: Iterable[Any]) -> None:
        for run in made:
            if not isinstance(run, AudioRun):
                continue  # gaps are told by the captions flow
            track = session.tracks[run.track]
            if run.start_sample != track.end:
                self._break(track, run.start_sample)
            track.sound.put(run)
            track.end = run.end_sample
            self._ask(track)
            if run.last:
                self._break(track, track.end)

    def _ask(self, track: _Track) -> None:
        """Ask for the windows that end within the sound that came."""
        end = (track.asked // STEP + 1) * STEP
        while end <= track.end:
            self._window(track, end)
            track.asked = end
            end += STEP
        # Nobody waits for a recording, or for a run over what lies there already.
        if not self.voices.finishing and track.sound.is_live:
            _thin(track, self.voices.thinned)

    def _window(self, track: _Track, end: int) -> None:
        first = max(track.start, end - WINDOW)
        job = Listening(first, end // FRAME, track.sound.cut(first, end), track.sound.is_live)
        track.jobs.append(job)
        self.voices.room.submit(job)

    def _break(self, track: _Track, start: int) -> None:
        """End what is being said: no sound follows, or it goes on at another sample."""
        tail = track.end // FRAME * FRAME
        if tail - track.asked >= LEAST_TAIL:
            self._window(track, tail)
        track.jobs.append(None)
        track.start = track.end = track.asked = start

    def _drain(self, out: list[Record | Mark]) -> None:
        for session in self.sessions.values():
            for track in session.tracks.values():
                if track.jobs:
                    self._take(track, out)

    def _take(self, track: _Track, out: list[Record | Mark]) -> None:
        now_s = time.time()
        while track.jobs and (track.jobs[0] is None or track.jobs[0].done):
            job = track.jobs.popleft()
            if job is None:
                start = track.start if not any(one is None for one in track.jobs) else 0
                track.turns, turns = self.voices.turns.finish(track.turns, now_s, start)
                track.stepped = max(track.stepped, start)
            else:
                heard = job.heard if job.heard is not None else nothing_heard(job.end)
                track.turns, turns = self.voices.turns.step(track.turns, heard, now_s)
                track.stepped = job.end * FRAME
            out.extend(turns)
        track.sound.forget_before(track.stepped - WINDOW)

    def _tick(self, session: _Session, until_s: float) -> None:
        due_s = self.voices.tracks.due_s(session.order)
        if due_s is not None and due_s <= until_s:
            session.order, made = self.voices.tracks.tick(session.order, until_s)
            self._runs(session, made)
        for name, order in session.order.tracks:
            track = session.tracks.get(name)
            if track is not None and order.seen_s + STALLED_S <= until_s and track.start < track.end:
                self._break(track, track.end)

    def _close(self, session_id: str, session: _Session, closed: MeetingClosed) -> None:
        if closed.reason == "deleted":
            for track in self.sessions.pop(session_id).tracks.values():
                for job in track.jobs:
                    if job is not None:
                        job.dropped = True
            return
        session.closed_s = time.time()
        for track in session.tracks.values():
            self._break(track, track.end)

    def on_notify(self) -> tuple[Iterable[Record | Mark], bool]:
        """Hand on turns that came, give up missing sound, and forget sessions that are over."""
        out: list[Record | Mark] = []
        now_s, wall_s = self.clock.now_s() if self.clock is not None else None, time.time()
        for session_id, session in list(self.sessions.items()):
            if now_s is not None:
                self._tick(session, now_s)
            over = session.closed_s is not None and wall_s - session.closed_s >= FORGET_CLOSED_S
            idle = wall_s - session.touched_s > FORGET_IDLE_S
            if (over or idle) and not any(track.jobs for track in session.tracks.values()):
                del self.sessions[session_id]
        self._drain(out)
        return out, self.RETAIN

    def on_eof(self) -> tuple[Iterable[Record | Mark], bool]:
        """Where the topics end for good, make all labels final."""
        out: list[Record | Mark] = []
        if self.voices.finishing:
            for session in self.sessions.values():
                self._tick(session, float("inf"))
            while any(track.jobs for session in self.sessions.values() for track in session.tracks.values()):
                self._drain(out)
                time.sleep(DRAIN_MS / 1000)
        return out, self.RETAIN

    def notify_at(self) -> datetime | None:
        """Say when to look again: soon while a window is being heard."""
        if any(track.jobs for session in self.sessions.values() for track in session.tracks.values()):
            return datetime.now(UTC) + timedelta(milliseconds=DRAIN_MS)
        times: list[float] = []
        for session in self.sessions.values():
            if (due_s := self.voices.tracks.due_s(session.order)) is not None:
                times.append(due_s)
            for name, order in session.order.tracks:
                track = session.tracks.get(name)
                if track is not None and track.start < track.end:
                    times.append(order.seen_s + STALLED_S)
            if session.closed_s is not None:
                times.append(session.closed_s + FORGET_CLOSED_S)
        if not times:
            return None
        # While the flow's clock stands still (a backlog), looking again every few milliseconds is enough.
        return datetime.fromtimestamp(max(min(times), time.time() + DRAIN_MS / 1000), UTC)

    def snapshot(self) -> dict[str, bytes]:
        """Give the sessions without their sound."""
        tracks = [track for session in self.sessions.values() for track in session.tracks.values()]
        since = [one for track in tracks if (one := track.sound.since_s) is not None]
        if since:
            self.voices.needs.since_s[id(self)] = min(since)
        else:
            self.voices.needs.since_s.pop(id(self), None)
        return {session_id: _packed(session) for session_id, session in self.sessions.items()}

    def _restore(self, session_id: str, packed: bytes) -> None:
        order, tracks, *rest = pickle.loads(packed)  # noqa: S301 - our own snapshot
        session = self.sessions[session_id] = _Session(order, {}, *rest)
        for name, (turns, places, numbers, jobs, waiting) in tracks.items():
            log = self._sound_log(session_id, name)
            start, end, asked, stepped = numbers
            track = session.tracks[name] = _Track(turns, TrackSound(log, places), start, end, asked, stepped)
            for window in jobs:
                if window is None:
                    track.jobs.append(None)
                    continue
                first, past = window
                job = Listening(first, past // FRAME, track.sound.cut(first, past), track.sound.is_live)
                track.jobs.append(job)
                self.voices.room.submit(job)
            kept = replace(order.track(name), waiting=track.sound.again(waiting))
            session.order = session.order.having(name, kept)


def _thin(track: _Track, thinned: Sequence[tuple[int, int]]) -> None:
    """Leave windows out that nobody began to hear, when too many wait; never the newest one before a break."""
    every = next((step for most, step in thinned if len(track.jobs) >= most), 1)
    if every == 1:
        return
    jobs = list(track.jobs)
    for job, following in pairwise(jobs):
        if job is not None and following is not None and not job.begun and job.end * FRAME // STEP % every:
            job.dropped = True
    track.jobs = deque(job for job in jobs if job is None or not job.dropped)


def _packed(session: _Session) -> bytes:
    order, tracks = session.order, {}
    for name, track in session.tracks.items():
        waiting = tuple(chunk.sequence for chunk in order.track(name).waiting)
        if waiting:
            order = order.having(name, replace(order.track(name), waiting=()))
        jobs = [None if job is None else (job.first, job.end * FRAME) for job in track.jobs]
        numbers = (track.start, track.end, track.asked, track.stepped)
        tracks[name] = (track.turns, track.sound.places, numbers, jobs, waiting)
    whole = (order, tracks, session.owner, session.people, session.touched_s, session.closed_s, session.unnamed)
    return pickle.dumps(whole, pickle.HIGHEST_PROTOCOL)
