"""API and flows in processes of their own, on a real Kafka and a real Chroma server."""

import contextlib
import gc
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from api.shown import Shown
from eventlog import open_log
from eventlog.kafka_client import KafkaOptions, apply_topics
from rejoinder.cli import app
from rejoinder.engine import Engine
from rejoinder.serving import serving
from rejoinder.settings import Settings
from tests.kafka.broker import Broker
from tests.kafka.finding import need_java
from tests.support import Follower, complete, open_session, say, wait_for
from tests.vectors import vector_server

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

ALL = ("utterances", "questions", "memory", "answers")


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Chroma server."""
    with vector_server(tmp_path_factory.mktemp("vectors")) as address:
        yield address


@contextmanager
def flows(settings: Settings, *arguments: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``rejoinder flow ...`` beside the test; `more` are settings by their names in the environment."""
    given = {
        "REJOINDER_DATA_DIR": str(settings.data_dir),
        "REJOINDER_LOG": settings.log,
        "REJOINDER_VECTORS_URL": settings.vectors_url,
        "REJOINDER_EPOCH_S": "0.2",
        "REJOINDER_LOG_LEVEL": "warning",
        **more,
    }
    with (settings.data_dir / f"{arguments[0]}.out").open("a") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "rejoinder", "flow", *arguments], env={**os.environ, **given}, stdout=out, stderr=out
        )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


def members(supervisor: int) -> list[int]:
    """Give the process ids of a supervisor's members."""
    return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]


@contextmanager
def api(settings: Settings) -> Iterator[httpx.Client]:
    with (
        Engine(settings, flows=False) as engine,
        serving(engine) as served,
        httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=20, trust_env=False) as client,
    ):
        yield client


def ready(client: httpx.Client) -> bool:
    return bool(client.get("/api/health").status_code == 200)


def settings_of(kafka_url: str, vectors: str, folder: Path, **more: Any) -> Settings:
    folder.mkdir(exist_ok=True)
    given = {"data_dir": folder, "port": 0, "qa_port": 0, "epoch_s": 0.2, "log": kafka_url, "vectors_url": vectors}
    return Settings(_env_file=None, **given | more)


def test_each_flow_in_a_process_of_its_own_answers_from_what_the_api_was_given(
    kafka_url: str, vectors: str, tmp_path: Path
) -> None:
    settings = settings_of(kafka_url, vectors, tmp_path / "data")
    with (
        api(settings) as client,
        flows(settings, "utterances"),
        flows(settings, "questions", "memory", "nudges"),
        flows(settings, "answers"),
    ):
        body = {"title": "Ports", "text": "The harbour of Vigo was built in 1881. Ships dock at pier nine."}
        assert client.post("/api/knowledge", json=body).is_success
        wait_for(lambda: ready(client), 60)
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "When was the harbour of Vigo built?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1, 30)
        row = client.get(f"/api/sessions/{session}/answers").json()["answers"][0]
        assert "1881" in row["text"]
        # What one API process has shown is not shown again by another, and nothing between them is left out.
        first = Follower(client.base_url, session, until="answer")
        first.thread.join(30)
        with api(settings_of(kafka_url, vectors, tmp_path / "second")) as second:
            say(second, session, ("c8", "me", 5, 6, "Let me see.")).raise_for_status()
            say(client, session, ("c9", "ann", 7, 9, "Who built the old lighthouse there?")).raise_for_status()
            wait_for(lambda: complete(second, session) == 2, 30)
            rest = Follower(second.base_url, session, start=str(first.recorded()[-1][0]), until="answer")
            rest.thread.join(30)
            whole = Follower(client.base_url, session)
            wait_for(lambda: whole.types().count("answer") == 2, 30)

        def identities(events: list[tuple[str | None, dict[str, Any]]]) -> set[str]:
            return {event["event_id"] for _, event in events}

        assert identities(first.recorded()) & identities(rest.recorded()) == set()
        assert identities(first.recorded()) | identities(rest.recorded()) <= identities(whole.recorded())
        assert [event["text"] for _, event in rest.recorded() if event["type"] == "caption"] == [
            "Let me see.",
            "Who built the old lighthouse there?",
        ]
        # Words without a question are kept in memory once their speaker has been quiet: a timer in another process.
        say(client, session, ("c2", "ann", 20, 22, "We will meet on Friday.")).raise_for_status()
        wait_for(lambda: len(client.get(f"/api/sessions/{session}/memory").json()["said"]) == 4, 30)
        # So are hints to the user; what a command records of consent beside them holds at once.
        say(client, session, ("c3", "me", 30, 40, "word " * 60)).raise_for_status()
        hinted = Follower(client.base_url, session, until="nudge")
        wait_for(lambda: "nudge" in hinted.types(), 30)
        withdrawn = ["consents", "withdraw", session, "me", "--log", kafka_url, "--data-dir", str(settings.data_dir)]
        done = CliRunner().invoke(app, withdrawn)
        assert done.exit_code == 0, done.output
        wait_for(lambda: say(client, session, ("c4", "me", 50, 51, "Still?")).status_code == 403)


def shown_of(session_id: str) -> int:
    """Give how many records of a session this process keeps as its streams send them."""
    name = session_id.encode()
    return sum(name in one.data for one in gc.get_objects() if isinstance(one, Shown))


