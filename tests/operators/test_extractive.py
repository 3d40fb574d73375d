"""Quotes: the sentence that holds the fact, at its place in the document, and nothing when nothing fits."""

import pytest

from operators.answer_types import counts, fits
from operators.extractive import (
    FEATURES,
    SURENESS,
    Asked,
    Nearness,
    best_quotes,
    candidates_in,
    features,
    questions_above,
    sureness_features,
    weighed,
)
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


@pytest.mark.parametrize(
    ("question", "holds", "lacks"),
    [
        ("How long is the trial period?", "It is three months.", "It is hard."),
        ("What does a seat cost?", "A seat is 14.50 pounds.", "Seats are graded by row 4."),
        ("When does the next one leave?", "It leaves at 7:10 on Mondays.", "It leaves from the quay."),
        ("Who decides that?", "The captain decides.", "It is decided early."),
        ("Where do they sit?", "They sit in the aft lounge.", "They sit quietly."),
        ("Why did you leave it?", "We left because it was slow.", "We left it."),
    ],
)
def test_a_sentence_is_held_to_the_kind_of_thing_that_is_asked_for(question: str, holds: str, lacks: str) -> None:
    assert (fits(question, holds), fits(question, lacks)) == (True, False)


def test_numbers_of_something_else_do_not_count() -> None:
    assert counts("How many people work there?", "There are forty people.") is True
    assert counts("How many people work there?", "There are three rooms.") is False
    assert counts("How many people work there?", "Nothing is known.") is None


def test_the_question_above_its_answer_is_found_in_a_list_of_questions() -> None:
    text = "**Who builds it?** The yard Holmen does. It was cheaper.\n\nA third sentence here. And a fourth one."
    passage = PASSAGE.model_copy(update={"text": text})
    above = questions_above(candidates_in([passage]))
    assert above == ["Who builds it?**", "Who builds it?**", "", ""]


def test_features_have_a_column_per_name_and_the_best_sentence_gets_the_chance() -> None:
    passage = PASSAGE.model_copy(
        update={"text": "The nurse changes the bandage twice a week. Keep it dry at all times."}
    )
    candidates = candidates_in([passage])
    near = Nearness([0.8, 0.2], [0.0, 0.0], [0.9, 0.75], [0.9, 0.75], [0.85])
    rows = features(Asked("How often is the bandage changed?", "How often is the bandage changed?"), candidates, near)
    assert rows.shape == (2, len(FEATURES))
    assert rows[:, FEATURES.index("fits")].tolist() == [1.0, 0.0]
    assert sureness_features(rows, rows[:, 0]).shape == (3 + len(SURENESS),)
    quotes = weighed(candidates, rows)
    assert quotes[0].text.startswith("The nurse")
    assert 1 > quotes[0].score > 2 * quotes[1].score
    far = Nearness([0.1, 0.1], [0.0, 0.0], [0.7, 0.7], [0.7, 0.7], [0.7])
    unsure = weighed(candidates, features(Asked("Who founded the firm?", "Who founded the firm?"), candidates, far))
    assert unsure[0].score < 0.1
