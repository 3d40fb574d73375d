"""The console over a long meeting, with text beyond the basic plane, lost connections and keys, in Chromium."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from rejoinder.accounts.keys import KeyStore
from rejoinder.settings import Settings
from tests.support import open_session, running, say

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with running(Settings(_env_file=None, data_dir=folder, port=0, qa_port=0)) as opened:
        yield opened


def _choose(page: Page, title: str) -> None:
    page.reload()
    page.get_by_role("button", name=title).first.click()


def test_a_long_meeting_keeps_the_page_small_and_earlier_captions_stay_shown(page: Page, client: httpx.Client) -> None:
    session = open_session(client, title="Three hours")
    for first in range(0, 5000, 500):
        batch = [(f"c{one}", "ann", one, one + 0.5, f"said {one}.") for one in range(first, first + 500)]
        say(client, session, *batch).raise_for_status()
    _choose(page, "Three hours")
    said = page.locator("#captions p.said")
    expect(said.last).to_have_text("said 4999.", timeout=30_000)
    assert said.count() <= 300
    page.get_by_role("button", name="Show earlier").click()
    expect(said.first).to_have_text("said 4400.")
    say(client, session, ("later", "me", 6000, 6001, "Still here.")).raise_for_status()
    expect(said.last).to_have_text("Still here.")
    expect(said.first).to_have_text("said 4400.")


def test_a_citation_marks_its_quote_behind_characters_beyond_the_basic_plane(page: Page, client: httpx.Client) -> None:
    text = "\U0001f680" * 40 + "\n\nThe zeppelin hangar in Friedrichshafen was built in 1908."
    client.post("/api/knowledge", json={"title": "Hangar", "text": text}).raise_for_status()
    page.reload()
    page.get_by_label("Ask").fill("When was the zeppelin hangar in Friedrichshafen built?")
    page.get_by_label("Ask").press("Enter")
    page.locator("article button.cite").first.click()
    answer = client.post("/api/ask", json={"question": "When was the zeppelin hangar in Friedrichshafen built?"}).json()
    cited = answer["citations"][0]
    expect(page.locator("dialog mark")).to_have_text(text[cited["start"] : cited["end"]].strip())


def test_a_question_that_could_not_be_sent_stays_in_its_box(page: Page) -> None:
    page.route("**/api/ask", lambda route: route.abort())
    page.get_by_label("Ask").fill("Which database did I migrate?")
    page.get_by_label("Ask").press("Enter")
    expect(page.locator("#state")).to_have_attribute("data-state", "failed")
    expect(page.get_by_label("Ask")).to_have_value("Which database did I migrate?")


def test_a_speaker_named_like_a_property_keeps_the_name(page: Page, client: httpx.Client) -> None:
    session = open_session(client, title="Odd names")
    say(client, session, ("c1", "constructor", 0, 1, "one"), ("c2", "__proto__", 2, 3, "two")).raise_for_status()
    _choose(page, "Odd names")
    expect(page.locator("#captions .who")).to_have_text(["constructor", "__proto__"])


def test_a_refused_stream_asks_for_the_key_and_goes_on_with_it(page: Page, client: httpx.Client, folder: Path) -> None:
    store = KeyStore(folder / "accounts.sqlite3", key_required=True)
    _, token = store.create("page")
    store.close()
    session = open_session(client, title="Locked")
    say(client, session, ("c1", "ann", 0, 1, "one")).raise_for_status()
    sent: list[str | None] = []

    def locked(route: Route) -> None:
        sent.append(route.request.headers.get("authorization"))
        if sent[-1] is None:
            route.fulfill(status=401, json={"title": "Not signed in"})
        else:
            route.continue_()

    page.route("**/stream", locked)
    _choose(page, "Locked")
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#captions p.said")).to_have_text(["one"])
    assert sent == [None, f"Bearer {token}"]


def test_a_connection_gone_silent_is_given_up_and_opened_anew(page: Page, client: httpx.Client) -> None:
    session = open_session(client, title="Silent")
    say(client, session, ("c1", "ann", 0, 1, "one")).raise_for_status()
    _silence_first_stream(page)
    page.clock.install()
    _choose(page, "Silent")
    expect(page.locator("#state")).to_have_text("live")
    page.clock.run_for(60_000)
    expect(page.locator("#captions p.said")).to_have_text(["one"])


def _silence_first_stream(page: Page) -> None:
    """Let the first stream open and then stay mute, as one whose network went away without a word."""
    page.add_init_script(
        """
        const real = window.fetch; let mute = true;
        window.fetch = (path, options) => {
          if (!mute || !String(path).endsWith("/stream")) return real(path, options);
          mute = false;
          const body = new ReadableStream({ start(to) {
            options.signal.addEventListener("abort", () => to.error(new DOMException("", "AbortError"))); } });
          return Promise.resolve(new Response(body, { status: 200 }));
        };
        """
    )
