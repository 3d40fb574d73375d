"""How near sentences are to a question in meaning; vectors of sentences seen lately are kept."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from operators.ports import TextEmbedder, Vectors
from schemas.base import derive_id

__all__ = ["SentenceVectors"]

MOST = 20_000
"""30 MB; a question looks at about eighty sentences, and the next one at many of the same."""


class SentenceVectors:
    """Compares texts, computing each vector once as long as it is kept; safe to use from several threads."""

    def __init__(self, embedder: TextEmbedder, most: int = MOST, prefixes: tuple[str, str] = ("", "")) -> None:
        """Keep at most so many vectors; `prefixes` go before a query and before a text, where the model wants them."""
        self._embedder, self._most = embedder, most
        self._query_prefix, self._text_prefix = prefixes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Vectors] = OrderedDict()

    def likeness(self, query: str, texts: Sequence[str]) -> list[float]:
        """Give the cosine of the query with each text."""
        if not texts:
            return []
        # Words of a deleted document must not stay: what is kept is named by a digest.
        names = {text: derive_id(text) for text in texts}
        with self._lock:
            known = {text: self._kept[name] for text, name in names.items() if name in self._kept}
        missing = [text for text in names if text not in known]
        rows = self._embedder.embed([self._query_prefix + query, *(self._text_prefix + one for one in missing)])
        known.update(zip(missing, rows[1:], strict=True))
        with self._lock:
            for text in missing:
                self._kept[names[text]] = known[text]
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        near: list[float] = (np.stack([known[text] for text in texts]) @ rows[0]).tolist()
        return near
