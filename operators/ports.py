"""What operators may ask of the outside: models and searches, as protocols they are handed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.answers import Passage

__all__ = [
    "LanguageModel",
    "Message",
    "ModelPiece",
    "ModelUsage",
    "PassageSearch",
    "SearchScope",
    "TextEmbedder",
    "Vectors",
]

Vectors = NDArray[np.float32]


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
    """Whose documents may be searched: one owner's, in these collections (empty = all of them) and the resume.

    Attributes:
        about_user: The question is about the owner: passages of the resume count twice.
    """

    owner_id: str
    collections: tuple[str, ...] = ()
    about_user: bool = False


class PassageSearch(Protocol):
    """Finds the passages that may hold the answer."""

    async def search(self, query: str, scope: SearchScope, limit: int) -> Sequence[Passage]:
        """Give at most `limit` passages, best first; never blocks the event loop."""
        ...

    async def likeness(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Give how near each text is to a query in meaning, 1 = the same; never blocks the event loop."""
        ...

    def version(self, owner_id: str) -> str:
        """Give the identity of what is searched for an owner: other documents or vectors, another version."""
        ...
