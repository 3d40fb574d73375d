"""What a growing utterance adds, with what was said just before: the input of the question scorer."""

import re
from dataclasses import dataclass, replace

from operators.question_cues import is_written
from operators.question_features import Heard, words_of
from schemas.speech import Utterance

__all__ = ["Hearing", "Piece", "heard_in", "is_backchannel"]

ASKING_ROLES = frozenset(
    ["interviewer", "recruiter", "examiner", "assessor", "doctor", "nurse", "clinician", "physician", "host",
     "moderator", "lawyer", "coach", "manager", "customer", "buyer", "client", "investor"]
)  # fmt: skip
"""Parts in a meeting whose holders mostly ask."""
_SENTENCE_END = re.compile(r"(?:[.?!]|--)+(?:\s+|$)")
CARRIED_WORDS = 8
CARRY_PAUSE_S = 1.5
LONG_AGO_S = 9.0
VOICES = 4
KEPT_UTTERANCES = 16
SENTENCE_PAUSE_S = 1.0
"""After a longer pause a sentence without a full stop is taken for ended."""
SENTENCE_CHARS = 400
_BACKCHANNELS = frozenset(
    ["yeah", "yes", "yep", "uhhuh", "uh-huh", "mm", "mm-hmm", "mhm", "hmm", "huh", "okay", "ok", "right", "sure", "oh",
     "ah", "um", "uh", "cool", "no", "nope", "not"]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that one utterance revision added."""

    utterance_id: str
    caption_ids: tuple[str, ...]
    text: str
    start_s: float
    end_s: float
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Voice:
    """The last words of one speaker, and the sentence that they have not ended yet when they use marks."""

    speaker_id: str
    words: tuple[str, ...]
    end_s: float
    unended: str = ""


@dataclass(frozen=True, slots=True)
class Hearing:
    """The voices heard last, the newest at the end, and how much of the newest utterance was looked at.

    Attributes:
        known: How many characters of the last utterances were looked at, by id.
    """

    voices: tuple[_Voice, ...] = ()
    utterance_id: str = ""
    chars: int = 0
    captions: int = 0
    end_s: float = 0.0
    known: tuple[tuple[str, int], ...] = ()

    def seen_of(self, utterance_id: str) -> int | None:
        """Give how many characters of an utterance were looked at; None when none was heard of late."""
        return next((chars for known, chars in reversed(self.known) if known == utterance_id), None)

    def added(self, said: Utterance) -> Piece | None:
        """Give what an utterance revision adds to what was heard of it; None when it is an old one, met again."""
        fresh = said.utterance_id != self.utterance_id
        known = (self.seen_of(said.utterance_id) or 0) if fresh else self.chars
        if len(said.text) < known:
            return None
        text = said.text[known:].strip()
        captions = said.caption_ids if fresh else said.caption_ids[self.captions :]
        # Captions of one utterance follow each other; only the first one's start is told.
        start_s = said.start_s if fresh else self.end_s
        return Piece(said.utterance_id, captions, text, min(start_s, said.end_s), said.end_s, known)

    def after(self, said: Utterance, piece: Piece) -> "Hearing":
        """Give the hearing once a piece was taken in."""
        known = (*(one for one in self.known if one[0] != said.utterance_id), (said.utterance_id, len(said.text)))
        known = known[-KEPT_UTTERANCES:]
        if not piece.text:
            return replace(
                self,
                known=known,
                utterance_id=said.utterance_id,
                chars=len(said.text),
                captions=len(said.caption_ids),
                end_s=said.end_s,
            )
        before = self._voice(said.speaker_id)
        carried = self._carried(before, piece)
        voice = _Voice(
            said.speaker_id,
            (*carried, *words_of(piece.text[-200:]))[-CARRIED_WORDS:],
            piece.end_s,
            _unended(self._goes_on_with(before, piece), piece.text),
        )
        others = tuple(one for one in self.voices if one.speaker_id != said.speaker_id)
        return Hearing(
            (*others, voice)[-VOICES:], said.utterance_id, len(said.text), len(said.caption_ids), piece.end_s, known
        )

    def heard(self, said: Utterance, piece: Piece, *, asker: bool) -> Heard:
        """Give what the scorer looks at for a piece that was not taken in yet."""
        before = self._voice(said.speaker_id)
        replies = [one for one in self.voices if one.speaker_id != said.speaker_id]
        reply = max(replies, key=lambda one: one.end_s) if replies else None
        goes_on = self._goes_on_with(before, piece)
        carried = self._carried(before, piece)
        if goes_on:
            carried = carried[: -len(words_of(goes_on))]
        text = f"{goes_on} {piece.text}".strip()
        return Heard(
            words=words_of(text),
            carried=carried,
            pause_s=min(LONG_AGO_S, max(0.0, piece.start_s - before.end_s)) if before is not None else LONG_AGO_S,
            reply=reply.words if reply is not None else (),
            reply_s=piece.start_s - reply.end_s if reply is not None else LONG_AGO_S,
            asker=asker or said.role.casefold() in ASKING_ROLES,
            written=is_written(text),
            before=goes_on,
        )

    def _voice(self, speaker_id: str) -> _Voice | None:
        return next((one for one in self.voices if one.speaker_id == speaker_id), None)

    @staticmethod
    def _goes_on_with(before: _Voice | None, piece: Piece) -> str:
        """Give the unended sentence that a piece goes on with."""
        if before is None or piece.start_s - before.end_s > SENTENCE_PAUSE_S:
            return ""
        return before.unended

    @staticmethod
    def _carried(before: _Voice | None, piece: Piece) -> tuple[str, ...]:
        if before is None or piece.start_s - before.end_s >= CARRY_PAUSE_S:
            return ()
        return before.words


def heard_in(hearing: Hearing, said: Utterance, *, asker: bool = False) -> tuple[Hearing, Piece | None, Heard | None]:
    """Take an utterance revision in.

    Args:
        hearing: What was heard before.
        said: The revision.
        asker: Whether the speaker is known to ask, whatever the role says.

    Returns:
        The hearing after it, what it added, and what the scorer looks at; None for an older revision, met again,
        and nothing to look at when it added no words.
    """
    piece = hearing.added(said)
    if piece is None:
        return hearing, None, None
    seen = hearing.heard(said, piece, asker=asker) if piece.text else None
    return hearing.after(said, piece), piece, seen


def _unended(before: str, text: str) -> str:
    """Give the sentence that a piece leaves open; "" when it ends with a mark, or text has none at all."""
    text = f"{before} {text}".strip()
    if not is_written(text):
        return ""
    return _SENTENCE_END.split(text)[-1][-SENTENCE_CHARS:].strip()


def is_backchannel(text: str) -> bool:
    """Say whether words only show that somebody listens, or are a bare yes or no.

    >>> is_backchannel("Yeah, mm-hmm."), is_backchannel("yeah two years")
    (True, False)
    """
    words = [word for word in words_of(text) if word not in ".,?!"]
    return len(words) <= 3 and all(word in _BACKCHANNELS for word in words)
