"""Quotes: the sentence that holds the fact, at its place in the document, and nothing when nothing fits."""

from operators.extractive import best_quotes
from schemas.answers import Passage

TEXT = "# How bandages are changed\n\nThe nurse changes the bandage once or twice a week. Keep it dry. Walk every day."
PASSAGE = Passage(
    passage_id="p", document_id="d", title="Leaflet", source="knowledge", text=TEXT, start=100, end=100 + len(TEXT)
)


def test_the_sentence_with_the_fact_is_quoted_where_it_stands() -> None:
    quotes = best_quotes("How often is the bandage changed?", [PASSAGE])
    assert quotes[0].text == "The nurse changes the bandage once or twice a week."
    assert TEXT[quotes[0].start - 100 : quotes[0].end - 100] == quotes[0].text


def test_a_heading_is_never_quoted() -> None:
    assert all("How bandages" not in quote.text for quote in best_quotes("How are bandages changed?", [PASSAGE]))


def test_nothing_is_quoted_when_nothing_fits() -> None:
    assert best_quotes("Who won the chess tournament in Reykjavik?", [PASSAGE]) == []
    assert best_quotes("", [PASSAGE]) == []
    assert best_quotes("anything", []) == []
