"""Exact, instant stand-ins for models, for measuring the engine around them and for users' own tests."""

from collections.abc import AsyncGenerator, Sequence

from operators.ports import Message, ModelPiece, SearchScope
from schemas.answers import Passage

__all__ = ["InstantModel", "NoPassages"]


class InstantModel:
    """Writes the same words at once, a piece per word."""

    name = "instant"
    fingerprint = "instant"

    def __init__(self, text: str = "This is an answer.") -> None:
        """Answer everything with `text`."""
        self._text = text

    async def generate(self, messages: Sequence[Message]) -> AsyncGenerator[ModelPiece, None]:
        """Stream the words; see `operators.ports.LanguageModel.generate`."""
        del messages
        for word in self._text.split(" "):
            yield ModelPiece(word + " ")
        yield ModelPiece("", "complete")


class NoPassages:
    """A search that finds nothing."""

    async def search(self, query: str, scope: SearchScope, limit: int) -> Sequence[Passage]:
        """Give nothing."""
        del query, scope, limit
        return []

    async def likeness(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Give 0 for each text."""
        return [0.0] * len(texts)

    async def relevance(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Give 0 for each text."""
        del query
        return [0.0] * len(texts)

    def version(self, owner_id: str) -> str:
        """There is nothing of which there could be versions."""
        del owner_id
        return ""
