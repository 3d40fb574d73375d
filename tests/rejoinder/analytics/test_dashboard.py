"""The dashboard in a real headless Chromium, on the real analytics."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from eventlog.sqlite import SqliteLog
from rejoinder.accounts.keys import KeyStore
from rejoinder.settings import Settings
from schemas.answers import Answer, AnswerDelta, answer_id_of
from schemas.feedback import Feedback
from schemas.meeting import AgendaMoved, MeetingClosed, MeetingOpened, Participant
from schemas.memory import MemoryUpdate, Note
from schemas.nudges import Nudge
from schemas.questions import Question
from schemas.speech import Utterance
from tests.rejoinder.analytics.facts import Talk
from tests.rejoinder.analytics.test_serving import analytics_only
from tests.support import wait_for

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"document.title='owned'\">=HYPERLINK(1)"
TOPICS = ("System design", "Databases", "Incidents", "Team", HOSTILE)


def meeting(number: int, began: datetime, kind: str, chance: random.Random) -> Talk:
    """Give a session of some minutes whose measures change slowly with its number."""
    talk = Talk(f"d{number}", began=began)
    people = (Participant(id="ann", name="Ann"), Participant(id="me", name="Me", is_user=True))
    talk.add("meeting", MeetingOpened, 0, owner_id="local", kind=kind, title=f"{kind} {number}", participants=people)
    topic = TOPICS[number % len(TOPICS)]
    talk.add("meeting", AgendaMoved, 0.5, item=topic, at_s=0.5)
    talk.add(
        "memory", MemoryUpdate, 1, notes_put=(Note(note_id=f"n{number}", kind="topic", text=topic, utterance_ids=()),)
    )
    at = 1.0
    for turn in range(20):
        mine = turn % 2 == 1
        long = chance.uniform(4, 8) + (0.3 * number if mine else 6)
        who = {"speaker_id": "me" if mine else "ann", "speaker_name": "Me" if mine else "Ann", "is_user": mine}
        text = "so it went on " * max(1, int(long / 1.6))
        talk.add(
            "utterances", Utterance, at + long, utterance_id=f"u{turn}", start_s=at, end_s=at + long, text=text, **who
        )
        at += long + 0.5
        if mine and turn % 6 == 1:
            kind = ("long", "fast", "no_result", "talk_ratio")[chance.randrange(4)]
            talk.add("nudges", Nudge, at, kind=kind, text="Pause.", utterance_ids=(f"u{turn}",), at_s=at)
        if not mine:
            asked = talk.add(
                "questions", Question, at, question_id=f"q{turn}", text="And?", kind="wh", start_s=at, end_s=at
            )
            if chance.random() < 0.85:
                about = {"answer_id": answer_id_of(asked), "question_id": asked.question_id}
                wait = chance.lognormvariate(-0.9, 0.5)
                talk.add("answers", AnswerDelta, at + wait, index=0, text="So", **about)
                talk.add("answers", Answer, at + wait + 1, text="So it is", mode="model", model="qwen-7b",
                         prompt_tokens=900, answer_tokens=60, **about)  # fmt: skip
                about["verdict"] = "wrong" if turn == 0 else "useful"
                talk.add("feedback", Feedback, at + wait + 2, **about)
    talk.add("meeting", MeetingClosed, at + 5)
    return talk


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder, chance = tmp_path_factory.mktemp("board"), random.Random(3)
    log = SqliteLog(folder / "log.sqlite3")
    now = datetime.now(UTC)
    for number in range(26):
        kind = "practice" if number % 3 == 0 else "interview"
        log.append(meeting(number, now - timedelta(days=27 - number, hours=number % 5), kind, chance).new())
    log.close()
    prices = folder / "prices.toml"
    prices.write_text("currency = 'EUR'\n[models.qwen-7b]\nprompt_per_million = 100\nanswer_per_million = 0\n")
    settings = Settings(_env_file=None, data_dir=folder, port=0, qa_port=0, prices_file=prices)
    with analytics_only(settings) as opened:
        wait_for(lambda: opened.get("/api/analytics/status").json()["alive"])
        wait_for(lambda: len(opened.get("/api/analytics/sessions", params={"limit": 100}).json()["sessions"]) == 26)
        wait_for(lambda: opened.get("/api/analytics/status").json()["behind_records"] == 0)
        yield opened


@pytest.fixture
def board(page: Page, client: httpx.Client) -> Page:
    page.goto(f"{client.base_url}/analytics.html")
    expect(page.locator("#tiles .tile").first).to_be_visible()
    expect(page.locator("#charts svg").first).to_be_visible()
    return page


def test_the_tiles_and_charts_show_what_the_api_says(board: Page, client: httpx.Client) -> None:
    found = client.get("/api/analytics/dashboard").json()
    count = sum(one["sessions"] for one in found["sessions"])
    expect(board.locator(".tile", has_text="Sessions").locator("dd")).to_have_text(str(count))
    sessions = board.locator("figure", has=board.get_by_role("heading", name="Sessions", exact=True))
    assert sessions.locator("svg rect").count() == len(found["sessions"])
    waiting = board.locator("figure", has_text="Wait for an answer")
    expect(waiting.locator("svg path")).to_have_count(3)
    assert waiting.locator("svg circle").count() == 3 * len(found["latency"])
    assert "p90" in (waiting.get_by_role("img").get_attribute("aria-label") or "")
    board.locator("#group").select_option("week")
    expect(sessions.locator("svg rect")).to_have_count(
        len(client.get("/api/analytics/dashboard?group=week").json()["sessions"])
    )
    board.locator("#kind").select_option("practice")
    expect(board.locator(".tile", has_text="Sessions").locator("dd")).to_have_text("9")
    board.locator("#range").select_option("7")
    expect(board.locator(".tile", has_text="Sessions").locator("dd")).not_to_have_text("9")


def test_ratings_and_cost_are_told_and_what_has_no_price_is_said(board: Page, client: httpx.Client) -> None:
    found = client.get("/api/analytics/dashboard").json()
    useful, wrong = (sum(one[verdict] for one in found["feedback"]) for verdict in ("useful", "wrong"))
    answers = sum(one["answers"] for one in found["answers_by"])
    assert useful + wrong == answers > 0
    tile = board.locator(".tile", has=board.get_by_text("Useful", exact=True))
    expect(tile).to_contain_text(f"{useful} of {answers} rated")
    cost = board.locator(".tile", has=board.get_by_text("Cost", exact=True))
    expect(cost).to_contain_text(f"{answers * 900 * 100 / 1e6:.2f} EUR")
    expect(cost).to_contain_text("everything has a price")
    expect(board.locator("#costs tr", has_text="prompt tokens")).to_contain_text("EUR")
    expect(board.locator("#costs tr", has_text="answer tokens")).to_contain_text("0.00 EUR")
    for row in found["usage"]:
        row |= {"cost": None, "currency": None, "unpriced": True}
    for row in found["cost"]:
        row |= {"cost": None, "currency": None, "without_cost": row["n"]}
    board.route("**/api/analytics/dashboard?*", lambda route: route.fulfill(json=found))
    board.locator("#group").select_option("week")
    expect(cost).to_contain_text("unknown")
    expect(cost).to_contain_text("no price or not told")
    expect(board.locator("#costs tr", has_text="prompt tokens")).to_contain_text("no price")
    expect(board.locator("#costs")).not_to_contain_text("0.00")


def test_hints_are_told_by_kind_and_by_hour_of_the_users_own_talk(board: Page, client: httpx.Client) -> None:
    told = client.get("/api/analytics/dashboard").json()
    found, hours = told["nudges"], sum(one["user_minutes"] for one in told["talk"]) / 60
    # Four in each of 26 sessions; the hours are those in which the user speaks.
    assert sum(one["nudges"] for one in found) == 104
    hints = board.locator("figure", has_text="Hints on your talk")
    expect(hints.locator(".note")).to_contain_text(f"104 in {hours:.1f} h of your talk: {104 / hours:.0f} an hour")
    expect(hints.locator("svg rect")).to_have_count(len(found))
    hints.locator("summary").click()
    first = hints.locator("tbody tr").first
    expect(first).to_contain_text(found[0]["kind"].replace("_", " "))
    expect(first.locator("td")).to_have_text([str(found[0]["nudges"]), f"{found[0]['nudges'] / hours:.2g}"])
    board.locator("#range").select_option("7")
    expect(hints.locator(".note")).not_to_contain_text("104")


def test_trends_findings_and_one_session(board: Page) -> None:
    expect(board.locator("#trends tr").first).to_contain_text("rising")
    board.get_by_role("button", name="Find").click()
    expect(board.locator("#insights li").first).to_contain_text("questions got an answer")
    board.locator("#insights summary").first.click()
    expect(board.locator("#insights pre").first).to_contain_text("WITH mine AS")
    board.get_by_role("button", name="Older").click()
    expect(board.locator("#sessions tr")).to_have_count(6)
    board.locator("#sessions button").first.click()
    expect(board.locator("#one")).to_be_visible()
    expect(board.locator("#one-chart svg rect").first).to_be_visible()
    expect(board.locator("#one-speakers tr")).to_have_count(2)
    expect(board.locator("#one-questions tr")).to_have_count(10)
    board.get_by_role("button", name="Close").click()
    expect(board.locator("#one")).not_to_be_visible()


def test_what_others_write_is_text_on_the_page_and_in_the_csv(board: Page, tmp_path: Path) -> None:
    topics = board.locator("figure", has=board.get_by_role("heading", name="Topics"))
    expect(topics.locator("svg")).to_contain_text("<img")
    assert board.locator("main img").count() == 0
    assert board.title() == "Rejoinder analytics"
    with board.expect_download() as waiting:
        topics.get_by_role("button", name="Topics as CSV").click()
    waiting.value.save_as(tmp_path / "topics.csv")
    lines = (tmp_path / "topics.csv").read_text().splitlines()
    assert lines[0] == "topic,sessions"
    assert len(lines) == 6


def test_a_chart_is_saved_as_a_picture_with_its_lines_in_it(board: Page, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        board.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        with board.expect_download() as waiting:
            board.get_by_role("button", name="Questions as PNG").click()
        file = Path(os.environ.get("CONSOLE_SHOTS", tmp_path)) / f"questions-{scheme}.png"
        waiting.value.save_as(file)
        picture = Image.open(file).convert("RGB")
        colours = {colour for count, colour in picture.getcolors(1 << 24) or [] if count > 300}
        bars = {"light": {(11, 110, 128), (178, 89, 0)}, "dark": {(111, 199, 214), (240, 160, 75)}}[scheme]
        assert bars <= colours


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_read_it(board: Page, scheme: str, width: int) -> None:
    board.emulate_media(color_scheme="light" if scheme == "light" else "dark", reduced_motion="reduce")
    board.set_viewport_size({"width": width, "height": 900})
    expect(board.locator("#sessions tr").first).to_be_visible()
    board.get_by_role("button", name="Find").click()
    expect(board.locator("#insights li").first).to_be_visible()
    if folder := os.environ.get("CONSOLE_SHOTS"):
        board.screenshot(path=f"{folder}/analytics-{width}-{scheme}.png", full_page=True)
    results = Axe().run(board)
    assert results.violations_count == 0, results.generate_report()
    assert board.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_with_keys_the_page_asks_for_one(browser: Browser, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "accounts.sqlite3", key_required=True)
    _, token = keys.create("page", "ann")
    keys.close()
    with analytics_only(Settings(_env_file=None, data_dir=tmp_path, port=0, qa_port=0), key_required=True) as client:
        page = browser.new_page()
        page.goto(f"{client.base_url}/analytics.html")
        expect(page.locator("#key")).to_be_visible()
        page.locator("#key").fill(token)
        page.locator("#key").press("Enter")
        expect(page.locator(".tile", has_text="Sessions").locator("dd")).to_have_text("0")
        expect(page.locator("#charts")).to_contain_text("Nothing in this range yet.")
        page.close()
