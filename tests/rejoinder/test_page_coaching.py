"""The report after the talk in a real headless Chromium, on the real engine."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from rejoinder.settings import Settings
from tests.support import complete, open_session, running, say, wait_for

pytestmark = pytest.mark.browser
RESUME = """Ravi Menon

Experience
Senior engineer, Nordhavn 2021 - present
- Losses of parcels fell by 40 percent after the new tracker.
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("coaching")
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, llm="off", nudges=True)) as opened:
        opened.post("/api/resume", json={"text": RESUME}).raise_for_status()
        yield opened


@pytest.fixture(scope="module")
def talk(client: httpx.Client) -> str:
    session = open_session(client, kind="interview", title="Second round")
    said = (
        "Um, in 2021 we were losing <b>parcels</b>. I had to find out why. I built a tracker and I I talked to people."
    )
    asked = "Tell me about a time you solved a problem with losses of parcels."
    say(client, session, ("c1", "ann", 0, 4, asked), ("c2", "me", 6, 26, said)).raise_for_status()
    wait_for(lambda: complete(client, session))
    client.post(f"/api/sessions/{session}/end").raise_for_status()
    wait_for(lambda: client.get(f"/api/sessions/{session}/coaching").json()["answers"])
    return session


def test_the_report_is_reached_from_the_console_and_shows_a_stronger_version(page: Page, talk: str) -> None:
    page.get_by_role("button", name="Second round").click()
    page.get_by_role("link", name="How you answered").click()
    one = page.get_by_role("region", name="Tell me about a time")
    expect(one.locator("blockquote")).to_contain_text("losing <b>parcels</b>")
    expect(one).to_contain_text("Parts of a story: 3 of 4")
    expect(one.get_by_label("Stands out")).to_contain_text("no result")
    lines = one.locator("ol").last.locator("li")
    expect(lines).to_have_count(4)
    expect(lines.nth(0)).to_contain_text("In 2021 we were losing <b>parcels</b>.")
    expect(lines.nth(3)).to_contain_text("Losses of parcels fell by 40 percent")
    expect(lines.nth(3)).to_contain_text("from Resume")
    expect(one.locator("details summary")).to_contain_text("quoted from your documents")


def test_the_report_is_saved_as_json_and_markdown(page: Page, client: httpx.Client, talk: str) -> None:
    page.goto(f"{client.base_url}/coaching.html?session={talk}")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").press("Enter")
    report = json.loads(Path(saved.value.path()).read_text())
    assert report == client.get(f"/api/sessions/{talk}/coaching").json()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as Markdown").press("Enter")
    assert "# How you answered" in Path(saved.value.path()).read_text()


def test_a_session_without_answers_and_an_unknown_one_are_told(page: Page, client: httpx.Client) -> None:
    page.goto(f"{client.base_url}/coaching.html?session={open_session(client)}")
    expect(page.locator("#state")).to_have_text("no question was answered by you yet")
    page.goto(f"{client.base_url}/coaching.html?session=none")
    expect(page.locator("#state")).to_have_text("there is no such session")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_read_the_report(page: Page, client: httpx.Client, talk: str, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{client.base_url}/coaching.html?session={talk}")
    expect(page.locator("section").first).to_be_visible()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("CONSOLE_SHOTS"):
        page.screenshot(path=f"{folder}/coaching-{scheme}-{width}.png", full_page=True)


def test_a_hint_is_shown_while_it_is_news_and_goes_when_the_user_speaks(page: Page, client: httpx.Client) -> None:
    session = open_session(client, title="Hints")
    page.reload()
    page.get_by_role("button", name="Hints").click()
    say(client, session, ("c1", "ann", 0, 3, "What do you do there?"), ("c2", "me", 4, 14, "word " * 60))
    expect(page.get_by_label("Hint about your talk")).to_have_text("Slow down.", timeout=15_000)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    say(client, session, ("c3", "me", 20, 21, "Yes.")).raise_for_status()
    expect(page.get_by_label("Hint about your talk")).to_have_text("")
