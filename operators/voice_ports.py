"""The models that diarization asks: who talks when, and whose voice it is."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from operators.ports import Vectors

__all__ = ["ACTIVITY_HZ", "Activity", "Sound", "SpeakerSegmenter", "VoiceEncoder"]

Sound = NDArray[np.float32]
"""Samples between -1 and 1, shape (samples,), 16 kHz mono."""

Activity = NDArray[np.float32]
"""How probably each of a few unnamed speakers talks, shape (frames, speakers), 50 frames a second."""

ACTIVITY_HZ = 50
"""Frames of an `Activity` per second: 20 ms each, the first one begins with the first sample."""


class SpeakerSegmenter(Protocol):
    """Hears how many people talk in a few seconds of sound, and when each of them does.

    The speakers of one call are told apart from each other only: column 0 of two calls may be two people.
    """

    @property
    def name(self) -> str:
        """Name and version of the weights."""
        ...

    def activity(self, sound: Sound) -> Activity:
        """Give who talks when in one stretch of 1 to 10 s, shape (samples // 320, speakers); blocking.

        Raises:
            ModelFailed: The model broke on this sound.
        """
        ...


class VoiceEncoder(Protocol):
    """Turns speech of one person into a vector; vectors of one person lie close together."""

    @property
    def name(self) -> str:
        """Name and version of the weights; vectors of different names do not mix."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, speech: Sequence[Sound]) -> Vectors:
        """Give one unit-length row per stretch of speech, shape (stretches, dim); blocking.

        Stretches of less than 0.2 s say little about a voice; they are taken all the same.

        Raises:
            ModelFailed: The model broke on this sound.
        """
        ...
