"""Measuring answers: the set is checked, the figures are right on cases counted by hand."""

import json
from pathlib import Path

import pytest

from rejoinder.evaluation.answer_scoring import Place, claims_of, contains, covers, ndcg, recall, refuses
from rejoinder.evaluation.answer_set import load_set
from schemas.answers import Passage

ROOT = Path(__file__).parent.parent.parent
SET = ROOT / "benchmarks" / "answers_set"


def passage(start: int, end: int, document: str = "d") -> Passage:
    return Passage(passage_id=f"{document}{start}", document_id=document, title="T", source="knowledge", text="x",
                   start=start, end=end)  # fmt: skip


def small_set(folder: Path, **question: object) -> Path:
    (folder / "collections" / "acme").mkdir(parents=True)
    (folder / "collections" / "acme" / "2024-01-02-pay.md").write_text("# Pay\n\nStandby pays 350 pounds a week.")
    line = {"id": "q1", "collection": "acme", "question": "What does standby pay?", **question}
    (folder / "questions.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_the_set_in_the_repository_covers_what_the_benchmark_promises() -> None:
    found = load_set(SET)
    types = {one.type for one in found.items}
    assert len(found.items) >= 40
    assert len({one.collection for one in found.documents}) == 6
    assert len(found.resumes) == 5
    by_split = {split: {one.collection for one in found.items if one.split == split} for split in ("dev", "test")}
    assert not by_split["dev"] & by_split["test"], "what is reported as unseen shares no document with what was fitted"
    assert {"followup", "unanswerable", "contradiction", "injection"} <= types
    assert all(one.answerable == (one.type != "unanswerable") for one in found.items)
    assert len({one.id for one in found.items}) == len(found.items)


def test_a_document_is_named_by_its_heading_and_added_in_the_order_of_its_date(tmp_path: Path) -> None:
    folder = small_set(tmp_path)
    (folder / "collections" / "acme" / "2023-05-01-old.md").write_text("no heading")
    assert [one.title for one in load_set(folder).documents] == ["old", "Pay"]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"evidence": [{"document": "acme/2024-01-02-pay", "text": "400 pounds"}]}, "does not hold"),
        ({"evidence": [{"document": "acme/none", "text": "x"}]}, "no document 'acme/none'"),
        ({"resume": "nobody"}, "no document 'resume/nobody'"),
        ({"expect": ["("]}, "the pattern"),
        ({"colour": "blue"}, "line 1"),
    ],
)
def test_a_set_that_contradicts_itself_is_refused(tmp_path: Path, question: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_set(small_set(tmp_path, **question))


def test_a_folder_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"questions\.jsonl"):
        load_set(tmp_path)


def test_recall_and_gain_are_what_the_hand_counts() -> None:
    places = [Place("d", 100, 120), Place("e", 0, 10)]
    found = [passage(0, 50), passage(90, 200), passage(95, 130), passage(0, 40, "e")]
    assert recall(found, places, 2) == 0.5
    assert recall(found, places, 4) == 1.0
    # Gains at ranks 2 and 4 (the third passage repeats a place), against ranks 1 and 2.
    assert ndcg(found, places, 10) == pytest.approx((0.63093 + 0.43068) / (1 + 0.63093), abs=1e-4)
    assert ndcg(found[1:2], [places[0]], 10) == 1.0
    assert ndcg([passage(0, 50)], places, 10) == 0.0


def test_a_place_is_covered_by_half_and_by_a_quote_within_it() -> None:
    place = Place("d", 100, 200)
    assert covers("d", 50, 150, place)
    assert not covers("d", 50, 149, place)
    assert covers("d", 120, 140, place)
    assert not covers("e", 100, 200, place)


def test_claims_keep_the_markers_that_stand_in_or_after_them() -> None:
    text = "From your documents: It pays 350 pounds. [1] Dr. Moss leads it [2]. Nobody knows more.\n- A point [1][3]"
    assert claims_of(text) == [
        ("From your documents: It pays 350 pounds.", (1,)),
        ("Dr.", ()),
        ("Moss leads it.", (2,)),
        ("Nobody knows more.", ()),
        ("- A point", (1, 3)),
    ]


def test_a_passage_holds_a_claim_only_with_its_numbers_and_most_of_its_words() -> None:
    text = "Standby pays 350 pounds a week for the first person."
    assert contains(text, "The first person on standby gets 350 pounds.")
    assert not contains(text, "The first person on standby gets 400 pounds.")
    assert not contains(text, "Dentists are insured against earthquakes.")


def test_a_refusal_says_so() -> None:
    assert refuses("That is not in your documents.")
    assert not refuses("The salary is 50,000 pounds.")


def test_the_page_shows_the_figures_of_the_stored_results() -> None:
    from benchmarks.answers import PAGE, RESULTS, with_figures

    results = json.loads(RESULTS.read_text())
    assert PAGE.read_text() == with_figures(PAGE.read_text(), results)
    assert results["quotes"]["figures"]["all"]["questions"] == len(load_set(SET).items)
