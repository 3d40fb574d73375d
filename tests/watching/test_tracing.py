"""Traces that follow one caption to its answer, taken up by a real OTLP receiver."""

import itertools
import json
import sqlite3
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from eventlog import open_log
from eventlog.base import NewRecord
from eventlog.kafka_records import headers_of
from rejoinder.settings import Settings
from rejoinder.tracing import open_traces
from tests.journeys.test_roles import api, flows, ready, settings_of
from tests.sound import sending
from tests.speech import room
from tests.support import Follower, complete, open_session, running, say, wait_for
from tests.vectors import vector_server
from tests.watching.collector import Collector, collecting
from tests.watching.test_metrics import free_port

MINE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WAY = ["request", "utterances step", "questions step", "answers step", "answer"]
SECRETS = ("planets", "harbour", "Vigo", "Ann")


def answered(client: httpx.Client, collector: Collector, headers: dict[str, str] | None = None) -> str:
    """Ask a question in a caption and wait for the span of its answer; gives the session."""
    client.headers.update(headers or {})
    session = open_session(client)
    say(client, session, ("c1", "ann", 0, 3, "How many planets are near the harbour of Vigo?")).raise_for_status()
    wait_for(lambda: complete(client, session) == 1, 60)
    wait_for(lambda: collector.named("answer", **{"session.id": session}), 30)
    return session


def test_one_trace_leads_from_a_caption_to_its_answer(settings: Settings) -> None:
    with collecting() as (collector, address):
        with running(settings.model_copy(update={"otel_endpoint": address})) as client:
            session = answered(client, collector)
            path = f"/api/sessions/{session}/captions"
        # Stopping the engine sends what is left.
        answer = collector.named("answer", **{"session.id": session})[0]
        way = collector.way_of(answer)
        assert [one.name for one in way] == WAY
        assert way[0].about["http.route"] == "/api/sessions/{session_id}/captions"
        assert way[0].about["http.response.status_code"] == 202, path
        assert {one.trace_id for one in way} == {answer.trace_id}
        assert answer.about["mode"] == "extractive"
        assert all(before.start_s <= after.start_s + 0.001 for before, after in itertools.pairwise(way))
        told = json.dumps([[one.name, one.about] for one in collector.spans()])
        assert not [word for word in SECRETS if word in told]


def test_the_trace_of_an_answer_ends_where_its_first_piece_is_sent_to_a_client(settings: Settings) -> None:
    with collecting() as (collector, address):
        with running(settings.model_copy(update={"otel_endpoint": address})) as client:
            session = open_session(client)
            followers = [Follower(client.base_url, session) for _ in range(2)]
            wait_for(lambda: all("opened" in one.types() for one in followers))
            said = ("c1", "ann", 0, 3, "How many planets are near the harbour of Vigo?")
            say(client, session, said).raise_for_status()
            wait_for(lambda: all("answer" in one.types() for one in followers))
            late = Follower(client.base_url, session)
            wait_for(lambda: "answer" in late.types())
            client.post(f"/api/sessions/{session}/end").raise_for_status()
        sent = collector.named("first piece sent", **{"session.id": session})
        assert len(sent) == 2, "one for each client that followed, none for the one that caught up"
        for one in sent:
            assert [span.name for span in collector.way_of(one)] == [*WAY[:-1], "first piece sent"]
            assert 0 <= one.end_s - one.start_s < 60
            assert one.about["answer.id"] == collector.named("answer")[0].about["answer.id"]


@pytest.mark.parametrize("posted", [True, False], ids=["posts", "websocket"])
def test_sound_is_followed_to_its_caption_and_on(settings: Settings, posted: bool) -> None:
    sound = room("Where do you live?").tobytes()
    parts = [sound[at : at + 16_000] for at in range(0, len(sound), 16_000)]
    chosen = {"speech_model": "tiny.en", "speakers": "off", "speech_partials": False}
    with collecting() as (collector, address):
        with running(settings.model_copy(update={"otel_endpoint": address, **chosen})) as client:
            session = open_session(client)
            if posted:
                for number, part in enumerate(parts):
                    about = {"track": "mic", "start_s": 0, "sequence": number}
                    url, kind = f"/api/sessions/{session}/audio", {"Content-Type": "audio/pcm"}
                    client.post(url, content=part, headers=kind, params=about).raise_for_status()
            else:
                with sending(client, session) as sender:
                    sender.start()
                    sender.send(parts)
            wait_for(lambda: collector.named("answer", **{"session.id": session}), 60)
        (heard,) = collector.named("caption heard", **{"session.id": session})
        way = collector.way_of(collector.named("answer", **{"session.id": session})[0])
    before = ["request", "caption heard"] if posted else ["caption heard"]
    assert [one.name for one in way] == [*before, *WAY[1:]]
    if posted:
        assert way[0].about["http.route"] == "/api/sessions/{session_id}/audio"
        assert heard.start_s >= way[0].start_s - 0.01, "it begins with the request that brought its last sound"
    assert heard.about["track"] == "mic"
    assert 0 < heard.end_s - heard.start_s < 60
    assert not [word for word in ("live", "Where") if word in json.dumps([one.about for one in collector.spans()])]


