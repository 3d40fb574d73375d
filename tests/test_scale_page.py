"""The page on scale says what the calculator reckons from the committed measurements."""

from dataclasses import fields, replace

from benchmarks.sizing import PAGE, UNITS, Assumptions, page, size, tables


def test_the_page_holds_the_tables_that_are_reckoned_now() -> None:
    assert PAGE.read_text() == page(PAGE.read_text())
    assert tables() in PAGE.read_text()


def test_every_assumption_is_told() -> None:
    assert set(UNITS) == {one.name for one in fields(Assumptions)}


def test_ten_times_the_sessions_need_ten_times_the_cores() -> None:
    few, many = size(100_000, Assumptions(), 200.0), size(1_000_000, Assumptions(), 200.0)
    assert few.captions_s == 20_000
    assert few.flow_cores == 7, "20,000 captions a second at 200 us are four cores, loaded to 60 %"
    assert 9 <= many.flow_cores / few.flow_cores <= 10
    assert few.answers_s == 100_000 * 20 / 3600


def test_a_price_changes_nothing_but_the_money() -> None:
    plain, dear = size(1_000, Assumptions(), 200.0), size(1_000, replace(Assumptions(), core_month=1_025.0), 200.0)
    assert dear.money_text - plain.money_text == 1_000 * plain.flow_cores
    assert replace(dear, money_text=plain.money_text) == plain
