"""Ratings of answers on the page, in a real headless Chromium, on the real engine."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from rejoinder.settings import Settings
from tests.support import complete, open_session, running, say, wait_for

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("page"), port=0, qa_port=0)) as opened:
        yield opened


def test_a_rating_and_its_comment_are_stored_and_shown_on_every_page(
    page: Page, browser: Browser, client: httpx.Client
) -> None:
    session = open_session(client, title="Rated")
    say(client, session, ("c1", "ann", 0, 3, "How many planets are there?")).raise_for_status()
    wait_for(lambda: complete(client, session) == 1)
    other = browser.new_page()
    other.goto(str(client.base_url))
    page.reload()
    for one in (page, other):
        one.get_by_role("button", name="Rated").click()
        expect(one.get_by_role("group", name="Rate this answer")).to_be_visible()
        expect(one.get_by_label("Comment on this answer")).not_to_be_visible()
    page.get_by_role("button", name="Useful").click()
    expect(other.get_by_role("button", name="Useful")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Wrong").click()
    page.get_by_label("Comment on this answer").fill("Nine, for some <b>")
    page.get_by_label("Comment on this answer").press("Enter")
    for one in (page, other):
        expect(one.get_by_role("button", name="Wrong")).to_have_attribute("aria-pressed", "true")
        expect(one.get_by_role("button", name="Useful")).to_have_attribute("aria-pressed", "false")
    expect(other.get_by_label("Comment on this answer")).to_have_value("Nine, for some <b>")
    other.reload()
    other.get_by_role("button", name="Rated").click()
    expect(other.get_by_label("Comment on this answer")).to_have_value("Nine, for some <b>")
    other.close()
    row = client.get(f"/api/sessions/{session}/answers").json()["answers"][0]
    assert (row["verdict"], row["comment"]) == ("wrong", "Nine, for some <b>")


def test_an_answer_to_a_question_outside_of_any_session_can_be_rated(page: Page) -> None:
    page.locator("#ask-text").fill("How many planets are there?")
    page.locator("#ask-text").press("Enter")
    expect(page.locator('article[data-status="complete"]')).to_be_visible(timeout=15_000)
    page.get_by_role("button", name="Useful").click()
    expect(page.get_by_role("button", name="Useful")).to_have_attribute("aria-pressed", "true")
