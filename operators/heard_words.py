"""transcripts -> captions: which words of a recogniser to believe, and the record that tells them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from operators.ports import Transcript, TranscriptWord
from schemas.audio import SAMPLE_RATE_HZ
from schemas.base import derive_id
from schemas.speech import MAX_CAPTION_CHARS, Caption, Word

__all__ = ["Origin", "believed", "caption_of"]

LEAST_VOICED_S = 0.2
MOST_COMPRESSION = 2.4
MOST_WORDS_PER_S = 6.0
SURE_SILENCE = 0.8
UNSURE_TEXT = -0.8


class Origin(Protocol):
    """Where words were heard: session, track, and whose track it is when one participant alone has it."""

    @property
    def session_id(self) -> str:
        """The session."""
        ...

    @property
    def track(self) -> str:
        """The track."""
        ...

    @property
    def speaker(self) -> str | None:
        """The participant, or None where several may speak."""
        ...


def believed(found: Transcript, voiced_s: float, seconds: float) -> tuple[TranscriptWord, ...]:
    """Give the words of a transcript, or none when it looks invented.

    Recognisers write something on noise and silence. What is dropped: text on less than 0.2 s of sure speech, text that
    repeats itself or is faster than anybody speaks, text of which the model itself says that it is likely no speech,
    and punctuation alone.
    """
    if voiced_s < LEAST_VOICED_S or found.compression_ratio > MOST_COMPRESSION:
        return ()
    if len(found.words) > max(2.0, MOST_WORDS_PER_S * seconds):
        return ()
    if found.no_speech_probability > SURE_SILENCE and found.log_probability < UNSURE_TEXT:
        return ()
    if not any(character.isalnum() for character in found.text):
        return ()
    return found.words


def caption_of(
    origin: Origin, start_sample: int, words: Sequence[TranscriptWord], end_s: float, now_s: float
) -> Caption:
    """Give the final caption of a stretch that begins at a sample; its ids come from there, whatever its words are.

    Args:
        origin: Session, track and speaker.
        start_sample: First sample of the stretch.
        words: With times of the session, seconds.
        end_s: End of the stretch, seconds.
        now_s: Seconds since 1970.
    """
    caption_id = derive_id(origin.session_id, "captions", origin.track, start_sample)
    start_s = start_sample / SAMPLE_RATE_HZ
    return Caption(
        session_id=origin.session_id,
        event_id=derive_id(origin.session_id, "captions", caption_id, "final"),
        created_at=datetime.fromtimestamp(now_s, UTC),
        caption_id=caption_id,
        speaker=origin.speaker,
        speaker_frozen=origin.speaker is not None,
        track=origin.track,
        start_s=start_s,
        end_s=max(end_s, start_s),
        text="".join(word.text for word in words).strip()[:MAX_CAPTION_CHARS],
        words=tuple(_word(word) for word in words),
    )


def _word(word: TranscriptWord) -> Word:
    start_s = max(0.0, word.start_s)
    return Word(
        text=word.text.strip()[:200],
        start_s=round(start_s, 3),
        end_s=round(max(start_s, word.end_s), 3),
        probability=round(word.probability, 4),
    )
