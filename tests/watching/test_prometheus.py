"""Alert rules, dashboard and objectives, on a real Prometheus that reads a real engine."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rejoinder.settings import Settings
from tests.support import complete, open_session, running, say, wait_for
from tests.watching.test_dead_letters import append_broken
from tests.watching.test_metrics import free_port

ROOT = Path(__file__).parent.parent.parent
WATCHING = ROOT / "deploy" / "watching"
DASHBOARD = json.loads((WATCHING / "dashboard.json").read_text())
RULES = yaml.safe_load((WATCHING / "rules.yml").read_text())
ASKED = [
    target["expr"].replace("$__rate_interval", "5m")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]
OBJECTIVES = [
    query.replace("\\|", "|") for query in re.findall(r"\| `(.+?)` \|$", (ROOT / "docs" / "slo.md").read_text(), re.M)
]


def tool(name: str) -> str:
    """Give the path of a program of the Debian package, or skip."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing; add it with: apt-get install prometheus")
        pytest.skip(f"no {name}; add it with: apt-get install prometheus")
    return found


@pytest.mark.parametrize("arguments", [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")])
def test_the_rules_pass_promtool(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [tool("promtool"), *arguments], cwd=WATCHING, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_and_says_what_to_do() -> None:
    alerts = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
    fired = {
        one["alertname"]
        for case in yaml.safe_load((WATCHING / "rules_test.yml").read_text())["tests"]
        for one in case["alert_rule_test"]
        if one["exp_alerts"]
    }
    assert {rule["alert"] for rule in alerts} == fired
    assert all(rule["annotations"]["what_to_do"] for rule in alerts)


def test_compose_gives_prometheus_and_grafana_these_very_files() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for one in compose["configs"].values():
        assert (ROOT / one["file"]).is_file()
    for name in ("prometheus", "grafana"):
        service = compose["services"][name]
        assert {one["source"] for one in service["configs"]} <= set(compose["configs"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    read = yaml.safe_load((WATCHING / "prometheus.yml").read_text())
    targets = read["scrape_configs"][0]["static_configs"][0]["targets"]
    flows = {name for name, service in compose["services"].items() if service.get("command", [""])[0] == "flow"}
    assert {target.partition(":")[0] for target in targets} == (flows | {"api"}) - {"captions"}


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """Run a real Prometheus that reads a target every half second, with the shipped rules."""
    shipped = (WATCHING / "rules.yml").read_text().replace("interval: 30s", "interval: 1s")
    (folder / "rules.yml").write_text(shipped)
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "rejoinder", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [tool("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "out").open("wb") as out:
        child = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=folder, stdout=out, stderr=out
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            wait_for(lambda: _ready(client), 30)
            yield client
    finally:
        child.terminate()
        child.wait(20)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def asked(client: httpx.Client, query: str) -> list[Any]:
    reply = client.get("/api/v1/query", params={"query": query})
    assert reply.status_code == 200, (query, reply.text)
    return list(reply.json()["data"]["result"])


def firing(client: httpx.Client) -> set[str]:
    alerts = client.get("/api/v1/alerts").json()["data"]["alerts"]
    return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}


@pytest.mark.timeout(180)
def test_a_real_prometheus_reads_the_engine_answers_every_query_and_raises_the_alert(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "prometheus").mkdir()
    with running(settings) as engine, prometheus(tmp_path / "prometheus", f"127.0.0.1:{engine.base_url.port}") as seen:
        session = open_session(engine)
        wait_for(lambda: asked(seen, 'rejoinder_dead_letters_total{topic="captions"}'), 30)
        say(engine, session, ("c1", "ann", 0, 3, "How many planets are there?")).raise_for_status()
        wait_for(lambda: complete(engine, session) == 1)
        assert "RejoinderDeadLetters" not in firing(seen)
        append_broken(settings, session, start_s="soon")
        wait_for(lambda: "RejoinderDeadLetters" in firing(seen), 60)
        assert firing(seen) == {"RejoinderDeadLetters"}
        names = set(seen.get("/api/v1/label/__name__/values").json()["data"])
        recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
        for query in [*ASKED, *OBJECTIVES]:
            asked(seen, query)
            used = set(re.findall(r"\b(?:rejoinder|process)[_:][a-z0-9_:]+", query)) - recorded
            # Without sound, failed models or a model's server some series do not exist yet; their metrics do.
            assert used - {"rejoinder_audio_seconds_total", "rejoinder_tokens_total"} <= names | NOT_YET, query
        taken_up = asked(seen, OBJECTIVES[2])
        assert {one["metric"]["flow"] for one in taken_up} >= {"utterances", "questions", "memory", "answers"}
        assert float(asked(seen, OBJECTIVES[5])[0]["value"][1]) >= 1


NOT_YET = {"rejoinder_hop_records_repeated_total"}


def test_there_are_objectives_and_panels_to_be_asked() -> None:
    assert len(OBJECTIVES) == 6
    assert len(ASKED) > 25
