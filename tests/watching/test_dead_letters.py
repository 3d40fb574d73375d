"""Dead letters of a real engine: found, put right and put back once, by command, over HTTP and on the page."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from typer.testing import CliRunner

from eventlog import open_log
from eventlog.base import EventLog, NewRecord
from eventlog.inmemory import InMemoryLog
from flows.arrivals import NO_SESSION, bury
from operators.utterances import UtterancesOperator
from rejoinder.accounts.keys import KeyStore
from rejoinder.cli import app
from rejoinder.dead_letters.letters import DeadLetters, NoSuchLetter
from rejoinder.settings import Settings
from schemas.codec import decode, encode
from schemas.errors import KeyErased, SchemaError
from schemas.speech import Caption
from tests.rejoinder.conftest import CHROMIUM, FLAGS
from tests.support import complete, open_session, running, wait_for

ASKS = "How many planets are there?"


def caption(session: str, **more: Any) -> dict[str, Any]:
    """Give a caption as JSON fields, as a program of somebody's own might write it."""
    fields = {"v": 1, "session_id": session, "event_id": "mine-1", "created_at": datetime.now(UTC).isoformat()}
    fields |= {"type": "caption", "caption_id": "mine", "speaker": "ann", "start_s": 0.0, "end_s": 3.0, "text": ASKS}
    return {**fields, "final": True, **more}


def append_broken(settings: Settings, session: str, **more: Any) -> None:
    """Append a caption that no flow can read, as another program would."""
    log = open_log(settings.log_url, kafka=settings.kafka)
    value = json.dumps(caption(session, **more)).encode()
    log.append([NewRecord("captions", session, "broken-1", value, time.time())])
    log.close()


