"""Documents in great number, in other languages, empty, new and deleted: search goes on and stays fresh."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.embedder import load_embedder
from operators.answering import AnswerContext, AnswerDone, Answering
from operators.ports import SearchScope
from rejoinder.knowledge.cutting import Document, cut, passage_of, passages_of
from rejoinder.knowledge.documents import Documents
from rejoinder.knowledge.resume import parse_resume
from rejoinder.knowledge.store import KnowledgeStore
from schemas.answers import Passage
from tests.operators_support import asked

MANY = 5_000


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeStore]:
    """5,000 documents lie in the folder; their vectors are made when the store is opened."""
    folder = tmp_path_factory.mktemp("crowd")
    documents = Documents(folder / "documents.sqlite3")
    for number in range(MANY):
        text = f"Project {number} is led by team {number % 97} and costs {number * 10} euros."
        documents.put(Document(f"d{number}", "ann", "crowd", f"Project {number}", "knowledge", text, "2026-01-01"), -1)
    documents.close()
    store = KnowledgeStore(folder, load_embedder())
    yield store
    store.close()


def found(store: KnowledgeStore, query: str, *collections: str) -> list[Passage]:
    return store.search_now(query, SearchScope("ann", collections), 5)


def answer(store: KnowledgeStore, text: str, kind: str = "meeting") -> AnswerDone:
    async def last() -> AnswerDone:
        pieces = [
            piece async for piece in Answering(store).answer(asked(text), AnswerContext(SearchScope("ann"), kind))
        ]
        assert isinstance(pieces[-1], AnswerDone)
        return pieces[-1]

    return asyncio.run(last())


@pytest.mark.timeout(300)
def test_one_document_among_five_thousand_is_found(crowded: KnowledgeStore) -> None:
    assert len(crowded.documents("ann")) == MANY
    assert found(crowded, "What does project 4321 cost?")[0].title == "Project 4321"


@pytest.mark.timeout(300)
def test_among_five_thousand_a_new_document_is_used_at_once_and_a_deleted_one_never_again(
    crowded: KnowledgeStore,
) -> None:
    added = crowded.add("ann", "crowd", "Canteen", "The canteen serves moussaka on Thursdays.")
    assert found(crowded, "When is moussaka served?")[0].title == "Canteen"
    assert "Thursdays" in answer(crowded, "When is moussaka served?").text
    assert crowded.delete("ann", added.document_id)
    assert all(one.title != "Canteen" for one in found(crowded, "When is moussaka served?"))
    assert "Thursdays" not in answer(crowded, "When is moussaka served?").text


@pytest.mark.timeout(300)
def test_a_small_collection_is_searched_beside_a_crowd(crowded: KnowledgeStore) -> None:
    crowded.add("ann", "small", "Costs", "Project names are chosen by the crew. Nothing else is told here.")
    assert [one.title for one in found(crowded, "What does project 4321 cost?", "small")] == ["Costs"]


def test_a_german_document_answers_a_german_question(tmp_path: Path) -> None:
    store = KnowledgeStore(tmp_path, load_embedder())
    store.add(
        "ann",
        "de",
        "Urlaub",
        "# Urlaub\n\nAlle Beschäftigten haben 30 Tage Urlaub im Jahr. Sonderurlaub gibt es bei Umzug.",
    )
    store.add("ann", "de", "Parken", "# Parken\n\nDie Parkplätze im Hof sind für Gäste. Räder stehen im Keller.")
    done = answer(store, "Wie viele Tage Urlaub haben die Beschäftigten im Jahr?")
    assert "30 Tage" in done.text
    assert "30 Tage" not in answer(store, "Wie hoch ist die Miete der Wohnung?").text or done.grounded == "none"
    store.close()


@pytest.mark.parametrize("text", ["", "   \n\n", "\n" * 20_000])
def test_an_empty_resume_is_refused_and_reads_as_nothing(tmp_path: Path, text: str) -> None:
    store = KnowledgeStore(tmp_path, load_embedder())
    with pytest.raises(ValueError, match="no text"):
        store.add("ann", "resume", "Resume", text, "resume")
    assert parse_resume(text).experiences == []
    assert answer(store, "Tell me about a time you failed.", "interview").grounded == "none"
    store.close()


def test_a_resume_of_headings_only_makes_no_answer(tmp_path: Path) -> None:
    store = KnowledgeStore(tmp_path, load_embedder())
    store.add("ann", "resume", "Resume", "# Ann\n\n## Experience\n\n## Skills\n", "resume")
    assert answer(store, "What did you do in 2019?", "interview").grounded == "none"
    store.close()


def test_resume_and_document_that_contradict_are_both_told(tmp_path: Path) -> None:
    store = KnowledgeStore(tmp_path, load_embedder())
    store.add("ann", "resume", "Resume", "Ann Lee\n\nSkills\nI led the support team of 12 people at Volta.", "resume")
    letter = "Dated 2024-05-01. She led the support team of 9 people at Volta."
    store.add("ann", "letters", "Reference letter", letter)
    done = answer(store, "How many people were in the support team at Volta?")
    assert "12 people" in done.text
    assert "9 people" in done.text
    assert {one.source for one in done.citations} == {"resume", "knowledge"}
    store.close()


RESUME = """Ann Lee

