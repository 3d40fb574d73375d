"""The analytics: load from the log, each question at ten million records, size; SQLite and Postgres beside them.

``uv run python -m benchmarks.analytics`` loads a log of meetings through the flow (records per second of CPU), then
fills the tables with what ten million such records leave and asks every question of the API warm, for an owner of half
of it and for one of two hundredths. The same rows go into SQLite and, where Debian's ``postgresql`` is installed,
Postgres, for three of the questions. The result is ``benchmarks/results/analytics.json``.
"""

import argparse
import csv
import json
import os
import platform
import resource
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from eventlog.records import new_record
from eventlog.sqlite import SqliteLog
from flows.analytics_run import load_once
from rejoinder.analytics.questions import DASHBOARD, PATTERNS, SESSION, SESSIONS, Asked, table_of
from rejoinder.analytics.store import AnalyticsStore, StoreLimits
from rejoinder.analytics.trends import trends
from rejoinder.analytics.writer import StoreWriter
from schemas.answers import Answer, AnswerDelta
from schemas.base import Record, derive_id
from schemas.meeting import MeetingClosed, MeetingOpened, Participant
from schemas.memory import MemoryUpdate, Note
from schemas.questions import Question
from schemas.speech import Caption, Utterance

RESULTS = Path(__file__).parent / "results" / "analytics.json"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = "and then we moved the service to the new cluster over the weekend"
MINUTES, UTTERANCES, QUESTIONS, DELTAS = 30, 300, 30, 20
PER_SESSION = 2 + UTTERANCES * 4 + UTTERANCES * 2 + UTTERANCES // 10 + QUESTIONS * (2 + DELTAS)
"""Records of half an hour: three partial captions and a final one, and two revisions, for each utterance."""
PEOPLE = (Participant(id="ann", name="Ann"), Participant(id="me", name="Me", is_user=True))


def meeting(number: int) -> list[tuple[str, Record]]:
    """Give the records of one session of half an hour."""
    session, began = f"s{number:08}", BEGAN + timedelta(minutes=number % 500_000)
    made: list[tuple[str, Record]] = []

    def add(topic: str, kind: type[Record], at_s: float, /, **fields: Any) -> None:
        event = derive_id(session, topic, len(made))
        made.append(
            (topic, kind(session_id=session, event_id=event, created_at=began + timedelta(seconds=at_s), **fields))
        )

    add("meeting", MeetingOpened, 0, owner_id=f"o{number % 100}", title="Half an hour", participants=PEOPLE)
    step = MINUTES * 60 / UTTERANCES
    for turn in range(UTTERANCES):
        at, who = turn * step, "me" if turn % 2 else "ann"
        heard = {"caption_id": f"c{turn}", "speaker": who, "start_s": at, "end_s": at + 5}
        for part in range(4):
            add("captions", Caption, at + part, text=WORDS[: 16 * (part + 1)], final=part == 3, **heard)
        said = {
            "utterance_id": derive_id(session, turn),
            "speaker_id": who,
            "speaker_name": who,
            "is_user": who == "me",
        }
        for revision in range(2):
            add("utterances", Utterance, at + 4 + revision, revision=revision, start_s=at, end_s=at + 5, text=WORDS,
                caption_ids=(f"c{turn}",), **said)  # fmt: skip
        if turn % 10 == 0:
            note = Note(note_id=f"n{turn}", kind="topic", text=f"topic {turn % 70}", utterance_ids=())
            add("memory", MemoryUpdate, at + 5, notes_put=(note,))
            question = derive_id(session, "q", turn)
            add("questions", Question, at + 5, question_id=question, text="Which database?", kind="wh")
            about = {"answer_id": derive_id(session, "a", turn), "question_id": question}
            for index in range(DELTAS):
                add("answers", AnswerDelta, at + 5.5 + index / 20, index=index, text="some words", **about)
            add("answers", Answer, at + 7, text="some words " * 20, mode="model", model="m", prompt_tokens=900,
                answer_tokens=60, **about)  # fmt: skip
    add("meeting", MeetingClosed, MINUTES * 60)
    return made


def load(folder: Path, sessions: int) -> dict[str, Any]:
    """Load a log through the flow; gives records per second of CPU and of the clock, and bytes per session-hour."""
    log = SqliteLog(folder / "log.sqlite3")
    for number in range(sessions):
        log.append([new_record(topic, record) for topic, record in meeting(number)])
    store = AnalyticsStore(folder / "load.duckdb", StoreLimits(threads=1))
    writer = StoreWriter(store)
    wall, cpu = time.perf_counter(), time.process_time()
    load_once(log, writer)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    again = time.perf_counter()
    load_once(log, StoreWriter(store, "again"))
    again = time.perf_counter() - again
    store.close()
    size = (folder / "load.duckdb").stat().st_size / 2
    log.close()
    return {
        "records": writer.records, "per_cpu_second": round(writer.records / cpu),
        "per_second": round(writer.records / wall),
        "second_run_per_second": round(writer.records / again),
        "kilobytes_per_session_hour": round(size / 1000 / (sessions * MINUTES / 60), 1),
    }  # fmt: skip


