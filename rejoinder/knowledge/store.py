"""Finds passages in an owner's documents: vectors in Chroma and words in BM25, fused by rank."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from operators.ports import Reranker, SearchScope, TextEmbedder
from operators.retrieval import fuse
from operators.words import stems_of
from rejoinder.knowledge.cutting import Document, passages_of
from rejoinder.knowledge.documents import Documents, now_text
from rejoinder.knowledge.nearness import SentenceVectors
from rejoinder.knowledge.vectors import PassageVectors
from rejoinder.knowledge.words import Indexed, WordIndex, index_text, profiles_and_rest
from schemas.answers import Passage
from schemas.base import derive_id
from schemas.errors import LogUnavailable

__all__ = ["KnowledgeStore"]

CANDIDATES = 30
RERANKED = 20
"""How many a reranker reads."""
YEAR_WEIGHT = 4.0
"""A position that covers the year asked about comes before passages that merely sound alike."""
READER_PREFIXES = ("query: ", "passage: ")
"""With these the weights of the reader were trained (E5, arXiv 2212.03533)."""


class KnowledgeStore:
    """Documents, their passages and the search over them; implements `operators.ports.PassageSearch`.

    The text lies in SQLite; Chroma holds the vectors and can be made again from it. A document is found as
    soon as `add` returns and never again once `delete` has. Whoever needs vectors before they are open waits for them.
    """

    def __init__(
        self,
        folder: Path,
        embedder: TextEmbedder,
        *,
        server: str = "",
        follows: bool = False,
        reader: TextEmbedder | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        """Open the store in a folder, making it when missing; vectors of other weights are made anew.

        Args:
            folder: Where the documents lie; processes that share them share this folder.
            embedder: Computes the vectors.
            server: Address of a Chroma server that holds the vectors; empty = they lie in the folder, for one process.
            follows: Another process keeps the documents; here they are only searched.
            reader: Vectors of questions and answers, for `relevance`; None = those of the embedder.
            reranker: Puts what both rankings found into order; None = their fused ranks do.

        Raises:
            LogUnavailable: The folder cannot be used. A server that is away is told by the notes of `vectors`.
        """
        self._version = -1
        self._documents = Documents(folder / "documents.sqlite3")
        self._lock = threading.RLock()
        self._words: dict[str, WordIndex] = {}
        self._indexed: dict[str, list[Indexed]] = {}
        self._near = SentenceVectors(embedder)
        self._read = SentenceVectors(reader, prefixes=READER_PREFIXES) if reader is not None else self._near
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="search")
        self._reranker = reranker
        self.vectors = PassageVectors(folder / "vectors", embedder, self._documents, server=server, follows=follows)

    def add(
        self,
        owner_id: str,
        collection: str,
        title: str,
        text: str,
        source: Literal["resume", "knowledge"] = "knowledge",
    ) -> Document:
        """Store a document and make it searchable; one with the same collection and title is replaced.

        Raises:
            ValueError: The text is empty.
            LogUnavailable: The vectors cannot be opened, or their server does not answer; nothing was stored.
        """
        if not text.strip():
            raise ValueError("the document holds no text")
        document_id = derive_id(owner_id, collection, title, text)
        document = Document(document_id, owner_id, collection, title, source, text, now_text())
        self.vectors.wait()  # not under the lock, which those who search by words need
        with self._lock:
            indexed = self._indexed_of(document)
            known = self._documents.get(document_id) is not None
            try:
                # First the vectors: what has no words is not found yet, and is nothing when this fails.
                self.vectors.put(document, [passage for passage, _ in indexed], known=known)
            except LogUnavailable:
                self._indexed.pop(document_id, None)
                raise
            for old in self._documents.put(document, len(indexed)):
                self._indexed.pop(old, None)
                self.vectors.delete(old)
            self._words.pop(owner_id, None)
        return document

    def _indexed_of(self, document: Document) -> list[Indexed]:
        """Give a document's passages with their stems; a document never changes under its id."""
        known = self._indexed.get(document.document_id)
        if known is None:
            known = [(passage, stems_of(index_text(passage))) for passage in passages_of(document)]
            self._indexed[document.document_id] = known
        return known

    def documents(self, owner_id: str) -> list[Document]:
        """Give an owner's documents, newest first."""
        return self._documents.of_owner(owner_id)

    def get(self, owner_id: str, document_id: str) -> Document | None:
        """Give one of the owner's documents, or None."""
        found = self._documents.get(document_id)
        return found if found is not None and found.owner_id == owner_id else None

    def delete(self, owner_id: str, document_id: str) -> bool:
        """Remove one of the owner's documents for good; gives whether it was there."""
        self.vectors.usable()  # waits, which must not happen under the lock
        with self._lock:
            if self.get(owner_id, document_id) is None:
                return False
            self._documents.remove(document_id)
            self.vectors.delete(document_id)
            self._words.pop(owner_id, None)
            self._indexed.pop(document_id, None)
        return True

    def _words_of(self, owner_id: str) -> WordIndex:
        with self._lock:
            version = self._documents.version()
            if version != self._version:
                self._version = version
                self._words.clear()
            known = self._words.get(owner_id)
            if known is not None:
                return known
            documents = self._documents.of_owner(owner_id)
            indexed = [one for document in documents for one in self._indexed_of(document)]
            made_by = self.vectors.made_by
            if self._reranker is not None:
                made_by = f"{made_by}, {self._reranker.name}"
            identity = derive_id(made_by, *sorted(document.document_id for document in documents))[:16]
            made = self._words[owner_id] = WordIndex(indexed, identity)
            return made

    def version(self, owner_id: str) -> str:
        """Give the identity of an owner's documents with the weights of their vectors."""
        return self._words_of(owner_id).version

    async def search(self, query: str, scope: SearchScope, limit: int) -> Sequence[Passage]:
        """Give at most `limit` passages, best first; see `operators.ports.PassageSearch`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self.search_now, query, scope, limit)

    async def likeness(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Give how near each text is to a query; see `operators.ports.PassageSearch`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self.likeness_now, query, texts)

    async def relevance(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Give how well each text answers a query; see `operators.ports.PassageSearch`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self.relevance_now, query, texts)

    def relevance_now(self, query: str, texts: Sequence[str]) -> list[float]:
        """Compare questions with answers and wait; what was compared lately is not computed again."""
        return self._read.likeness(query, texts)

    def likeness_now(self, query: str, texts: Sequence[str]) -> list[float]:
        """Compare and wait; sentences of passages that were compared lately are not computed again."""
        return self._near.likeness(query, texts)

    def search_now(
        self, query: str, scope: SearchScope, limit: int, ways: Sequence[str] = ("words", "vectors")
    ) -> list[Passage]:
        """Search and wait; meant for threads that may block. `ways` chooses between words, vectors and both."""
        words = self._lying(scope)
        if words is not None and "vectors" in ways and query.strip():
            self.vectors.usable()  # may wait; what was added or deleted meanwhile counts
            words = self._lying(scope)
        if words is None or not query.strip():
            return []
        rankings = self._rankings(words, query, scope, ways)
        weights = [1.0] * len(rankings)
        if scope.about_user:
            of_resume = self._rankings(words, query, scope, ways, resume_only=True)
            rankings += [*of_resume, words.in_years_of(query, scope)]
            weights += [*[1.0] * len(of_resume), YEAR_WEIGHT]
        if self._reranker is not None and len(ways) > 1:
            return self._reranked(words, query, fuse(rankings, max(limit, RERANKED), weights), limit)
        ranked = fuse(rankings, limit, weights)
        return [words.passages[words.by_id[name]].model_copy(update={"score": score}) for name, score in ranked]

    def _lying(self, scope: SearchScope) -> WordIndex | None:
        """Give the words of an owner; None when nothing of the scope lies there."""
        words = self._words_of(scope.owner_id)
        return words if words.mask(scope).any() else None

    def _reranked(self, words: WordIndex, query: str, ranked: Sequence[tuple[str, float]], limit: int) -> list[Passage]:
        assert self._reranker is not None  # noqa: S101 - the caller looked
        found = [words.passages[words.by_id[name]] for name, _ in ranked]
        scores = self._reranker.scores(query, [index_text(passage) for passage in found])
        order = sorted(range(len(found)), key=lambda number: -scores[number])
        return [found[number].model_copy(update={"score": float(scores[number])}) for number in order[:limit]]

    def _rankings(
        self, words: WordIndex, query: str, scope: SearchScope, ways: Sequence[str], *, resume_only: bool = False
    ) -> list[list[str]]:
        told = words.matching(query, scope, CANDIDATES, resume_only=resume_only) if "words" in ways else []
        where = _where(scope, resume_only=resume_only)
        near = self.vectors.nearest(query, where, CANDIDATES) if "vectors" in ways else []
        # A vector may outlive its document by a moment; what has no words any more is not found.
        return [[words.passages[number].passage_id for number in told], [one for one in near if one in words.by_id]]

    def close(self) -> None:
        """Finish what runs and close the files."""
        self.vectors.close()  # first: those who search may wait for it to open
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._documents.close()


def _where(scope: SearchScope, *, resume_only: bool) -> dict[str, Any]:
    """Give what the vector store may look at; the same as `WordIndex.mask`."""
    profiles, rest = profiles_and_rest(scope)
    resume: dict[str, Any] = {"source": "resume"}
    if profiles:
        resume = {"$and": [resume, {"collection": {"$in": profiles}}]}
    other: dict[str, Any] = {"source": "knowledge"}
    if rest:
        other = {"$and": [other, {"collection": {"$in": rest}}]}
    return {"$and": [{"owner_id": scope.owner_id}, resume if resume_only else {"$or": [resume, other]}]}
