"""The page records the microphone of a real Chromium, whose device plays a file, and sends it to the real engine."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect, sync_playwright

from rejoinder.engine import Engine
from rejoinder.serving import serving
from rejoinder.settings import Settings
from tests.rejoinder.conftest import CHROMIUM, FLAGS
from tests.sound import chunks, recording, whole
from tests.support import wait_for

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    file = tmp_path_factory.mktemp("device") / "tone.wav"
    file.write_bytes(recording("wav", 10.0))
    flags = [
        *FLAGS,
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={file}",
        "--auto-select-tab-capture-source-by-title=Rejoinder",
        "--autoplay-policy=no-user-gesture-required",
    ]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM or "chromium", args=flags)
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(permissions=["microphone"])
    yield opened
    opened.close()


def _opens_a_session(response: Response) -> bool:
    return response.url.endswith("/api/sessions") and response.request.method == "POST"


def _open(context: BrowserContext, port: int, title: str) -> tuple[Page, str]:
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}")
    page.get_by_label("Title").fill(title)
    with page.expect_response(_opens_a_session) as reply:
        page.get_by_role("button", name="New session").click()
    expect(page.get_by_role("button", name="Microphone", exact=True)).to_be_visible()
    return page, reply.value.json()["session_id"]


def _stored_s(log: str, session: str) -> float:
    return sum(len(one.pcm) for one in chunks(log, session)) / 32_000


def _is_the_tone(pcm: bytes) -> bool:
    sound = np.frombuffer(pcm, "<i2").astype(float)[8_000:24_000]
    return bool(abs(np.abs(np.fft.rfft(sound)).argmax() - 440) <= 2 and sound.std() > 200)


def test_the_microphone_is_recorded_shown_and_stopped(context: BrowserContext, settings: Settings) -> None:
    with Engine(settings) as engine, serving(engine) as served:
        page, session = _open(context, served.port, "Microphone test")
        page.get_by_role("button", name="Microphone", exact=True).click()
        row = page.locator("#recordings li")
        expect(row).to_contain_text("Recording microphone for Microphone test")
        assert page.title().startswith("●")
        wait_for(lambda: _stored_s(settings.log_url, session) > 2)
        assert float(page.locator("#recordings meter").evaluate("one => one.value")) > 0.02
        for scheme in ("light", "dark"):
            for width in (1280, 390):
                page.emulate_media(color_scheme="light" if scheme == "light" else "dark", reduced_motion="reduce")
                page.set_viewport_size({"width": width, "height": 800})
                results = Axe().run(page)
                assert results.violations_count == 0, results.generate_report()
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
                if folder := os.environ.get("CONSOLE_SHOTS"):
                    page.screenshot(path=f"{folder}/sound-{scheme}-{width}.png", full_page=True)
        page.get_by_role("button", name="Stop").click()
        expect(row).to_have_count(0)
        assert page.title() == "Rejoinder"
    found = chunks(settings.log_url, session)
    assert found[-1].last
    assert _is_the_tone(whole(found))


def test_a_lost_engine_is_found_again_and_no_sound_is_missing(context: BrowserContext, tmp_path: Path) -> None:
    def settings(port: int) -> Settings:
        return Settings(_env_file=None, data_dir=tmp_path, port=port, qa_port=port)

    log = settings(0).log_url
    with Engine(settings(0)) as engine, serving(engine) as served:
        port = served.port
        page, session = _open(context, port, "Lost")
        page.get_by_role("button", name="Microphone", exact=True).click()
        wait_for(lambda: _stored_s(log, session) > 1)
    before = _stored_s(log, session)
    expect(page.locator('#recordings li[data-state="reconnecting"]')).to_contain_text("kept here")
    with Engine(settings(port)) as engine, serving(engine):
        wait_for(lambda: _stored_s(log, session) > before + 2)
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#recordings li")).to_have_count(0)
    found = chunks(log, session)
    assert found[-1].last
    assert not any(one.gap_samples for one in found)
    assert [one.sequence for one in found] == list(range(len(found)))
    assert _is_the_tone(whole(found)[-60_000:])


def test_the_sound_of_a_tab_is_recorded(context: BrowserContext, settings: Settings) -> None:
    with Engine(settings) as engine, serving(engine) as served:
        page, session = _open(context, served.port, "Tab")
        page.evaluate(
            """() => { const context = new AudioContext(), tone = context.createOscillator();
            tone.frequency.value = 440; tone.connect(context.destination); tone.start(); }"""
        )
        page.get_by_role("button", name="This tab's sound").click()
        expect(page.locator("#recordings li")).to_contain_text("Recording tab's sound")
        wait_for(lambda: _stored_s(settings.log_url, session) > 2)
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#recordings li")).to_have_count(0)
    assert _is_the_tone(whole(chunks(settings.log_url, session)))


def test_a_session_that_ends_ends_its_recordings(context: BrowserContext, settings: Settings) -> None:
    with Engine(settings) as engine, serving(engine) as served:
        page, session = _open(context, served.port, "Over")
        page.get_by_role("button", name="Microphone", exact=True).click()
        wait_for(lambda: _stored_s(settings.log_url, session) > 0.3)
        page.get_by_role("button", name="End", exact=True).click()
        expect(page.locator("#sound-said")).to_contain_text("has ended", timeout=10_000)
        expect(page.locator("#recordings li")).to_have_count(0)
        expect(page.get_by_role("button", name="Microphone", exact=True)).to_be_hidden()


def test_a_refused_microphone_is_said_in_words(browser: Browser, settings: Settings) -> None:
    with Engine(settings) as engine, serving(engine) as served:
        context = browser.new_context()
        context.add_init_script(
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
        )
        page, _ = _open(context, served.port, "Refused")
        page.get_by_role("button", name="Microphone", exact=True).click()
        expect(page.locator("#sound-said")).to_have_text("The browser does not allow the microphone")
        expect(page.get_by_role("button", name="Microphone", exact=True)).to_be_enabled()
        context.close()
