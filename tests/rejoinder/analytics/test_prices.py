"""Usage in money: what has a price, what has none, and what nobody told the amount of."""

from pathlib import Path
from typing import Any

import pytest

from flows.analytics_run import load_once
from rejoinder.analytics.prices import read_prices
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.writer import StoreWriter
from rejoinder.settings import Settings
from schemas.answers import Answer, answer_id_of
from schemas.errors import LogUnavailable
from schemas.questions import Question
from schemas.speech import Caption, Word
from tests.rejoinder.analytics.facts import Talk, conversation, log_with
from tests.rejoinder.analytics.test_serving import analytics_only, rows
from tests.support import wait_for

FILE = """
currency = "EUR"
[models.m]
prompt_per_million = 2.0
answer_per_million = 10.0
[models.own]
prompt_per_million = 0.0
answer_per_million = 0.0
[sound]
per_minute = 0.6
"""


def priced(folder: Path, text: str = FILE) -> Path:
    file = folder / "prices.toml"
    file.write_text(text)
    return file


def busy_talk() -> Talk:
    """Give a session with answers of four kinds of models, and six seconds of sound that were written down here."""
    talk = conversation()
    for model, prompt, answer in (("own", 50, 5), ("dear", 1_000, 100), ("m", None, None)):
        asked = talk.add("questions", Question, 30, question_id=f"q-{model}-{prompt}", text="So?")
        about = {"answer_id": answer_id_of(asked), "question_id": asked.question_id, "mode": "model", "model": model}
        talk.add("answers", Answer, 31, text="So.", prompt_tokens=prompt, answer_tokens=answer, **about)
    said: dict[str, Any] = {"start_s": 20.0, "end_s": 26.0, "text": "well", "track": "mic"}
    words = (Word(text="well", start_s=20.0, end_s=26.0),)
    talk.add("captions", Caption, 27, caption_id="h1", final=False, words=words, **said)
    talk.add("captions", Caption, 28, caption_id="h1", words=words, **said)
    talk.add("captions", Caption, 29, caption_id="sent", **said)  # by a tool that names a track: nothing was heard
    return talk


def test_costs_are_amounts_times_prices_and_unknown_is_never_nothing(tmp_path: Path) -> None:
    log = log_with(tmp_path, busy_talk())
    store = AnalyticsStore(tmp_path / "a.duckdb")
    load_once(log, StoreWriter(store))
    asked = "SELECT what, model, amount, cost, currency FROM usage ORDER BY what, model, amount NULLS LAST"
    assert {row[3:] for row in store.rows(asked)} == {(None, None)}, "without a file nothing has a price"
    store.set_prices(read_prices(priced(tmp_path)))
    found = [(*row[:3], None if row[3] is None else pytest.approx(row[3]), row[4]) for row in store.rows(asked)]
    assert found == [
        ("answer_tokens", "dear", 100.0, None, None),
        ("answer_tokens", "m", 7.0, 7 * 10e-6, "EUR"),
        ("answer_tokens", "m", None, None, "EUR"),
        ("answer_tokens", "own", 5.0, 0.0, "EUR"),
        ("audio_seconds", "", 6.0, 0.06, "EUR"),
        ("prompt_tokens", "dear", 1_000.0, None, None),
        ("prompt_tokens", "m", 100.0, 100 * 2e-6, "EUR"),
        ("prompt_tokens", "m", None, None, "EUR"),
        ("prompt_tokens", "own", 50.0, 0.0, "EUR"),
    ]
    store.set_prices([])
    assert {row[3:] for row in store.rows(asked)} == {(None, None)}, "prices are those of now"
    store.close()
    log.close()


def test_the_dashboard_says_what_it_costs_and_what_is_in_no_sum(settings: Settings, tmp_path: Path) -> None:
    log_with(settings.data_dir, busy_talk()).close()
    wanted = {"since": "2026-01-01T00:00:00Z"}
    with analytics_only(settings.model_copy(update={"prices_file": priced(tmp_path)})) as client:
        wait_for(lambda: client.get("/api/analytics/status").json()["alive"])
        wait_for(lambda: rows(client, "SELECT count(*) FROM usage") == [[9]])
        board = client.get("/api/analytics/dashboard", params=wanted).json()
        (cost,) = board["cost"]
        assert cost["cost"] == pytest.approx(0.06 + 7 * 10e-6 + 100 * 2e-6)
        assert (cost["currency"], cost["n"], cost["without_cost"]) == ("EUR", 9, 4)
        used = {(one["what"], one["model"]): one for one in board["usage"]}
        dear, own, mine = (used["prompt_tokens", model] for model in ("dear", "own", "m"))
        assert (dear["cost"], dear["unpriced"], dear["amount"]) == (None, True, 1_000)
        assert (own["cost"], own["unpriced"]) == (0.0, False), "a price of nothing is a price"
        assert (mine["not_told"], mine["n"]) == (1, 2)
    with analytics_only(settings) as client:
        wait_for(lambda: client.get("/api/analytics/status").json()["alive"])
        board = client.get("/api/analytics/dashboard", params=wanted).json()
        assert [one["cost"] for one in board["cost"]] == [None]
        assert {one["unpriced"] for one in board["usage"]} == {True}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("currency = 'EUR'\n[models.m]\nprompt_per_million = 1", "models.m.answer_per_million"),
        ("currency = 'EUR'\n[sound]\nper_minute = -1", "sound.per_minute"),
        ("currency = 'euros'", "currency"),
        ("[models]", "currency"),
        ("currency = 'EUR'\n[words]\nper_word = 1", "words"),
        ("currency = ", "not valid"),
    ],
)
def test_a_wrong_file_of_prices_is_said_to_be_wrong_and_where(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(LogUnavailable, match=told):
        read_prices(priced(tmp_path, text))


def test_a_missing_file_of_prices_is_told_by_the_status(settings: Settings, tmp_path: Path) -> None:
    with analytics_only(settings.model_copy(update={"prices_file": tmp_path / "gone.toml"})) as client:
        wait_for(lambda: "gone.toml" in client.get("/api/analytics/status").json()["detail"])
        assert client.get("/api/analytics/dashboard").status_code == 503
