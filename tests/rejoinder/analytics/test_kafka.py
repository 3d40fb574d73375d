"""The analytics over a real Kafka."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from eventlog import open_log
from flows.analytics_run import load_once
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.writer import StoreWriter
from tests.rejoinder.analytics.facts import conversation, log_with
from tests.rejoinder.analytics.test_serving import rows
from tests.rejoinder.analytics.test_store import content
from tests.support import wait_for

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).parents[3]


def test_the_same_records_give_the_same_tables_from_kafka_and_from_the_embedded_log(
    kafka_url: str, tmp_path: Path
) -> None:
    talks = [conversation(f"s{number}") for number in range(20)]
    embedded, kafka = log_with(tmp_path, *talks), open_log(kafka_url, follow=())
    for talk in talks:
        kafka.append(talk.new())
    found = []
    for number, log in enumerate((embedded, kafka)):
        store = AnalyticsStore(tmp_path / f"{number}.duckdb")
        load_once(log, StoreWriter(store))
        found.append(content(store))
        store.close()
        log.close()
    assert found[0] == found[1]
    assert len(found[0]["sessions"]) == 20


def test_the_role_follows_a_broker_and_goes_on_after_it_was_killed(kafka_url: str, tmp_path: Path) -> None:
    log = open_log(kafka_url, follow=())
    command = [sys.executable, "-m", "rejoinder", "analytics", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    command += ["--log", kafka_url]
    for number in range(1, 4):
        log.append(conversation(f"s{number}").new())
        role = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "REJOINDER_LOG_LEVEL": "error"}
        )
        assert role.stdout is not None
        address = role.stdout.readline().split()[-1].removesuffix("/analytics.html")
        with httpx.Client(base_url=address, trust_env=False) as client:
            wait_for(lambda client=client: client.get("/api/health").status_code == 200)
            want = [[number, 2 * number, 3 * number]]
            asked = "SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM utterances), count(*) FROM answers"
            wait_for(lambda client=client, want=want, asked=asked: rows(client, asked) == want)
        role.kill()
        role.wait(10)
        role.stdout.close()
    log.close()
