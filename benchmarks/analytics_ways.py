"""Three ways to let others ask while the flow writes: DuckLake, partitioned Parquet, a served read-only endpoint.

``uv run python -m benchmarks.analytics_ways`` gives each way the same rows: a stored past, then a batch a second of new
rows and of corrections, while another process asks five times a second. It counts what it met (faults, counts
that went back, rows seen twice), how fresh it was, how long questions and writes took, and what lies on the disk.
DuckLake's extension exists for an older DuckDB than the one chosen, so that way gets an environment of its own with the
wheels. The result is ``benchmarks/results/analytics_ways.json``.
"""

import argparse
import contextlib
import http.server
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "analytics_ways.json"
LAKE = ("duckdb==1.5.5", "duckdb-extension-ducklake==1.5.5", "duckdb-extension-sqlite-scanner==1.5.5")
WAYS = ("ducklake", "parquet", "served")
BATCH, CORRECTED, COMPACT_EVERY = 1_000, 300, 10
SHAPE = "fact_id BIGINT, session_id VARCHAR, revision BIGINT, made_at DOUBLE, words BIGINT, end_s DOUBLE"
ASKED = "SELECT count(*), count(DISTINCT fact_id), max(made_at), avg(words), median(end_s) FROM {}"


def batch(first: int, count: int, corrected: int, at_s: float) -> str:
    """Give a SELECT of rows: new ones from `first` on, and higher revisions of the ones just before."""
    kept = "('s' || (i // 300)) AS session_id"
    new = f"SELECT i AS fact_id, {kept}, 0 AS revision, {at_s}::DOUBLE AS made_at, i % 17 AS words, i * 0.5 AS end_s"
    again = new.replace("0 AS revision", "1 AS revision")
    lower = max(0, first - corrected)
    return (
        f"{new} FROM range({first}, {first + count - corrected}) t(i)"
        f" UNION ALL {again} FROM range({lower}, {lower + corrected}) t(i)"
    )


def extensions(connection: Any) -> None:
    import importlib.util

    for name in ("sqlite_scanner", "ducklake"):
        spec = importlib.util.find_spec(f"duckdb_extension_{name}")
        if spec is None or spec.submodule_search_locations is None:
            raise SystemExit(f"the wheel of {name} is not installed")
        found = next(Path(spec.submodule_search_locations[0]).rglob("*.duckdb_extension"))
        connection.execute(f"LOAD '{found}'")


class Lake:
    """DuckLake: a catalog in SQLite, data in Parquet."""

    def __init__(self, folder: Path, *, writes: bool) -> None:
        import duckdb

        self.own = duckdb.connect()
        extensions(self.own)
        more = "" if writes else ", READ_ONLY"
        self.own.execute(f"ATTACH 'ducklake:sqlite:{folder}/catalog.sqlite' AS l (DATA_PATH '{folder}/data'{more})")
        self.compactions = 0
        if writes:
            self.own.execute(f"CREATE TABLE IF NOT EXISTS l.facts({SHAPE})")

    def write(self, rows: str) -> None:
        self.own.execute(
            f"MERGE INTO l.facts t USING ({rows}) n ON t.fact_id = n.fact_id"
            " WHEN MATCHED AND n.revision > t.revision THEN UPDATE SET revision = n.revision, made_at = n.made_at,"
            " words = n.words, end_s = n.end_s WHEN NOT MATCHED THEN INSERT"
        )

    def compact(self) -> None:
        self.own.execute("CALL ducklake_flush_inlined_data('l')")
        self.own.execute("CALL ducklake_rewrite_data_files('l', delete_threshold => 0.1)")
        self.own.execute("CALL ducklake_merge_adjacent_files('l')")
        # Readers may still read what an older snapshot names.
        self.own.execute("CALL ducklake_expire_snapshots('l', older_than => now() - INTERVAL 10 SECOND)")
        self.own.execute("CALL ducklake_cleanup_old_files('l', older_than => now() - INTERVAL 10 SECOND)")

    def ask(self) -> tuple[Any, ...]:
        return self.own.execute(ASKED.format("l.facts")).fetchone()  # type: ignore[no-any-return]


class Parquet:
    """A file per batch, merged now and then; the reader takes the last revision of each row."""

    def __init__(self, folder: Path, *, writes: bool) -> None:
        import duckdb

        self.own, self.folder, self.number = duckdb.connect(), folder / "data", 0
        self.folder.mkdir(exist_ok=True)

    def _file(self, rows: str, name: str) -> None:
        fresh = self.folder.parent / f"{name}.new"
        self.own.execute(f"COPY ({rows}) TO '{fresh}' (FORMAT parquet)")
        fresh.rename(self.folder / f"{name}.parquet")

    def write(self, rows: str) -> None:
        self.number += 1
        self._file(rows, f"b{self.number:06}")

    def compact(self) -> None:
        small = sorted(self.folder.glob("b*.parquet"))
        self._file(f"SELECT * FROM read_parquet({[str(file) for file in small]})", f"c{self.number:06}")
        for file in small:
            file.unlink()

    def ask(self) -> tuple[Any, ...]:
        newest = f"(SELECT * FROM read_parquet('{self.folder}/*.parquet') QUALIFY"
        newest += " row_number() OVER (PARTITION BY fact_id ORDER BY revision DESC) = 1)"
        return self.own.execute(ASKED.format(newest)).fetchone()  # type: ignore[return-value]