def listed(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    return list(client.get("/api/dead-letters", params=query).raise_for_status().json()["letters"])


def run(settings: Settings, *arguments: str, code: int = 0, **more: Any) -> str:
    given = ["dead-letters", *arguments, "--data-dir", str(settings.data_dir)]
    given += ["--log", settings.log] if settings.log else []
    outcome = CliRunner().invoke(app, given, **more)
    assert outcome.exit_code == code, outcome.output
    return str(outcome.output)


def put_right(settings: Settings) -> None:
    """Have a broken caption answered after it was corrected and put back, with the engine running all the while."""
    with running(settings) as client:
        session = open_session(client)
        append_broken(settings, session, start_s="soon", spoken="yes")
        letter = wait_for(lambda: listed(client))[0]
        assert "start_s" in letter["reason"]
        assert ASKS not in run(settings, "list"), "the list tells reasons, not what was said"
        shown = run(settings, "show", letter["letter_id"][:8])
        assert ASKS in shown
        assert "waiting" in shown
        assert "start_s" in run(settings, "redrive", letter["letter_id"], code=1), "it must be corrected first"
        run(settings, "fix", letter["letter_id"], "--set", "start_s=0.5", code=1)
        run(settings, "fix", letter["letter_id"], "--set", "start_s=0.5", "--drop", "spoken")
        assert "Put back: captions" in run(settings, "redrive", letter["letter_id"])
        wait_for(lambda: complete(client, session) == 1)
        assert "before" in run(settings, "redrive", letter["letter_id"])
        assert client.post(f"/api/dead-letters/{letter['letter_id']}/redrive").json()["repeat"] is True
        assert [one["redriven"] for one in listed(client)] == [True]
        assert listed(client, waiting=True) == []
        assert "redriven" in run(settings, "list")
    log = open_log(settings.log_url, kafka=settings.kafka)
    lying = [
        one.value for partition in range(log.partitions("captions")) for one in log.read("captions", partition, 0, 100)
    ]
    log.close()
    assert len(lying) == 2, "the broken one and the corrected one, once"


def test_a_broken_record_is_put_right_by_command_while_the_engine_runs(settings: Settings) -> None:
    put_right(settings)


@pytest.mark.kafka
def test_a_broken_record_on_kafka_is_put_right_as_well(settings: Settings, kafka_url: str) -> None:
    put_right(settings.model_copy(update={"log": kafka_url}))


def test_a_value_from_a_file_is_kept_only_when_its_flow_could_read_it(settings: Settings, tmp_path: Path) -> None:
    with running(settings) as client:
        session = open_session(client)
        append_broken(settings, session, final="perhaps")
        letter_id = wait_for(lambda: listed(client))[0]["letter_id"]
        file = tmp_path / "value.json"
        file.write_text(json.dumps(caption("somebody-else")))
        assert session in run(settings, "fix", letter_id, "--value", str(file), code=1)
        file.write_text("no record at all")
        run(settings, "fix", letter_id, "--value", str(file), code=1)
        run(settings, "fix", letter_id, code=2)
        assert "field=value" in run(settings, "fix", letter_id, "--set", "final", code=1)
        run(settings, "fix", letter_id, "--value", "-", input=json.dumps(caption(session)))
        run(settings, "redrive", letter_id)
        wait_for(lambda: complete(client, session) == 1)
    assert "no dead letter" in run(settings, "show", "nonsense", code=1)


@pytest.fixture
def letters() -> Iterator[tuple[EventLog, DeadLetters]]:
    log = InMemoryLog()
    yield log, DeadLetters(log)
    log.close()


def stored(log: EventLog, session: str = "s", **more: Any) -> int:
    """Append a good caption that a flow failed on; gives its offset."""
    value = encode(decode("captions", json.dumps(caption(session, **more)).encode()))
    return log.append([NewRecord("captions", session, "e", value, 1.0)])[0].offset


def test_one_record_that_two_flows_failed_on_is_put_back_once(letters: tuple[EventLog, DeadLetters]) -> None:
    log, dead = letters
    offset = stored(log)
    for flow in ("utterances", "captions"):
        bury(log, flow, "s", "captions", offset, f"KeyError in {flow}", b"{}")
    first, second = (dead.redrive(one.letter_id) for one in dead.newest())
    assert (first.repeat, second.repeat) == (False, True)
    assert second.offset == first.offset
    assert [one.redriven for one in dead.newest()] == [True, True]
    values = [one.value for one in log.read("captions", 0, 0, 10)]
    assert values[0] == values[1], "the bytes come from the log, not from the letter"


def test_the_record_keeps_its_own_id_so_that_what_was_made_of_it_is_not_made_twice(
    letters: tuple[EventLog, DeadLetters],
) -> None:
    log, dead = letters
    bury(log, "utterances", "s", "captions", stored(log), "KeyError", b"{}")
    dead.redrive(dead.newest()[0].letter_id)
    first, again = (decode("captions", one.value) for one in log.read("captions", 0, 0, 10))
    assert isinstance(first, Caption)
    assert first == again
    operator = UtterancesOperator()
    state = operator.initial()
    for number, record in enumerate((first, again)):
        state, made = operator.step(state, record, 10.0 + number)
        ids = [one.event_id for one in made]
        assert len(ids) == len(set(ids))


def test_nothing_of_an_erased_session_is_put_back(letters: tuple[EventLog, DeadLetters]) -> None:
    log, dead = letters
    bury(log, "utterances", "s", "captions", stored(log), "KeyError", b"{}")
    letter_id = dead.newest()[0].letter_id
    found = dead.one(letter_id)
    log.erase("s")
    with pytest.raises(NoSuchLetter):
        dead.redrive(letter_id)
    with pytest.raises(KeyErased):
        log.append([NewRecord("captions", "s", found.redrive_id, b"{}", 1.0)])


def test_a_value_of_which_only_the_beginning_is_left_must_be_given_anew(
    letters: tuple[EventLog, DeadLetters],
) -> None:
    log, dead = letters
    bury(log, "utterances", "s", "captions", 4711, "the log holds it no longer", b"x" * 100_000)
    letter_id = dead.newest()[0].letter_id
    with pytest.raises(SchemaError, match="only its beginning"):
        dead.redrive(letter_id)
    dead.fix(letter_id, json.dumps(caption("s")).encode())
    dead.fix(letter_id, json.dumps(caption("s", text="the last correction counts")).encode())
    placed = dead.redrive(letter_id)
    record = decode("captions", log.read("captions", 0, placed.offset, 1)[0].value)
    assert record.text == "the last correction counts"


def test_a_record_whose_key_is_none_of_ours_is_buried_all_the_same(letters: tuple[EventLog, DeadLetters]) -> None:
    log, dead = letters
    for offset, key in enumerate(("", "a\nb", "x" * 300)):
        bury(log, "utterances", key, "captions", offset, "not a record", b"\xff")
    assert [one.letter.session_id for one in dead.newest()] == [NO_SESSION] * 3


def test_only_the_operators_key_opens_dead_letters(settings: Settings) -> None:
    keys = KeyStore(settings.data_dir / "accounts.sqlite3", key_required=True)
    _, customer = keys.create("laptop", "acme")
    made, operator = keys.create("ops", operator=True)
    assert made.operator
    assert [one.operator for one in keys.everything()].count(True) == 1
    keys.close()
    with running(settings, key_required=True) as client:
        for path in ("", "/x"):
            assert client.get(f"/api/dead-letters{path}").status_code == 401
            refused = client.get(f"/api/dead-letters{path}", headers={"Authorization": f"Bearer {customer}"})
            assert refused.status_code == 403
            assert "--operator" in refused.json()["detail"]
        client.headers["Authorization"] = f"Bearer {customer}"
        assert client.post("/api/dead-letters/x/redrive").status_code == 403
        assert client.post("/api/dead-letters/x/fix", json={"text": "{}"}).status_code == 403
        client.headers["Authorization"] = f"Bearer {operator}"
        assert listed(client) == []
        assert client.get("/api/dead-letters/x").status_code == 404
        assert client.post("/api/dead-letters/x/redrive").status_code == 404
        assert client.post("/api/dead-letters/x/fix", json={"text": "{}"}).status_code == 404
        assert client.post("/api/dead-letters/x/fix", json={}).status_code == 422
        assert client.post("/api/dead-letters/x/fix", json={"value_base64": "?"}).status_code == 422


@pytest.mark.browser
def test_the_page_corrects_a_record_and_puts_it_back(settings: Settings) -> None:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no chromium; add it with: apt-get install chromium")
    with running(settings) as client, sync_playwright() as playwright:
        session = open_session(client)
        append_broken(settings, session, start_s="<b>soon</b>")
        wait_for(lambda: listed(client))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium") or "chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
        page.goto(f"{client.base_url}/dead-letters.html")
        page.get_by_role("button", name="captions, offset").click()
        box = page.get_by_label("Value")
        expect(box).to_have_value(re.compile("soon"))
        page.get_by_role("button", name="Put back").click()
        expect(page.locator("#state")).to_contain_text("start_s")
        box.fill(box.input_value().replace('"<b>soon</b>"', "0.5"))
        page.get_by_role("button", name="Keep this value").click()
        expect(page.locator("#one-title")).to_contain_text("corrected")
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_role("button", name="Put back").click()
        expect(page.locator("#one-title")).to_contain_text("put back")
        wait_for(lambda: complete(client, session) == 1)
        browser.close()
