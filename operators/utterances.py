"""captions + speaker turns + meeting -> utterances: joins the words of one speaker and says who that is."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from operators.attribution import Attribution, AttributionState, Part
from schemas.base import Record, derive_id
from schemas.meeting import MeetingClosed, MeetingOpened, Participant, ParticipantJoined
from schemas.speech import Caption, SpeakerTurn, Utterance, speaker_name_of

__all__ = ["Person", "UtterancesOperator", "UtterancesState"]

KEPT_GONE = 16
"""Utterances of a track that turned out not to be, and may come back."""
USER_NAMES = frozenset({"me", "you", "user", "myself", "candidate", "interviewee"})
"""Names by which caption tools usually call the person at the keyboard, when the session names nobody."""


@dataclass(frozen=True, slots=True)
class Person:
    """A speaker as the session knows them."""

    id: str
    name: str
    role: str = ""
    is_user: bool = False


@dataclass(frozen=True, slots=True)
class _Open:
    """The utterance that still grows."""

    utterance_id: str
    person: Person
    start_s: float
    end_s: float
    text: str
    caption_ids: tuple[str, ...]
    revision: int
    tentative: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Told:
    """An utterance as it was told last, its track and the caption it begins in."""

    utterance: Utterance
    track: str
    begins_in: str


@dataclass(frozen=True, slots=True)
class UtterancesState:
    """What is known of a session: its people, the open utterance, the captions seen last.

    Attributes:
        attribution: Captions that name no speaker, and the turns that say whose they are.
        told: What was told of them and may still be corrected.
        speakers: The captions among them: id -> newest revision, speaker, whether that is settled.
    """

    people: tuple[Person, ...] = ()
    current: _Open | None = None
    seen: tuple[str, ...] = ()
    seen_set: frozenset[str] = frozenset()
    closed: bool = False
    attribution: AttributionState = field(default_factory=AttributionState)
    told: tuple[_Told, ...] = ()
    speakers: tuple[tuple[str, tuple[int, str | None, bool]], ...] = ()


@dataclass(frozen=True, slots=True)
class UtterancesOperator:
    """Joins captions into utterances.

    A caption that names its speaker is taken at its word. The words of one that does not go to the speaker turns of
    its track; when a turn is corrected, its utterances come again under the same id, and so does the caption.

    Attributes:
        gap_s: A pause longer than this between two captions of one speaker begins a new utterance.
        longest_s: An utterance is not let grow longer than this.
        most_words: Nor over this many words.
        remembered: How many final caption ids are remembered to know a repeat.
    """

    gap_s: float = 1.5
    longest_s: float = 30.0
    most_words: int = 80
    remembered: int = 256
    user_names: frozenset[str] = field(default=USER_NAMES)

    def initial(self) -> UtterancesState:
        """Give the state of an unknown session."""
        return UtterancesState()

    def step(
        self, state: UtterancesState, record: Record, now_s: float
    ) -> tuple[UtterancesState, list[Utterance | Caption]]:
        """Take a caption, a speaker turn or a meeting event; give utterance revisions and corrected captions."""
        match record:
            case Caption():
                if record.revision:
                    return state, []  # a correction, which was made here
                if record.speaker is None and self._attribution.takes(state.attribution, record):
                    return self._hear_unnamed(state, record, now_s)
                return self._hear(state, record, now_s)
            case SpeakerTurn():
                attribution = self._attribution.turn(state.attribution, record)
                return self._retell(replace(state, attribution=attribution), record, now_s)
            case MeetingOpened():
                people = tuple(_person(participant) for participant in record.participants)
                return replace(state, people=people), []
            case ParticipantJoined():
                person = _person(record.participant)
                others = tuple(other for other in state.people if other.id != person.id)
                return replace(state, people=(*others, person)), []
            case MeetingClosed():
                return replace(state, closed=True), []
            case _:
                return state, []

    @property
    def _attribution(self) -> Attribution:
        return Attribution(self.gap_s, self.longest_s, self.most_words)

    def _hear_unnamed(
        self, state: UtterancesState, caption: Caption, now_s: float
    ) -> tuple[UtterancesState, list[Utterance | Caption]]:
        if caption.caption_id in state.seen_set:
            return state, []
        if caption.final:
            state = self._saw(state, caption.caption_id)
        attribution = self._attribution.hear(state.attribution, caption)
        return self._retell(replace(state, attribution=attribution), caption, now_s)

    def _saw(self, state: UtterancesState, caption_id: str) -> UtterancesState:
        seen = (*state.seen, caption_id)
        seen_set = state.seen_set | {caption_id}
        if len(seen) > self.remembered:
            # Halved now and then rather than shifted each time: the cost per caption stays flat.
            seen = seen[self.remembered // 2 :]
            seen_set = frozenset(seen)
        return replace(state, seen=seen, seen_set=seen_set)

    def _retell(
        self, state: UtterancesState, cause: Caption | SpeakerTurn, now_s: float
    ) -> tuple[UtterancesState, list[Utterance | Caption]]:
        """Tell what is different on a track from what was told of it."""
        name = cause.track or ""
        captions = state.attribution.track(name).captions
        before = {one.utterance.utterance_id: one for one in state.told if one.track == name}
        gone: list[_Told] = []
        if not captions and not before:
            return state, []
        parts = self._attribution.parts(state.attribution, name)
        told: dict[str, _Told] = {}
        out: list[Utterance | Caption] = []
        for part in parts:
            utterance = self._of_part(state, part, cause.session_id, now_s)
            known = before.get(utterance.utterance_id)
            if known is not None:
                utterance = _revised(utterance, known.utterance)
            if known is None or utterance is not known.utterance:
                out.append(utterance)
            told[utterance.utterance_id] = _Told(utterance, name, part.first[0])
        for one in (one for key, one in before.items() if key not in told):
            # Its words went to others; an utterance without words is one that turned out not to be. Should it come
            # back, its revisions go on.
            less = one.utterance.model_copy(update={"text": "", "tentative": "", "caption_ids": ()})
            less = _revised(less, one.utterance)
            if less is not one.utterance:
                out.append(less)
            gone.append(replace(one, utterance=less))
        state, corrected = self._correct(state, captions, now_s)
        attribution = self._attribution.leave(state.attribution, name, parts)
        here = {one.caption_id for one in attribution.track(name).captions}
        kept = [one for one in told.values() if one.begins_in in here]
        kept = [*(one for one in gone if one.begins_in in here), *gone[-KEPT_GONE:], *kept]
        kept = list({one.utterance.utterance_id: one for one in kept}.values())
        others = [one for one in state.told if one.track != name]
        return replace(state, attribution=attribution, told=(*others, *kept)), [*out, *corrected]

    def _of_part(self, state: UtterancesState, part: Part, session_id: str, now_s: float) -> Utterance:
        caption_id, number = part.first
        begins = (caption_id, number) if number else (caption_id,)
        utterance_id = derive_id(session_id, "utterances", *begins)
        person = self._who(state, part.speaker)
        open_ = _Open(utterance_id, person, part.start_s, part.end_s, part.text, part.caption_ids, 0)
        guess = ((caption_id, part.tentative),) if part.tentative else ()
        return _utterance(replace(open_, tentative=guess), session_id, now_s)

    def _correct(
        self, state: UtterancesState, captions: tuple[Caption, ...], now_s: float
    ) -> tuple[UtterancesState, list[Caption]]:
        """Give the final captions whose speaker became known, another, or certain."""
        speakers = dict(state.speakers)
        here = {one.caption_id for one in captions}
        out: list[Caption] = []
        for caption in captions:
            if not caption.final:
                continue
            revision, speaker, settled = speakers.get(caption.caption_id, (0, None, False))
            now, sure = self._attribution.speaker_of(state.attribution, caption)
            if now is not None and not settled and (now != speaker or sure):
                revision += 1
                out.append(
                    caption.model_copy(
                        update={
                            "event_id": derive_id(caption.caption_id, "speaker", revision, now, int(sure)),
                            "created_at": datetime.fromtimestamp(now_s, UTC),
                            "revision": revision,
                            "speaker": now,
                            "speaker_frozen": sure,
                        }
                    )
                )
                speakers[caption.caption_id] = (revision, now, sure)
        tracks = {one.caption_id for _, track in state.attribution.tracks for one in track.captions}
        kept = {key: one for key, one in speakers.items() if key in here or key in tracks}
        return replace(state, speakers=tuple(kept.items())), out

    def _hear(
        self, state: UtterancesState, caption: Caption, now_s: float
    ) -> tuple[UtterancesState, list[Utterance | Caption]]:
        text = " ".join(caption.text.split())
        if caption.caption_id in state.seen_set:
            return state, []
        if not text:
            return self._take_back(state, caption, now_s)
        person = self._who(state, caption.speaker)
        current = state.current
        joins = current is not None and current.person.id == person.id and self._joins(current, caption, text)
        if not caption.final:
            return self._guess(state, caption, text, person if not joins else None, now_s)
        if joins and current is not None:
            grown = replace(
                current,
                end_s=max(current.end_s, caption.end_s),
                start_s=min(current.start_s, caption.start_s),
                text=f"{current.text} {text}".strip(),
                caption_ids=(*current.caption_ids, caption.caption_id),
                revision=current.revision + 1,
                tentative=tuple(guess for guess in current.tentative if guess[0] != caption.caption_id),
            )
        else:
            grown = self._begin(caption, person, text, final=True)
        state = self._saw(state, caption.caption_id)
        # A late caption of an earlier moment stands for itself and does not close what is being said now.
        late = not joins and current is not None and caption.end_s < current.start_s
        state = replace(state, current=current if late else grown)
        return state, [_utterance(grown, caption.session_id, now_s)]

    def _take_back(
        self, state: UtterancesState, caption: Caption, now_s: float
    ) -> tuple[UtterancesState, list[Utterance | Caption]]:
        """Drop a guess whose final caption holds no words after all."""
        current = state.current
        if not caption.final or current is None:
            return state, []
        kept = tuple(guess for guess in current.tentative if guess[0] != caption.caption_id)
        if len(kept) == len(current.tentative):
            return state, []
        less = replace(current, tentative=kept, revision=current.revision + 1)
        return replace(state, current=less), [_utterance(less, caption.session_id, now_s)]

    def _guess(
        self, state: UtterancesState, caption: Caption, text: str, other: Person | None, now_s: float
    ) -> tuple[UtterancesState, list[Utterance | Caption]]:
        if other is None and state.current is not None:
            kept = tuple(guess for guess in state.current.tentative if guess[0] != caption.caption_id)
            open_ = replace(
                state.current, tentative=(*kept[-3:], (caption.caption_id, text)), revision=state.current.revision + 1
            )
        else:
            person = other or self._who(state, caption.speaker)
            if state.current is not None and caption.end_s < state.current.start_s:
                return state, []
            open_ = self._begin(caption, person, text, final=False)
        told: list[Utterance | Caption] = [_utterance(open_, caption.session_id, now_s)]
        return replace(state, current=open_), told

    def _begin(self, caption: Caption, person: Person, text: str, *, final: bool) -> _Open:
        return _Open(
            utterance_id=derive_id(caption.session_id, "utterances", caption.caption_id),
            person=person,
            start_s=caption.start_s,
            end_s=caption.end_s,
            text=text if final else "",
            caption_ids=(caption.caption_id,) if final else (),
            revision=0,
            tentative=() if final else ((caption.caption_id, text),),
        )

    def _joins(self, current: _Open, caption: Caption, text: str) -> bool:
        if any(caption_id == caption.caption_id for caption_id, _ in current.tentative):
            return True
        if caption.end_s < current.start_s:
            return False
        return (
            caption.start_s - current.end_s <= self.gap_s
            and max(caption.end_s, current.end_s) - current.start_s <= self.longest_s
            and current.text.count(" ") + text.count(" ") + 2 <= self.most_words
        )

    def _who(self, state: UtterancesState, speaker: str | None) -> Person:
        if speaker is None:
            others = [person for person in state.people if not person.is_user]
            return others[0] if len(others) == 1 and len(state.people) == 1 else Person("unknown", "Unknown")
        folded = speaker.casefold()
        for person in state.people:
            if person.id == speaker or person.name.casefold() == folded or person.id.casefold() == folded:
                return person
        for person in state.people:
            if person.role and person.role.casefold() == folded:
                return person
        user_known = any(person.is_user for person in state.people)
        return Person(speaker, speaker_name_of(speaker), is_user=not user_known and folded in self.user_names)

    def due_s(self, state: UtterancesState) -> float | None:
        """Give None: nothing here waits."""
        del state
        return None

    def tick(self, state: UtterancesState, now_s: float) -> tuple[UtterancesState, list[Utterance | Caption]]:
        """Do nothing."""
        del now_s
        return state, []

    def finished(self, state: UtterancesState) -> bool:
        """Say whether the meeting was closed."""
        return state.closed


def _person(participant: Participant) -> Person:
    return Person(participant.id, participant.name or participant.id, participant.role, participant.is_user)


def _utterance(open_: _Open, session_id: str, now_s: float) -> Utterance:
    return Utterance(
        session_id=session_id,
        event_id=derive_id(
            open_.utterance_id, open_.revision, *open_.caption_ids[-1:], *(t for t, _ in open_.tentative)
        ),
        created_at=datetime.fromtimestamp(now_s, UTC),
        utterance_id=open_.utterance_id,
        revision=open_.revision,
        speaker_id=open_.person.id[:200],
        speaker_name=open_.person.name,
        role=open_.person.role,
        is_user=open_.person.is_user,
        start_s=open_.start_s,
        end_s=open_.end_s,
        text=open_.text,
        tentative=" ".join(text for _, text in open_.tentative),
        caption_ids=open_.caption_ids,
    )


def _revised(now: Utterance, known: Utterance) -> Utterance:
    """Give the next revision of an utterance, or the known one when nothing is different."""
    same = {"event_id": known.event_id, "created_at": known.created_at, "revision": known.revision}
    if now.model_copy(update=same) == known:
        return known
    revision = known.revision + 1
    event_id = derive_id(known.utterance_id, revision, now.speaker_id, now.text, now.tentative)
    return now.model_copy(update={"revision": revision, "event_id": event_id})
