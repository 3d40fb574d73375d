"""stretches of speech -> partial and final captions of one track: what to decode when, and what to believe."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from operators.agreement import Agreement, agree, moved
from operators.heard_words import believed, caption_of
from operators.ports import Transcript, TranscriptWord
from operators.speech_activity import SpeechBegan, SpeechEnded
from schemas.audio import SAMPLE_RATE_HZ
from schemas.base import derive_id
from schemas.speech import Caption, TranscriptionLag

__all__ = ["DecodeRequest", "Decoded", "Heard", "Transcription", "TranscriptionState"]

LAG_STEP_S = 5.0

NOTHING_AGREED = Agreement()


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """Sound that shall be written down.

    Attributes:
        kind: "partial" = quick, of a stretch that still goes on; "check" = the same, with the better model; "final" =
            with the better model and care, of a whole stretch.
        segment_sample: Start of the stretch it belongs to.
        start_sample: First sample to decode.
        end_sample: Index after the last one.
        before: What was said before.
    """

    kind: Literal["partial", "check", "final"]
    segment_sample: int
    start_sample: int
    end_sample: int
    before: str = ""

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return (self.end_sample - self.start_sample) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Heard:
    """How far the sound came: index after the last sample, and after the last one that surely held speech."""

    sample: int
    voiced_end: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """The answer to a request; None when the model failed on it for good."""

    request: DecodeRequest
    transcript: Transcript | None


@dataclass(frozen=True, slots=True)
class _Open:
    """The stretch that goes on.

    Attributes:
        early: A final decode begun in a pause that may turn out to be the end.
        check: A check that is under way.
        checked_sample: End of the last check.
        settled_sample: How far the better model heard; guesses begin there.
    """

    start_sample: int
    asked_sample: int
    asked: DecodeRequest | None = None
    agreement: Agreement = NOTHING_AGREED
    partials: int = 0
    early: DecodeRequest | None = None
    early_found: Decoded | None = None
    check: DecodeRequest | None = None
    checked_sample: int = 0
    settled_sample: int = 0


@dataclass(frozen=True, slots=True)
class _Closed:
    """A stretch that waits for its final decode."""

    ended: SpeechEnded
    asked: DecodeRequest | None = None
    found: Decoded | None = None


@dataclass(frozen=True, slots=True)
class TranscriptionState:
    """What is known of one track.

    Attributes:
        session_id: The session.
        track: The track.
        speaker: Whose track it is, when one participant alone has it.
        heard_sample: Index after the last sample that came.
        said: The end of what was said so far.
    """

    session_id: str
    track: str
    speaker: str | None = None
    heard_sample: int = 0
    said: str = ""
    open: _Open | None = None
    closed: tuple[_Closed, ...] = ()
    told_lag_s: float = 0.0

    @property
    def waiting(self) -> tuple[DecodeRequest, ...]:
        """The requests that are not answered; after a restart they are asked again."""
        asked = [one.asked for one in self.closed if one.asked is not None and one.found is None]
        if self.open is not None:
            asked += [self.open.asked] if self.open.asked is not None else []
            asked += [self.open.check] if self.open.check is not None else []
            asked += [self.open.early] if self.open.early is not None and self.open.early_found is None else []
        return tuple(asked)

    @property
    def needed_sample(self) -> int | None:
        """The first sample that is still to be decoded, or None when all was."""
        if self.closed:
            return self.closed[0].ended.start_sample
        return self.open.start_sample if self.open is not None else None


Event = SpeechBegan | SpeechEnded | Heard | Decoded
Made = Caption | TranscriptionLag | DecodeRequest


@dataclass(frozen=True, slots=True)
class Transcription:
    """Decides what to decode when, and what of it becomes a caption.

    While somebody speaks, the stretch so far is decoded every `step_s`, and what two guesses in a row agree on is told
    as a partial caption. Its end is decoded once, with the better model; that decode begins when the speaker has paused
    for `early_s`. When they go on, it was the best guess at what they said so far: it is told as a partial caption, and
    later guesses begin where it ended. Where nobody pauses, the better model checks every `check_s` what it has not
    heard yet, and its words but for those of the last `hold_s` are told in the same way. Finals of a track are decoded
    one by one, in order. While finals wait no partial is asked for.

    Attributes:
        partials: Whether to give partial captions.
        step_s: New sound between two guesses, seconds.
        trim_s: A guess hears at most so much sound that is agreed already, seconds.
        check_s: See above; infinite = never.
        hold_s: Words that end so shortly before the end of what was checked may still change, seconds.
        early_s: See above; as long as `SpeechActivity.after_s`, so that both hear the same sound.
        after_s: `SpeechActivity.after_s`.
        lag_s: Captions this far behind the sound are told.
        prompt_chars: How much of what was said before a decode is told. In noise Whisper copies its own mistakes: told
            200, the base model made 18.7 % wrong on four recordings, told nothing 14.5 %.
    """

    partials: bool = True
    step_s: float = 0.5
    trim_s: float = 5.0
    check_s: float = 4.0
    hold_s: float = 0.8
    early_s: float = 0.2
    after_s: float = 0.2
    lag_s: float = 3.0
    prompt_chars: int = 0

    def initial(self, session_id: str, track: str, speaker: str | None = None) -> TranscriptionState:
        """Give the state of a track without sound."""
        return TranscriptionState(session_id, track, speaker)

    def step(self, state: TranscriptionState, event: Event, now_s: float) -> tuple[TranscriptionState, list[Made]]:
        """Take one event; give captions, lag, and what is to be decoded."""
        out: list[Made] = []
        match event:
            case SpeechBegan():
                state = replace(state, open=_Open(event.start_sample, event.start_sample))
            case SpeechEnded():
                state = self._end(state, event)
            case Heard():
                state = replace(state, heard_sample=max(state.heard_sample, event.sample))
                state = self._go_on(state, event, now_s, out)
            case Decoded():
                state = self._decoded(state, event, now_s, out)
        state = self._finals(state, now_s, out)
        return self._lag(state, now_s, out), out

    def _end(self, state: TranscriptionState, ended: SpeechEnded) -> TranscriptionState:
        closed = _Closed(ended)
        early = state.open.early if state.open is not None else None
        if early is not None and (early.start_sample, early.end_sample) == (ended.start_sample, ended.end_sample):
            closed = replace(closed, asked=early, found=state.open.early_found if state.open is not None else None)
        return replace(state, open=None, closed=(*state.closed, closed))

    def _go_on(self, state: TranscriptionState, heard: Heard, now_s: float, out: list[Made]) -> TranscriptionState:
        open_ = state.open
        if open_ is None or state.closed:
            return state
        end = heard.voiced_end + int(self.after_s * SAMPLE_RATE_HZ)
        open_ = self._settle(state, open_, heard, now_s, out)
        state = replace(state, open=open_)
        paused = heard.sample - heard.voiced_end >= self.early_s * SAMPLE_RATE_HZ and end <= heard.sample
        if paused and heard.voiced_end > open_.start_sample:
            if open_.early is None or open_.early.end_sample != end:
                start = open_.start_sample
                early = DecodeRequest("final", start, start, end, state.said)
                out.append(early)
                open_ = replace(open_, early=early, early_found=None)
            return replace(state, open=open_)
        if not self.partials:
            return state
        state = self._check(state, open_, out)
        open_ = state.open or open_
        if open_.asked is not None or state.heard_sample - open_.asked_sample < self.step_s * SAMPLE_RATE_HZ:
            return state
        request = self._guess(state, open_)
        out.append(request)
        return replace(state, open=replace(open_, asked=request, asked_sample=state.heard_sample))

    def _settle(self, state: TranscriptionState, open_: _Open, heard: Heard, now_s: float, out: list[Made]) -> _Open:
        """Tell what was decoded in a pause after which the speaker went on."""
        early, found = open_.early, open_.early_found
        if early is None or found is None or heard.voiced_end <= early.end_sample or not self.partials:
            return open_
        open_ = replace(open_, early=None, early_found=None)
        return self._settled(state, open_, found, early.end_sample, now_s, out)

    def _check(self, state: TranscriptionState, open_: _Open, out: list[Made]) -> TranscriptionState:
        start = max(open_.start_sample, open_.settled_sample)
        new = state.heard_sample - max(start, open_.checked_sample - int(self.hold_s * SAMPLE_RATE_HZ))
        if open_.check is not None or new < self.check_s * SAMPLE_RATE_HZ:
            return state
        check = DecodeRequest("check", open_.start_sample, start, state.heard_sample, self._tail(state.said))
        out.append(check)
        return replace(state, open=replace(open_, check=check, checked_sample=check.end_sample))

    def _checked(
        self, state: TranscriptionState, open_: _Open, decoded: Decoded, now_s: float, out: list[Made]
    ) -> TranscriptionState:
        """Tell the words of a check that will hardly change any more."""
        request, found = decoded.request, decoded.transcript
        open_ = replace(open_, check=None)
        sure = tuple(word for word in found.words if word.end_s <= request.seconds - self.hold_s) if found else ()
        if found is None or not sure or request.start_sample < open_.settled_sample:
            return replace(state, open=open_)
        end = request.start_sample + int(sure[-1].end_s * SAMPLE_RATE_HZ)
        open_ = self._settled(state, open_, Decoded(request, replace(found, words=sure)), end, now_s, out)
        return replace(state, open=open_)

    def _settled(
        self, state: TranscriptionState, open_: _Open, decoded: Decoded, end: int, now_s: float, out: list[Made]
    ) -> _Open:
        """Let what the better model heard up to a sample take the place of what was guessed."""
        request, found = decoded.request, decoded.transcript
        words = believed(found, request.seconds, request.seconds) if found is not None else ()
        if not words:
            return open_
        start_s, end_s, before = request.start_sample / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ, open_.agreement
        earlier = tuple(word for word in before.agreed if word.end_s <= start_s)
        later = tuple(word for word in before.agreed if _middle_s(word) > end_s)
        guess = tuple(word for word in before.guess if _middle_s(word) > end_s)
        agreement = Agreement(earlier + moved(words, start_s) + later, guess)
        if agreement.text != before.text:
            self._tell(state, open_, agreement, found, now_s, out)
            open_ = replace(open_, partials=open_.partials + 1)
        return replace(open_, agreement=agreement, settled_sample=end)

    def _guess(self, state: TranscriptionState, open_: _Open) -> DecodeRequest:
        agreed_sample = int(open_.agreement.end_s * SAMPLE_RATE_HZ)
        start, before = open_.start_sample, state.said
        if open_.settled_sample:
            start, before = open_.settled_sample, f"{before} {open_.agreement.text}"
        if state.heard_sample - start > self.trim_s * SAMPLE_RATE_HZ and agreed_sample > start:
            start, before = agreed_sample, f"{before} {open_.agreement.text}"
        return DecodeRequest("partial", open_.start_sample, start, state.heard_sample, self._tail(before))

    def _tail(self, said: str) -> str:
        return said[-self.prompt_chars :] if self.prompt_chars else ""

    def _decoded(
        self, state: TranscriptionState, decoded: Decoded, now_s: float, out: list[Made]
    ) -> TranscriptionState:
        request, open_ = decoded.request, state.open
        if open_ is not None and open_.asked == request:
            return self._partial(state, open_, decoded, now_s, out)
        if open_ is not None and open_.check == request:
            return self._checked(state, open_, decoded, now_s, out)
        if open_ is not None and open_.early == request:
            return replace(state, open=replace(open_, early_found=decoded))
        closed = tuple(
            replace(one, found=decoded) if one.asked == request and one.found is None else one for one in state.closed
        )
        return replace(state, closed=closed)

    def _partial(
        self, state: TranscriptionState, open_: _Open, decoded: Decoded, now_s: float, out: list[Made]
    ) -> TranscriptionState:
        request = decoded.request
        words: tuple[TranscriptWord, ...] = ()
        if decoded.transcript is not None:
            words = believed(decoded.transcript, request.seconds, request.seconds)
        agreement = agree(open_.agreement, moved(words, request.start_sample / SAMPLE_RATE_HZ))
        partials = open_.partials
        if len(agreement.agreed) > len(open_.agreement.agreed):
            self._tell(state, open_, agreement, decoded.transcript, now_s, out)
            partials += 1
        return replace(state, open=replace(open_, asked=None, agreement=agreement, partials=partials))

    def _tell(
        self,
        state: TranscriptionState,
        open_: _Open,
        agreement: Agreement,
        found: Transcript | None,
        now_s: float,
        out: list[Made],
    ) -> None:
        """Tell agreed words as a partial caption."""
        end_s = max(agreement.end_s, open_.start_sample / SAMPLE_RATE_HZ)
        caption = caption_of(state, open_.start_sample, agreement.agreed, end_s, now_s)
        event_id = derive_id(caption.caption_id, "partial", open_.partials, caption.text)
        language = found.language if found is not None else None
        out.append(caption.model_copy(update={"final": False, "event_id": event_id, "language": language}))

    def _finals(self, state: TranscriptionState, now_s: float, out: list[Made]) -> TranscriptionState:
        while state.closed:
            first = state.closed[0]
            if first.found is None:
                if first.asked is None:
                    start = first.ended.start_sample
                    request = DecodeRequest("final", start, start, first.ended.end_sample, state.said)
                    out.append(request)
                    state = replace(state, closed=(replace(first, asked=request), *state.closed[1:]))
                return state
            caption = self._final(state, first.ended, first.found.transcript, now_s)
            out.append(caption)
            said = self._tail(f"{state.said} {caption.text}".strip())
            state = replace(state, closed=state.closed[1:], said=said)
        return state

    def _final(self, state: TranscriptionState, ended: SpeechEnded, found: Transcript | None, now_s: float) -> Caption:
        start_s, end_s = ended.start_sample / SAMPLE_RATE_HZ, ended.end_sample / SAMPLE_RATE_HZ
        words = believed(found, ended.voiced_s, end_s - start_s) if found is not None else ()
        caption = caption_of(state, ended.start_sample, moved(words, start_s), end_s, now_s)
        language = found.language if found is not None else None
        return caption.model_copy(update={"language": language})

    def _lag(self, state: TranscriptionState, now_s: float, out: list[Made]) -> TranscriptionState:
        behind_s = 0.0
        if state.closed:
            behind_s = max(0.0, (state.heard_sample - state.closed[0].ended.end_sample) / SAMPLE_RATE_HZ)
        told = state.told_lag_s
        worse = behind_s >= self.lag_s and (not told or behind_s >= told + LAG_STEP_S or behind_s >= 2 * told)
        if not worse and (not told or state.closed):
            return state
        tell_s = round(behind_s, 3) if worse else 0.0
        out.append(
            TranscriptionLag(
                session_id=state.session_id,
                event_id=derive_id(state.session_id, "lag", state.track, state.heard_sample, str(tell_s)),
                created_at=datetime.fromtimestamp(now_s, UTC),
                track=state.track,
                behind_s=tell_s,
            )
        )
        return replace(state, told_lag_s=tell_s)


def _middle_s(word: TranscriptWord) -> float:
    return (word.start_s + word.end_s) / 2
