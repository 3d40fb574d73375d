"""What one of the others has said without being interrupted, and the question that may lie in it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from operators.question_cues import Cue, Kind, cue_of, is_written, sentences_of
from operators.question_features import word_class, words_of
from operators.question_hearing import Piece
from schemas.base import derive_id
from schemas.questions import Question
from schemas.speech import Utterance

__all__ = [
    "SENTENCE_ENDS",
    "Turn",
    "asked_text",
    "extended",
    "kind_of",
    "lead_in",
    "place_in",
    "question_of",
    "rule_for",
    "same_words",
]

MOST_QUESTION_WORDS = 120
LEAD_PAUSE_S = 1.0
LEAD_PIECES = 3
SENTENCE_ENDS = (".", "?", "!")
_KINDS: dict[str, Kind] = {"WH": "wh", "AUX": "yes_no", "REQ": "request"}


@dataclass(frozen=True, slots=True)
class Turn:
    """The pieces of a running turn.

    Attributes:
        asks: Why it is held for a question; `asks.at` is where in its first piece the question begins.
        asks_from: The piece in which the question begins.
        sure: Whether the question is plainly complete.
        due: When it fires if nothing more is said, wall clock.
    """

    speaker_id: str
    speaker_name: str
    session_id: str
    pieces: tuple[Piece, ...] = ()
    asks: Cue | None = None
    asks_from: int = 0
    sure: bool = False
    due: float | None = None


def corrected(turn: Turn | None, said: Utterance) -> Turn | None:
    """Give the turn once an utterance in it was given to another speaker; the user's own words are not part of one."""
    if turn is None or all(piece.utterance_id != said.utterance_id for piece in turn.pieces):
        return turn
    if said.text and not said.is_user:
        return replace(turn, speaker_id=said.speaker_id, speaker_name=said.speaker_name)
    kept = tuple(piece for piece in turn.pieces if piece.utterance_id != said.utterance_id)
    if not kept:
        return None
    cut = len(turn.pieces) - len(kept)
    return replace(turn, pieces=kept, asks_from=max(0, min(turn.asks_from - cut, len(kept) - 1)))


def lead_in(pieces: tuple[Piece, ...]) -> int:
    """Give the first piece of the question: the newest, and the unfinished sentence it goes on with."""
    begin = len(pieces) - 1
    while begin > 0 and not pieces[begin - 1].text.rstrip().endswith(SENTENCE_ENDS):
        if pieces[begin].start_s - pieces[begin - 1].end_s > LEAD_PAUSE_S or len(pieces) - begin > LEAD_PIECES:
            break
        begin -= 1
    return begin


def place_in(pieces: tuple[Piece, ...], chars: int, first: int) -> tuple[int, int]:
    """Give the piece in which a question begins, and where in its text.

    Args:
        pieces: The pieces of the turn.
        chars: How far before the end of the newest piece the question begins, in the pieces' joined text.
        first: The first piece of an unended run; raw text is taken from there on, since nothing tells its sentences.
    """
    number = len(pieces) - 1
    while number > 0 and chars > len(pieces[number].text):
        chars -= len(pieces[number].text) + 1
        number -= 1
    at = max(0, len(pieces[number].text) - chars)
    if first < number and not is_written(" ".join(piece.text for piece in pieces[first:])):
        return first, 0
    return number, at


def rule_for(pieces: tuple[Piece, ...], threshold: float) -> Cue | None:
    """Give the rules' surest cue of the sentences that the newest piece ends, begins or goes on with."""
    newest = pieces[-1].text
    text = " ".join(piece.text for piece in pieces[lead_in(pieces) :])
    punctuated = is_written(text)
    text = text if punctuated else newest
    best: Cue | None = None
    left = len(newest)
    for sentence in reversed(sentences_of(text)):
        cue = cue_of(sentence, punctuated=punctuated)
        if cue is not None and cue.confidence >= threshold and (best is None or cue.confidence > best.confidence):
            best = Cue(cue.kind, cue.confidence)
        left -= len(sentence) + 1
        if left <= 0:
            break
    return best


def kind_of(text: str) -> Kind:
    """Give what kind of question a text is, by its first telling word.

    >>> kind_of("so did you build it or buy it"), kind_of("tell me about it")
    ('choice', 'request')
    """
    for word in words_of(text):
        kind = _KINDS.get(word_class(word))
        if kind is not None:
            return "choice" if kind == "yes_no" and " or " in text else kind
    return "other"


def asked_text(pieces: tuple[Piece, ...], asks: Cue, *, scored: bool) -> str:
    """Give the words that ask, without the statements before and after as far as marks tell; at most 120 words."""
    text = " ".join(piece.text for piece in pieces)
    if scored:
        begin = asks.at
        if is_written(text):
            begin = max(text.rfind(mark, 0, begin) + 1 for mark in SENTENCE_ENDS) if begin else 0
        text = text[begin:]
        end = text.rfind("?") + 1
        text = text[:end] if end else text
    elif is_written(text):
        sentences = sentences_of(text)
        asking = [at for at, one in enumerate(sentences) if cue_of(one, punctuated=True) is not None]
        text = " ".join(sentences[asking[0] : asking[-1] + 1] if asking else sentences)
    return " ".join(text.split()[-MOST_QUESTION_WORDS:])


def question_of(turn: Turn, pieces: tuple[Piece, ...], text: str, preceding: tuple[str, ...], now_s: float) -> Question:
    """Give the first revision of the question in these pieces."""
    anchor = pieces[0]
    # Where the words begin, not which captions hold them: a guess from words that are not final keeps its id.
    question_id = derive_id(turn.session_id, "questions", anchor.utterance_id, anchor.offset)
    return Question(
        session_id=turn.session_id,
        event_id=derive_id(question_id, 0),
        created_at=datetime.fromtimestamp(now_s, UTC),
        question_id=question_id,
        text=text,
        kind=turn.asks.kind if turn.asks is not None else "other",
        speaker_id=turn.speaker_id,
        speaker_name=turn.speaker_name,
        start_s=anchor.start_s,
        end_s=max(anchor.start_s, pieces[-1].end_s),
        utterance_ids=tuple(dict.fromkeys(piece.utterance_id for piece in pieces)),
        caption_ids=tuple(caption_id for piece in pieces for caption_id in piece.caption_ids),
        preceding=preceding,
        confidence=turn.asks.confidence if turn.asks is not None else 0.0,
    )


def extended(before: Question, more: Question, *, replaces: bool = False) -> Question:
    """Give the next revision of a question that its speaker went on with, or whose words were heard better."""
    revision = before.revision + 1
    return more.model_copy(
        update={
            "question_id": before.question_id,
            "revision": revision,
            "event_id": derive_id(before.question_id, revision),
            "text": more.text if replaces else f"{before.text} {more.text}",
            "start_s": before.start_s,
            "utterance_ids": tuple(dict.fromkeys((*before.utterance_ids, *more.utterance_ids))),
            "caption_ids": tuple(dict.fromkeys((*before.caption_ids, *more.caption_ids))),
            "preceding": before.preceding,
            "confidence": max(before.confidence, more.confidence),
            "kind": before.kind,
        }
    )


def same_words(one: str, other: str) -> bool:
    """Say whether two texts differ in marks and capitals only.

    >>> same_words("why Kafka", "Why Kafka?")
    True
    """
    return [word for word in words_of(one) if word not in ".,?!"] == [
        word for word in words_of(other) if word not in ".,?!"
    ]
