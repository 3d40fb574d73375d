"""The analytics store: merging, faults, erasure, questions."""

import json
import random
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventlog.base import NewRecord
from eventlog.sqlite import SqliteLog
from flows.analytics import Fact, Pace
from flows.analytics_run import AnalyticsRunner, load_once
from rejoinder.analytics.migrations import SCRIPTS
from rejoinder.analytics.store import AnalyticsStore, Stopped, StoreLimits
from rejoinder.analytics.tables import SQL_TYPES, TABLES
from rejoinder.analytics.views import VIEWS
from rejoinder.analytics.writer import StoreWriter
from schemas.codec import encode
from schemas.errors import LogUnavailable
from schemas.meeting import MeetingClosed
from schemas.progress import FlowBeat
from schemas.questions import Question, QuestionWithdrawn
from schemas.speech import Caption, Utterance
from tests.rejoinder.analytics.facts import BEGAN, Talk, conversation, log_with
from tests.support import wait_for

ROOT = Path(__file__).parents[3]


def opened(folder: Path, **more: Any) -> AnalyticsStore:
    return AnalyticsStore(folder / "analytics" / "analytics.duckdb", **more)


def content(store: AnalyticsStore) -> dict[str, list[tuple[Any, ...]]]:
    """Give every row of every table, in one order."""
    return {name: store.rows(f"SELECT * FROM facts.{name} ORDER BY row_id") for name in TABLES}


def beats() -> list[FlowBeat]:
    shared = {"session_id": "flows", "flow": "answers", "members": 2, "ends": {"questions/0": 9}}
    return [
        FlowBeat(
            event_id=f"b{number}",
            created_at=BEGAN + timedelta(seconds=number),
            member=number % 2,
            positions={"questions/0": number},
            behind_s=number / 10,
            **shared,
        )
        for number in range(8)
    ]


def test_neither_order_nor_repeats_change_the_tables(tmp_path: Path) -> None:
    records = [
        record
        for talk in (conversation("s1"), conversation("s2", "ann", BEGAN + timedelta(days=1)))
        for _, record in talk.records
    ] + beats()
    seen = []
    for seed in range(4):
        chance = random.Random(seed)
        mixed = records * 2
        chance.shuffle(mixed)
        store = AnalyticsStore(tmp_path / f"{seed}.duckdb")
        writer = StoreWriter(store)
        for number, record in enumerate(mixed):
            writer.take([Fact(record, record.created_at.timestamp())], "any/0", number)
            if chance.random() < 0.1:
                writer.flush()
        writer.flush()
        seen.append(content(store))
        store.close()
    assert all(one == seen[0] for one in seen)
    # Two sessions: what each of them leaves, counted by hand.
    assert {name: len(rows) for name, rows in seen[0].items()} == {
        "sessions": 2, "participants": 4, "captions": 2, "speaker_turns": 2, "utterances": 4, "questions": 8,
        "withdrawals": 2, "answers": 6, "answer_texts": 2, "notes": 4, "meeting_events": 4, "usage": 2,
        "dead_letters": 0, "flow_lag": 2, "audio_gaps": 2, "caption_lag": 2,
        "feedback": 2, "consents": 6, "nudges": 4,
    }  # fmt: skip


def test_while_live_flows_are_behind_the_load_goes_on_slowly_and_comes_to_its_end(tmp_path: Path) -> None:
    log = log_with(tmp_path, *(conversation(f"s{number}") for number in range(12)))
    store, behind = opened(tmp_path), [True]
    asked: list[bool] = []

    def busy() -> bool:
        asked.append(behind[0])
        return behind[0]

    runner = AnalyticsRunner(log, StoreWriter(store), tmp_path / "recovery", Pace(0.02, 0.25, busy), epoch_s=0.1)
    runner.start()
    wait_for(lambda: store.one("SELECT count(*) FROM sessions")[0] == 12, 90)
    wait_for(lambda: runner.reading.behind() == 0, 90)
    assert asked
    behind[0] = False
    log.append(conversation("late").new())
    wait_for(lambda: store.one("SELECT count(*) FROM sessions")[0] == 13, 90)
    assert runner.stop()
    assert content(store) == clean(log, tmp_path)
    store.close()
    log.close()


