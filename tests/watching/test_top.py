"""The terminal view of a running engine, and the doctor beside it."""

import time

import pytest
from rich.console import Console
from typer.testing import CliRunner

from eventlog import open_log
from eventlog.base import NewRecord
from rejoinder.cli import app
from rejoinder.doctor import Check, checks
from rejoinder.settings import Settings
from rejoinder.top import Watcher, quantile, shown
from tests.llm_server import serving_words
from tests.support import complete, open_session, running, say, wait_for

INF = float("inf")


@pytest.mark.parametrize(
    ("q", "before", "after", "expected"),
    [
        (0.5, [], [(1.0, 0), (INF, 0)], None),
        (0.5, [(1.0, 4), (INF, 4)], [(1.0, 4), (INF, 4)], None),
        (0.5, [], [(1.0, 4), (INF, 4)], 0.5),
        (0.95, [(1.0, 4), (2.0, 4), (INF, 4)], [(1.0, 4), (2.0, 14), (INF, 14)], 1.95),
        (0.99, [], [(1.0, 1), (INF, 100)], 1.0),
    ],
)
def test_a_quantile_is_that_of_what_came_between_two_looks(
    q: float, before: list[tuple[float, float]], after: list[tuple[float, float]], expected: float | None
) -> None:
    assert quantile(q, before, after) == (None if expected is None else pytest.approx(expected))


def test_top_shows_what_the_engine_did_between_two_looks(settings: Settings) -> None:
    with running(settings) as client:
        watcher = Watcher([str(client.base_url)])
        before = watcher.sample()
        session = open_session(client, title="Redundancies")
        say(client, session, ("c1", "ann", 0, 3, "How many planets are there?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1)
        after = watcher.sample()
        after.at_s = before.at_s + 2.0
        console = Console(width=160, record=True)
        console.print(shown(before, after))
        watcher.close()
        text = console.export_text()
        view = CliRunner().invoke(app, ["top", "--url", str(client.base_url), "--once", "--every", "0.2"])
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        rows.setdefault(line.partition(" ")[0], line.split())
    assert "captions 0.5/s" in text
    assert rows["utterances"][1] == "1.0", "one meeting record and one caption in two seconds"
    assert rows["answers"][3] == "0"
    assert "answers 0.50/s" in text
    assert session[:12] in text
    assert "Redundancies" not in text
    assert view.exit_code == 0, view.output
    assert "ready" in view.output


def test_top_says_when_nobody_answers() -> None:
    view = CliRunner().invoke(app, ["top", "--url", "http://127.0.0.1:9", "--once", "--every", "0.2"])
    assert view.exit_code == 1
    assert "no answer" in view.output
    assert "rejoinder up" in view.output


def found(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in checks(settings)}


def test_the_doctor_looks_at_everything_that_is_needed(settings: Settings) -> None:
    with serving_words("hello") as llm, running(settings) as client:
        port = int(client.base_url.port or 0)
        chosen = settings.model_copy(update={"port": port, "llm_base_url": llm, "llm_model": "m"})
        seen = found(chosen)
    for name in ("python", "versions", "disk", "log", "topics", "clock", "gpu", "text vectors", "speech"):
        assert seen[name].state == "ok", seen[name]
    assert "bytewax" in seen["versions"].detail
    assert seen[f"port {port}"] == Check(f"port {port}", "ok", "a running Rejoinder answers there")
    assert "answers" in seen["language model"].detail


def test_the_doctor_sees_a_clock_that_lies_behind_the_log(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    log = open_log(settings.log_url)
    log.append([NewRecord("captions", "s", "e", b"{}", time.time() + 3600)])
    log.close()
    check = found(settings)["clock"]
    assert check.state == "fail"
    assert "behind the newest record" in check.detail


def test_the_doctor_sees_a_server_with_another_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_words("hello") as llm:
        chosen = settings.model_copy(update={"llm_base_url": llm, "llm_model": "m"})
        now = time.time()
        monkeypatch.setattr("rejoinder.doctor.time.time", lambda: now - 600)
        check = found(chosen)["clock"]
    assert check.state == "warn"
    assert "model server's" in check.detail


@pytest.mark.kafka
def test_the_doctor_names_topics_that_are_missing(settings: Settings, kafka_address: str, kafka_url: str) -> None:
    bare = found(settings.model_copy(update={"log": f"kafka://{kafka_address}/nobody"}))["topics"]
    assert bare.state == "fail"
    assert "topics apply" in bare.detail
    made = settings.model_copy(update={"log": kafka_url, "kafka_partitions": 4})
    assert found(made)["topics"].state == "ok"
    other = made.model_copy(update={"kafka_partitions": 2})
    assert found(other)["topics"].state == "warn"
