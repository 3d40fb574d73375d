"""The vectors of passages in Chroma, imported and opened by a thread: nobody should wait two seconds for them."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import structlog

from operators.ports import TextEmbedder
from rejoinder.knowledge.cutting import CUT_VERSION, Document, passages_of
from rejoinder.knowledge.documents import Documents
from rejoinder.knowledge.words import index_text
from schemas.answers import Passage
from schemas.errors import EngineError, LogUnavailable

__all__ = ["PassageVectors", "check_server"]

logger = structlog.get_logger("knowledge")

COLLECTION = "passages"
BATCH = 250
"""So many texts take a second or two; between batches a rebuild notices that it shall end."""
SERVER_S = 10.0
REACH_S = 3.0
AGAIN_S = 1.0
"""How soon after a failed opening the next use tries again."""
MEANWHILE = "documents are found by words alone and none can be added"

Given = TypeVar("Given")


def check_server(server: str) -> tuple[str, int, bool]:
    """Give host, port and whether TLS is used of a Chroma server that answers.

    Raises:
        LogUnavailable: None answers at this address; the message names it.
    """
    try:
        at = urlsplit(server)
        host, port, tls = at.hostname or "", at.port or 8000, at.scheme == "https"
        heartbeat = httpx.URL(scheme=at.scheme, host=host, port=port, path="/api/v2/heartbeat")
        httpx.get(heartbeat, timeout=REACH_S).raise_for_status()
    except (ValueError, OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise _no_answer(server, error) from None
    return host, port, tls


class PassageVectors:
    """One vector per passage, found by nearness; safe to use from several threads.

    They are opened from construction on, and those who come first wait for it. When that fails, later uses try again
    at most once a second.
    """

    def __init__(
        self, folder: Path, embedder: TextEmbedder, documents: Documents, *, server: str = "", follows: bool = False
    ) -> None:
        """Begin to open them.

        Args:
            folder: Where they lie, for one process.
            embedder: Computes them.
            documents: What they are made from, again where other weights or another cutting made them.
            server: Address of a Chroma server that holds them instead.
            follows: Another process makes them; here they are only searched.
        """
        self._folder, self._server, self._follows = folder, server, follows
        self._embedder, self._documents = embedder, documents
        self.made_by = f"{embedder.name}, cut {CUT_VERSION}"
        self._client: Any = None
        self._passages: Any = None
        self._sessions: list[Any] = []
        self._calls = threading.Lock()
        self._closing = threading.Event()
        self._silent = ""
        self._attempts = threading.Lock()
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="vectors")
        self._failed = ""
        self._begun_s = time.monotonic()
        self._first = self._opening = self._opener.submit(self._open)
        self._first.add_done_callback(self._tell)

    def _open(self) -> None:
        self._close_sessions()  # of an attempt that failed
        self._client = self._connect()
        self._passages = self._collection()
        if not self._follows:
            fresh = self._documents.setting("embedder") == self.made_by
            if not (fresh and self._passages.count() == self._documents.piece_count()):
                self._make_anew()

    def _connect(self) -> Any:
        at = check_server(self._server) if self._server else None  # before the import: told at once when it is away
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False, allow_reset=False)
        if at is None:
            return chromadb.PersistentClient(str(self._folder), settings=settings)
        host, port, tls = at
        try:
            client: Any = chromadb.HttpClient(host, port, ssl=tls, settings=settings)
        except (ValueError, OSError) as error:
            raise _no_answer(self._server, error) from None
        # The client library sets no time limit and closes no connection; both are done on its sessions.
        self._sessions = [one._session for one in (client._server, client._admin_client._server)]  # noqa: SLF001
        for session in self._sessions:
            session.timeout = SERVER_S
        return client

    def _collection(self) -> Any:
        return self._client.get_or_create_collection(
            COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def _make_anew(self) -> None:
        from chromadb.errors import NotFoundError

        with contextlib.suppress(NotFoundError):  # another process makes them anew as well
            self._client.delete_collection(COLLECTION)
        self._passages = self._collection()
        made = [(document, passages_of(document)) for document in self._documents.everything()]
        self._documents.count_pieces({document.document_id: len(passages) for document, passages in made})
        self._write([(document, passage) for document, passages in made for passage in passages], known=False)
        self._documents.setting("embedder", self.made_by)
        if made:
            logger.info("knowledge_rebuilt", documents=len(made))

    def _attempt(self) -> Future[None]:
        """Give the last attempt to open, or begin another when that failed a while ago."""
        with self._attempts:
            last = self._opening
            error = last.exception() if last.done() else None
            if error is not None:
                self._failed = _why(error)
                if time.monotonic() - self._begun_s > AGAIN_S and not self._closing.is_set():
                    self._begun_s = time.monotonic()
                    self._opening = self._opener.submit(self._open)
                    self._opening.add_done_callback(self._tell)
            return self._opening

    def _tell(self, opening: Future[None]) -> None:
        """Log how an opening ended; the same failure once."""
        error = opening.exception()
        if error is None and self._failed:
            logger.info("vectors_opened")
        elif error is not None and self._failed != _why(error):
            logger.warning("vectors_not_opened", reason=_why(error))

    def wait(self) -> None:
        """Wait until vectors can be written.

        Raises:
            LogUnavailable: They cannot be opened.
        """
        error = self._attempt().exception()
        if error is not None:
            raise LogUnavailable(_why(error))

    def usable(self) -> bool:
        """Say whether they are open; waits for the first attempt, not for those after a failure."""
        self._first.exception()
        attempt = self._attempt()
        return attempt.done() and attempt.exception() is None

    def notes(self) -> list[str]:
        """Give what whoever runs the engine should know; a server that came back is found by this as well."""
        attempt = self._attempt()
        trouble = self._silent
        if not attempt.done():
            trouble = self._failed
        elif (error := attempt.exception()) is not None:
            trouble = _why(error)
        return [f"{trouble}; {MEANWHILE}"] if trouble else []

    def put(self, document: Document, passages: Sequence[Passage], *, known: bool) -> None:
        """Write the vectors of a document; `known` when some may lie there already.

        Raises:
            LogUnavailable: They cannot be opened, or the server does not answer.
        """
        self.wait()
        self._write([(document, passage) for passage in passages], known=known)

    def _write(self, pieces: Sequence[tuple[Document, Passage]], *, known: bool) -> None:
        for begin in range(0, len(pieces), BATCH):
            self._write_batch(pieces[begin : begin + BATCH], known=known)

    def _write_batch(self, pieces: Sequence[tuple[Document, Passage]], *, known: bool) -> None:
        vectors = self._embedder.embed([index_text(passage) for _, passage in pieces])
        rows = {
            "ids": [passage.passage_id for _, passage in pieces],
            "embeddings": [row.tolist() for row in vectors],
            "metadatas": [_metadata(document) for document, _ in pieces],
        }
        # Looking for rows to replace costs as much as adding some.
        self._call(lambda passages: (passages.upsert if known else passages.add)(**rows))

    def delete(self, document_id: str) -> None:
        """Delete the vectors of a document; where they cannot be reached they stay until all are made anew."""
        if self.usable():
            try:
                self._call(lambda passages: passages.delete(where={"document_id": document_id}))
            except LogUnavailable as error:
                logger.warning("vectors_left", reason=str(error))

    def nearest(self, query: str, where: Mapping[str, Any], most: int) -> list[str]:
        """Give the ids of the passages nearest to a query, nearest first; none while they cannot be reached.

        Words alone still find most of it; an answer now is worth more than the best passage later.
        """
        if not self.usable():
            return []
        vectors = [self._embedder.embed([query])[0].tolist()]
        try:
            found = self._call(
                lambda passages: passages.query(query_embeddings=vectors, n_results=most, where=where, include=[])
            )
        except LogUnavailable as error:
            logger.warning("vector_server_silent", reason=str(error))
            return []
        return list(found["ids"][0])

    def _call(self, call: Callable[[Any], Given]) -> Given:
        """Call the collection; where another process made all vectors anew meanwhile, the new one."""
        from chromadb.errors import NotFoundError

        with self._calls:
            if self._closing.is_set():
                raise LogUnavailable("the documents are being closed")
            try:
                try:
                    given = call(self._passages)
                except NotFoundError:
                    self._passages = self._collection()
                    given = call(self._passages)
            except httpx.HTTPError as error:
                self._silent = f"the vector server does not answer: {type(error).__name__}"
                raise LogUnavailable(self._silent) from None
            self._silent = ""
            return given

    def close(self) -> None:
        """Close the files or connections; an opening that runs is ended first."""
        with self._attempts:  # none begins after this
            self._closing.set()
        self._opener.shutdown(wait=True)
        with self._calls:
            self._close_sessions()
            self._passages, self._client = None, None

    def _close_sessions(self) -> None:
        for session in self._sessions:
            session.close()
        self._sessions = []


def _no_answer(server: str, error: Exception) -> LogUnavailable:
    return LogUnavailable(f"no Chroma server answers at {server}: {type(error).__name__}")


def _metadata(document: Document) -> dict[str, str]:
    return {
        "owner_id": document.owner_id,
        "document_id": document.document_id,
        "collection": document.collection,
        "source": document.source,
    }


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, EngineError) else f"the vectors cannot be opened: {type(error).__name__}"
