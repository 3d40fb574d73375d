"""What the console shows of consent, in a real headless Chromium, on the real engine."""

import os
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from rejoinder.settings import Settings
from tests.support import open_session, running, say

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("consent")
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, llm="off")) as opened:
        yield opened


def choose(page: Page, title: str) -> None:
    page.reload()
    page.get_by_role("button", name=title).first.click()


def test_it_is_always_shown_that_a_program_listens_and_for_whom_consent_is_missing(
    page: Page, client: httpx.Client
) -> None:
    session = open_session(client, title="Open talk")
    choose(page, "Open talk")
    state = page.locator("#consent-state")
    expect(state).to_contain_text("A program listens to this talk")
    expect(state).to_contain_text("Consent is missing: Ann, Me.")
    body = {"consents": [{"participant_id": "ann", "purposes": ["audio", "captions"], "given": True}]}
    client.post(f"/api/sessions/{session}/consents", json=body).raise_for_status()
    expect(state).to_contain_text("Consent is missing: Me.")
    page.get_by_text("Who agreed to what").click()
    page.get_by_role("button", name="Everybody was told and agrees").press("Enter")
    expect(state).to_contain_text("Everybody agreed.")
    client.post(f"/api/sessions/{session}/end")
    expect(state).to_contain_text("This talk is over")


def test_consent_is_withdrawn_with_a_key_press_and_holds_at_once(page: Page, client: httpx.Client) -> None:
    session = open_session(client, title="Second thoughts")
    choose(page, "Second thoughts")
    page.get_by_text("Who agreed to what").click()
    box = page.get_by_role("group", name="Ann").get_by_role("checkbox", name="words are written down")
    box.press("Space")
    expect(page.get_by_role("group", name="Ann")).to_contain_text("words are written down: agreed")
    expect(box).to_be_focused()
    box.press("Space")
    expect(page.get_by_role("group", name="Ann")).to_contain_text("words are written down: said no")
    assert say(client, session, ("c1", "ann", 0, 1, "Still there?")).status_code == 403
    entries = client.get(f"/api/sessions/{session}/consents").json()["entries"]
    assert [(one["given"], one["text_version"]) for one in entries] == [(True, "1"), (False, "1")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_the_ledger(page: Page, client: httpx.Client, scheme: str, width: int) -> None:
    title = f"Ledger {scheme} {width}"
    session = open_session(client, title=title)
    body = {"consents": [{"participant_id": "ann", "purposes": ["voice"], "given": False}]}
    client.post(f"/api/sessions/{session}/consents", json=body).raise_for_status()
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark", reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    choose(page, title)
    page.get_by_text("Who agreed to what").click()
    expect(page.get_by_role("group", name="Me (you)")).to_be_visible()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("CONSOLE_SHOTS"):
        page.screenshot(path=f"{folder}/consent-{scheme}-{width}.png", full_page=True)
