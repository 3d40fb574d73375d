"""docs/analytics.md says what the views are, and its queries run."""

import re
from pathlib import Path

import pytest

from flows.analytics_run import load_once
from rejoinder.analytics.page import views_page
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.writer import StoreWriter
from tests.rejoinder.analytics.facts import conversation, log_with

PAGE = (Path(__file__).parents[3] / "docs" / "analytics.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_ends_with_the_generated_views() -> None:
    assert PAGE.endswith(views_page())


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_every_example_query_runs_and_finds_something_where_there_is_something(number: int, tmp_path: Path) -> None:
    log = log_with(tmp_path, *(conversation(f"s{n}") for n in range(6)))
    store = AnalyticsStore(tmp_path / "a.duckdb")
    for run in ("live", "replay-1"):
        load_once(log, StoreWriter(store, run))
    found = store.ask(QUERIES[number])
    assert found.rows or "flow_lag" in QUERIES[number]
    store.close()
    log.close()