def test_a_session_erased_through_one_api_process_leaves_the_memory_of_another(
    kafka_url: str, vectors: str, tmp_path: Path
) -> None:
    settings = settings_of(kafka_url, vectors, tmp_path / "data")
    given = {"REJOINDER_LOG": kafka_url, "REJOINDER_VECTORS_URL": vectors, "REJOINDER_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "rejoinder", "api", "--port", "0", "--qa-port", "0", "--data-dir", tmp_path / "b"]
    other = subprocess.Popen(command, env={**os.environ, **given}, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+", other.stdout.readline())
        assert address is not None
        with api(settings) as client, httpx.Client(base_url=address.group(), timeout=20, trust_env=False) as far:
            kept, gone = open_session(client), open_session(client)
            said = [(f"c{number}", "ann", number * 5.0, number * 5.0 + 3, "Nobody is to know.") for number in range(50)]
            say(client, gone, *said).raise_for_status()
            following = Follower(client.base_url, gone, until="end")
            wait_for(lambda: following.types().count("caption") == 50)
            assert shown_of(gone)
            far.delete(f"/api/sessions/{gone}").raise_for_status()
            following.thread.join(20)
            assert following.events[-1][1]["reason"] == "the session was deleted"
            wait_for(lambda: not shown_of(gone))
            assert [one["session_id"] for one in client.get("/api/sessions").json()["sessions"]] == [kept]
    finally:
        other.terminate()
        other.wait(20)
        other.stdout.close()


def test_a_cluster_outlives_a_killed_member_and_goes_on_with_three_processes_instead_of_two(
    kafka_url: str, vectors: str, tmp_path: Path
) -> None:
    settings = settings_of(kafka_url, vectors, tmp_path / "data")
    with api(settings) as client:
        sessions = [open_session(client) for _ in range(6)]

        def ask(number: int) -> None:
            for session in sessions:
                caption = (f"c{number}", "ann", number * 20.0, number * 20.0 + 3, f"How many planets are in {number}?")
                say(client, session, caption).raise_for_status()

        def all_answered(count: int) -> bool:
            return all(complete(client, session) == count for session in sessions)

        with flows(settings, *ALL, "--processes", "2") as supervisor:
            wait_for(lambda: ready(client), 60)
            ask(1)
            wait_for(lambda: all_answered(1), 60)
            before = members(supervisor.pid)
            assert len(before) == 2
            ask(2)
            os.kill(before[1], signal.SIGKILL)
            wait_for(lambda: all_answered(2), 90)
            wait_for(lambda: len(set(members(supervisor.pid)) - set(before)) == 2, 30)
            ask(3)
        # The last questions may lie unread; three processes take them up from the snapshots of two.
        with flows(settings, *ALL, "--processes", "3") as supervisor:
            wait_for(lambda: len(members(supervisor.pid)) == 3, 30)
            wait_for(lambda: all_answered(3), 90)
            ask(4)
            wait_for(lambda: all_answered(4), 60)
        for session in sessions:
            rows = client.get(f"/api/sessions/{session}/answers").json()["answers"]
            assert [row["question"] for row in rows] == [f"How many planets are in {n}?" for n in (1, 2, 3, 4)]


def test_what_cannot_work_in_several_processes_is_refused(tmp_path: Path, kafka_address: str) -> None:
    cli = CliRunner()
    cases = [
        (["flow", "utterances", "--process-id", "0"], "needs a log that processes share"),
        (["flow", "utterances", "--process-id", "0", "--log", f"kafka://{kafka_address}"], "REJOINDER_VECTORS_URL"),
        (["flow", "nonsense", "--process-id", "0"], "no flow nonsense; there are utterances"),
        (["flow", "utterances", "--process-id", "3", "--addresses", "a:1;b:2"], "member 3 has no address among 2"),
        (["api"], "needs a log that processes share"),
    ]
    for arguments, reason in cases:
        outcome = cli.invoke(app, [*arguments, "--data-dir", str(tmp_path)])
        assert outcome.exit_code == 1
        assert reason in outcome.output


def test_a_broker_that_is_away_for_a_while_does_not_cost_the_flows_a_restart(vectors: str, tmp_path: Path) -> None:
    need_java()
    broker = Broker(tmp_path / "broker").start()
    try:
        apply_topics(KafkaOptions(broker.address, partitions=2))
        settings = settings_of(f"kafka://{broker.address}", vectors, tmp_path / "data")
        with api(settings) as client, flows(settings, *ALL) as child:
            wait_for(lambda: ready(client), 60)
            session = open_session(client)
            stopped = threading.Event()

            def talk() -> None:
                """Keep records on their way through the flows while the broker goes."""
                for number in itertools.count():
                    if stopped.is_set():
                        return
                    with contextlib.suppress(httpx.HTTPError):
                        say(client, session, (f"t{number}", "me", number, number + 0.5, f"Line {number}."))

            talking = threading.Thread(target=talk, daemon=True)
            talking.start()
            wait_for(lambda: len(client.get(f"/api/sessions/{session}/captions").json()["captions"]) > 20, 60)
            broker.kill()
            opening = ThreadPoolExecutor(1).submit(open_log, settings.log_url, follow=(), wait_s=60)
            # Longer than an append of the API waits, and than one try to open the log takes.
            assert not stopped.wait(12)
            broker.start()
            opening.result(60).close()
            stopped.set()
            talking.join(30)
            asked = ("q1", "ann", 9_000, 9_003, "How many planets are there?")
            wait_for(lambda: say(client, session, asked).status_code == 202, 60)
            wait_for(lambda: complete(client, session) == 1, 60)
            assert child.poll() is None
        assert "flows_stopped_by_fault" not in (settings.data_dir / f"{ALL[0]}.out").read_text()
    finally:
        broker.stop()