_KEY = "md5_number(concat_ws(chr(31), 'live', {})) AS row_id, 'live' AS run_id"
_ID = "'s' || n AS session_id"
_AT = "TIMESTAMP '2026-01-01' + to_seconds(n % 8000 * 3600 + {})"
_ORDER = "0 AS revision, {} AS made_at, md5('e' || n || '-' || i) AS event_id"


def fill(store: AnalyticsStore, sessions: int) -> None:
    """Put in what so many sessions leave; every second one belongs to one owner, the others to a hundred."""

    def insert(table: str, key: str, columns: str, at: str = "i * 6", count: int = 0) -> None:
        times = f", range({count}) t(i)" if count else ", (SELECT 0 AS i)"
        order = "" if table in ("sessions", "answer_texts") else ", " + _ORDER.format(_AT.format(at))
        with store.writing() as connection:
            connection.execute(
                f"INSERT INTO facts.{table} BY NAME SELECT {_KEY.format(key)}, {_ID}{order}, {columns}"
                f" FROM range({sessions}) s(n){times}"
            )

    opened = _AT.format("0")
    insert("sessions", "n", "CASE WHEN n % 2 = 0 THEN 'big' ELSE 'o' || n % 200 END AS owner_id, 'interview' AS kind,"
           f" 'Half an hour' AS title, 'en' AS language, false AS hidden, 0 AS collections, {opened} AS opened_at,"
           f" {opened} + INTERVAL 30 MINUTE AS closed_at, 'ended' AS close_reason")  # fmt: skip
    times = "i * 6.0 AS start_s, i * 6.0 + 3 + hash(n, i) % 100 / 50.0 AS end_s, 13 AS words, 66 AS chars"
    insert(
        "captions",
        "n, i",
        f"'c' || i AS caption_id, 'ann' AS speaker, {times}, true AS final, true AS heard",
        count=UTTERANCES,
    )
    insert("utterances", "n, i", "md5('u' || n || '-' || i) AS utterance_id, 'me' AS speaker_id, 'Me' AS speaker_name,"
           f" '' AS role, i % 2 = 1 AS is_user, {times}, 1 AS captions", count=UTTERANCES)  # fmt: skip
    asked, answered = (
        "md5('q' || n || '-' || i) AS question_id, 0 AS question_revision",
        "md5('a' || n || '-' || i) AS answer_id",
    )
    insert("questions", "n, i", f"{asked}, 'wh' AS kind, 'heard' AS origin, 0.0 AS start_s, 3 AS words", "i * 60",
           QUESTIONS)  # fmt: skip
    insert("answers", "n, i", f"{answered}, {asked}, 'answered' AS outcome, 'model' AS mode, 'm' AS model,"
           " 900 AS prompt_tokens, 60 AS answer_tokens, 2 AS citations, 200 AS chars", "i * 60 + 2",
           QUESTIONS)  # fmt: skip
    first = f"{_AT.format('i * 60')} + to_milliseconds((200 + hash(n, i) % 1500)::BIGINT)"
    insert("answer_texts", "n, i", f"{answered}, {first} AS first_delta_at, 20 AS deltas, 1 AS attempts",
           count=QUESTIONS)  # fmt: skip
    insert("notes", "n, i", "'n' || i AS note_id, 'topic' AS kind, 1 AS utterances, false AS dropped,"
           " 'topic ' || (n * i % 70) AS text", count=UTTERANCES // 10)  # fmt: skip
    insert("feedback", "n, i", f"{answered}, CASE WHEN (n + i) % 4 = 0 THEN 'wrong' ELSE 'useful' END AS verdict,"
           " 0 AS comment_chars", "i * 60 + 9", QUESTIONS)  # fmt: skip
    insert("nudges", "n, i", "'h' || i AS nudge_id, CASE WHEN i % 2 = 0 THEN 'fast' ELSE 'long' END AS kind,"
           " 150.0 AS measured, 1 AS utterances, i * 300.0 AS at_s", "i * 300", 6)  # fmt: skip
    store.set_prices([("prompt_tokens", "m", 2e-6, "EUR"), ("answer_tokens", "m", 8e-6, "EUR"),
                      ("audio_seconds", "", 1e-4, "EUR")])  # fmt: skip


def warm_ms(ask: Callable[[], Any], times: int = 5) -> float:
    """Give the middle of some runs after a first one, milliseconds."""
    ask()
    waits = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        waits.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(waits), 1)