Experience

Engineer, Volta 2019 - 2022
- Built the tracker of parcels that 22 depots use every day of the year.

Analyst, Sagabit Jan 2016 - Dec 2018
- Wrote the reports that the board of the company read every month.
"""


def document(text: str, source: str = "resume") -> Document:
    return Document("d", "ann", "c", "Resume", source, text, "2026-02-03T10:00:00")  # type: ignore[arg-type]


def test_a_resume_is_cut_by_position_and_each_passage_knows_its_heading() -> None:
    passages = passages_of(document(RESUME))
    built = next(one for one in passages if "tracker" in one.text)
    assert built.heading.endswith("Engineer, Volta 2019 - 2022")
    assert "reports" not in built.text
    assert all(RESUME[one.start : one.end] == one.text for one in passages)
    assert all(passage_of(document(RESUME), one.start, one.end) == one for one in passages)


def test_a_year_in_the_question_finds_the_position_that_covers_it(tmp_path: Path) -> None:
    store = KnowledgeStore(tmp_path, load_embedder())
    store.add("ann", "resume", "Resume", RESUME, "resume")
    scope = SearchScope("ann", about_user=True)
    assert "reports" in store.search_now("What did you do in 2017?", scope, 3)[0].text
    assert "tracker" in store.search_now("What did you do in 2020?", scope, 3)[0].text
    store.close()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("Updated 2025-06-01. Text.", "2025-06-01"),
        ("Minutes. Dated 4 November 2025, Hereford.", "2025-11-04"),
        ("No date in here, but version 3.", "2026-02-03"),
    ],
)
def test_a_document_is_dated_by_what_it_says_else_by_when_it_came(text: str, day: str) -> None:
    assert passages_of(document(text, "knowledge"))[0].dated == day


def test_one_endless_line_is_cut_too() -> None:
    pieces = cut(document("word " * 50_000, "knowledge"))
    assert max(len(one.text.split()) for one in pieces) <= 130


def test_a_session_that_names_a_profile_uses_that_resume_only(tmp_path: Path) -> None:
    store = KnowledgeStore(tmp_path, load_embedder())
    store.add("ann", "resume", "Resume", "Ann Lee\n\nSkills\nShe led the cats team at Volta for two years.", "resume")
    store.add("ann", "resume-dogs", "Resume (dogs)", "Ann Lee\n\nSkills\nShe led the dogs team at Volta.", "resume")
    store.add("ann", "volta", "Volta", "Volta has a cats team and a dogs team in Leeds.")
    assert {one.title for one in found(store, "Who led a team at Volta?", "resume-dogs")} == {"Resume (dogs)", "Volta"}
    assert {one.title for one in found(store, "Who led a team at Volta?", "resume")} == {"Resume", "Volta"}
    assert {one.title for one in found(store, "Who led a team at Volta?", "volta")} == {
        "Resume",
        "Resume (dogs)",
        "Volta",
    }
    assert {one.title for one in found(store, "Who led a team at Volta?", "other", "resume-dogs")} == {"Resume (dogs)"}
    store.close()