class Served:
    """One process owns a DuckDB file and answers questions over HTTP, a cursor for each."""

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self.address = folder / "address"
        if not writes:
            return
        import duckdb

        self.own = duckdb.connect(str(folder / "facts.duckdb"))
        self.own.execute(f"CREATE TABLE facts({SHAPE}, PRIMARY KEY (fact_id))")
        own = self.own

        class Door(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sql = self.rfile.read(int(self.headers["content-length"])).decode()
                cursor = own.cursor()
                body = json.dumps(cursor.execute(sql).fetchone()).encode()
                cursor.close()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        door = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
        threading.Thread(target=door.serve_forever, daemon=True).start()
        self.address.write_text(f"http://127.0.0.1:{door.server_port}/")

    def write(self, rows: str) -> None:
        self.own.execute(
            f"INSERT INTO facts {rows} ON CONFLICT DO UPDATE SET revision = excluded.revision,"
            " made_at = excluded.made_at, words = excluded.words, end_s = excluded.end_s"
            " WHERE excluded.revision > facts.revision"
        )

    def compact(self) -> None:
        self.own.execute("CHECKPOINT")

    def ask(self) -> tuple[Any, ...]:
        asked = urllib.request.Request(self.address.read_text(), ASKED.format("facts").encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=20) as reply:
            return tuple(json.load(reply))


MAKERS: dict[str, Callable[..., Any]] = {"ducklake": Lake, "parquet": Parquet, "served": Served}


def quantiles(values: list[float]) -> dict[str, float]:
    """Give p50, p95 and the largest."""
    ordered = sorted(values) or [0.0]
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2)
        for name, part in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
    }


def writer(way: str, folder: Path, past: int, seconds: int) -> dict[str, Any]:
    """Store the past, say so, then write a batch a second."""
    own = MAKERS[way](folder, writes=True)
    own.write(batch(0, past, 0, time.time()))
    own.compact()
    (folder / "ready").touch()
    writes, compactions, failed, first = [], [], 0, past
    start = time.time()
    for number in range(seconds):
        time.sleep(max(0.0, start + number - time.time()))
        began = time.perf_counter()
        rows = batch(first, BATCH, CORRECTED, time.time())
        while True:
            try:
                own.write(rows)
                break
            except Exception:
                failed += 1
                time.sleep(0.02)
        first += BATCH - CORRECTED
        writes.append((time.perf_counter() - began) * 1000)
        if number % COMPACT_EVERY == COMPACT_EVERY - 1:
            began = time.perf_counter()
            try:
                own.compact()
            except Exception:
                failed += 1
            compactions.append((time.perf_counter() - began) * 1000)
    (folder / "done").touch()
    time.sleep(1.5)  # the reader's last question is answered
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    files = sum(1 for file in folder.rglob("*") if file.is_file())
    return {
        "write_ms": quantiles(writes), "compact_ms": quantiles(compactions), "writes_refused": failed,
        "megabytes": round(size / 1e6, 1), "files": files, "rows": first,
    }  # fmt: skip


def reader(way: str, folder: Path) -> dict[str, Any]:
    """Ask until the writer is done."""
    while not (folder / "ready").exists():
        time.sleep(0.05)
    own = None
    asked, fresh, faults, torn, last = [], [], {}, 0, 0
    while not (folder / "done").exists():
        began = time.perf_counter()
        try:
            own = own or MAKERS[way](folder, writes=False)
            count, distinct, newest, _, _ = own.ask()
        except Exception as error:
            kind = f"{type(error).__name__}: {str(error).splitlines()[0][:70]}"
            faults[kind] = faults.get(kind, 0) + 1
        else:
            asked.append((time.perf_counter() - began) * 1000)
            fresh.append(time.time() - newest)
            torn += count != distinct or count < last
            last = count
        time.sleep(0.2)
    return {"questions": len(asked), "faults": sum(faults.values()), "kinds_of_fault": faults, "torn_answers": torn,
            "question_ms": quantiles(asked), "age_s": quantiles(fresh)}  # fmt: skip


def run_way(way: str, python: str, past: int, seconds: int) -> dict[str, Any]:
    """Run writer and reader of one way as processes."""
    with tempfile.TemporaryDirectory() as folder:
        shared = [python, __file__, "--way", way, "--folder", folder, "--past", str(past), "--seconds", str(seconds)]
        started = [
            subprocess.Popen([*shared, "--part", part], stdout=subprocess.PIPE, text=True)
            for part in ("writer", "reader")
        ]
        outs = [one.communicate(timeout=seconds * 4 + 120)[0] for one in started]
        return json.loads(outs[0]) | json.loads(outs[1])  # type: ignore[no-any-return]


def main() -> None:
    """Run all ways and keep what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--part")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--past", type=int, default=500_000)
    parser.add_argument("--seconds", type=int, default=30)
    chosen = parser.parse_args()
    if chosen.part:
        made = writer(chosen.way, chosen.folder, chosen.past, chosen.seconds) if chosen.part == "writer" else reader(
            chosen.way, chosen.folder)  # fmt: skip
        print(json.dumps(made))
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place, contextlib.suppress(KeyboardInterrupt):
        python = f"{place}/lake/bin/python"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run(["uv", "venv", "-q", "--python", version, f"{place}/lake"], check=True, timeout=60)
        # In its own folder: the versions pinned here are for the engine.
        subprocess.run(["uv", "pip", "install", "-q", "--python", python, *LAKE], check=True, timeout=200, cwd=place)
        for way in (chosen.way,) if chosen.way else WAYS:
            found[way] = run_way(way, python if way == "ducklake" else sys.executable, chosen.past, chosen.seconds)
            print(way, json.dumps(found[way]), flush=True)
    if chosen.way is None:
        machine = {"cores": os.cpu_count(), "python": platform.python_version()}
        plan = {"past_rows": chosen.past, "seconds": chosen.seconds, "rows_a_second": BATCH, "corrected": CORRECTED}
        RESULTS.write_text(json.dumps({"machine": machine, "plan": plan, "ways": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