def questions_ms(store: AnalyticsStore, owner: str) -> dict[str, float]:
    """Give the warm time of every question of the API for an owner, over a year by week."""
    asked = Asked(owner, datetime(2026, 1, 1), datetime(2027, 1, 1), "week")  # noqa: DTZ001 - the store's times are UTC
    arguments = asked.arguments() | {"limit": 50, "offset": 0, "session": "s0" if owner == "big" else "s1"}
    found = {
        name: warm_ms(lambda sql=sql: table_of(store, sql, arguments))
        for name, sql in {
            **DASHBOARD,
            **PATTERNS,
            **{f"session_{k}": v for k, v in SESSION.items()},
            "sessions_list": SESSIONS,
        }.items()
    }
    return found | {"trends": warm_ms(lambda: trends(store, asked), 3)}


SHARED = {
    "talk": "SELECT s.day, sum(u.words), sum(u.end_s - u.start_s) FROM utterances u JOIN sessions s"
    " ON s.session_id = u.session_id WHERE s.owner_id = 'big' GROUP BY s.day ORDER BY s.day",
    "answers": "SELECT s.day, count(*), avg(t.first_at - q.made) FROM answers a JOIN sessions s"
    " ON s.session_id = a.session_id JOIN questions q ON q.question_id = a.question_id"
    " JOIN answer_texts t ON t.answer_id = a.answer_id WHERE s.owner_id = 'big' GROUP BY s.day ORDER BY s.day",
    "topics": "SELECT n.text, count(DISTINCT n.session_id) FROM notes n JOIN sessions s ON s.session_id = n.session_id"
    " WHERE s.owner_id = 'big' GROUP BY n.text ORDER BY 2 DESC, 1 LIMIT 20",
}
"""Three questions that all three databases understand."""
COLUMNS = {
    "sessions": ("session_id", "owner_id", "opened_at::DATE::VARCHAR AS day"),
    "utterances": ("utterance_id", "session_id", "words", "start_s", "end_s", "is_user::INT AS is_user"),
    "questions": ("question_id", "session_id", "epoch(made_at) AS made"),
    "answers": ("answer_id", "session_id", "question_id", "prompt_tokens", "answer_tokens"),
    "answer_texts": ("answer_id", "session_id", "epoch(first_delta_at) AS first_at"),
    "notes": ("note_id", "session_id", "text"),
}
KINDS = {"words": "BIGINT", "start_s": "FLOAT8", "end_s": "FLOAT8", "made": "FLOAT8", "first_at": "FLOAT8",
         "is_user": "BIGINT", "prompt_tokens": "BIGINT", "answer_tokens": "BIGINT"}  # fmt: skip


def shape(table: str) -> str:
    """Give the CREATE TABLE of one of the shared tables, keyed as in the store."""
    names = [column.split(" AS ")[-1] for column in COLUMNS[table]]
    key = f"{names[0]}, session_id" if table == "notes" else names[0]
    typed = ", ".join(f"{name} {KINDS.get(name, 'TEXT')}" for name in names)
    return f"CREATE TABLE {table}({typed}, PRIMARY KEY ({key}))"


def rows_of(store: AnalyticsStore, table: str) -> list[tuple[Any, ...]]:
    return store.rows(f"SELECT {', '.join(COLUMNS[table])} FROM facts.{table}")


def on_duckdb(store: AnalyticsStore) -> dict[str, float]:
    """Ask the shared questions of the store's own tables."""
    parts = {name: f"{name} AS (SELECT {', '.join(columns)} FROM facts.{name})" for name, columns in COLUMNS.items()}
    found = {}
    for name, sql in SHARED.items():
        used = ", ".join(part for table, part in parts.items() if f" {table} " in sql)
        found[name] = warm_ms(lambda text=f"WITH {used} {sql}": store.rows(text))
    return found


