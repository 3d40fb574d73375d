"""The console in a real headless Chromium, on the real engine."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from rejoinder.engine import Engine
from rejoinder.serving import serving
from rejoinder.settings import Settings
from tests.support import open_session, running, say

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("page"), port=0, qa_port=0)) as opened:
        yield opened


def test_the_demo_meeting_plays_and_a_citation_opens_its_source(page: Page) -> None:
    page.get_by_role("button", name="Play the demo meeting").click()
    expect(page.locator("#captions p.said").first).to_be_visible(timeout=15_000)
    done = page.locator('article[data-status="complete"]').first
    expect(done).to_be_visible(timeout=30_000)
    expect(done).to_contain_text("quoted from your documents")
    done.locator("button.cite").first.click()
    expect(page.locator("dialog mark")).to_be_visible()
    assert len(page.locator("dialog mark").inner_text()) > 10
    page.get_by_role("button", name="Close").click()
    if folder := os.environ.get("CONSOLE_SHOTS"):
        page.set_viewport_size({"width": 1280, "height": 800})
        expect(page.locator('article[data-status="complete"]').nth(3)).to_be_visible(timeout=60_000)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=f"{folder}/console.png")
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=f"{folder}/dark.png")
        page.set_viewport_size({"width": 390, "height": 844})
        page.screenshot(path=f"{folder}/phone.png", full_page=True)


def test_what_others_write_is_shown_as_text(page: Page, client: httpx.Client) -> None:
    session = open_session(client, title=HOSTILE)
    say(client, session, ("c1", "ann", 0, 3, f"{HOSTILE} How many planets are there?")).raise_for_status()
    page.reload()
    page.get_by_role("button", name="onerror").first.click()
    expect(page.locator("#captions p.said")).to_contain_text("<script>")
    expect(page.locator("article h4")).to_contain_text("planets", timeout=15_000)
    assert page.title() == "Rejoinder"
    assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(page: Page, client: httpx.Client, scheme: str, width: int) -> None:
    session = open_session(client, title=f"Access {scheme} {width}")
    say(client, session, ("c1", "ann", 0, 3, "How many planets are there?"), ("c2", "me", 4, 5, "Eight."))
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark", reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    page.reload()
    page.get_by_role("button", name=f"Access {scheme} {width}").click()
    expect(page.locator("article").first).to_be_visible(timeout=15_000)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_documents_are_uploaded_listed_and_deleted_by_keyboard(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "Cafeteria.md"
    file.write_text("# Cafeteria\n\nThe cafeteria serves lentil soup on Fridays.")
    page.set_input_files("#file", str(file))
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    expect(page.locator("#documents")).to_contain_text("Cafeteria")
    page.get_by_label("Ask").fill("What does the cafeteria serve on Fridays?")
    page.get_by_label("Ask").press("Enter")
    expect(page.locator("article").first).to_contain_text("lentil soup", timeout=15_000)
    page.get_by_role("button", name="Delete Cafeteria").press("Enter")
    expect(page.locator("#documents")).not_to_contain_text("Cafeteria")
    page.set_input_files("#file", files=[{"name": "bad.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 no"}])
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    expect(page.locator("#upload-said")).to_contain_text("damaged")


def test_a_restarted_engine_is_found_again_without_loss_or_repeats(browser: Browser, tmp_path: Path) -> None:
    def settings(port: int) -> Settings:
        return Settings(_env_file=None, data_dir=tmp_path, port=port, qa_port=port or 0)

    with Engine(settings(0)) as engine, serving(engine) as served:
        port = served.port
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        session = open_session(client, title="Restart")
        say(client, session, ("c1", "ann", 0, 1, "one")).raise_for_status()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_role("button", name="Restart").click()
        expect(page.locator("#captions p.said")).to_have_text(["one"])
        client.close()
    expect(page.locator("#state")).to_have_text("reconnecting", timeout=10_000)
    with Engine(settings(port)) as engine, serving(engine):
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        say(client, session, ("c2", "ann", 2, 3, "two")).raise_for_status()
        expect(page.locator("#captions p.said")).to_have_text(["one", "two"], timeout=20_000)
        client.close()
        page.close()
