"""Vectors are opened behind the open door; a server that is away is told, and used once it is there."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import chromadb
import pytest
from structlog.testing import capture_logs

from models.embedder import load_embedder
from operators.ports import SearchScope
from rejoinder.doctor import checks
from rejoinder.knowledge.documents import Documents
from rejoinder.knowledge.store import KnowledgeStore
from rejoinder.settings import Settings
from rejoinder.supervisor import free_addresses
from schemas.errors import LogUnavailable
from tests.support import open_session, running, say, wait_for
from tests.vectors import vector_server

NOBODY = "http://127.0.0.1:9"
SCOPE = SearchScope("me")
PORTS = "The harbour of Vigo was built in 1881."


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Keep every Chroma of a folder from opening until the event is set."""
    may_open = threading.Event()
    opened = chromadb.PersistentClient

    def held_back(*arguments: Any, **named: Any) -> Any:
        assert may_open.wait(60)
        return opened(*arguments, **named)

    monkeypatch.setattr(chromadb, "PersistentClient", held_back)
    yield may_open
    may_open.set()


def test_the_door_is_open_while_the_vectors_are_opened(settings: Settings, held: threading.Event) -> None:
    with running(settings) as client, ThreadPoolExecutor(1) as beside:
        health = client.get("/api/health")
        assert health.status_code == 200
        assert health.json()["notes"] == []
        session = open_session(client)
        assert say(client, session, ("c1", "ann", 0, 3, "Good morning.")).status_code == 202
        body = {"title": "Ports", "text": PORTS}
        adding = beside.submit(client.post, "/api/knowledge", json=body)
        asking = {"question": "When was the harbour of Vigo built?"}
        assert client.post("/api/ask", json=asking).json()["citations"] == [], "it has no documents to wait for"
        assert client.get("/api/knowledge").json()["documents"] == []
        assert not adding.done()
        held.set()
        assert adding.result(30).status_code == 201
        assert "1881" in client.post("/api/ask", json=asking).json()["text"]


def test_a_search_waits_for_the_vectors_and_sees_what_was_deleted_meanwhile(
    tmp_path: Path, held: threading.Event
) -> None:
    held.set()
    store = KnowledgeStore(tmp_path, load_embedder())
    kept = store.add("me", "general", "Leave", "Employees get 27 days of paid leave each year.")
    gone = store.add("me", "general", "Rest", "Staff may rest for 31 days of holiday in a year.")
    store.close()
    held.clear()
    store = KnowledgeStore(tmp_path, load_embedder())
    with ThreadPoolExecutor(1) as beside:
        searching = beside.submit(store.search_now, "How long is the vacation?", SCOPE, 5, ("vectors",))
        with pytest.raises(TimeoutError):
            searching.result(0.2)
        # As another process does it: this one's `delete` would wait as well.
        elsewhere = Documents(tmp_path / "documents.sqlite3")
        assert elsewhere.remove(gone.document_id)
        elsewhere.close()
        held.set()
        assert [one.document_id for one in searching.result(30)] == [kept.document_id]
    store.close()


def test_a_wrong_address_of_the_vectors_is_told_and_captions_are_taken(settings: Settings) -> None:
    wrong = settings.model_copy(update={"vectors_url": NOBODY})
    with running(wrong) as client:
        told = f"no Chroma server answers at {NOBODY}: ConnectError"
        wait_for(lambda: client.get("/api/health").json()["notes"])
        health = client.get("/api/health")
        assert health.status_code == 200
        assert [note.partition(";")[0] for note in health.json()["notes"]] == [told]
        refused = client.post("/api/knowledge", json={"title": "Ports", "text": PORTS})
        assert refused.status_code == 503
        assert told in refused.json()["detail"]
        assert say(client, open_session(client), ("c1", "ann", 0, 3, "Good morning.")).status_code == 202
    check = next(one for one in checks(wrong) if one.name == "vector server")
    assert (check.state, check.detail) == ("fail", told)


@pytest.mark.timeout(120)
def test_documents_are_found_by_words_while_the_server_of_the_vectors_is_away(tmp_path: Path) -> None:
    server = tmp_path / "server"
    server.mkdir()
    embedder, port = load_embedder(), free_addresses(1)[0].rpartition(":")[2]
    address = f"http://127.0.0.1:{port}"
    with capture_logs() as logged:
        keeper = KnowledgeStore(tmp_path, embedder, server=address)
        with pytest.raises(LogUnavailable, match="no Chroma server answers"):
            keeper.add("me", "general", "Harbours", PORTS)
        assert keeper.documents("me") == []
        assert not keeper.search_now("harbour Vigo", SCOPE, 3)
    assert [one["event"] for one in logged if one["log_level"] == "warning"] == ["vectors_not_opened"]
    reader = KnowledgeStore(tmp_path, embedder, server=address, follows=True)
    assert not reader.vectors.usable()
    with vector_server(server, port):
        wait_for(lambda: not keeper.vectors.notes())
        keeper.add("me", "general", "Harbours", PORTS)
        wait_for(reader.vectors.usable)
        meant = "When was the port constructed?", SCOPE, 3, ("vectors",)
        assert reader.search_now(*meant)
        # Another process makes all vectors anew, as one does that has other weights.
        documents = Documents(tmp_path / "documents.sqlite3")
        documents.setting("embedder", "other weights")
        documents.close()
        other = KnowledgeStore(tmp_path, embedder, server=address)
        other.vectors.wait()
        assert reader.search_now(*meant)
        old = keeper.add("me", "general", "Ships", "Ships dock at pier nine.")
        assert other.delete("me", old.document_id)
        other.close()
        assert [one.title for one in reader.search_now("At which pier do ships dock?", SCOPE, 3)] == ["Harbours"]
    assert reader.search_now("harbour Vigo", SCOPE, 3)
    with pytest.raises(LogUnavailable):
        keeper.add("me", "general", "Harbours", "The harbour of Vigo was built in 1900.")
    assert "does not answer" in keeper.vectors.notes()[0]
    assert [one.text for one in keeper.documents("me")] == [PORTS], "what it would have replaced is still there"
    assert keeper.delete("me", keeper.documents("me")[0].document_id)
    assert not reader.search_now("harbour Vigo", SCOPE, 3)
    keeper.close()
    reader.close()
