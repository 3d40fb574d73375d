"""Replays, comparisons, receipts, bundles: through the commands and the API, on real logs."""

import gzip
import json
import threading
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from eventlog import open_log
from eventlog.sqlite import SqliteLog
from rejoinder.cli import app
from rejoinder.replay.inputs import everything_of
from rejoinder.replay.runs import Runs
from rejoinder.settings import Settings
from schemas.topics import TOPICS
from tests.llm_server import serving_words
from tests.support import Follower, open_session, running, say, wait_for

CLI = CliRunner()
ASKED = ("When was the harbour of Vigo built?", "How many ships dock there each year?")
VIGO = {"title": "Vigo", "text": "The harbour of Vigo was built in 1881. About 4,200 ships dock there each year."}


def complete(client: httpx.Client, session: str) -> list[dict[str, object]]:
    rows = client.get(f"/api/sessions/{session}/answers").json()["answers"]
    return [row for row in rows if row["status"] == "complete"]


def hold(client: httpx.Client) -> str:
    """Hold a short meeting with two questions; gives its session."""
    session = open_session(client, kind="interview")
    for number, text in enumerate(ASKED):
        say(client, session, (f"c{number}", "ann", number * 10.0, number * 10.0 + 3, text)).raise_for_status()
        wait_for(lambda n=number: len(complete(client, session)) == n + 1)
        say(
            client, session, (f"r{number}", "me", number * 10.0 + 5, number * 10.0 + 6, "Let me think.")
        ).raise_for_status()
    client.post(f"/api/sessions/{session}/end").raise_for_status()
    return session


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Give a data folder in which a meeting was held, and its session."""
    folder = tmp_path_factory.mktemp("held")
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, epoch_s=0.2)) as client:
        assert client.post("/api/knowledge", json=VIGO).is_success
        session = hold(client)
    return folder, session


def run(*arguments: str, folder: Path, code: int = 0) -> str:
    outcome = CLI.invoke(app, [*arguments, "--data-dir", str(folder)])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def lying(log: SqliteLog, session: str) -> list[tuple[object, ...]]:
    topics = [topic for topic in TOPICS if topic != "progress"]
    found = everything_of(log, session, topics)
    return [(r.topic, r.offset, r.key, r.event_id, r.value, r.at_s) for r in found]


def compared(folder: Path, a: str, b: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(run("diff", a, b, "--format", "json", folder=folder))
    return found


def live_log(folder: Path) -> SqliteLog:
    log = open_log(f"sqlite:///{folder}/log.sqlite3")
    assert isinstance(log, SqliteLog)
    return log


@pytest.mark.parametrize("stage", ["utterances", "questions", "memory", "answers"])
def test_a_replay_with_the_same_settings_gives_the_same_and_touches_nothing(held: tuple[Path, str], stage: str) -> None:
    folder, session = held
    log = live_log(folder)
    before = lying(log, session)
    run("replay", "--stage", stage, "--session", session, "--name", f"same-{stage}", folder=folder)
    assert lying(log, session) == before
    log.close()
    found = compared(folder, "live", f"same-{stage}")
    assert found["both"] == found["same_answer"] == 2, found
    assert found["totals_b"]["only_here"] == 0  # type: ignore[index]
    own = Runs(folder).log(f"same-{stage}")
    mine = {(row[0], row[3]) for row in lying(own, session) if row[0] != "answers"}
    assert mine == {(row[0], row[3]) for row in before if row[0] != "answers"}, "the same ids, however fast it was read"
    own.close()


def test_a_replay_in_real_time_takes_as_long_as_the_meeting_did(held: tuple[Path, str]) -> None:
    folder, session = held
    run("replay", "--stage", "questions", "--session", session, "--real-time", "--name", "paced", folder=folder)
    log = live_log(folder)
    times = [row[5] for row in lying(log, session)]
    log.close()
    assert Runs(folder).get("paced").seconds >= float(times[-1]) - float(times[0])  # type: ignore[arg-type]
    assert compared(folder, "live", "paced")["same_answer"] == 2


def test_other_settings_show_in_the_comparison(held: tuple[Path, str], tmp_path: Path) -> None:
    folder, session = held
    (tmp_path / "other.md").write_text("The harbour of Vigo was built in 1999, says this other guide.")
    run("replay", "--session", session, "--knowledge", str(tmp_path), "--name", "other-docs", folder=folder)
    deafened = ("--stage", "questions", "--set", "questions.threshold=1.01")
    run("replay", *deafened, "--session", session, "--name", "deaf", folder=folder)
    pairs = compared(folder, "live", "other-docs")["pairs"]
    assert "1881" in pairs[0]["a"]["text"]  # type: ignore[index]
    assert "1999" in pairs[0]["b"]["text"]  # type: ignore[index]
    deaf = compared(folder, "live", "deaf")
    assert deaf["both"] == 0
    assert deaf["totals_a"]["only_here"] == 2  # type: ignore[index]
    table = run("diff", "other-docs", "deaf", folder=folder)
    assert "not found" in table
    page = folder / "diff.html"
    run("diff", "live", "other-docs", "--format", "html", "--out", str(page), folder=folder)
    assert "1999" in page.read_text()
    assert "<script" not in page.read_text()
    listed = run("runs", folder=folder)
    assert "questions.threshold=1.01" in listed
    run("runs", "--remove", "deaf", folder=folder)
    assert "deaf" not in run("runs", folder=folder)


def test_ranges_choose_sessions_and_wrong_ones_are_clear_errors(held: tuple[Path, str]) -> None:
    folder, session = held
    log = live_log(folder)
    end = log.end("captions")
    first = log.read("captions", 0, 0, 1)[0]
    log.close()
    for number, chosen in enumerate([["--since", "2020-01-01"], ["--offsets", f"captions/0:{first.offset}-{end}"], []]):
        run("replay", *chosen, "--name", f"range-{number}", folder=folder)
        assert session in Runs(folder).get(f"range-{number}").sessions
    errors = [
        (["--until", "2020-01-01"], "no session lies in this range"),
        (["--session", "nobody"], "no session 'nobody'"),
        (["--offsets", f"captions/0:{end + 5}-{end + 9}"], f"ends at {end}"),
        (["--offsets", "captions/7:0-9"], "partitions 0 to 0"),
        (["--offsets", "nonsense"], "is no range of offsets"),
        (["--since", "yesterday"], "is no time"),
        (["--stage", "nonsense"], "no stage 'nonsense'"),
        (["--set", "nonsense=1"], "no setting 'nonsense'"),
        (["--set", "questions.nonsense=1"], "questions has no option 'nonsense'"),
        (["--set", "questions.settle_s=soon"], "no value for questions.settle_s"),
        (["--set", "llm_temperature=9"], "setting llm_temperature"),
        (["--name", "range-0"], "a run 'range-0' already"),
        (["--name", "live"], "no name for a run"),
        (["--set", "llm=server"], "REJOINDER_LLM_BASE_URL"),
    ]
    for arguments, reason in errors:
        assert reason in run("replay", *arguments, folder=folder, code=1), arguments


def test_a_range_that_was_trimmed_is_said_to_be_gone(tmp_path: Path) -> None:
    with running(Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0, epoch_s=0.2)) as client:
        session = open_session(client)
        for number in range(3):
            say(client, session, (f"c{number}", "ann", number, number + 1, "So.")).raise_for_status()
            time.sleep(0.01)
    log = live_log(tmp_path)
    lying_there = log.read("captions", 0, 0, 9)
    log.trim("captions", lying_there[2].at_s)
    log.close()
    place = f"captions/0:{lying_there[0].offset}-{lying_there[2].offset}"
    assert "not there any more" in run("replay", "--offsets", place, folder=tmp_path, code=1)


def test_an_answers_receipt_rebuilds_its_exact_input(held: tuple[Path, str], tmp_path: Path) -> None:
    with serving_words("Vigo was built in 1881 [1].") as base_url:
        settings = Settings(
            _env_file=None, data_dir=tmp_path, port=0, qa_port=0, epoch_s=0.2, llm_base_url=base_url, llm_model="tiny"
        )
        with running(settings) as client:
            added = client.post("/api/knowledge", json=VIGO).json()
            session = hold(client)
            rows = complete(client, session)
            whys = [client.get(f"/api/sessions/{session}/answers/{row['answer_id']}/why").json() for row in rows]
            assert client.get(f"/api/sessions/{session}/answers/nothing/why").status_code == 404
            for why, asked in zip(whys, ASKED, strict=True):
                assert why["exact"], why["reasons"]
                assert why["question"] == asked
                assert asked in why["messages"][1]["text"]
                assert "4,200 ships" in why["messages"][1]["text"]
                assert why["receipt"]["causes"][0]["topic"] == "questions"
                assert why["receipt"]["index_version"] == why["index_now"]
            assert "Let me think" not in whys[0]["messages"][1]["text"]
            assert ASKED[0] in whys[1]["messages"][1]["text"], "what was said before is part of the input"
            client.delete(f"/api/knowledge/{added['document_id']}").raise_for_status()
            gone = client.get(f"/api/sessions/{session}/answers/{rows[0]['answer_id']}/why").json()
            assert not gone["exact"]
            assert gone["passages"][0]["state"] == "gone"
            assert gone["receipt"]["index_version"] != gone["index_now"]


def test_a_shadow_answers_beside_the_live_engine(tmp_path: Path) -> None:
    from rejoinder.replay.replaying import shadow
    from rejoinder.replay.runs import Run
    from rejoinder.replay.variant import variant_of

    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0, epoch_s=0.2)
    ended = threading.Event()
    with serving_words("The candidate says 1881.") as base_url, running(settings) as client:
        assert client.post("/api/knowledge", json=VIGO).is_success
        before = hold(client)
        log, runs = live_log(tmp_path), Runs(tmp_path)
        variant = variant_of(settings, [f"llm_base_url={base_url}", "llm_model=candidate"])
        run_ = Run(run_id="candidate", kind="shadow", created_at="2026-01-01T00:00:00Z", source="x")  # type: ignore[arg-type]
        thread = threading.Thread(target=shadow, args=(log, runs, run_, variant, ended.wait))
        thread.start()
        wait_for((tmp_path / "runs" / "candidate" / "recovery").exists)
        time.sleep(0.3)
        session = hold(client)
        wait_for(lambda: compared_pairs(settings, session) == 2, 30)
        ended.set()
        thread.join(20)
        answered = len(complete(client, session))
        log.close()
    found = compared(tmp_path, "live", "candidate")
    assert answered == 2, "clients saw the live answers only"
    assert found["sessions"] == [session], "what was asked before it began is left alone"
    assert before not in found["sessions"]  # type: ignore[operator]
    assert all(pair["b"]["text"].startswith("The candidate") for pair in found["pairs"])  # type: ignore[attr-defined]
    assert all("[1]" in pair["a"]["text"] for pair in found["pairs"])  # type: ignore[attr-defined]
    assert Runs(tmp_path).get("candidate").models["answers"] == "candidate"


def compared_pairs(settings: Settings, session: str) -> int:
    from rejoinder.replay.sides import compare_runs

    found = compare_runs(settings, "live", "candidate", [session])
    return found.totals_b.answered


def test_a_bundle_moves_a_session_byte_for_byte(held: tuple[Path, str], tmp_path: Path) -> None:
    folder, session = held
    bundle, again = tmp_path / "a.rejoinder", tmp_path / "b.rejoinder"
    run("export", session, "--out", str(bundle), folder=folder)
    other = tmp_path / "other"
    run("import", str(bundle), folder=other)
    assert ", 0 of them" not in run("import", str(bundle), folder=other), "a second time changes nothing"
    run("export", session, "--out", str(again), folder=other)
    assert bundle.read_bytes() == again.read_bytes()
    run("import", str(bundle), "--as-run", "--name", "report", folder=tmp_path / "third")
    run("replay", "--source", "report", "--session", session, "--name", "again", folder=tmp_path / "third")
    assert compared(tmp_path / "third", "report", "again")["both"] == 2
    with running(Settings(_env_file=None, data_dir=other, port=0, qa_port=0, epoch_s=0.2)) as client:
        wait_for(lambda: all(flow["behind_s"] == 0 for flow in client.get("/api/health").json()["flows"]))
        assert [row["question"] for row in complete(client, session)] == list(ASKED)
        assert "stop it" in run("import", str(bundle), folder=other, code=1)


def test_a_broken_bundle_is_refused_whole(held: tuple[Path, str], tmp_path: Path) -> None:
    folder, session = held
    bundle = tmp_path / "a.rejoinder"
    run("export", session, "--out", str(bundle), folder=folder)
    text = gzip.decompress(bundle.read_bytes())
    lines = text.splitlines(keepends=True)
    broken = {
        "no.rejoinder": b"hello",
        "cut.rejoinder": bundle.read_bytes()[:-20],
        "short.rejoinder": gzip.compress(b"".join(lines[:-1])),
        "changed.rejoinder": gzip.compress(text.replace(b'"at_s":1', b'"at_s":2', 1)),
        "newer.rejoinder": gzip.compress(text.replace(b'"version":1', b'"version":9', 1)),
        "json.rejoinder": gzip.compress(b"[1]\n{}\n"),
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        assert "rejoinder: " in run("import", str(tmp_path / name), folder=tmp_path / "empty", code=1)
    assert "no session 'x'" in run("export", "x", folder=folder, code=1)


def test_a_stream_replays_a_past_session_at_its_pace(held: tuple[Path, str]) -> None:
    folder, session = held
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, epoch_s=0.2)) as client:
        began = time.monotonic()
        quick = Follower(client.base_url, session)
        quick.thread.join(30)
        quick_s = time.monotonic() - began
        began = time.monotonic()
        slow = Follower(client.base_url, session, start="start&speed=0.5")
        slow.thread.join(60)
        slow_s = time.monotonic() - began
        assert client.get(f"/api/sessions/{session}/stream?speed=0").status_code == 422
    log = live_log(folder)
    times = [row[5] for row in lying(log, session)]
    log.close()
    assert [event["type"] for _, event in quick.recorded() if event["type"] != "answer_delta"] == [
        event["type"] for _, event in slow.recorded() if event["type"] != "answer_delta"
    ]
    assert slow_s - quick_s > (float(times[-1]) - float(times[0]))  # type: ignore[arg-type]
