"""Sound as it arrives."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Identifier, Record

__all__ = ["LAST_SAMPLE", "SAMPLE_RATE_HZ", "AudioChunk"]

SAMPLE_RATE_HZ = 16_000
LAST_SAMPLE = 999_000 * SAMPLE_RATE_HZ
"""No chunk begins later than this, so that its times are still times (`schemas.base.Seconds`)."""


class AudioChunk(Record):
    """A run of samples of one track: 16 kHz, mono, little-endian int16.

    Attributes:
        track: The input it came from (a microphone, a tab).
        sequence: Position in the track, counted from 0.
        start_sample: Index of the first sample since the session's first sample.
        pcm: The samples, 2 bytes each; at most 60 s.
        last: No more chunks follow on this track.
        participant: Whose voice the track carries; None for the mix of a room, or when nobody said.
        gap_samples: Samples that are missing just before `start_sample`, because the sender lost them; they count as
            silence. A chunk without samples may carry nothing but this.
        next_frame: The sender's next sequence number once this chunk lies in the log; None where it numbers nothing.
        recording_frame: The sequence number with which the recording (a container such as WebM) began that this was
            decoded from; None for PCM.
        recording_samples: Samples of that recording stored so far, this chunk included.
    """

    type: Literal["audio_chunk"] = "audio_chunk"
    track: Identifier
    sequence: Annotated[int, Field(ge=0)]
    start_sample: Annotated[int, Field(ge=0, le=LAST_SAMPLE)]
    pcm: Annotated[bytes, Field(max_length=60 * SAMPLE_RATE_HZ * 2)]
    last: bool = False
    participant: Identifier | None = None
    gap_samples: Annotated[int, Field(ge=0)] = 0
    next_frame: Annotated[int, Field(ge=0)] | None = None
    recording_frame: Annotated[int, Field(ge=0)] | None = None
    recording_samples: Annotated[int, Field(ge=0)] = 0