def test_a_callers_own_trace_goes_on_and_one_that_is_not_sampled_costs_nothing(settings: Settings) -> None:
    with collecting() as (collector, address):
        with running(settings.model_copy(update={"otel_endpoint": address})) as client:
            answered(client, collector, {"traceparent": MINE})
            before = len(collector.spans())
            client.headers["traceparent"] = MINE[:-2] + "00"
            session = open_session(client)
            say(client, session, ("c1", "ann", 0, 3, "Where do you live?")).raise_for_status()
            wait_for(lambda: complete(client, session) == 1)
        assert {one.trace_id for one in collector.spans()} == {MINE[3:35]}
        assert before
        assert not [one for one in collector.spans() if one.about.get("session.id") == session]


def test_nothing_is_traced_unless_a_setting_says_so(settings: Settings) -> None:
    assert Settings(_env_file=None).otel_endpoint == ""
    assert open_traces(settings, "engine") is None
    with running(settings) as client:
        session = open_session(client)
        say(client, session, ("c1", "me", 0, 1, "one")).raise_for_status()
    log = open_log(settings.log_url)
    assert [one.trace for one in log.read("captions", 0, 0, 10)] == [""]
    log.close()


def test_a_collector_that_is_away_stops_nobody(settings: Settings) -> None:
    with running(settings.model_copy(update={"otel_endpoint": f"http://127.0.0.1:{free_port()}"})) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "How many planets are there?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1)


@pytest.mark.parametrize("address", ["memory:", "sqlite:///{}/log.sqlite3"])
def test_every_log_keeps_the_trace_beside_the_bytes(tmp_path: Path, address: str) -> None:
    log = open_log(address.format(tmp_path))
    log.append([NewRecord("captions", "s", "1", b"{}", 1.0, MINE), NewRecord("captions", "s", "2", b"{}", 1.0)])
    assert [one.trace for one in log.read("captions", 0, 0, 10)] == [MINE, ""]
    assert [one.trace for one in log.read_key("s", ["captions"], log.cursor_start(), 10)] == [MINE, ""]
    log.close()


def test_a_file_of_the_version_before_is_read_on(tmp_path: Path) -> None:
    from eventlog.sqlite_schema import MIGRATIONS

    old = sqlite3.connect(tmp_path / "log.sqlite3", isolation_level=None)
    for script in MIGRATIONS[:2]:
        old.executescript(script)
    old.execute("PRAGMA user_version=2")
    old.execute("INSERT INTO records(offset, topic, key, event_id, at_s, value) VALUES (1, 1, 's', '1', 1.0, x'7b7d')")
    old.execute("UPDATE high_water SET offset=1")
    old.close()
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    log.append([NewRecord("captions", "s", "2", b"{}", 2.0, MINE)])
    assert [(one.event_id, one.trace) for one in log.read("captions", 0, 0, 10)] == [("1", ""), ("2", MINE)]
    log.close()


def test_a_header_carries_the_trace_on_kafka_and_only_when_there_is_one() -> None:
    assert ("traceparent", MINE.encode()) in headers_of(NewRecord("captions", "s", "1", b"", 1.0, MINE))
    assert [name for name, _ in headers_of(NewRecord("captions", "s", "1", b"", 1.0))] == ["id", "at"]


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_the_trace_goes_on_through_processes_of_their_own_which_serve_their_metrics(
    kafka_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    (tmp_path / "vectors").mkdir()
    with collecting() as (collector, address), vector_server(tmp_path / "vectors") as vectors:
        settings = settings_of(kafka_url, vectors, tmp_path / "data").model_copy(update={"otel_endpoint": address})
        monkeypatch.setenv("REJOINDER_OTEL_ENDPOINT", address)
        with api(settings) as client, flows(settings, "utterances"):
            monkeypatch.setenv("REJOINDER_METRICS_PORT", str(port))
            with flows(settings, "questions", "memory", "answers"):
                wait_for(lambda: ready(client), 90)
                session = answered(client, collector)
                answer = collector.named("answer", **{"session.id": session})[0]
                way = wait_for(lambda: _whole(collector, answer), 30)
                text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert [one.name for one in way] == WAY
    assert [one.role for one in way] == ["api", "utterances", *["questions-memory-answers"] * 3]
    lags = [
        sample.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "rejoinder_hop_lag_records" and sample.labels["flow"] == "questions"
    ]
    assert {one["partition"] for one in lags} == {"0", "1", "2", "3"}
    assert 'rejoinder_hop_records_written_total{flow="answers",topic="answers"}' in text


def _whole(collector: Collector, answer: object) -> object:
    """Give the way to an answer once all processes have sent theirs."""
    try:
        return collector.way_of(answer)  # type: ignore[arg-type]
    except KeyError:
        return None
