"""utterances + meeting -> questions: notices when the other side has finished asking something."""

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from operators.ports import QuestionScorer
from operators.question_cues import Cue, is_tagged, is_trap
from operators.question_features import Heard, place_offset, words_of
from operators.question_hearing import Hearing, Piece, heard_in, is_backchannel
from operators.question_turns import (
    SENTENCE_ENDS,
    Turn,
    asked_text,
    corrected,
    extended,
    kind_of,
    lead_in,
    place_in,
    question_of,
    rule_for,
    same_words,
)
from schemas.base import Record, derive_id
from schemas.meeting import MeetingClosed, MeetingOpened
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import Utterance

__all__ = ["QuestionsOperator", "QuestionsState"]

KEPT_PIECES = 12
KEPT_LINES = 3
_TAKEN_BACK = re.compile(
    r"^(?:(?:no|oh|um|uh|well|sorry|actually|wait|okay|or|hm+),?\s+)*"
    r"(?:never ?mind|forget (?:it|that|about it)|scratch that|strike that|ignore that|don't answer that)\b",
    re.IGNORECASE,
)

Asked = Question | QuestionWithdrawn


@dataclass(frozen=True, slots=True)
class QuestionsState:
    """The running turn, the last question and the last lines.

    Attributes:
        guessed: Whether the last question rests on words that are not final yet.
        guess: Words that are not final and would ask, with the time at which they fire.
        withdrawn: The question that was withdrawn last; should it be asked after all, that is its next revision.
        one_to_one: Whether the user talks with a single other person.
    """

    hearing: Hearing = field(default_factory=Hearing)
    turn: Turn | None = None
    fired: Question | None = None
    guessed: bool = False
    guess: tuple[Turn, float] | None = None
    withdrawn: Question | None = None
    lines: tuple[str, ...] = ()
    one_to_one: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class QuestionsOperator:
    """Fires a question when its words are complete.

    Attributes:
        sure_settle_s: Wait after a plain question; 0 fires within the same step.
        settle_s: Wait after a less certain one: silence of its speaker.
        unended_settle_s: Wait after punctuated text without a full stop, whose rest is surely on its way.
        follow_s: Going on within this long (stream time) extends the same question.
        threshold: Lowest confidence that fires: the scorer's probability, or the rules' own.
        sure: Confidence from which a question is plain.
        guess_threshold: Confidence from which words that are not final fire a guess; above 1 never.
        guess_settle_s: How long such words must stand unchanged.
        scorer: The trained scorer; None leaves the decision to the rules.
    """

    sure_settle_s: float = 0.25
    settle_s: float = 0.8
    unended_settle_s: float = 1.6
    follow_s: float = 4.0
    threshold: float = 0.55
    sure: float = 0.9
    guess_threshold: float = 0.9
    guess_settle_s: float = 0.6
    scorer: QuestionScorer | None = None

    def initial(self) -> QuestionsState:
        """Give the state of an unknown session."""
        return QuestionsState()

    def step(self, state: QuestionsState, record: Record, now_s: float) -> tuple[QuestionsState, list[Asked]]:
        """Take an utterance revision, a meeting event, or the withdrawal of the last question by somebody else."""
        match record:
            case Utterance():
                if self._only_corrects(state, record):
                    return self._correct(state, record, now_s)
                return self._hear(state, record, now_s)
            case MeetingOpened():
                users = sum(person.is_user for person in record.participants)
                return replace(state, one_to_one=users == 1 and len(record.participants) == 2), []
            case QuestionWithdrawn():
                fired = state.fired
                last = fired is not None and (fired.question_id, fired.revision) == (
                    record.question_id,
                    record.revision,
                )
                return self._withdrawn(state, now_s, record.reason) if last else (state, [])
            case MeetingClosed():
                state, out = self._fire(state, now_s)
                return replace(state, closed=True, guess=None), out
            case _:
                return state, []

    @staticmethod
    def _only_corrects(state: QuestionsState, said: Utterance) -> bool:
        """Say whether a revision has no new words: another speaker, or words that were given to others."""
        known = state.hearing.seen_of(said.utterance_id)
        if known is None or len(said.text) > known or said.tentative:
            return False
        another = state.turn is not None and state.turn.speaker_id != said.speaker_id
        return said.utterance_id != state.hearing.utterance_id or said.is_user or another or not said.text

    def _correct(self, state: QuestionsState, said: Utterance, now_s: float) -> tuple[QuestionsState, list[Asked]]:
        """Follow an utterance that was given to another speaker; what turned out to be the user's asks nothing."""
        theirs = bool(said.text) and not said.is_user
        guess = state.guess if theirs or state.guess is None or corrected(state.guess[0], said) else None
        state = replace(state, turn=corrected(state.turn, said), guess=guess)
        if state.fired is None or theirs or state.fired.utterance_ids != (said.utterance_id,):
            return state, []
        return self._withdrawn(
            state, now_s, "said by the user" if said.is_user else "its words were given to another speaker"
        )

    def _hear(self, state: QuestionsState, said: Utterance, now_s: float) -> tuple[QuestionsState, list[Asked]]:
        out: list[Asked] = []
        if self._proves_silence(state, said):
            state, out = self._fire(state, now_s)
        lines = self._lines(state, said)
        hearing, piece, heard = heard_in(state.hearing, said, asker=state.one_to_one)
        if piece is None:
            return state, out  # an older revision, met again
        before = state.hearing
        state = replace(state, hearing=hearing, lines=lines)
        if said.is_user:
            silent = not piece.text or is_backchannel(piece.text)
            return (state if silent else replace(state, turn=None)), out
        if heard is None:
            state = self._postpone(state, said, now_s)
            return self._listen_ahead(state, before, said, now_s), out
        interjected = state.turn is not None and state.turn.speaker_id != said.speaker_id
        if interjected and is_backchannel(piece.text):
            return state, out
        state, taken_back = self._taken_back(state, said, piece, now_s)
        state = self._add(state, said, piece, heard, now_s)
        out += taken_back
        state, more = self._settle(state, piece, now_s, goes_on=bool(heard.before))
        return state, out + more

    def _settle(
        self, state: QuestionsState, piece: Piece, now_s: float, *, goes_on: bool
    ) -> tuple[QuestionsState, list[Asked]]:
        """Fire what is due at once; take back what asks no more in the words that are final or at a sentence's end."""
        turn = state.turn
        if turn is not None and turn.due is not None and (turn.due <= now_s or self._confirms(state, piece)):
            return self._fire(state, now_s)
        if self._confirms(state, piece) or (goes_on and self._denies(state, piece)):
            return self._withdrawn(state, now_s, "heard otherwise")
        return state, []

    @staticmethod
    def _denies(state: QuestionsState, piece: Piece) -> bool:
        """Say whether a piece ends the unended sentence that fired, and the whole does not ask."""
        fired, turn = state.fired, state.turn
        if fired is None or turn is None or turn.asks is not None or len(turn.pieces) < 2:
            return False
        last = turn.pieces[-2].caption_ids[-1:]
        return last == fired.caption_ids[-1:] != () and not fired.text.endswith(SENTENCE_ENDS) and bool(piece.text)

    @staticmethod
    def _confirms(state: QuestionsState, piece: Piece) -> bool:
        """Say whether a piece is the final text of the words that were guessed from."""
        fired = state.fired
        return state.guessed and fired is not None and _id_of(fired.session_id, piece) == fired.question_id

    def _proves_silence(self, state: QuestionsState, said: Utterance) -> bool:
        """Say whether this utterance shows that the pending question was over before it began."""
        turn = state.turn
        if turn is None or turn.asks is None or turn.due is None:
            return False
        last = turn.pieces[-1]
        if said.speaker_id != turn.speaker_id:
            return bool(said.text) and not (said.start_s < last.end_s and is_backchannel(said.text))
        if said.utterance_id == last.utterance_id:
            return False
        return said.start_s - last.end_s >= (self.sure_settle_s if turn.sure else self.settle_s)

    @staticmethod
    def _lines(state: QuestionsState, said: Utterance) -> tuple[str, ...]:
        if not said.text:
            return state.lines
        line = f"{said.speaker_name}: {said.text}"[:400]
        if said.utterance_id != state.hearing.utterance_id or state.hearing.chars == 0 or not state.lines:
            return (*state.lines, line)[-KEPT_LINES - 1 :]
        return (*state.lines[:-1], line)

    def _postpone(self, state: QuestionsState, said: Utterance, now_s: float) -> QuestionsState:
        turn = state.turn
        if turn is None or turn.due is None or turn.speaker_id != said.speaker_id or not said.tentative:
            return state
        return replace(state, turn=replace(turn, due=now_s + self.settle_s))

    def _listen_ahead(self, state: QuestionsState, before: Hearing, said: Utterance, now_s: float) -> QuestionsState:
        """Note words that are not final and would make a plain question."""
        pending = state.turn is not None and state.turn.asks is not None
        if not said.tentative or pending or self.guess_threshold > 1 or state.guessed:
            return state if not said.tentative else replace(state, guess=None)
        ahead = said.model_copy(update={"text": f"{said.text} {said.tentative}".strip()})
        _, piece, heard = heard_in(before, ahead, asker=state.one_to_one)
        if piece is None or heard is None:
            return replace(state, guess=None)
        piece = replace(piece, caption_ids=())
        asks = self._judge((piece,), heard)
        if asks is None or asks.confidence < self.guess_threshold:
            return replace(state, guess=None)
        turn = Turn(said.speaker_id, said.speaker_name, said.session_id, (piece,), asks, 0, sure=True)
        return replace(state, guess=(turn, now_s + self.guess_settle_s))

    def _judge(self, pieces: tuple[Piece, ...], heard: Heard) -> Cue | None:
        """Give why the newest piece asks for something; None when it does not."""
        if self.scorer is None:
            return rule_for(pieces, self.threshold)
        text = pieces[-1].text
        if is_backchannel(text) and not heard.before:
            return None  # a third of what is said in a meeting; not worth the scorer's time
        text = f"{heard.before} {text}".strip()
        end = text.rfind("?") + 1
        if heard.written and 0 < end < len(text):
            # What is said after a question must not hide it.
            asks = self._scored(replace(heard, words=words_of(text[:end])), text[:end])
            if asks is not None:
                return replace(asks, at=asks.at - len(text) + end)
        return self._scored(heard, text)

    def _scored(self, heard: Heard, text: str) -> Cue | None:
        """Give why a text asks by the scorer; `at` is how far before its end the question begins, as a negative."""
        if self.scorer is None:
            return None
        score = self.scorer.score(heard, text)
        if score.probability < self.threshold:
            return None
        at = place_offset(text, score.at)
        if is_trap(text[at:]) or (heard.written and is_tagged(text)):
            return None
        return Cue(kind_of(text[at:]), score.probability, at - len(text))

    def _add(self, state: QuestionsState, said: Utterance, piece: Piece, heard: Heard, now_s: float) -> QuestionsState:
        turn = state.turn
        if turn is None or turn.speaker_id != said.speaker_id:
            turn = Turn(said.speaker_id, said.speaker_name, said.session_id)
        kept = (*turn.pieces, piece)
        drop = max(0, len(kept) - KEPT_PIECES)
        turn = replace(turn, pieces=kept[drop:], asks_from=max(0, turn.asks_from - drop))
        cue = self._judge(turn.pieces, heard)
        if cue is not None:
            turn = self._held(turn, cue)
        elif heard.before and turn.asks_from >= lead_in(turn.pieces):
            # The sentence looked like a question only as long as its end was not heard.
            turn = replace(turn, asks=None, due=None)
        if turn.asks is not None:
            plain = piece.text.rstrip().endswith("?") or (self.scorer is not None and not heard.written)
            sure = plain and turn.asks.confidence >= self.sure
            unended = self.scorer is not None and heard.written and not piece.text.rstrip().endswith(SENTENCE_ENDS)
            settle_s = self.unended_settle_s if unended else self.sure_settle_s if sure else self.settle_s
            turn = replace(turn, sure=sure, due=now_s + settle_s)
        return replace(state, turn=turn, guess=None)

    @staticmethod
    def _held(turn: Turn, cue: Cue) -> Turn:
        """Give the turn held for a question; of two cues the surer one counts, the first says where it begins."""
        begin = lead_in(turn.pieces)
        if cue.at < 0:  # the scorer tells how far from the end
            begin, at = place_in(turn.pieces, -cue.at, begin)
            cue = replace(cue, at=at)
        if turn.asks is not None:
            # A sentence that goes on may turn out to have begun to ask before.
            earlier = begin < turn.asks_from
            best = replace(max(turn.asks, cue, key=lambda one: one.confidence), at=cue.at if earlier else turn.asks.at)
            return replace(turn, asks=best, asks_from=min(begin, turn.asks_from))
        return replace(turn, asks=cue, asks_from=begin)

    def _taken_back(
        self, state: QuestionsState, said: Utterance, piece: Piece, now_s: float
    ) -> tuple[QuestionsState, list[Asked]]:
        """Withdraw the last question when its speaker says so at once."""
        if not _TAKEN_BACK.match(piece.text):
            return state, []
        if state.turn is not None and state.turn.asks is not None and state.turn.speaker_id == said.speaker_id:
            spent = replace(state.turn, asks=None, due=None, asks_from=len(state.turn.pieces))
            return replace(state, turn=spent), []
        fired = state.fired
        if fired is None or fired.speaker_id != said.speaker_id or piece.start_s - fired.end_s > self.follow_s:
            return state, []
        return self._withdrawn(state, now_s, "taken back")

    @staticmethod
    def _withdrawn(state: QuestionsState, now_s: float, reason: str) -> tuple[QuestionsState, list[Asked]]:
        fired = state.fired
        if fired is None:
            return state, []
        record = QuestionWithdrawn(
            session_id=fired.session_id,
            event_id=derive_id(fired.question_id, "withdrawn", fired.revision),
            created_at=datetime.fromtimestamp(now_s, UTC),
            question_id=fired.question_id,
            revision=fired.revision,
            reason=reason,
        )
        return replace(state, fired=None, guessed=False, withdrawn=fired), [record]

    def _fire(self, state: QuestionsState, now_s: float) -> tuple[QuestionsState, list[Asked]]:
        turn = state.turn
        if turn is None or turn.asks is None or turn.due is None:
            return state, []
        pieces = turn.pieces[turn.asks_from :]
        text = asked_text(pieces, turn.asks, scored=self.scorer is not None)
        question = question_of(turn, pieces, text, state.lines[-KEPT_LINES - 1 : -1], now_s)
        spent = replace(turn, asks=None, asks_from=len(turn.pieces), due=None, pieces=turn.pieces[-1:])
        before = state.fired
        state = replace(state, turn=spent, guessed=False)
        if before is not None and before.question_id == question.question_id:
            # The final words of a guess: the same ones need no new revision, whose answer would begin again.
            known = replace(state, fired=before.model_copy(update={"caption_ids": question.caption_ids}))
            if same_words(before.text, text):
                return known, []
            question = extended(before, question, replaces=True)
        elif before is not None and self._follows(before, turn, pieces):
            question = extended(before, question)
        else:
            question = self._again(state, question)
        return replace(state, fired=question), [question]

    @staticmethod
    def _again(state: QuestionsState, question: Question) -> Question:
        """Give the question as the revision after the one that was withdrawn, if it is the same."""
        gone = state.withdrawn
        if gone is None or gone.question_id != question.question_id:
            return question
        return extended(gone, question, replaces=True)

    def _follows(self, before: Question, turn: Turn, pieces: tuple[Piece, ...]) -> bool:
        """Say whether the same speaker goes on at once: a turn keeps the piece that fired as its first."""
        return (
            before.speaker_id == turn.speaker_id
            and pieces[0].start_s - before.end_s <= self.follow_s
            and turn.pieces[0].utterance_id in before.utterance_ids
        )

    def due_s(self, state: QuestionsState) -> float | None:
        """Give when the pending question or guess fires if nothing more is said."""
        times = [state.turn.due] if state.turn is not None and state.turn.due is not None else []
        if state.guess is not None:
            times.append(state.guess[1])
        return min(times, default=None)

    def tick(self, state: QuestionsState, now_s: float) -> tuple[QuestionsState, list[Asked]]:
        """Fire the pending question when its silence has lasted, and a guess that has stood long enough."""
        out: list[Asked] = []
        if state.turn is not None and state.turn.due is not None and now_s >= state.turn.due:
            state, out = self._fire(state, now_s)
        if state.guess is not None and now_s >= state.guess[1]:
            turn, _ = state.guess
            text = asked_text(turn.pieces, turn.asks or Cue("other", 0.0), scored=self.scorer is not None)
            question = question_of(turn, turn.pieces, text, state.lines[-KEPT_LINES:], now_s)
            state = replace(state, guess=None)
            if state.fired is None or state.fired.question_id != question.question_id:
                question = self._again(state, question)
                return replace(state, fired=question, guessed=True), [*out, question]
        return state, out

    def finished(self, state: QuestionsState) -> bool:
        """Say whether the meeting was closed."""
        return state.closed


def _id_of(session_id: str, piece: Piece) -> str:
    return derive_id(session_id, "questions", piece.utterance_id, piece.offset)
