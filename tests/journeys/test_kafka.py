"""The whole engine on a real Apache Kafka."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from pydantic import SecretStr
from typer.testing import CliRunner

from eventlog import open_log
from eventlog.base import EventLog, LogReader, NewRecord
from eventlog.kafka_client import KafkaOptions, apply_topics
from eventlog.kafka_reader import consumer_of
from eventlog.opening import kafka_options
from rejoinder.cli import app
from rejoinder.settings import Settings
from schemas.errors import LogUnavailable, OffsetGone
from schemas.topics import TOPICS
from tests.kafka.broker import Broker
from tests.kafka.finding import need_java
from tests.support import Follower, complete, open_session, running, say, wait_for

pytestmark = pytest.mark.kafka


def on(kafka_url: str, folder: Path) -> Settings:
    return Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, epoch_s=0.2, log=kafka_url)


def answered(follower: Follower) -> int:
    return follower.types().count("answer")


def test_a_meeting_on_kafka_is_answered_once_and_goes_on_after_a_restart(kafka_url: str, tmp_path: Path) -> None:
    with running(on(kafka_url, tmp_path)) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "How many planets are there?")).raise_for_status()
        again = say(client, session, ("c1", "ann", 0, 3, "How many planets are there?")).json()
        assert again["accepted"][0]["repeat"]
        first = Follower(client.base_url, session, until="answer")
        first.thread.join(30)
        assert answered(first) == 1
        last = first.recorded()[-1][0]
    with running(on(kafka_url, tmp_path)) as client:
        rows = client.get(f"/api/sessions/{session}/answers").json()["answers"]
        assert [row["status"] for row in rows] == ["complete"]
        say(client, session, ("c2", "ann", 20, 23, "Where do you live now?")).raise_for_status()
        second = Follower(client.base_url, session, start=str(last), until="answer")
        second.thread.join(30)
        whole = Follower(client.base_url, session)
        wait_for(lambda: answered(whole) == 2)
    assert answered(second) == 1
    assert second.events[-1][1]["answer_id"] != first.events[-1][1]["answer_id"]
    ids = [event["event_id"] for _, event in whole.recorded() if event["type"] == "answer"]
    assert len(ids) == len(set(ids)) == 2


def test_while_the_broker_is_away_nothing_is_acknowledged_and_afterwards_nothing_is_lost(tmp_path: Path) -> None:
    need_java()
    broker = Broker(tmp_path / "broker").start()
    try:
        url = f"kafka://{broker.address}"
        apply_topics(KafkaOptions(broker.address, partitions=2))
        with running(on(url, tmp_path / "engine")) as client:
            session = open_session(client)
            say(client, session, ("c1", "ann", 0, 3, "We met before.")).raise_for_status()
            broker.kill()
            refused = say(client, session, ("c2", "ann", 4, 6, "How many planets are there?"))
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            broker.start()
            wait_for(
                lambda: say(client, session, ("c2", "ann", 4, 6, "How many planets are there?")).status_code == 202, 60
            )
            path = f"/api/sessions/{session}"
            captions = client.get(f"{path}/captions").json()["captions"]
            assert [one["caption_id"] for one in captions] == ["c1", "c2"]
            rows = wait_for(
                lambda: [r for r in client.get(f"{path}/answers").json()["answers"] if r["status"] == "complete"], 60
            )
            assert len(rows) == 1
    finally:
        broker.stop()


def test_a_session_lies_in_one_partition_and_two_processes_read_the_same(kafka_url: str) -> None:
    one, two = open_log(kafka_url), open_log(kafka_url)
    try:
        keys = [f"session-{number}" for number in range(12)]
        for number in range(20):
            one.append([NewRecord("captions", key, f"{key}-{number}", b"x", time.time()) for key in keys])
        last = one.append([NewRecord("answers", key, f"{key}-a", b"y", time.time()) for key in keys])
        assert len({stored.partition for stored in last}) > 1
        for key in keys:
            mine = one.read_key(key, ["captions", "answers"], one.cursor_start(), 99)
            other = two.read_key(key, ["captions", "answers"], mine[9].cursor, 99)
            assert [(r.topic, r.event_id) for r in other] == [(r.topic, r.event_id) for r in mine[10:]]
            assert len(mine) == 21
    finally:
        one.close()
        two.close()


def test_a_reader_goes_on_where_it_was_and_leaves_repeats_out(kafka_url: str) -> None:
    first, second = open_log(kafka_url, follow=()), open_log(kafka_url, follow=())
    try:
        stored = first.append([NewRecord("captions", "s", f"e{n}", b"x", 5.0) for n in range(10)])
        partition = stored[0].partition
        # The other writer was opened before: as a writer that was killed and did not see what it had stored.
        second._written[("captions", partition)] = type(first._written_to("captions", partition))()  # type: ignore[attr-defined]
        second.append([NewRecord("captions", "s", f"e{n}", b"x", 5.0) for n in (8, 9, 10)])
        assert second.end("captions", partition) == 13, "the topic itself holds the repeats"
        for start, wanted in ((0, [f"e{n}" for n in range(11)]), (9, ["e9", "e10"]), (11, ["e10"])):
            reader = first.reader("test")
            found = wait_for(
                lambda r=reader, s=start, w=wanted: (g := r.read("captions", partition, s, 99))[len(w) - 1 :] and g
            )
            assert [record.event_id for record in found] == wanted
            assert reader.read("captions", partition, 13, 99) == []
            reader.commit({("captions", partition): 13})
            reader.close()
        with pytest.raises(OffsetGone):
            first.reader("lost").read("captions", partition, 99, 9)
    finally:
        first.close()
        second.close()


def test_how_far_a_reader_has_come_is_told_to_kafkas_own_tools(kafka_url: str) -> None:
    log = open_log(kafka_url, follow=())
    options = kafka_options(kafka_url)
    asking = consumer_of(options, "rejoinder.told")

    def told() -> list[int]:
        places = [TopicPartition(options.topic("captions"), number) for number in (0, 1)]
        return [place.offset for place in asking.committed(places, timeout=10)]

    try:
        reader = log.reader("rejoinder.told")
        reader.commit({("captions", 0): 3})
        wait_for(lambda: told()[0] == 3)
        # Soon after each other they are told together, the last ones at the end.
        reader.commit({("captions", 0): 4})
        reader.commit({("captions", 1): 7})
        reader.close()
        assert told() == [4, 7]
    finally:
        asking.close()
        log.close()


@contextmanager
def beside_each_other(url: str) -> Iterator[tuple[EventLog, LogReader, LogReader]]:
    """Give a log of 7,000 captions and two readers beside each other."""
    log = open_log(url, follow=())
    try:
        log.append([NewRecord("captions", "s", f"e{n}", b"x", 5.0) for n in range(7_000)])
        one = log.reader("one")
        other = log.reader("other", one)
        yield log, one, other
        one.close()
        other.close()
    finally:
        log.close()


def test_a_reader_that_stands_still_holds_those_beside_it_up_and_nothing_is_lost(kafka_single: str) -> None:
    with beside_each_other(kafka_single) as (_, quick, slow):
        assert slow.read("captions", 0, 0, 9) is not None
        seen: dict[str, int] = {"quick": 0, "slow": 0}

        def go_on(name: str, reader: LogReader) -> bool:
            seen[name] += len(reader.read("captions", 0, seen[name], 500))
            quick.wait(0.01)
            return seen[name] >= 5_000

        wait_for(lambda: go_on("quick", quick))
        while go_on("quick", quick) and seen["quick"] < 7_000 and quick.wait(0.5):
            pass
        assert seen["quick"] < 7_000, "what the slow one has not used is not let grow"
        wait_for(lambda: go_on("slow", slow) and seen["slow"] == 7_000)
        wait_for(lambda: go_on("quick", quick) and seen["quick"] == 7_000)


def test_readers_whose_records_were_trimmed_meanwhile_are_told_and_go_on(kafka_single: str) -> None:
    with beside_each_other(kafka_single) as (log, *readers):
        one, other = readers

        def given(reader: LogReader) -> bool:
            reader.wait(0.01)
            return len(reader.read("captions", 0, 0, 9_000)) > 5_000

        wait_for(lambda: all([given(one), given(other)]))
        ends = [reader.read("captions", 0, 0, 9_000)[-1].offset + 1 for reader in readers]
        assert ends[0] == ends[1] < 7_000, "given until it is too much"
        assert log.trim("captions", time.time()) == 7_000

        def told(reader: LogReader) -> bool:
            try:
                reader.read("captions", 0, ends[0], 9)
            except OffsetGone:
                return True
            return reader.wait(0.01) and False

        assert other.read("captions", 0, ends[1], 9) == []  # both have used what they had
        for reader in readers:
            wait_for(lambda r=reader: told(r))
        log.append([NewRecord("captions", "s", "new", b"x", 5.0)])
        for reader in readers:
            found = wait_for(lambda r=reader: r.read("captions", 0, 7_000, 9) or (r.wait(0.1) and False))
            assert [record.event_id for record in found] == ["new"]


def test_topics_are_made_checked_and_never_changed(kafka_address: str) -> None:
    prefix = f"t{uuid.uuid4().hex[:8]}"
    url = f"kafka://{kafka_address}/{prefix}"
    with pytest.raises(LogUnavailable, match="rejoinder topics apply"):
        open_log(url)
    cli = CliRunner()
    made = cli.invoke(app, ["topics", "apply", "--log", url])
    assert made.exit_code == 0
    assert made.output.count("made") == len(TOPICS) + 2
    assert cli.invoke(app, ["topics", "apply", "--log", url]).output.count("right") == len(TOPICS) + 2
    reports = apply_topics(KafkaOptions(kafka_address, prefix=prefix, partitions=3))
    assert {(report.state, report.detail) for report in reports if not report.name.endswith(("erased", "layout"))} == {
        ("wrong", "8 partitions, should be 3")
    }


def test_partitions_that_are_added_are_noticed_and_tear_no_session_apart(kafka_url: str, tmp_path: Path) -> None:
    from confluent_kafka.admin import AdminClient, NewPartitions

    address, prefix = kafka_url.removeprefix("kafka://").split("/")
    settings = on(kafka_url, tmp_path)
    with running(settings) as client:
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "How many planets are there?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1, 30)
        assert client.get("/api/health").json()["notes"] == []
    admin = AdminClient({"bootstrap.servers": address})
    for done in admin.create_partitions([NewPartitions(f"{prefix}.captions", 7)]).values():
        done.result(10)
    with running(settings) as client:
        health = client.get("/api/health").json()
        assert health["ready"]
        noticed = [note.split(":")[0] for note in health["notes"]]
        assert noticed == ["topic captions has 7 partitions, 4 of them are used"]
        for other in (session, *(open_session(client) for _ in range(6))):
            say(client, other, ("c2", "me", 20, 21, "Eight.")).raise_for_status()
            say(client, other, ("c3", "ann", 30, 33, "How many moons are there?")).raise_for_status()
            wait_for(lambda one=other: complete(client, one) == 1 + (one == session), 30)
    reports = apply_topics(KafkaOptions(address, prefix=prefix, partitions=4))
    assert [report.detail for report in reports if report.state == "wrong"] == ["7 partitions, should be 4"]


def test_a_meeting_on_kafka_is_replayed_compared_and_moved_elsewhere(kafka_url: str, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    with running(on(kafka_url, folder)) as client:
        body = {"title": "Vigo", "text": "The harbour of Vigo was built in 1881."}
        assert client.post("/api/knowledge", json=body).is_success
        session = open_session(client)
        say(client, session, ("c1", "ann", 0, 3, "When was the harbour of Vigo built?")).raise_for_status()
        wait_for(lambda: complete(client, session) == 1, 30)
        client.post(f"/api/sessions/{session}/end").raise_for_status()
    cli = CliRunner()

    def run(*arguments: str, data: Path = folder, code: int = 0) -> str:
        outcome = cli.invoke(app, [*arguments, "--data-dir", str(data)])
        assert outcome.exit_code == code, outcome.output
        return outcome.output

    at = ("--log", kafka_url)
    log = open_log(kafka_url, follow=())
    place = next(n for n in range(log.partitions("captions")) if log.end("captions", n))
    before = {(topic, n): log.end(topic, n) for topic in TOPICS if topic != "progress" for n in range(4)}
    run("replay", *at, "--stage", "utterances", "--offsets", f"captions/{place}:0-9", "--name", "again")
    found = json.loads(run("diff", "live", "again", *at, "--format", "json"))
    assert (found["both"], found["same_answer"]) == (1, 1)
    assert {one: log.end(*one) for one in before} == before, "what clients saw was not touched"
    bundle = tmp_path / "a.rejoinder"
    run("export", session, *at, "--out", str(bundle))
    run("import", str(bundle), data=elsewhere)
    log.trim("captions", time.time() + 60)
    assert "not there any more" in run("replay", *at, "--offsets", f"captions/{place}:0-1", code=1)
    log.close()
    with running(Settings(_env_file=None, data_dir=elsewhere, port=0, qa_port=0)) as client:
        assert complete(client, session) == 1


def test_a_broker_that_asks_for_tls_and_a_password_is_served(tmp_path: Path) -> None:
    need_java()
    broker = Broker(tmp_path / "broker", password="open-sesame").start()
    try:
        secured = {
            "kafka_security": "sasl_tls",
            "kafka_ca_file": str(tmp_path / "broker" / "ca.pem"),
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_username": "rejoinder",
        }
        settings = on(f"kafka://{broker.address}", tmp_path / "data").model_copy(update=secured)
        right = settings.model_copy(update={"kafka_password": SecretStr("open-sesame")})
        wait_for(lambda: _applied(right), 60)
        with running(right) as client:
            session = open_session(client)
            say(client, session, ("c1", "ann", 0, 3, "How many planets are there?")).raise_for_status()
            wait_for(lambda: complete(client, session) == 1, 30)
        for wrong in (settings, right.model_copy(update={"kafka_ca_file": ""})):
            with pytest.raises(LogUnavailable, match="no Kafka broker answers"):
                open_log(wrong.log_url, kafka=wrong.kafka)
        with pytest.raises(LogUnavailable, match="no Kafka broker answers"):
            apply_topics(kafka_options(settings.log_url, settings.kafka))
    finally:
        broker.stop()


def _applied(settings: Settings) -> bool:
    try:
        apply_topics(kafka_options(settings.log_url, settings.kafka))
    except LogUnavailable:
        return False
    return True


def test_an_address_without_a_broker_is_a_clear_error() -> None:
    made = CliRunner().invoke(app, ["topics", "apply", "--log", "kafka://127.0.0.1:9"])
    assert made.exit_code == 1
    assert "no Kafka broker answers at 127.0.0.1:9" in made.output
    for url in ("kafka://", "kafka://host", "kafka:host:1"):
        with pytest.raises(LogUnavailable, match="no address of a Kafka log"):
            open_log(url)
