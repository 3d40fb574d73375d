"""Counts the time that text vectors take, for those who watch."""

import time
from collections.abc import Sequence

from operators.ports import TextEmbedder, Vectors
from schemas.hops import Timings

__all__ = ["TimedEmbedder"]


class TimedEmbedder:
    """An embedder whose calls are counted in `took`; see `operators.ports.TextEmbedder`."""

    def __init__(self, inner: TextEmbedder) -> None:
        """Count the calls of `inner`."""
        self._inner, self.took = inner, Timings()

    @property
    def name(self) -> str:
        """Name of the weights."""
        return self._inner.name

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._inner.dim

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Give one unit row per text, and count how long that took."""
        began = time.perf_counter()
        rows = self._inner.embed(texts)
        self.took.add(time.perf_counter() - began)
        return rows
