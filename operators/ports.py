"""What operators may ask of the outside: models and searches, as protocols they are handed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.answers import Passage

__all__ = [
    "ACTIVITY_HZ",
    "Activity",
    "LanguageModel",
    "Message",
    "ModelPiece",
    "ModelUsage",
    "PassageSearch",
    "SearchScope",
    "Sound",
    "SpeakerSegmenter",
    "TextEmbedder",
    "Vectors",
    "VoiceEncoder",
]

Vectors = NDArray[np.float32]

Sound = NDArray[np.float32]
"""Samples between -1 and 1, 16 kHz mono; the last axis is time."""

Activity = NDArray[np.float32]
"""How probably each of a few unnamed speakers talks, shape (frames, speakers), 50 frames a second."""

ACTIVITY_HZ = 50
"""Frames of an `Activity` per second: 20 ms each, the first one begins with the first sample."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat prompt."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Tokens a call took; None where the server did not say."""

    prompt_tokens: int | None = None
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ModelPiece:
    """The next text from a model; the last piece has `finish` set (its text may be empty)."""

    text: str
    finish: Literal["complete", "length"] | None = None
    usage: ModelUsage | None = None


class LanguageModel(Protocol):
    """Something that writes text."""

    @property
    def name(self) -> str:
        """The model's name, to show and to record."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of the model with the settings that change what it writes, 16 hex digits."""
        ...

    def generate(self, messages: Sequence[Message]) -> AsyncIterator[ModelPiece]:
        """Stream the answer to a prompt, piece by piece; closing the iterator ends the call and its cost.

        Raises:
            ModelTimeout: No (further) piece before the deadline.
            ModelFailed: The server refused or broke off; ``str(error)`` says why without the prompt.
        """
        ...


class TextEmbedder(Protocol):
    """Turns texts into vectors whose dot product is their likeness."""

    @property
    def name(self) -> str:
        """Name and version of the weights; vectors of different names do not mix."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Give one unit-length row per text, shape (texts, dim); blocking, releases the interpreter lock."""
        ...


@dataclass(frozen=True, slots=True)
class SearchScope:
    """Whose documents may be searched: one owner's, in these collections (empty = all of them) and the resume."""

    owner_id: str
    collections: tuple[str, ...] = ()


class PassageSearch(Protocol):
    """Finds the passages that may hold the answer."""

    async def search(self, query: str, scope: SearchScope, limit: int) -> Sequence[Passage]:
        """Give at most `limit` passages, best first; never blocks the event loop."""
        ...

    def version(self, owner_id: str) -> str:
        """Give the identity of what is searched for an owner: other documents or vectors, another version."""
        ...


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
