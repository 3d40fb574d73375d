"""What was heard and who said it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Identifier, Record, Seconds, Strict

__all__ = [
    "MAX_CAPTION_CHARS",
    "AudioGap",
    "Caption",
    "CaptionRecord",
    "SpeakerTurn",
    "TranscriptionLag",
    "Utterance",
    "Word",
    "speaker_name_of",
]

MAX_CAPTION_CHARS = 10_000
"""Longest caption accepted, characters: about ten minutes of speech in one piece."""


class Word(Strict):
    """One recognised word with its times and the recogniser's probability."""

    text: Annotated[str, Field(min_length=1, max_length=200)]
    start_s: Seconds
    end_s: Seconds
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0


class Caption(Record):
    """Text heard over a span of one track.

    A caption with ``final=False`` may be replaced by one with the same ``caption_id``. The words of a final one stay;
    when its speaker is corrected it comes again with the same ``caption_id`` and the next ``revision``.

    Attributes:
        revision: Counts the corrections of a final caption; the highest one counts.
        speaker: Who spoke, as the sender names them (participant id or name); None when unknown.
        start_s: Start, seconds into the session.
        end_s: End, seconds into the session; never before `start_s`.
        speaker_frozen: The speaker was heard long enough: no further revision will change it.
    """

    type: Literal["caption"] = "caption"
    caption_id: Identifier
    revision: Annotated[int, Field(ge=0)] = 0
    speaker: Identifier | None = None
    speaker_frozen: bool = False
    track: Identifier | None = None
    start_s: Seconds
    end_s: Seconds
    text: Annotated[str, Field(max_length=MAX_CAPTION_CHARS)]
    final: bool = True
    language: Annotated[str, Field(max_length=35)] | None = None
    words: tuple[Word, ...] = ()

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.end_s < self.start_s:
            raise ValueError("end_s lies before start_s")
        return self


class AudioGap(Record):
    """Sound of a track that never came; it was taken for silence.

    Attributes:
        start_s: Where it begins, seconds into the session.
        end_s: Where sound goes on.
    """

    type: Literal["audio_gap"] = "audio_gap"
    track: Identifier
    start_s: Seconds
    end_s: Seconds


class TranscriptionLag(Record):
    """How far the captions of a track are behind its sound; told when they fall behind, and with 0 when they caught up.

    Attributes:
        behind_s: Seconds of sound that wait to be transcribed.
    """

    type: Literal["transcription_lag"] = "transcription_lag"
    track: Identifier
    behind_s: Seconds


CaptionRecord = Annotated[Caption | AudioGap | TranscriptionLag, Field(discriminator="type")]
"""What lies on the topic `captions`."""


class SpeakerTurn(Record):
    """Who held the floor, from when to when; no text."""

    type: Literal["speaker_turn"] = "speaker_turn"
    turn_id: Identifier
    revision: Annotated[int, Field(ge=0)] = 0
    speaker: Identifier
    track: Identifier | None = None
    start_s: Seconds
    end_s: Seconds
    frozen: bool = False


class Utterance(Record):
    """One speaker's words between two boundaries: who, when, what.

    An utterance grows while its speaker goes on: each growth is a new record with the same
    ``utterance_id``, the next ``revision`` and the whole text so far. The newest revision counts.

    Attributes:
        speaker_id: Participant id when the speaker is known to the session, else the caption's own name.
        speaker_name: How to show them.
        role: What they do in this meeting ("interviewer", "patient", ...); "" when not given.
        is_user: Whether it is the user whom the engine helps.
        text: The words that are final.
        tentative: Words heard after `text` that are not final yet; "" when none.
        caption_ids: The final captions it is made of, in order.
    """

    type: Literal["utterance"] = "utterance"
    utterance_id: Identifier
    revision: Annotated[int, Field(ge=0)] = 0
    speaker_id: Identifier
    speaker_name: str
    role: str = ""
    is_user: bool = False
    start_s: Seconds
    end_s: Seconds
    text: str
    tentative: str = ""
    caption_ids: tuple[Identifier, ...] = ()


def speaker_name_of(speaker: str) -> str:
    """Give what to call a speaker of whom only the id is known.

    >>> speaker_name_of("room-speaker-2"), speaker_name_of("ann")
    ('Speaker 2', 'ann')
    """
    _, told_apart, number = speaker.rpartition("-speaker-")
    return f"Speaker {number}" if told_apart and number.isdecimal() else speaker