def test_a_late_correction_replaces_and_an_old_revision_does_not(tmp_path: Path) -> None:
    log = log_with(tmp_path, conversation())
    store = opened(tmp_path)
    load_once(log, StoreWriter(store))
    talk = Talk()
    said: dict[str, Any] = {"speaker_id": "ann", "speaker_name": "Ann", "start_s": 1.0, "utterance_id": "u1"}
    talk.add(
        "utterances", Utterance, 90_000, event_id="late", revision=2, text="Which database now?", end_s=4.0, **said
    )
    talk.add("utterances", Utterance, 90_001, event_id="older", revision=0, text="Whi", end_s=1.5, **said)
    log.append(talk.new())
    load_once(log, StoreWriter(store))
    assert store.rows("SELECT revision, end_s, words FROM utterances WHERE utterance_id = 'u1'") == [(2, 4.0, 3)]
    store.close()
    log.close()


def test_a_question_that_asks_after_all_is_not_withdrawn_and_a_corrected_speaker_counts(tmp_path: Path) -> None:
    log = log_with(tmp_path, conversation())
    talk = Talk()
    talk.add("questions", Question, 20, event_id="a", question_id="q9", text="So?")
    talk.add("questions", QuestionWithdrawn, 21, event_id="b", question_id="q9", revision=0, reason="no question")
    store = opened(tmp_path)
    log.append(talk.new())
    load_once(log, StoreWriter(store))
    asked = "SELECT withdrawn, withdrawn_reason FROM questions WHERE question_id = 'q9'"
    assert store.rows(asked) == [(True, "no question")]
    again = Talk()
    again.add("questions", Question, 22, event_id="c", question_id="q9", revision=1, text="So what?")
    shared: dict[str, Any] = {"caption_id": "c1", "start_s": 1.0, "end_s": 3.0, "text": "Which database?"}
    again.add("captions", Caption, 23, event_id="d", revision=1, speaker="bob", **shared)
    again.add("captions", Caption, 24, event_id="e", final=False, speaker="late", **shared)
    log.append(again.new())
    load_once(log, StoreWriter(store))
    assert store.rows(asked) == [(False, None)]
    assert store.rows("SELECT speaker, final FROM captions WHERE caption_id = 'c1'") == [("bob", True)]
    store.close()
    log.close()


def test_runs_are_kept_apart(tmp_path: Path) -> None:
    log = log_with(tmp_path, conversation())
    store = opened(tmp_path)
    for run in ("live", "replay-1"):
        load_once(log, StoreWriter(store, run))
    counts = dict(store.rows("SELECT run_id, count(*) FROM utterances GROUP BY 1"))
    assert counts == {"live": 2, "replay-1": 2}
    assert store.one("SELECT count(*) FROM session_summary WHERE run_id = 'live'") == (1,)
    store.close()
    log.close()


def test_the_flow_goes_on_where_it_stopped_and_stores_nothing_twice(tmp_path: Path) -> None:
    log = log_with(tmp_path, conversation("s1"))
    store = opened(tmp_path)
    for number, session in enumerate(("s2", "s3"), 2):
        runner = AnalyticsRunner(log, StoreWriter(store), tmp_path / "recovery", Pace(look_s=0.02), epoch_s=0.1)
        runner.start()
        log.append(conversation(session).new())
        wait_for(lambda number=number: store.one("SELECT count(*) FROM sessions") == (number,))
        wait_for(lambda: store.one("SELECT count(*) FROM utterances")[0] % 2 == 0)
        assert runner.stop()
    whole = content(store)
    store.close()
    fresh = AnalyticsStore(tmp_path / "fresh.duckdb")
    load_once(log, StoreWriter(fresh))
    assert content(fresh) == whole
    fresh.close()
    log.close()


