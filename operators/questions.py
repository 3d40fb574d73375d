"""utterances + meeting -> questions: notices when the other side has finished asking something."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from operators.question_cues import Cue, Kind, cue_of, is_written, sentences_of
from schemas.base import Record, derive_id
from schemas.meeting import MeetingClosed
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import Utterance

__all__ = ["QuestionsOperator", "QuestionsState"]

KEPT_UTTERANCES = 16
KEPT_PIECES = 12
KEPT_LINES = 3
MOST_QUESTION_WORDS = 120


@dataclass(frozen=True, slots=True)
class _Piece:
    """Words that one utterance revision added."""

    utterance_id: str
    caption_ids: tuple[str, ...]
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one of the others has said without being interrupted, as far as it may hold a question."""

    speaker_id: str
    speaker_name: str
    session_id: str
    pieces: tuple[_Piece, ...] = ()
    asks: Cue | None = None
    asks_from: int = 0
    sure: bool = False
    due: float | None = None


@dataclass(frozen=True, slots=True)
class QuestionsState:
    """The running turn, the last question, the last lines and how much of the newest utterance was looked at.

    Attributes:
        known: How many characters of the last utterances were looked at, by id.
    """

    turn: _Turn | None = None
    fired: Question | None = None
    lines: tuple[str, ...] = ()
    utterance_id: str = ""
    chars: int = 0
    captions: int = 0
    closed: bool = False
    known: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionsOperator:
    """Fires a question when its words are complete.

    Attributes:
        sure_settle_s: Wait after a plain question ("...?" in a clear form); 0 fires within the same step.
        settle_s: Wait after a less certain one: silence of its speaker.
        follow_s: Going on within this long (stream time) extends the same question.
        threshold: Lowest confidence that fires.
    """

    sure_settle_s: float = 0.25
    settle_s: float = 0.8
    follow_s: float = 4.0
    threshold: float = 0.55

    def initial(self) -> QuestionsState:
        """Give the state of an unknown session."""
        return QuestionsState()

    def step(
        self, state: QuestionsState, record: Record, now_s: float
    ) -> tuple[QuestionsState, list[Question | QuestionWithdrawn]]:
        """Take an utterance revision or a meeting event."""
        match record:
            case Utterance():
                if self._only_corrects(state, record):
                    return self._correct(state, record, now_s)
                state, asked = self._hear(state, record, now_s)
                return state, [*asked]
            case MeetingClosed():
                state, asked = self._fire(state, now_s)
                return replace(state, closed=True), [*asked]
            case _:
                return state, []

    @staticmethod
    def _only_corrects(state: QuestionsState, said: Utterance) -> bool:
        """Say whether a revision has no new words: another speaker, or words that were given to others."""
        known = dict(state.known).get(said.utterance_id)
        if known is None or len(said.text) > known or said.tentative:
            return False
        return (
            said.utterance_id != state.utterance_id
            or said.is_user
            or bool(state.turn is not None and state.turn.speaker_id != said.speaker_id)
            or not said.text
        )

    def _correct(
        self, state: QuestionsState, said: Utterance, now_s: float
    ) -> tuple[QuestionsState, list[Question | QuestionWithdrawn]]:
        """Follow an utterance that was given to another speaker; what turned out to be the user's asks nothing."""
        turn, fired = state.turn, state.fired
        theirs = bool(said.text) and not said.is_user
        if turn is not None and any(piece.utterance_id == said.utterance_id for piece in turn.pieces):
            kept = tuple(piece for piece in turn.pieces if piece.utterance_id != said.utterance_id)
            if theirs:
                turn = replace(turn, speaker_id=said.speaker_id, speaker_name=said.speaker_name)
            elif kept:
                cut = len(turn.pieces) - len(kept)
                turn = replace(turn, pieces=kept, asks_from=max(0, min(turn.asks_from - cut, len(kept) - 1)))
            else:
                turn = None
        if fired is None or theirs or fired.utterance_ids != (said.utterance_id,):
            return replace(state, turn=turn), []
        withdrawn = QuestionWithdrawn(
            session_id=fired.session_id,
            event_id=derive_id(fired.question_id, "withdrawn", said.event_id),
            created_at=datetime.fromtimestamp(now_s, UTC),
            question_id=fired.question_id,
            reason="said by the user" if said.is_user else "its words were given to another speaker",
        )
        return replace(state, turn=turn, fired=None), [withdrawn]

    def _hear(self, state: QuestionsState, said: Utterance, now_s: float) -> tuple[QuestionsState, list[Question]]:
        out: list[Question] = []
        if self._proves_silence(state, said):
            state, out = self._fire(state, now_s)
        fresh = said.utterance_id != state.utterance_id
        known = dict(state.known).get(said.utterance_id, 0) if fresh else state.chars
        if len(said.text) < known:
            return state, out  # an older revision, met again
        added = said.text[known:].strip()
        captions = said.caption_ids if fresh else said.caption_ids[state.captions :]
        state = self._remember(state, said, fresh=fresh)
        if said.is_user:
            return (replace(state, turn=None) if added else state), out
        if not added:
            return self._postpone(state, said, now_s), out
        # Captions of one utterance follow each other; only the first one's start is told.
        last = state.turn.pieces[-1].end_s if state.turn is not None and not fresh else said.start_s
        piece = _Piece(said.utterance_id, captions, added, min(last, said.end_s), said.end_s)
        state = self._add(state, said, piece, now_s)
        if state.turn is not None and state.turn.due is not None and state.turn.due <= now_s:
            state, more = self._fire(state, now_s)
            out += more
        return state, out

    def _proves_silence(self, state: QuestionsState, said: Utterance) -> bool:
        """Say whether this utterance shows that the pending question was over before it began."""
        turn = state.turn
        if turn is None or turn.asks is None or turn.due is None:
            return False
        if said.speaker_id != turn.speaker_id:
            return bool(said.text)
        if said.utterance_id == turn.pieces[-1].utterance_id:
            return False
        return said.start_s - turn.pieces[-1].end_s >= (self.sure_settle_s if turn.sure else self.settle_s)

    def _remember(self, state: QuestionsState, said: Utterance, *, fresh: bool) -> QuestionsState:
        line = f"{said.speaker_name}: {said.text}"[:400]
        if not said.text:
            lines = state.lines
        elif fresh or not state.lines:
            lines = (*state.lines, line)[-KEPT_LINES - 1 :]
        else:
            lines = (*state.lines[:-1], line)
        known = (*(one for one in state.known if one[0] != said.utterance_id), (said.utterance_id, len(said.text)))
        return replace(
            state,
            known=known[-KEPT_UTTERANCES:],
            lines=lines,
            utterance_id=said.utterance_id,
            chars=len(said.text),
            captions=len(said.caption_ids),
        )

    def _postpone(self, state: QuestionsState, said: Utterance, now_s: float) -> QuestionsState:
        turn = state.turn
        if turn is None or turn.due is None or turn.speaker_id != said.speaker_id or not said.tentative:
            return state
        return replace(state, turn=replace(turn, due=now_s + self.settle_s))

    def _add(self, state: QuestionsState, said: Utterance, piece: _Piece, now_s: float) -> QuestionsState:
        turn = state.turn
        if turn is None or turn.speaker_id != said.speaker_id:
            turn = _Turn(said.speaker_id, said.speaker_name, said.session_id)
        kept = (*turn.pieces, piece)
        drop = max(0, len(kept) - KEPT_PIECES)
        turn = replace(turn, pieces=kept[drop:], asks_from=max(0, turn.asks_from - drop))
        cue = self._cue(turn.pieces)
        if cue is not None:
            begin = turn.asks_from if turn.asks is not None else self._lead_in(turn.pieces)
            best = cue if turn.asks is None or cue.confidence > turn.asks.confidence else turn.asks
            turn = replace(turn, asks=best, asks_from=begin)
        if turn.asks is not None:
            sure = piece.text.rstrip().endswith("?") and turn.asks.confidence >= 0.9
            wait = self.sure_settle_s if sure else self.settle_s
            turn = replace(turn, sure=sure, due=now_s + wait)
        return replace(state, turn=turn)

    def _cue(self, pieces: tuple[_Piece, ...]) -> Cue | None:
        """Give the surest cue of the sentences that the newest piece ends, begins or goes on with."""
        newest = pieces[-1].text
        text = " ".join(piece.text for piece in pieces[self._lead_in(pieces) :])
        punctuated = is_written(text)
        text = text if punctuated else newest
        best: Cue | None = None
        left = len(newest)
        for sentence in reversed(sentences_of(text)):
            cue = cue_of(sentence, punctuated=punctuated)
            if (
                cue is not None
                and cue.confidence >= self.threshold
                and (best is None or cue.confidence > best.confidence)
            ):
                best = cue
            left -= len(sentence) + 1
            if left <= 0:
                break
        return best

    @staticmethod
    def _lead_in(pieces: tuple[_Piece, ...]) -> int:
        """Give the first piece of the question: the newest, and the unfinished sentence it goes on with."""
        begin = len(pieces) - 1
        while begin > 0 and not pieces[begin - 1].text.rstrip().endswith((".", "?", "!")):
            if pieces[begin].start_s - pieces[begin - 1].end_s > 1.0 or len(pieces) - begin > 3:
                break
            begin -= 1
        return begin

    def _fire(self, state: QuestionsState, now_s: float) -> tuple[QuestionsState, list[Question]]:
        turn = state.turn
        if turn is None or turn.asks is None or turn.due is None:
            return state, []
        pieces = turn.pieces[turn.asks_from :]
        text = _asking_part(" ".join(piece.text for piece in pieces))
        question = self._question(state, turn, pieces, text, now_s)
        before = state.fired
        if (
            before is not None
            and before.speaker_id == turn.speaker_id
            and pieces[0].start_s - before.end_s <= self.follow_s
            and self._same_turn(before, turn)
        ):
            question = _extended(before, question)
        spent = replace(turn, asks=None, asks_from=len(turn.pieces), due=None, pieces=turn.pieces[-1:])
        return replace(state, turn=spent, fired=question), [question]

    @staticmethod
    def _same_turn(before: Question, turn: _Turn) -> bool:
        """Say whether nobody else spoke since the question: a turn keeps the piece that fired as its first."""
        return turn.pieces[0].utterance_id in before.utterance_ids

    def _question(
        self, state: QuestionsState, turn: _Turn, pieces: tuple[_Piece, ...], text: str, now_s: float
    ) -> Question:
        anchor = pieces[0]
        kind: Kind = turn.asks.kind if turn.asks is not None else "other"
        question_id = derive_id(turn.session_id, "questions", anchor.utterance_id, *anchor.caption_ids[:1])
        return Question(
            session_id=turn.session_id,
            event_id=derive_id(question_id, 0),
            created_at=datetime.fromtimestamp(now_s, UTC),
            question_id=question_id,
            text=text,
            kind=kind,
            speaker_id=turn.speaker_id,
            speaker_name=turn.speaker_name,
            start_s=anchor.start_s,
            end_s=max(anchor.start_s, pieces[-1].end_s),
            utterance_ids=tuple(dict.fromkeys(piece.utterance_id for piece in pieces)),
            caption_ids=tuple(caption_id for piece in pieces for caption_id in piece.caption_ids),
            preceding=state.lines[-KEPT_LINES - 1 : -1],
            confidence=turn.asks.confidence if turn.asks is not None else 0.0,
        )

    def due_s(self, state: QuestionsState) -> float | None:
        """Give when the pending question fires if nothing more is said."""
        return state.turn.due if state.turn is not None else None

    def tick(self, state: QuestionsState, now_s: float) -> tuple[QuestionsState, list[Question]]:
        """Fire the pending question when its silence has lasted."""
        due = self.due_s(state)
        if due is None or now_s < due:
            return state, []
        return self._fire(state, now_s)

    def finished(self, state: QuestionsState) -> bool:
        """Say whether the meeting was closed."""
        return state.closed


def _extended(before: Question, more: Question) -> Question:
    """Give the next revision of a question that its speaker went on with."""
    revision = before.revision + 1
    return more.model_copy(
        update={
            "question_id": before.question_id,
            "revision": revision,
            "event_id": derive_id(before.question_id, revision),
            "text": f"{before.text} {more.text}",
            "start_s": before.start_s,
            "utterance_ids": tuple(dict.fromkeys((*before.utterance_ids, *more.utterance_ids))),
            "caption_ids": tuple(dict.fromkeys((*before.caption_ids, *more.caption_ids))),
            "preceding": before.preceding,
            "confidence": max(before.confidence, more.confidence),
            "kind": before.kind,
        }
    )


def _asking_part(text: str) -> str:
    """Give the sentences from the first that asks to the last that does, at most 120 words."""
    punctuated = is_written(text)
    sentences = sentences_of(text)
    asking = [number for number, one in enumerate(sentences) if cue_of(one, punctuated=punctuated) is not None]
    if punctuated and asking:
        sentences = sentences[asking[0] : asking[-1] + 1]
    words = " ".join(sentences).split()
    return " ".join(words[-MOST_QUESTION_WORDS:])
