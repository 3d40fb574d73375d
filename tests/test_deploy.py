"""The compose file and the manifests name only what exists: commands, options, settings, flows, ports."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from flows.wiring import ALL_FLOWS, FLOWS
from rejoinder import __version__
from rejoinder.cli import app
from rejoinder.settings import Settings
from schemas.topics import TOPICS

COMPOSE_READER = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MANIFESTS = [
    document
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
SETTINGS = {f"REJOINDER_{name.upper()}" for name in Settings.model_fields}


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for document in MANIFESTS:
        template = document.get("spec", {}).get("template") if document["kind"] != "Service" else None
        for container in template["spec"]["containers"] if template else ():
            yield document["metadata"]["name"], container


def command_lines() -> Iterator[tuple[str, list[str]]]:
    for name, service in COMPOSE["services"].items():
        if service["image"].startswith("rejoinder:"):
            yield f"compose {name}", service["command"]
    for name, container in containers():
        if not container["image"].startswith("rejoinder:"):
            continue
        arguments = container["args"]
        if container.get("command") == ["/bin/sh", "-c"]:
            arguments = shlex.split(arguments[0].replace('"${HOSTNAME##*-}"', "0"))
            assert arguments[:2] == ["exec", "rejoinder"]
            arguments = arguments[2:]
        yield f"kubernetes {name}", arguments


LINES = dict(command_lines())


@pytest.mark.parametrize("where", LINES)
def test_every_command_line_is_understood(where: str) -> None:
    name, *rest = LINES[where]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, list(rest))
    if name == "flow":
        assert set(context.params["names"]) <= set(ALL_FLOWS)
        members = [one for one in context.params["addresses"].split(";") if one]
        assert context.params["process_id"] < max(1, len(members))


@pytest.mark.parametrize("kind", ["compose", "kubernetes"])
def test_every_flow_runs_once_and_topics_and_api_are_there(kind: str) -> None:
    lines = [line for where, line in LINES.items() if where.startswith(kind)]
    flows = [name for line in lines if line[0] == "flow" for name in line[1:] if name in FLOWS]
    assert sorted(flows) == sorted(FLOWS)
    assert ["topics", "apply"] in lines
    assert ["api"] in lines


def test_every_setting_named_exists() -> None:
    pages = ("docker-compose.yml", "Dockerfile", "docs/deploy.md")
    for page in [*(ROOT / page for page in pages), *(ROOT / "deploy").rglob("*.yaml")]:
        assert set(re.findall(r"REJOINDER_[A-Z_]+", page.read_text())) <= SETTINGS, page.name


def test_a_cluster_has_as_many_addresses_as_members() -> None:
    for document in MANIFESTS:
        name = document["metadata"]["name"] if "metadata" in document else ""
        if document["kind"] == "StatefulSet" and name in FLOWS:
            line = LINES[f"kubernetes {name}"]
            addresses = line[line.index("--addresses") + 1].split(";")
            assert addresses == [f"{name}-{n}.{name}:9500" for n in range(document["spec"]["replicas"])]


def test_references_inside_the_files_lead_somewhere() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
    named = {(document["kind"], document["metadata"]["name"]) for document in MANIFESTS if "metadata" in document}
    for _, container in containers():
        for one in container.get("envFrom", ()):
            for kind, reference in one.items():
                assert ({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"]) in named
    listed = next(document["resources"] for document in MANIFESTS if document["kind"] == "Kustomization")
    there = {path.name for path in (ROOT / "deploy" / "kubernetes").glob("*.yaml")}
    assert set(listed) == there - {"kustomization.yaml"}


def test_ports_and_versions_agree() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    images = {service["image"] for service in COMPOSE["services"].values() if "rejoinder" in service["image"]}
    images |= {container["image"] for _, container in containers() if "rejoinder" in container["image"]}
    assert images == {f"rejoinder:{__version__}"}
    exposed = set(re.findall(r"\d+", next(line for line in dockerfile.splitlines() if line.startswith("EXPOSE"))))
    ours = [one for _, one in containers() if "rejoinder" in one["image"]]
    used = {str(port["containerPort"]) for one in ours for port in one.get("ports", ())}
    assert used <= exposed
    for package in ("schemas", "operators", "eventlog", "models", "flows", "api", "rejoinder"):
        assert f"COPY {package} {package}" in dockerfile
        assert f"!{package}" in (ROOT / ".dockerignore").read_text().split()


@pytest.mark.timeout(420)
def test_the_compose_file_is_read_by_the_reader_that_docker_compose_uses() -> None:
    if shutil.which("go") is None:
        pytest.skip("reading docker-compose.yml as `docker compose config` does needs Go 1.23 or newer")
    command = ["go", "run", COMPOSE_READER, str(ROOT / "docker-compose.yml")]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert set(read["services"]) == set(COMPOSE["services"])
    assert read["services"]["answers"]["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    assert read["services"]["api"]["environment"]["REJOINDER_LOG"] == "kafka://kafka:9092"


def test_the_brokers_version_is_the_tested_one() -> None:
    from tests.kafka.broker import VERSION

    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{VERSION}"
    assert TOPICS
