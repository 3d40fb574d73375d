"""The analytics inside a running engine, in a process of their own, and by command."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from eventlog.sqlite import SqliteLog
from operators.ports import ModelPiece
from rejoinder.accounts.keys import KeyStore
from rejoinder.analytics.insights import Finding, reworded
from rejoinder.analytics.intervals import trend_of
from rejoinder.analytics.owner import store_path
from rejoinder.analytics.rebuild import rebuild
from rejoinder.analytics.role import AnalyticsRole
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.tables import TABLES
from rejoinder.cli import app
from rejoinder.serving import serving
from rejoinder.settings import Settings
from schemas.errors import ModelFailed
from tests.rejoinder.analytics.facts import conversation
from tests.support import complete, open_session, running, say, wait_for

ROOT = Path(__file__).parents[3]


def rows(client: httpx.Client, sql: str) -> list[list[Any]]:
    reply = client.post("/api/analytics/sql", json={"sql": sql})
    assert reply.status_code == 200, reply.text
    found: list[list[Any]] = reply.json()["rows"]
    return found


def ready(client: httpx.Client) -> None:
    wait_for(lambda: client.get("/api/analytics/status").json()["alive"])


class _Doors:
    """What `serving` wants of an engine, for the role alone: no flow adds to what was stored."""

    def __init__(self, role: AnalyticsRole) -> None:
        self._role = role

    def doors(self) -> Any:
        return self._role.doors(0)


@contextmanager
def analytics_only(settings: Settings, *, key_required: bool = False) -> Iterator[httpx.Client]:
    with (
        AnalyticsRole(settings, key_required=key_required) as role,
        serving(_Doors(role)) as served,  # type: ignore[arg-type]
        httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=20, trust_env=False) as client,
    ):
        yield client


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["analytics", *arguments], env={"COLUMNS": "300"})


def fill(folder: Path, count: int, owner: str = "local") -> None:
    """Store sessions of the last days."""
    log = SqliteLog(folder / "log.sqlite3")
    began = datetime.now(UTC) - timedelta(days=count + 1)
    for number in range(count):
        log.append(conversation(f"{owner}-{number}", owner, began + timedelta(days=number)).new())
    log.close()


def test_what_is_said_live_is_in_the_analytics_within_seconds(settings: Settings) -> None:
    with running(settings) as client:
        ready(client)
        session = open_session(client, title="Live", kind="interview")
        say(client, session, ("c1", "ann", 0, 3, "How many planets are there?"), ("c2", "me", 4, 9, "Eight of them."))
        wait_for(lambda: complete(client, session) == 1)
        wait_for(lambda: rows(client, "SELECT count(*) FROM answers WHERE outcome = 'answered'") == [[1]])
        wait_for(lambda: rows(client, "SELECT count(*) FROM utterances") == [[2]])
        told = client.get(f"/api/analytics/sessions/{session}").json()
        assert told["summary"]["questions"] == 1
        assert [one["speaker_id"] for one in told["speakers"]] == ["me", "ann"]
        assert told["questions"][0]["outcome"] == "answered"
        board = client.get("/api/analytics/dashboard").json()
        assert [one["sessions"] for one in board["sessions"]] == [1]
        assert board["latency_total"][0]["first_words_n"] == 1
        client.delete(f"/api/sessions/{session}").raise_for_status()
        wait_for(lambda: rows(client, "SELECT count(*) FROM utterances") == [[0]])
        assert client.get(f"/api/analytics/sessions/{session}").status_code == 404


@pytest.fixture(scope="module")
def two_owners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, dict[str, str]]]]:
    folder = tmp_path_factory.mktemp("owners")
    fill(folder, 12, "ann")
    fill(folder, 3, "bob")
    keys = KeyStore(folder / "accounts.sqlite3", key_required=True)
    heads = {
        owner: {"Authorization": f"Bearer {keys.create(owner, owner)[1]}"} for owner in ("ann", "bob", "data-team")
    }
    keys.close()
    settings = Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, analytics_readers=["data-team"])
    with analytics_only(settings, key_required=True) as client:
        wait_for(lambda: client.get("/api/analytics/status", headers=heads["ann"]).json()["alive"])
        asked = {"sql": "SELECT count(*) FROM sessions"}
        data = heads["data-team"]
        wait_for(lambda: client.post("/api/analytics/sql", json=asked, headers=data).json().get("rows") == [[15]])
        yield client, heads


def test_everybody_sees_their_own_sessions_only(two_owners: tuple[httpx.Client, dict[str, dict[str, str]]]) -> None:
    client, heads = two_owners
    for owner, count in (("ann", 12), ("bob", 3), ("data-team", 0)):
        board = client.get("/api/analytics/dashboard", headers=heads[owner]).json()
        assert sum(one["sessions"] for one in board["sessions"]) == count
        listed = client.get("/api/analytics/sessions", headers=heads[owner]).json()["sessions"]
        assert {one["owner_id"] for one in listed} == ({owner} if count else set())
        assert sum(one["n"] for one in board["talk"]) == count
        trends = client.get("/api/analytics/performance-trends", headers=heads[owner]).json()
        assert len(trends["points"]) == count
        patterns = client.get("/api/analytics/learning-patterns", headers=heads[owner]).json()
        assert sum(one["questions"] for one in patterns["question_kinds"]) == 2 * count
    assert client.get("/api/analytics/sessions/ann-1", headers=heads["ann"]).status_code == 200
    assert client.get("/api/analytics/sessions/ann-1", headers=heads["bob"]).status_code == 404
    for method, path in (("POST", "sql"), ("GET", "views"), ("GET", "views/sessions.parquet"), ("GET", "quality")):
        body = {"sql": "SELECT 1"} if method == "POST" else None
        for owner, status in (("ann", 403), ("data-team", 200)):
            reply = client.request(method, f"/api/analytics/{path}", json=body, headers=heads[owner])
            assert reply.status_code == status, path
        assert client.request(method, f"/api/analytics/{path}", json=body).status_code == 401


def test_ranges_kinds_groups_and_pages(two_owners: tuple[httpx.Client, dict[str, dict[str, str]]]) -> None:
    client, heads = two_owners
    get = lambda path, **query: client.get(f"/api/analytics/{path}", params=query, headers=heads["ann"])  # noqa: E731
    pages, offset = [], 0
    while offset is not None:
        page = get("sessions", limit=5, offset=offset).json()
        pages.append([one["session_id"] for one in page["sessions"]])
        offset = page["next_offset"]
    assert [len(page) for page in pages] == [5, 5, 2]
    assert [one for page in pages for one in page] == [f"ann-{number}" for number in reversed(range(12))]
    assert get("sessions", kind="practice").json()["sessions"] == []
    since = (datetime.now(UTC) - timedelta(days=4, hours=1)).isoformat()
    assert len(get("sessions", since=since).json()["sessions"]) == 3
    by_day = get("dashboard").json()["sessions"]
    by_month = get("dashboard", group="month").json()["sessions"]
    assert (len(by_day), sum(one["sessions"] for one in by_month)) == (12, 12)
    assert len(by_month) <= 2
    assert get("dashboard", since=since, until="2020-01-01T00:00:00Z").status_code == 422
    assert get("dashboard", since="yesterday").status_code == 422
    assert get("dashboard", since="2020-01-01T00:00:00").status_code == 422
    assert get("sessions", limit=0).status_code == 422


def test_insights_name_query_n_and_interval_and_the_query_gives_the_number(
    two_owners: tuple[httpx.Client, dict[str, dict[str, str]]],
) -> None:
    client, heads = two_owners
    told = client.post("/api/analytics/generate-insights", headers=heads["ann"]).json()
    found = {one["name"]: one for one in told["insights"]}
    assert {"answered", "waiting", "talk_interview", "long_turns"} <= found.keys()
    # Of each session's three questions one was taken back, one answered, one timed out.
    answered = found["answered"]
    assert (answered["n"], answered["value"], answered["worded_by"]) == (24, 0.5, "template")
    assert answered["low"] < 0.5 < answered["high"]
    assert "12 of 24" in answered["text"]
    for one in told["insights"]:
        assert one["query"].startswith("WITH mine AS")
    few = client.post("/api/analytics/generate-insights", headers=heads["data-team"]).json()
    assert few["insights"] == []


def test_a_trend_says_nothing_where_nothing_can_be_said() -> None:
    assert trend_of([0, 1, 2, 3], [1, 2, 3, 4]).verdict == "too few sessions"
    assert trend_of([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]).verdict == "too few sessions"
    rising = trend_of([0, 5, 10, 15, 20, 25], [1, 2, 3, 4, 5, 6])
    assert rising.verdict == "rising"
    assert rising.per_week == pytest.approx(1.4)
    assert trend_of([0, 5, 10, 15, 20, 25], [3, 1, 4, 1, 5, 2]).verdict == "no clear trend"


def test_eighty_percent_intervals_hold_the_true_slope_of_simulated_learners_about_as_often() -> None:
    import numpy as np

    chance, held, learners = np.random.default_rng(11), 0, 600
    for learner in range(learners):
        n = 6 + learner % 15
        days = np.sort(chance.uniform(0, 60, n))
        days[-1] = days[0] + 60
        values = 50 + 0.1 * days + chance.normal(0, 5, n)
        found = trend_of(list(days), list(values))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.7 <= found.high
    assert 0.75 <= held / learners <= 0.85


def test_others_ask_while_the_flow_writes_and_meet_neither_locks_nor_torn_answers(settings: Settings) -> None:
    settings = settings.model_copy(update={"llm": "off"})
    with running(settings) as client:
        ready(client)
        stop, faults, counts = threading.Event(), [], []

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, trust_env=False) as own:
                while not stop.is_set():
                    reply = own.post(
                        "/api/analytics/sql",
                        json={"sql": "SELECT count(*), count(DISTINCT utterance_id) FROM utterances"},
                    )
                    if reply.status_code != 200:
                        faults.append(reply.text)
                    else:
                        counts.append(tuple(reply.json()["rows"][0]))

        asking = threading.Thread(target=ask)
        asking.start()
        session = open_session(client)
        for number in range(20):
            say(client, session, (f"c{number}", "ann" if number % 2 else "me", number * 5, number * 5 + 3, "So it is."))
            outcome = command("sql", "SELECT count(*) AS n FROM captions", "--format", "json", "--data-dir",
                              str(settings.data_dir))  # fmt: skip
            assert outcome.exit_code == 0, outcome.output
        wait_for(lambda: rows(client, "SELECT count(*) FROM captions") == [[20]])
        wait_for(lambda: rows(client, "SELECT count(*) FROM utterances") == [[20]])
        stop.set()
        asking.join(20)
    assert faults == []
    assert all(count == distinct for count, distinct in counts)
    assert counts == sorted(counts)


def test_a_view_is_fetched_as_parquet_and_read_by_a_duckdb_of_ones_own(settings: Settings, tmp_path: Path) -> None:
    fill(settings.data_dir, 4)
    with analytics_only(settings) as client:
        ready(client)
        wait_for(lambda: rows(client, "SELECT count(*) FROM session_summary WHERE answered = 1") == [[4]])
        file = tmp_path / "own.parquet"
        file.write_bytes(client.get("/api/analytics/views/session_summary.parquet").content)
        done = command("export", "--parquet", str(tmp_path / "all"), "--data-dir", str(settings.data_dir))
        assert done.exit_code == 0, done.output
        assert client.get("/api/analytics/views/nothing.parquet").status_code == 422
    code = "import duckdb, sys\nfor f in sys.argv[1:]:\n"
    code += "    print(duckdb.sql(f\"SELECT sum(words) FROM '{f}'\").fetchall()[0][0])"
    files = [str(file), str(tmp_path / "all" / "session_summary.parquet")]
    own = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, timeout=60, check=False)
    assert own.stdout.split() == ["40", "40"], own.stderr
    assert list((settings.data_dir / "analytics" / "exports").iterdir()) == []


def test_commands_work_with_and_without_an_owner(settings: Settings) -> None:
    data = ("--data-dir", str(settings.data_dir))
    assert command("sql", "SELECT 1", *data).exit_code == 1
    fill(settings.data_dir, 2)
    done = command("run", *data)
    assert done.exit_code == 0, done.output
    assert "ok   unique_sessions" in done.output

    def works() -> None:
        asked = command("sql", "SELECT title, count(*) AS n FROM sessions GROUP BY 1", "--format", "csv", *data)
        assert asked.output.split() == ["title,n", "First,2"]
        refused = command("sql", "DELETE FROM facts.sessions", *data)
        assert refused.exit_code == 1
        late = command("sql", "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range*b.range=7",
                       "--timeout", "0.2", *data)  # fmt: skip
        assert late.exit_code == 1
        assert "stopped" in late.output
        assert command("check", *data).exit_code == 0

    works()
    with running(settings) as client:
        ready(client)
        works()
        mode = (settings.data_dir / "analytics" / "owner.json").stat().st_mode
        assert mode & 0o077 == 0
    works()


def test_a_rebuild_from_the_topics_gives_the_same_tables_to_the_byte(settings: Settings) -> None:
    with running(settings) as client:
        ready(client)
        for number in range(3):
            session = open_session(client, title=f"Session {number}")
            say(client, session, ("c1", "ann", 0, 3, "How many planets are there?"), ("c2", "me", 4, 6, "Eight."))
            client.post(f"/api/sessions/{session}/end").raise_for_status()
        wait_for(lambda: rows(client, "SELECT count(*) FROM session_summary WHERE answered = 1") == [[3]])
        wait_for(lambda: rows(client, "SELECT count(*) FROM utterances") == [[6]])
    before = content(settings)
    log = SqliteLog(settings.data_dir / "log.sqlite3")
    told = rebuild(settings, log)
    log.close()
    assert all(one.same for one in told)
    after = content(settings)
    assert after == before
    assert sum(len(one) for one in after.values()) > 30
    with running(settings) as client:  # and the engine goes on from it
        ready(client)
        open_session(client, title="After")
        wait_for(lambda: rows(client, "SELECT count(*) FROM sessions") == [[4]])


def content(settings: Settings) -> dict[str, bytes]:
    store = AnalyticsStore(store_path(settings.data_dir), read_only=True)
    found = {name: repr(store.rows(f"SELECT * FROM facts.{name} ORDER BY row_id")).encode() for name in TABLES}
    store.close()
    return found


def test_a_broken_analytics_file_does_not_stop_the_engine(settings: Settings) -> None:
    path = store_path(settings.data_dir)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database" * 1000)
    with running(settings) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "How many planets are there?"))
        wait_for(lambda: complete(client, session) == 1)
        assert client.get("/api/health").status_code == 200
        wait_for(lambda: "cannot be opened" in client.get("/api/analytics/status").json()["detail"])
        assert client.get("/api/analytics/dashboard").status_code == 503


def test_the_role_serves_the_analytics_of_an_engine_that_does_not(settings: Settings) -> None:
    settings = settings.model_copy(update={"analytics": False})
    fill(settings.data_dir, 2)
    with running(settings) as client:
        assert client.get("/api/analytics/dashboard").status_code == 404
        role = subprocess.Popen(
            [sys.executable, "-m", "rejoinder", "analytics", "serve", "--port", "0", "--data-dir", settings.data_dir],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "REJOINDER_LOG_LEVEL": "error"},
        )  # fmt: skip
        try:
            assert role.stdout is not None
            address = role.stdout.readline().split()[-1].removesuffix("/analytics.html")
            with httpx.Client(base_url=address, trust_env=False) as own:
                wait_for(lambda: own.get("/api/health").status_code == 200)
                wait_for(lambda: rows(own, "SELECT count(*) FROM sessions") == [[2]])
                open_session(client, title="Third")
                wait_for(lambda: rows(own, "SELECT count(*) FROM sessions") == [[3]])
        finally:
            role.terminate()
            assert role.wait(20) == 0
            role.stdout.close()  # type: ignore[union-attr]


def test_a_finished_run_of_replay_is_loaded_beside_the_live_one(settings: Settings) -> None:
    fill(settings.data_dir, 1)
    told = CliRunner().invoke(
        app, ["replay", "--session", "local-0", "--name", "again", "--data-dir", str(settings.data_dir)]
    )
    assert told.exit_code == 0, told.output
    data = ("--data-dir", str(settings.data_dir))
    assert "1 runs of replay" in command("run", *data).output
    asked = command("sql", "SELECT run_id, count(*) AS n FROM sessions GROUP BY 1 ORDER BY 1", "--format", "csv", *data)
    assert asked.output.split() == ["run_id,n", "again,1", "live,1"]
    assert CliRunner().invoke(app, ["runs", "--remove", "again", *data]).exit_code == 0
    command("run", *data)
    left = command("sql", "SELECT DISTINCT run_id FROM sessions", "--format", "json", *data)
    assert json.loads(left.output) == [{"run_id": "live"}]


def test_the_notebook_runs_as_it_is_written(settings: Settings) -> None:
    fill(settings.data_dir, 3)
    cells = json.loads((ROOT / "docs" / "analytics.ipynb").read_text())["cells"]
    with analytics_only(settings) as client:
        ready(client)
        wait_for(lambda: rows(client, "SELECT count(*) FROM session_summary WHERE answered = 1") == [[3]])
        code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
        code = code.replace("http://127.0.0.1:8080", str(client.base_url).rstrip("/"))
        code += "print(sessions, waits); own.close(); client.close()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[('interview', 3, 0.6666666666666666)] [['m', 'model', 3, 300.0]]"


class _Writer:
    """A model that rewords as it is told to, for want of a server here; the port is the product's."""

    name, fingerprint = "wording", "0" * 16

    def __init__(self, reword: Any) -> None:
        self._reword = reword

    async def generate(self, messages: Any) -> Any:
        made = self._reword(messages[-1].text)
        if isinstance(made, Exception):
            raise made
        yield ModelPiece(made)
        yield ModelPiece("", "complete")


@pytest.mark.parametrize(
    ("reword", "kept"),
    [
        (lambda text: "Put differently: " + text, True),
        (lambda text: text.replace("12", "13"), False),
        (lambda text: text + " That is the best of 100.", False),
        (lambda text: "You do very well.", False),
        (lambda text: "", False),
        (lambda text: text * 50, False),
        (lambda text: ModelFailed("gone"), False),
    ],
)
async def test_a_model_may_reword_a_finding_but_not_change_its_numbers(reword: Any, kept: bool) -> None:
    one = Finding("answered", "12 of 24 questions got an answer (50 %).", 24, 0.5, 0.3, 0.7, "Wilson", "WITH mine AS")
    (found,) = await reworded([one], _Writer(reword))
    assert (found.text != one.text) == kept
    assert found.worded_by == ("wording" if kept else "template")
    assert (found.n, found.value, found.query) == (one.n, one.value, one.query)