def on_sqlite(store: AnalyticsStore, folder: Path) -> dict[str, Any]:
    """Load the same rows into SQLite by upsert, and ask."""
    own = sqlite3.connect(folder / "same.sqlite3", isolation_level=None)
    own.execute("PRAGMA journal_mode=WAL")
    spent, count = 0.0, 0
    for table in COLUMNS:
        rows = rows_of(store, table)
        began = time.perf_counter()
        own.execute(shape(table))
        for first in range(0, len(rows), 20_000):
            own.execute("BEGIN")
            marks = ",".join("?" * len(rows[0]))
            own.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows[first : first + 20_000])
            own.execute("COMMIT")
        if table not in ("sessions",):
            own.execute(f"CREATE INDEX {table}_by_session ON {table}(session_id)")
        spent, count = spent + time.perf_counter() - began, count + len(rows)
    own.execute("ANALYZE")
    found = {name: warm_ms(lambda sql=sql: own.execute(sql).fetchall(), 3) for name, sql in SHARED.items()}
    own.close()
    return {
        "rows_per_second": round(count / spent),
        "megabytes": _megabytes(folder / "same.sqlite3"),
        "questions_ms": found,
    }


def on_postgres(store: AnalyticsStore, folder: Path) -> dict[str, Any] | None:
    """Load the same rows into a Postgres of one's own by COPY and upsert, and ask; None where there is none."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []
    if not homes:
        return None
    home, data = homes[-1], folder / "pg"
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data.mkdir()
    folder.chmod(0o755)
    if as_user:
        shutil.chown(data, "postgres")

    def run(*command: str) -> str:
        return subprocess.run(
            [*as_user, *command], check=True, capture_output=True, text=True, timeout=200, cwd=data
        ).stdout

    run(str(home / "initdb"), "-D", str(data / "db"), "-A", "trust")
    options = f"-k {data} -c listen_addresses='' -c shared_buffers=1GB -c work_mem=64MB -c max_wal_size=4GB"
    run(str(home / "pg_ctl"), "-D", str(data / "db"), "-w", "-l", str(data / "out"), "-o", options, "start")

    def psql(sql: str) -> str:
        return run(str(home / "psql"), "-h", str(data), "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qAt", "-c", sql)

    try:
        spent, count = 0.0, 0
        for table in COLUMNS:
            rows = rows_of(store, table)
            file = data / f"{table}.csv"
            with file.open("w", newline="") as out:
                csv.writer(out).writerows(rows)
            file.chmod(0o644)
            began = time.perf_counter()
            psql(shape(table))
            psql(f"CREATE UNLOGGED TABLE staged (LIKE {table})")
            psql(f"COPY staged FROM '{file}' CSV")
            psql(f"INSERT INTO {table} SELECT * FROM staged ON CONFLICT DO NOTHING")
            psql("DROP TABLE staged")
            if table != "sessions":
                psql(f"CREATE INDEX ON {table}(session_id)")
            spent, count = spent + time.perf_counter() - began, count + len(rows)
        psql("ANALYZE")
        found = {}
        for name, sql in SHARED.items():
            plans = [json.loads(psql(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")) for _ in range(4)]
            times = [plan[0]["Execution Time"] for plan in plans]
            found[name] = round(statistics.median(times[1:]), 1)
        size = int(psql("SELECT pg_database_size('postgres')").strip())
        return {"rows_per_second": round(count / spent), "megabytes": round(size / 1e6, 1), "questions_ms": found}
    finally:
        run(str(home / "pg_ctl"), "-D", str(data / "db"), "-m", "immediate", "stop")


def _megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 1)


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-sessions", type=int, default=150)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--beside-records", type=int, default=2_000_000)
    parser.add_argument("--json", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    result: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "python": platform.python_version()}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["load"] = load(folder, chosen.load_sessions)
        print(json.dumps(result["load"]), flush=True)
        sessions = chosen.records // PER_SESSION
        store = AnalyticsStore(folder / "big.duckdb")
        began = time.perf_counter()
        fill(store, sessions)
        print("filled", round(time.perf_counter() - began, 1), "s", flush=True)
        times = {who: questions_ms(store, owner) for who, owner in (("half_of_all", "big"), ("two_hundredths", "o1"))}
        slowest = {who: max(found.items(), key=lambda one: one[1]) for who, found in times.items()}
        result["questions"] = {
            "records": sessions * PER_SESSION,
            "sessions": sessions,
            "warm_ms": times,
            "slowest": slowest,
        }
        store.close()
        result["questions"]["megabytes"] = _megabytes(folder / "big.duckdb")
        result["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
        print(json.dumps(result["questions"], indent=1), flush=True)
        beside = AnalyticsStore(folder / "beside.duckdb")
        fill(beside, chosen.beside_records // PER_SESSION)
        own = {"questions_ms": on_duckdb(beside)}
        engines = {"duckdb": own, "sqlite": on_sqlite(beside, folder), "postgres": on_postgres(beside, folder)}
        beside.close()
        own["megabytes_with_all_columns"] = _megabytes(folder / "beside.duckdb")
        result["beside"] = {"records": chosen.beside_records, **engines}
        print(json.dumps(result["beside"], indent=1), flush=True)
    chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