def test_a_bad_record_becomes_a_dead_letter_and_a_newer_one_is_read_as_far_as_it_is_understood(tmp_path: Path) -> None:
    talk = conversation()
    log = log_with(tmp_path, talk)
    newer = json.loads(encode(talk.records[6][1])) | {"v": 2, "utterance_id": "u9", "event_id": "n", "mood": "good"}
    torn = json.dumps(newer | {"event_id": "\ud800"}).encode()
    bad = [b"no json", b'{"v":1,"type":"utterance"}', json.dumps(newer).encode(), torn]
    log.append([NewRecord("utterances", "s1", f"bad{n}", value, 1.0) for n, value in enumerate(bad)])
    store = opened(tmp_path)
    load_once(log, StoreWriter(store), buries=True)
    assert store.rows("SELECT topic, flow FROM dead_letters") == [("utterances", "analytics")] * 3
    assert store.one("SELECT count(*) FROM utterances WHERE utterance_id = 'u9'") == (1,)
    store.close()
    log.close()


def test_numbers_and_times_no_database_holds_do_not_stop_a_load(tmp_path: Path) -> None:
    talk = conversation()
    log = log_with(tmp_path, talk)
    huge = json.loads(encode(talk.records[6][1])) | {"utterance_id": "u9", "event_id": "n", "revision": 10**400}
    log.append([NewRecord("utterances", "s1", "n", json.dumps(huge).encode(), 1e300)])
    store = opened(tmp_path)
    load_once(log, StoreWriter(store))
    assert store.one("SELECT revision, year(made_at) FROM utterances WHERE utterance_id = 'u9'") == (2**53, 9999)
    store.close()
    log.close()


def many(folder: Path, sessions: int = 100) -> SqliteLog:
    return log_with(folder, *(conversation(f"s{n}", began=BEGAN + timedelta(hours=n)) for n in range(sessions)))


