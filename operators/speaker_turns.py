"""what the models hear in each window -> speaker turns with stable ids, revised as more is heard, then frozen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from operators.diarization import Diarization, DiarizationState, FrameVoices, Heard
from operators.ports import Vectors
from operators.voice_clusters import Flags
from operators.voice_ports import ACTIVITY_HZ
from schemas.audio import SAMPLE_RATE_HZ
from schemas.base import derive_id
from schemas.speech import SpeakerTurn

__all__ = ["SpeakerTurns", "SpeakerTurnsState"]


@dataclass(frozen=True, slots=True)
class _Span:
    """A voice talks from one frame to before another."""

    voice: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Told:
    """A turn that was told and may still change."""

    turn_id: str
    span: _Span
    revision: int


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerTurnsState:
    """What is known of one track: its voices, and the turns that may still change. Small, and without sound.

    Attributes:
        session_id: The session.
        track: The track.
        diarization: Its voices.
        told: Turns that may still change.
        held: Parts of turns that are final while the turn goes on.
        made: Turns that were ever begun.
    """

    session_id: str
    track: str
    diarization: DiarizationState
    told: tuple[_Told, ...] = ()
    held: tuple[_Span, ...] = ()
    made: int = 0


@dataclass(frozen=True, slots=True)
class SpeakerTurns:
    """Tells who held the floor on one track.

    Ids count the turns of a track, so the same windows give the same ids whenever they are heard again. A turn whose
    speaker is corrected keeps its id. One that turned out not to be ends where it starts and is frozen.

    Attributes:
        diarization: Follows the voices.
        tell_after_s: Frames younger than this are not told: at the very end of the sound the models see too little.
        joined_gap_s: A pause up to this within one voice is not an end of its turn.
        longest_s: What is final of a turn that goes on is told as a turn of its own when it is as long as this, so that
            nobody who talks for minutes stays provisional.
    """

    diarization: Diarization = field(default_factory=Diarization)
    tell_after_s: float = 0.5
    joined_gap_s: float = 0.3
    longest_s: float = 5.0

    def initial(
        self, session_id: str, track: str, start_sample: int = 0, known: Sequence[tuple[str, Vectors]] = ()
    ) -> SpeakerTurnsState:
        """Give the state of a track whose sound begins at a sample, where these voices are known by name."""
        start = start_sample * ACTIVITY_HZ // SAMPLE_RATE_HZ
        return SpeakerTurnsState(session_id, track, self.diarization.initial(start, known))

    def step(self, state: SpeakerTurnsState, heard: Heard, now_s: float) -> tuple[SpeakerTurnsState, list[SpeakerTurn]]:
        """Take what was heard in the next window; give the turns that are new or changed."""
        voices, told = self.diarization.step(state.diarization, heard)
        return self._tell(replace(state, diarization=voices), told, now_s, last=False)

    def finish(
        self, state: SpeakerTurnsState, now_s: float, start_sample: int = 0
    ) -> tuple[SpeakerTurnsState, list[SpeakerTurn]]:
        """Make all turns final: no sound follows, or none before `start_sample`."""
        start = start_sample * ACTIVITY_HZ // SAMPLE_RATE_HZ
        voices, told = self.diarization.finish(state.diarization, start)
        state = replace(state, diarization=voices)
        if told is None:
            return state, []
        return self._tell(state, told, now_s, last=True)

    def _tell(
        self, state: SpeakerTurnsState, told: FrameVoices, now_s: float, *, last: bool
    ) -> tuple[SpeakerTurnsState, list[SpeakerTurn]]:
        end = told.start + len(told.talks)
        if not last:
            end -= round(self.tell_after_s * ACTIVITY_HZ)
        spans = list(self._spans(state.held, told, end))
        # A turn that ended this long before what is final cannot be joined by anything any more.
        final_before = end + 1 if last else told.frozen - round(self.joined_gap_s * ACTIVITY_HZ)
        changes = _Changes(state, now_s)
        open_: list[_Span] = []
        closed: list[_Span] = []
        for span in spans:
            if span.end < final_before:
                closed.append(span)
            elif told.frozen - span.start >= self.longest_s * ACTIVITY_HZ and span.end > told.frozen:
                closed.append(replace(span, end=told.frozen))
                open_.append(replace(span, start=told.frozen))
            else:
                open_.append(span)
        held = tuple(
            replace(span, end=min(span.end, told.frozen)) for span in open_ if span.start < told.frozen and not last
        )
        changes.tell(closed, open_)
        return replace(state, told=tuple(changes.open), held=held, made=changes.made), changes.turns

    def _spans(self, held: Sequence[_Span], told: FrameVoices, end: int) -> Iterator[_Span]:
        gap = round(self.joined_gap_s * ACTIVITY_HZ)
        for voice in sorted({*told.voices, *(span.voice for span in held)}):
            found = [span for span in held if span.voice == voice]
            if voice in told.voices:
                flags = told.talks[: max(0, end - told.start), told.voices.index(voice)]
                found += [_Span(voice, told.start + first, told.start + past) for first, past in _runs(flags)]
            joined: _Span | None = None
            for span in found:
                if joined is not None and span.start - joined.end <= gap:
                    joined = replace(joined, end=span.end)
                    continue
                if joined is not None:
                    yield joined
                joined = span
            if joined is not None:
                yield joined


class _Changes:
    """Collects what changed between the turns told before and those that are now."""

    def __init__(self, state: SpeakerTurnsState, now_s: float) -> None:
        self._state, self._now_s = state, now_s
        self.turns: list[SpeakerTurn] = []
        self.open: list[_Told] = []
        self.made = state.made

    def tell(self, closed: Sequence[_Span], open_: Sequence[_Span]) -> None:
        before = list(self._state.told)
        spans = [(span, True) for span in closed] + [(span, False) for span in open_]
        pairs = sorted(
            ((_likeness(one.span, span), -place, -number) for place, one in enumerate(before)
             for number, (span, _) in enumerate(spans)), reverse=True,
        )  # fmt: skip
        same: dict[int, _Told] = {}
        used: set[int] = set()
        for (_, shared), place, number in pairs:
            if shared > 0 and -number not in same and -place not in used:
                same[-number] = before[-place]
                used.add(-place)
        for number, (span, frozen) in enumerate(spans):
            self._one(span, same.get(number), frozen=frozen)
        for place, one in enumerate(before):
            if place not in used:
                nothing = replace(one.span, end=one.span.start)
                self._add(_Told(one.turn_id, nothing, one.revision + 1), frozen=True)

    def _one(self, span: _Span, known: _Told | None, *, frozen: bool) -> None:
        if known is None:
            turn_id = derive_id(self._state.session_id, "speaker-turns", self._state.track, self.made)
            told = _Told(turn_id, span, 0)
            self.made += 1
        elif known.span == span and not frozen:
            self.open.append(known)
            return
        else:
            told = _Told(known.turn_id, span, known.revision + 1)
        self._add(told, frozen=frozen)
        if not frozen:
            self.open.append(told)

    def _add(self, told: _Told, *, frozen: bool) -> None:
        state = self._state
        self.turns.append(
            SpeakerTurn(
                session_id=state.session_id,
                # What it says is part of the id: under load other windows are heard the second time, and what is then
                # told otherwise must not be dropped as a repeat.
                event_id=derive_id(told.turn_id, told.revision, *_content(told.span), int(frozen)),
                created_at=datetime.fromtimestamp(self._now_s, UTC),
                turn_id=told.turn_id,
                revision=told.revision,
                speaker=state.diarization.name(told.span.voice) or f"{state.track}-speaker-{told.span.voice + 1}",
                track=state.track,
                start_s=told.span.start / ACTIVITY_HZ,
                end_s=told.span.end / ACTIVITY_HZ,
                frozen=frozen,
            )
        )


def _content(span: _Span) -> tuple[int, int, int]:
    return span.voice, span.start, span.end


def _likeness(before: _Span, now: _Span) -> tuple[bool, int]:
    """Order pairs of turns: those of one voice first, then by the frames they share."""
    shared = min(before.end, now.end) - max(before.start, now.start)
    return before.voice == now.voice and shared > 0, shared


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """Give where flags are set: first index and index after the last one.

    >>> _runs(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(past)) for first, past in zip(edges[::2], edges[1::2], strict=True)]
