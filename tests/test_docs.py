"""The documents say what the code does."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rejoinder import __version__
from rejoinder.cli import app
from rejoinder.settings import env_example, settings_page
from schemas import errors
from schemas.topics import TOPICS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page()


def test_the_example_environment_is_the_generated_one() -> None:
    assert (ROOT / ".env.example").read_text() == env_example()


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_is_documented(topic: str) -> None:
    assert f"`{topic}`" in (ROOT / "docs" / "concepts.md").read_text()


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_drawn_in_the_tree(name: str) -> None:
    assert name in (errors.__doc__ or "")


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "operate.md").read_text()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"rejoinder {name}" in text
        for inner in getattr(command, "commands", {}):
            assert f"rejoinder {name} {inner}" in text


@pytest.mark.parametrize("name", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_explains_itself(name: str) -> None:
    outcome = CliRunner().invoke(app, [name, "--help"])
    assert outcome.exit_code == 0, outcome.output
    assert "Usage" in outcome.output


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_the_pages_is_python(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(block)


def test_every_path_of_the_api_tour_exists(tmp_path: Path) -> None:
    from rejoinder.engine import Engine
    from rejoinder.settings import Settings

    engine = Engine(Settings(_env_file=None, data_dir=tmp_path))
    paths = engine.apps()[0].openapi()["paths"]
    engine.stop()
    shapes = [re.sub(r"\{[^}]+\}", "[^/]+", path) + "$" for path in paths]
    called = re.findall(r"8080(/(?:api|metrics)[\w/$.-]*)", (ROOT / "README.md").read_text())
    assert called
    for path in set(called) - {"/api/docs"}:
        assert any(re.match(shape, path.rstrip(".")) for shape in shapes), path


def test_the_api_tour_runs_as_it_is_written(tmp_path: Path) -> None:
    from rejoinder.settings import Settings
    from tests.support import running

    tour = next(
        one for one in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL) if "curl" in one
    )
    with running(Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0)) as client:
        script = "set -euo pipefail\n" + tour.replace("curl", "curl --fail-with-body --noproxy '*' -sS")
        script = script.replace("127.0.0.1:8080", f"127.0.0.1:{client.base_url.port}") + "\nwait\n"
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "event: question" in done.stdout
    assert "event: end" in done.stdout
    assert '"mode":"extractive"' in done.stdout
