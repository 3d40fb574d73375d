"""utterances + meeting -> nudges: hints to the user about their own talk, while it goes on; rules only."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from operators.coaching import LONG_S, SHORT_S, fillers_in, pace_of, words_in
from operators.consent import UNNAMED_USER
from operators.stories import asks_for_story, star_of
from schemas.base import Record, derive_id
from schemas.meeting import Consent, MeetingClosed, MeetingOpened, ParticipantJoined
from schemas.nudges import Nudge, NudgeKind
from schemas.speech import Utterance

__all__ = ["NudgesOperator", "NudgesState"]

TEXTS: dict[NudgeKind, str] = {
    "long": "Come to the end and let them in.",
    "fillers": "Pause instead of um.",
    "fast": "Slow down.",
    "slow": "You may speak a little faster.",
    "no_result": "Say what came of it.",
    "short": "Say more: where it was, what you did, what came of it.",
    "talk_ratio": "Ask a question and listen.",
}
MOST_UTTERANCES = 32
"""Of an answer and of the talk before it; it bounds what a session's state holds. An utterance lasts up to 30 s."""
FLOOR_WORDS = 4
"""Fewer words of somebody else are a sign of listening; the user still has the floor."""


@dataclass(frozen=True, slots=True)
class NudgesState:
    """What the next utterance is judged with.

    Attributes:
        users: Ids of the participants who are the user.
        allowed: Whether the user may be coached: as the rule says before anybody was asked, then as they said.
        asked: What the other side said last, newest revision of each utterance.
        answer: The user's utterances since.
        over: The other side has taken the floor again.
        talk: The last utterances of everybody: (id, start, end, whether the user's), seconds of the session.
        told: What was hinted at about this answer.
        spoke_at: When the user was last heard, seconds since 1970.
        nudged_at: When the last hint was given.
        due: When the user counts as quiet.
    """

    users: tuple[str, ...] = ()
    allowed: bool = True
    asked: tuple[Utterance, ...] = ()
    answer: tuple[Utterance, ...] = ()
    over: bool = False
    talk: tuple[tuple[str, float, float, bool], ...] = ()
    told: tuple[NudgeKind, ...] = ()
    spoke_at: float = 0.0
    nudged_at: float | None = None
    due: float | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class NudgesOperator:
    """Hints at what stands out in an answer, at most once each, never while the user speaks.

    The bands are comfort bands of ours, not norms; a hint that may not be given now is dropped, since it would be about
    words long gone.

    Attributes:
        quiet_s: The user counts as quiet after so long without a word of theirs.
        apart_s: Least time between two hints.
        long_s: An answer of more than this is long; one that tells a story may take 180 s.
        most_fillers: In 100 words; three at least.
        fastest_wpm: Words a minute.
        slowest_wpm: Words a minute.
        least_words: Pace and fillers are not judged on fewer.
        most_share: Of the talk of the last `share_s` seconds.
        share_s: Seconds.
        needs_consent: Nobody is coached before they agreed.
    """

    quiet_s: float = 1.2
    apart_s: float = 20.0
    long_s: float = 120.0
    most_fillers: float = 4.0
    fastest_wpm: float = 170.0
    slowest_wpm: float = 90.0
    least_words: int = 25
    most_share: float = 0.65
    share_s: float = 300.0
    needs_consent: bool = False

    def initial(self) -> NudgesState:
        """Give the state of an unknown session."""
        return NudgesState(allowed=not self.needs_consent)

    def step(self, state: NudgesState, record: Record, now_s: float) -> tuple[NudgesState, list[Nudge]]:
        """Take an utterance revision or a meeting event."""
        match record:
            case MeetingOpened():
                return replace(state, users=tuple(one.id for one in record.participants if one.is_user)), []
            case ParticipantJoined():
                others = tuple(one for one in state.users if one != record.participant.id)
                users = (*others, record.participant.id) if record.participant.is_user else others
                return replace(state, users=users), []
            case Consent() if "coaching" in record.purposes and record.participant_id in (
                state.users or (UNNAMED_USER,)
            ):
                return replace(state, allowed=record.given), []
            case Utterance() if record.is_user:
                return self._own(state, record, now_s), []
            case Utterance():
                return self._other(state, record, now_s)
            case MeetingClosed():
                return replace(state, closed=True, due=None), []
            case _:
                return state, []

    def _own(self, state: NudgesState, spoken: Utterance, now_s: float) -> NudgesState:
        known = any(one.utterance_id == spoken.utterance_id for one in state.answer)
        if state.over and not known:
            state = replace(state, answer=(), told=(), over=False)
        return replace(
            state,
            answer=_with(state.answer, spoken),
            asked=_without(state.asked, spoken.utterance_id),
            talk=_talked(state.talk, spoken),
            spoke_at=now_s,
            due=now_s + self.quiet_s,
        )

    def _other(self, state: NudgesState, spoken: Utterance, now_s: float) -> tuple[NudgesState, list[Nudge]]:
        state = replace(state, answer=_without(state.answer, spoken.utterance_id), talk=_talked(state.talk, spoken))
        if words_in(spoken.text) < FLOOR_WORDS:
            return replace(state, asked=_without(state.asked, spoken.utterance_id)), []
        made: list[Nudge] = []
        if state.answer and not state.over:
            state = replace(state, over=True)
            if now_s - state.spoke_at >= self.quiet_s:
                # What is hinted at is about the answer before: `asked` is still what it answers.
                state, made = self._look(state, now_s)
            state = replace(state, asked=())
        return replace(state, asked=_with(state.asked, spoken)), made

    def due_s(self, state: NudgesState) -> float | None:
        """Give when the user counts as quiet."""
        return state.due

    def tick(self, state: NudgesState, now_s: float) -> tuple[NudgesState, list[Nudge]]:
        """Look at the answer once its speaker is quiet."""
        if state.due is None or now_s < state.due:
            return state, []
        return self._look(state, now_s)

    def finished(self, state: NudgesState) -> bool:
        """Say whether the meeting was closed."""
        return state.closed

    def _look(self, state: NudgesState, now_s: float) -> tuple[NudgesState, list[Nudge]]:
        state = replace(state, due=None)
        apart = state.nudged_at is None or now_s - state.nudged_at >= self.apart_s
        if not state.answer or not state.allowed or state.closed or not apart:
            return state, []
        found = next(((kind, measured) for kind, measured in self._found(state) if kind not in state.told), None)
        if found is None:
            return state, []
        kind, measured = found
        first, last = state.answer[0], state.answer[-1]
        nudge = Nudge(
            session_id=first.session_id,
            event_id=derive_id(first.session_id, "nudge", first.utterance_id, kind),
            created_at=datetime.fromtimestamp(now_s, UTC),
            kind=kind,
            text=TEXTS[kind],
            measured=measured,
            utterance_ids=tuple(one.utterance_id for one in state.answer),
            at_s=last.end_s,
        )
        return replace(state, told=(*state.told, kind), nudged_at=now_s), [nudge]

    def _found(self, state: NudgesState) -> Iterator[tuple[NudgeKind, float | None]]:
        """Give what stands out, the most urgent first."""
        text = " ".join(one.text for one in state.answer)
        words, spoken_s = words_in(text), sum(one.end_s - one.start_s for one in state.answer)
        story = asks_for_story(" ".join(one.text for one in state.asked))
        if spoken_s > (LONG_S if story else self.long_s):
            yield "long", spoken_s
        if words >= self.least_words:
            fillers, pace = fillers_in(text), pace_of(words, spoken_s)
            if fillers >= 3 and 100 * fillers / words > self.most_fillers:
                yield "fillers", 100 * fillers / words
            if pace is not None and pace > self.fastest_wpm:
                yield "fast", pace
            if pace is not None and pace < self.slowest_wpm:
                yield "slow", pace
        if story and spoken_s >= SHORT_S and not any(one.part == "result" for one in star_of(state.answer)):
            yield "no_result", None
        if story and state.over and spoken_s < SHORT_S:
            yield "short", spoken_s
        if (share := self._share(state)) is not None and share > self.most_share:
            yield "talk_ratio", share

    def _share(self, state: NudgesState) -> float | None:
        """Give the user's share of the talk lately; None in the first minutes, and while nobody else has spoken."""
        until = max(end for _, _, end, _ in state.talk)
        lately = [(end - start, own) for _, start, end, own in state.talk if start >= until - self.share_s]
        total, own = sum(length for length, _ in lately), sum(length for length, own in lately if own)
        return own / total if total >= self.share_s / 2 and own < total else None


def _with(kept: tuple[Utterance, ...], spoken: Utterance) -> tuple[Utterance, ...]:
    """Put an utterance, or its newest revision in the place of the one before; one without words goes."""
    if not spoken.text:
        return _without(kept, spoken.utterance_id)
    if any(one.utterance_id == spoken.utterance_id for one in kept):
        return tuple(spoken if one.utterance_id == spoken.utterance_id else one for one in kept)
    return (*kept, spoken)[-MOST_UTTERANCES:]


def _without(kept: tuple[Utterance, ...], utterance_id: str) -> tuple[Utterance, ...]:
    return tuple(one for one in kept if one.utterance_id != utterance_id)


def _talked(
    talk: tuple[tuple[str, float, float, bool], ...], spoken: Utterance
) -> tuple[tuple[str, float, float, bool], ...]:
    kept = tuple(one for one in talk if one[0] != spoken.utterance_id)
    if not spoken.text:
        return kept
    return (*kept, (spoken.utterance_id, spoken.start_s, spoken.end_s, spoken.is_user))[-MOST_UTTERANCES:]
