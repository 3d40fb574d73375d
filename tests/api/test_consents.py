"""The consent ledger over HTTP: recorded, shown, exported, and honoured from then on."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from rejoinder.cli import app
from rejoinder.enrolled import VoiceStore
from rejoinder.settings import Settings
from tests.rejoinder.test_voices import agreed as agreed_to_be_known
from tests.sound import sending
from tests.support import Follower, open_session, running, say, wait_for

SOUND = bytes(3200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("consents")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, llm="off", speech_model="off")) as opened:
        yield opened


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("strict")
    with running(
        Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, llm="off", speech_model="off", consent="refuse")
    ) as opened:
        yield opened


def consent(client: httpx.Client, session: str, who: str, *purposes: str, given: bool = True) -> dict[str, Any]:
    body = {"consents": [{"participant_id": who, "purposes": purposes, "given": given, "how": "=said so"}]}
    reply = client.post(f"/api/sessions/{session}/consents", json=body)
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found


def sound(client: httpx.Client, session: str, **about: Any) -> httpx.Response:
    headers = {"content-type": "audio/pcm"}
    return client.post(f"/api/sessions/{session}/audio", content=SOUND, params=about, headers=headers)


def test_entries_are_listed_with_how_everybody_stands_and_come_on_the_stream(client: httpx.Client) -> None:
    session = open_session(client)
    before = client.get(f"/api/sessions/{session}/consents").json()
    assert before["rule"] == "warn"
    assert before["missing"] == ["ann", "me"]
    assert "stores the sound" in before["notice"]["text"]
    consent(client, session, "Ann", "audio", "captions")  # by name
    after = consent(client, session, "me", "audio", "captions", "coaching")
    assert after["missing"] == []
    assert [one["participant_id"] for one in after["entries"]] == ["ann", "me"]
    assert after["people"][0]["purposes"]["captions"] == "given"
    follower = Follower(client.base_url, session, until="consent")
    wait_for(lambda: "consent" in follower.types())


def test_the_same_request_with_the_same_key_is_recorded_once(client: httpx.Client) -> None:
    session = open_session(client)
    body = {"consents": [{"participant_id": "ann", "purposes": ["audio"], "given": True}]}
    for _ in range(2):
        client.post(f"/api/sessions/{session}/consents", json=body, headers={"Idempotency-Key": "k"})
    assert len(client.get(f"/api/sessions/{session}/consents").json()["entries"]) == 1


def test_words_of_who_withdrew_are_left_out_and_those_of_others_taken(client: httpx.Client) -> None:
    session = open_session(client)
    say(client, session, ("c1", "ann", 0, 1, "Before.")).raise_for_status()
    consent(client, session, "ann", "captions", given=False)
    reply = say(client, session, ("c2", "ann", 2, 3, "After."), ("c3", "me", 4, 5, "Mine."))
    assert reply.status_code == 202
    assert reply.json()["left_out"] == ["c2"]
    reply = say(client, session, ("c4", "Ann", 6, 7, "Again."))
    assert reply.status_code == 403
    assert reply.json()["without_consent"][0] == {
        "participant_id": "ann", "purpose": "captions", "agreed": "withdrawn"
    }  # fmt: skip
    consent(client, session, "ann", "captions")
    say(client, session, ("c5", "ann", 8, 9, "Yes.")).raise_for_status()
    found = client.get(f"/api/sessions/{session}/captions").json()["captions"]
    assert [one["text"] for one in found] == ["Before.", "Mine.", "Yes."]


def test_sound_of_who_withdrew_is_refused_and_so_is_sound_of_all_together(client: httpx.Client) -> None:
    session = open_session(client)
    assert sound(client, session, participant="ann", track="a").status_code == 202
    consent(client, session, "ann", "audio", given=False)
    assert sound(client, session, participant="ann", track="a").status_code == 403
    assert sound(client, session, track="ann").status_code == 403
    assert sound(client, session, track="room").status_code == 403
    assert sound(client, session, participant="me", track="m").status_code == 202


def test_a_connection_that_sends_sound_is_ended_when_consent_is_withdrawn(client: httpx.Client) -> None:
    session = open_session(client)
    with sending(client, session) as sender:
        sender.start(participant="ann")
        assert sender.send([SOUND])[-1]["next"] == 1
        consent(client, session, "ann", "audio", given=False)
        sender.frame(1, SOUND)
        assert sender.hear()["title"] == "Consent is missing"
        assert sender.closed()[0] == 4403


def test_what_was_withdrawn_is_not_reported_remembered_or_known_any_more(client: httpx.Client, folder: Path) -> None:
    session = open_session(client, title="Plans")
    say(client, session, ("c1", "ann", 0, 3, "We have decided to move the launch to the twelfth of May."))
    client.post(f"/api/sessions/{session}/end")
    wait_for(lambda: client.get(f"/api/sessions/{session}/memory").json()["notes"])
    assert client.post(f"/api/sessions/{session}/remember").status_code == 201
    voices = VoiceStore(folder)
    voices.add("local", "ann", np.array([1.0], np.float32), model="m", consent=agreed_to_be_known("ann"))
    assert client.get(f"/api/sessions/{session}/coaching").status_code == 200
    consent(client, session, "ann", "remembering", "voice", given=False)
    consent(client, session, "me", "coaching", given=False)
    assert client.get("/api/memory").json()["documents"] == []
    assert client.post(f"/api/sessions/{session}/remember").status_code == 403
    assert voices.all() == ()
    assert client.get(f"/api/sessions/{session}/coaching").status_code == 403


def test_by_the_rule_nothing_is_taken_of_those_who_were_not_asked(strict: httpx.Client) -> None:
    session = open_session(strict)
    assert say(strict, session, ("c1", "ann", 0, 1, "One.")).status_code == 403
    assert say(strict, session, ("c1", "Somebody", 0, 1, "One.")).status_code == 403
    assert sound(strict, session, participant="ann", track="a").status_code == 403
    assert sound(strict, open_session(strict, participants=[]), track="room").status_code == 403
    consent(strict, session, "ann", "audio", "captions")
    say(strict, session, ("c1", "ann", 0, 1, "One.")).raise_for_status()
    assert sound(strict, session, participant="ann", track="a").status_code == 202
    assert sound(strict, session, track="room").status_code == 403
    consent(strict, session, "me", "audio", "captions")
    assert sound(strict, session, track="room").status_code == 202
    assert strict.get(f"/api/sessions/{session}/coaching").status_code == 403
    consent(strict, session, "me", "coaching")
    assert strict.get(f"/api/sessions/{session}/coaching").status_code == 200


def test_the_ledger_of_all_sessions_is_exported(client: httpx.Client, folder: Path, tmp_path: Path) -> None:
    session = open_session(client)
    consent(client, session, "ann", "audio", "captions")
    entries = client.get("/api/consents").json()["entries"]
    assert entries[0]["session_id"] == session
    rows = list(csv.DictReader(io.StringIO(client.get("/api/consents", params={"format": "csv"}).text)))
    assert [(one["purpose"], one["given"]) for one in rows[:2]] == [("audio", "True"), ("captions", "True")]
    assert rows[0]["how"] == "'=said so"
    out = tmp_path / "consents.csv"
    done = CliRunner().invoke(app, ["consents", "export", str(out), "--data-dir", str(folder)])
    assert done.exit_code == 0, done.output
    assert list(csv.DictReader(io.StringIO(out.read_text()))) == rows


def test_commands_record_beside_a_running_engine(client: httpx.Client, folder: Path) -> None:
    session = open_session(client)
    said = ["--data-dir", str(folder)]
    done = CliRunner().invoke(
        app, ["consents", "give", session, "Ann", "--how", "on paper", "--for", "captions", *said]
    )
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(app, ["consents", "withdraw", session, "ann", *said]).exit_code == 0
    assert say(client, session, ("c1", "ann", 0, 1, "One.")).status_code == 403
    listed = CliRunner().invoke(app, ["consents", "list", "--session", session, *said]).output
    assert [line.split()[4] for line in listed.splitlines()] == ["given", "withdrawn"]
    assert CliRunner().invoke(app, ["consents", "give", "none", "ann", "--how", "x", *said]).exit_code == 1
    wrong = ["consents", "give", session, "ann", "--how", "x", "--for", "fame", *said]
    assert CliRunner().invoke(app, wrong).exit_code == 2
