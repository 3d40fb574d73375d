"""Hints and consents in the analytics: from the running engine to the tables, and files of before."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx

from eventlog.sqlite import SqliteLog
from flows.analytics import ANALYTICS_TOPICS
from flows.analytics_run import load_once
from rejoinder.analytics.migrations import SCRIPTS
from rejoinder.analytics.owner import load_runs, store_path
from rejoinder.analytics.quality import check_quality
from rejoinder.analytics.rebuild import rebuild
from rejoinder.analytics.rows import Rows
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.writer import StoreWriter
from rejoinder.replay.runs import Run, Runs
from rejoinder.settings import Settings
from schemas.audio import AudioChunk
from schemas.base import Record
from schemas.dead_letters import DeadLetterFix, DeadLetterRedriven
from schemas.progress import FlowMarks
from schemas.topics import TOPICS
from tests.rejoinder.analytics.facts import Talk, conversation, log_with
from tests.rejoinder.analytics.test_serving import command, content, ready, rows
from tests.support import open_session, running, say, wait_for

LEAVE_NONE = {AudioChunk, FlowMarks, DeadLetterFix, DeadLetterRedriven}
"""Why: docs/analytics.md."""
NUDGES = "SELECT kind, measured IS NULL, utterances FROM nudges ORDER BY kind"
CONSENTS = "SELECT purpose, participant_id, given, method FROM consents ORDER BY recorded_at, purpose"


def consents(client: httpx.Client, session: str, *, given: bool) -> None:
    body = {"participant_id": "Me", "purposes": ["coaching"], "given": given, "method": "click", "how": "pressed it"}
    client.post(f"/api/sessions/{session}/consents", json={"consents": [body]}).raise_for_status()


def test_hints_and_consents_are_there_live_gone_with_their_session_and_equal_after_a_rebuild(
    settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"nudges": True, "llm": "off"})
    with running(settings) as client:
        ready(client)
        session, erased = open_session(client), open_session(client)
        for one in (session, erased):
            consents(client, one, given=True)
            say(client, one, ("c1", "me", 0, 10, "word " * 60)).raise_for_status()
        wait_for(lambda: rows(client, NUDGES) == [["fast", False, 1]] * 2)
        client.delete(f"/api/sessions/{erased}").raise_for_status()
        wait_for(lambda: rows(client, NUDGES) == [["fast", False, 1]])
        consents(client, session, given=False)
        told = [["coaching", "me", True, "click"], ["coaching", "me", False, "click"]]
        wait_for(lambda: rows(client, CONSENTS) == told)
        board = client.get("/api/analytics/dashboard").json()
        assert board["nudges"] == [{"kind": "fast", "nudges": 1, "sessions": 1}]
        assert [one["user_minutes"] for one in board["talk"]] == [10 / 60]
    before = content(settings)
    log = SqliteLog(settings.data_dir / "log.sqlite3")
    assert all(one.same for one in rebuild(settings, log))
    log.close()
    assert content(settings) == before
    done = command("export", "--parquet", str(tmp_path / "all"), "--data-dir", str(settings.data_dir))
    assert done.exit_code == 0, done.output
    assert {"nudges.parquet", "consents.parquet"} <= {file.name for file in (tmp_path / "all").iterdir()}


def test_names_and_words_of_a_consent_stay_in_the_ledger_even_where_texts_are_kept(tmp_path: Path) -> None:
    log = log_with(tmp_path, conversation())
    store = AnalyticsStore(tmp_path / "a.duckdb")
    load_once(log, StoreWriter(store, texts=True))
    assert store.rows(NUDGES) == [("fast", False, 1), ("no_result", True, 1)]
    assert store.rows(CONSENTS) == [
        ("captions", "me", True, "spoken"), ("coaching", "me", True, "spoken"), ("coaching", "me", False, "spoken"),
    ]  # fmt: skip
    checks = {one.name: one for one in check_quality(store)}
    for name in ("unique_nudges", "unique_consents", "session_of_nudges", "session_of_consents", "measured_of_nudges"):
        assert (checks[name].good, checks[name].rows > 0) == (True, True), name
    store.close()
    log.close()
    stored = (tmp_path / "a.duckdb").read_bytes()
    assert b"uses Postgres" in stored
    assert b"nodded twice" not in stored


def test_the_checks_find_a_hint_without_its_figure_and_a_consent_without_its_session(tmp_path: Path) -> None:
    strays = Talk("stray")
    strays.records = [(topic, one) for topic, one in conversation("stray").records if one.type in ("nudge", "consent")]
    strays.records = [
        (topic, one.model_copy(update={"measured": None}) if one.type == "nudge" else one)
        for topic, one in strays.records
    ]
    log = log_with(tmp_path, strays)
    store = AnalyticsStore(tmp_path / "a.duckdb")
    load_once(log, StoreWriter(store))
    failing = {one.name: one.failing for one in check_quality(store) if not one.good}
    assert failing == {"session_of_nudges": 2, "session_of_consents": 3, "measured_of_nudges": 1}
    store.close()
    log.close()


def test_a_file_of_before_gets_the_consents_it_read_past_and_its_runs_are_loaded_anew(settings: Settings) -> None:
    import duckdb

    folder = settings.data_dir
    path = store_path(folder)
    log = log_with(folder, conversation())
    runs = Runs(folder)
    where = runs.begin(Run(run_id="again", kind="replay", created_at=datetime.now(UTC), source="test", state="done"))
    log_with(where, conversation()).close()
    path.parent.mkdir(parents=True)
    old = duckdb.connect(str(path))
    old.execute("CREATE SCHEMA keeping; CREATE TABLE keeping.shape(version BIGINT)")
    for number, script in enumerate(SCRIPTS[:2], 1):
        old.execute(script)
        old.execute("INSERT INTO keeping.shape VALUES (?)", [number])
    old.execute("INSERT INTO keeping.store VALUES ('kept', TIMESTAMP '2026-01-01')")
    end = log.end("meeting", 0)
    for run in ("live", "again", "gone"):
        old.execute("INSERT INTO keeping.reached VALUES (?, 'meeting/0', ?)", [run, end])
    old.execute("INSERT INTO facts.notes BY NAME SELECT 1 AS row_id, 'gone' AS run_id, 's1' AS session_id")
    old.close()
    store = AnalyticsStore(path)
    load_once(log, StoreWriter(store))
    assert load_runs(store, runs, texts=False) == ["again"]
    for view, count in (("consents", 3), ("nudges", 2), ("notes", 2)):
        found = store.rows(f"SELECT run_id, count(*) FROM {view} GROUP BY run_id ORDER BY run_id")
        assert found == [("again", count), ("live", count)], view
    store.close()
    assert all(one.same for one in rebuild(settings, log))
    log.close()


def test_every_kind_of_record_leaves_a_row_or_is_named_as_leaving_none() -> None:
    assert set(ANALYTICS_TOPICS) == TOPICS.keys() - {"audio"}
    kinds = {kind for topic in TOPICS.values() for kind in _kinds(topic.holds)}
    assert len(kinds) > 20
    assert kinds - LEAVE_NONE == set(Rows("live", texts=False)._makers)


def _kinds(holds: Any) -> set[type[Record]]:
    """Give the record types of a topic; a union is `Annotated[A | B, ...]`."""
    if isinstance(holds, type):
        return {holds} if issubclass(holds, Record) else set()
    return {kind for part in get_args(holds) for kind in _kinds(part)}