def clean(log: SqliteLog, folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    store = AnalyticsStore(folder / "clean.duckdb")
    load_once(log, StoreWriter(store))
    found = content(store)
    store.close()
    return found


def child(folder: Path, room: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.rejoinder.analytics.child", str(folder), str(room)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_load_that_is_killed_again_and_again_ends_with_the_same_tables(tmp_path: Path) -> None:
    log = many(tmp_path)
    chance = random.Random(7)
    file = tmp_path / "analytics" / "analytics.duckdb"
    killed = 0
    for _ in range(5):
        running = child(tmp_path)
        assert running.stdout is not None
        assert running.stdout.readline() == "loading\n"
        grown = _size(file) + chance.randrange(1, 120_000)
        wait_for(lambda running=running, grown=grown: _size(file) >= grown or running.poll() is not None)
        killed += running.poll() is None
        running.send_signal(signal.SIGKILL)
        running.wait(10)
        running.stdout.close()
    last = child(tmp_path)
    assert last.wait(60) == 0
    last.communicate()
    store = opened(tmp_path)
    assert content(store) == clean(log, tmp_path)
    assert killed >= 2
    store.close()
    log.close()


def _size(file: Path) -> int:
    """Give the bytes of the file and of what is written ahead of it."""
    return sum(one.stat().st_size for one in (file, file.with_name(file.name + ".wal")) if one.exists())


@pytest.mark.parametrize("room", [200_000, 300_000])
def test_a_full_disk_is_told_leaves_nothing_torn_and_the_load_goes_on_afterwards(tmp_path: Path, room: int) -> None:
    log = many(tmp_path)
    running = child(tmp_path, room)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "analytics" in json.loads(out.splitlines()[-1])["told"]
    store = opened(tmp_path)
    assert content(store) == clean(log, tmp_path)
    store.close()
    log.close()


def test_an_erased_session_leaves_no_row_and_takes_none(tmp_path: Path) -> None:
    log = log_with(tmp_path, conversation("s1"), conversation("s2"))
    store = opened(tmp_path)
    writer = StoreWriter(store, erased=log.erased)
    load_once(log, writer)
    gone = Talk("s1")
    gone.add("meeting", MeetingClosed, 20, event_id="gone", reason="deleted")
    log.append(gone.new())
    load_once(log, writer)
    writer.take([Fact(record, 1.0) for _, record in conversation("s1").records], "any/0", 1)
    writer.flush()
    log.erase("s2")
    assert writer.sweep() == 1
    assert all(rows == [] for rows in content(store).values())
    store.close()
    log.close()


def test_rows_that_were_taken_but_not_written_when_their_session_was_erased_are_not_written(tmp_path: Path) -> None:
    log = log_with(tmp_path, conversation("s1"))
    store = opened(tmp_path)
    writer = StoreWriter(store, erased=log.erased)
    writer.take([Fact(record, 1.0) for _, record in conversation("s1").records], "any/0", 1)
    log.erase("s1")
    assert writer.sweep({"s1"}) == 1
    assert writer.sweep({"s1"}) == 0
    writer.flush()
    assert all(rows == [] for rows in content(store).values())
    store.close()
    log.close()


def test_erased_sessions_are_found_in_turn_when_there_are_many(tmp_path: Path) -> None:
    log = many(tmp_path, 7)
    store = opened(tmp_path)
    writer = StoreWriter(store, erased=log.erased)
    load_once(log, writer)
    log.erase("s6")
    assert [writer.sweep(most=3) for _ in range(4)] == [0, 0, 1, 0]
    assert store.one("SELECT count(*) FROM sessions") == (6,)
    store.close()
    log.close()


def test_texts_are_kept_only_when_wanted(tmp_path: Path) -> None:
    log = log_with(tmp_path, conversation())
    for texts in (False, True):
        store = AnalyticsStore(tmp_path / f"{texts}.duckdb")
        load_once(log, StoreWriter(store, texts=texts))
        found = store.one("SELECT count(text) FROM utterances")[0], store.one("SELECT count(text) FROM questions")[0]
        assert found == ((2, 3) if texts else (0, 0))
        store.close()
        assert (b"Postgres and like it" in (tmp_path / f"{texts}.duckdb").read_bytes()) == texts
    log.close()


def test_every_view_column_is_described_and_every_described_column_exists(tmp_path: Path) -> None:
    store = opened(tmp_path)
    there = store.rows(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main'"
    )
    found: dict[str, dict[str, str]] = {}
    for view, column, comment in there:
        found.setdefault(view, {})[column] = comment
    assert found == {view.name: view.columns for view in VIEWS.values()}
    notes = dict(store.rows("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"))
    assert notes == {view.name: view.note for view in VIEWS.values()}
    store.close()


def test_the_migrated_tables_are_the_described_ones(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for table in TABLES.values():
        there = store.rows(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'facts' AND table_name = ?"
            " ORDER BY column_index",
            [table.name],
        )
        assert there == [("row_id", "UHUGEINT"), *((one.name, SQL_TYPES[one.kind]) for one in table.all)]
    store.close()


def test_a_file_of_the_version_before_is_brought_to_the_newest_shape_and_loaded_on(tmp_path: Path) -> None:
    import duckdb

    old = duckdb.connect(str(tmp_path / "analytics.duckdb"))
    old.execute("CREATE SCHEMA keeping; CREATE TABLE keeping.shape(version BIGINT)")
    old.execute(SCRIPTS[0])
    old.execute("INSERT INTO keeping.shape VALUES (1)")
    old.execute("INSERT INTO keeping.store VALUES ('kept', TIMESTAMP '2026-01-01')")
    old.execute(
        "INSERT INTO facts.captions BY NAME SELECT 1 AS row_id, 'live' AS run_id, 's0' AS session_id, true AS final"
    )
    old.close()
    store = AnalyticsStore(tmp_path / "analytics.duckdb")
    log = log_with(tmp_path, conversation())
    load_once(log, StoreWriter(store))
    assert store.store_id == "kept"
    assert store.one("SELECT max(version) FROM keeping.shape") == (len(SCRIPTS),)
    assert store.rows("SELECT session_id, heard FROM facts.captions ORDER BY ALL") == [("s0", None), ("s1", False)]
    assert store.one("SELECT count(*) FROM feedback") == (1,)
    assert store.rows("SELECT DISTINCT what FROM usage ORDER BY what") == [("answer_tokens",), ("prompt_tokens",)]
    store.close()
    log.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.writing() as connection:
        connection.execute("INSERT INTO keeping.shape VALUES (99)")
    store.close()
    with pytest.raises(LogUnavailable, match="newer version"):
        opened(tmp_path)


def test_a_file_that_is_none_or_is_in_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "junk.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(LogUnavailable, match="cannot be opened"):
        AnalyticsStore(tmp_path / "junk.duckdb")
    held = opened(tmp_path)
    code = "import sys; from pathlib import Path; from rejoinder.analytics.store import AnalyticsStore\n"
    code += "AnalyticsStore(Path(sys.argv[1]), read_only=True)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(held.path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "LogUnavailable" in done.stderr
    assert "lock" in done.stderr
    held.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW sessions", "DELETE FROM facts.sessions", "INSERT INTO keeping.shape VALUES (3)",
        "CREATE TABLE x(a INT)", "SELECT 1; SELECT 2", "SET threads = 1", "PRAGMA database_list",
        "COPY (SELECT 1) TO 'x.csv'", "CHECKPOINT",
        "ATTACH 'x.duckdb'", "INSTALL httpfs", "LOAD httpfs", "EXPORT DATABASE 'x'", "", "CALL force_checkpoint()",
        "EXPLAIN ANALYZE DELETE FROM facts.sessions",
        "WITH a AS (DELETE FROM keeping.shape RETURNING *) SELECT * FROM a",
    ],
)  # fmt: skip
def test_what_does_not_only_read_is_refused(tmp_path: Path, sql: str) -> None:
    log = log_with(tmp_path, conversation())
    store = opened(tmp_path)
    load_once(log, StoreWriter(store))
    before = content(store)
    with pytest.raises(ValueError):  # noqa: PT011 - several kinds of it
        store.ask(sql)
    assert content(store) == before
    assert store.one("SELECT count(*), max(version) FROM keeping.shape") == (len(SCRIPTS), len(SCRIPTS))
    store.close()
    log.close()


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_text('/etc/hosts')", "SELECT * FROM '/etc/hosts'", "SELECT * FROM glob('/*')",
     "SELECT * FROM read_csv('http://127.0.0.1:1/x')", "SELECT * FROM store"],
)  # fmt: skip
def test_a_question_sees_neither_files_nor_the_network_nor_our_variables(tmp_path: Path, sql: str) -> None:
    store = opened(tmp_path)
    with pytest.raises((ValueError, LogUnavailable)):
        store.ask(sql)
    assert store.ask("SELECT 1").rows == [(1,)]
    store.close()


def test_a_question_without_end_is_stopped_and_one_that_wants_too_much_memory_too(tmp_path: Path) -> None:
    store = opened(tmp_path, limits=StoreLimits(memory_mb=64))
    with pytest.raises(Stopped, match="stopped after"):
        store.ask("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7", timeout_s=0.2)
    with pytest.raises(Stopped, match="memory"):
        store.ask("SELECT list(range) AS many FROM range(100000000)")
    cut = store.ask("SELECT * FROM range(100)", rows=10)
    assert (len(cut.rows), cut.cut) == (10, True)
    store.close()


def test_only_the_store_knows_duckdb() -> None:
    packages = ("schemas", "operators", "eventlog", "models", "flows", "api", "rejoinder")
    found = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^\s*(import|from) duckdb", path.read_text(), re.MULTILINE)
    }
    assert found == {"rejoinder/analytics/store.py"}
