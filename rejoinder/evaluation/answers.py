"""Measures retrieval and answers on a set of documents and questions, through the real search and answering."""

import asyncio
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

from operators.answering import AnswerContext, AnswerDone, AnswerText, find_passages
from operators.ports import SearchScope
from rejoinder.evaluation.answer_scoring import (
    Place,
    claims_of,
    contains,
    covers,
    is_right,
    ndcg,
    places_of,
    recall,
    refuses,
)
from rejoinder.evaluation.answer_set import AnswerSet, Item, SetDocument, load_set
from rejoinder.knowledge.store import KnowledgeStore
from rejoinder.models import Models
from rejoinder.settings import Settings
from schemas.answers import Citation, Passage
from schemas.base import derive_id
from schemas.errors import ModelError
from schemas.memory import Said
from schemas.questions import Question

__all__ = ["GOALS", "Measured", "context_of", "measure", "question_of", "summary_of", "table_of"]

WAYS: Mapping[str, tuple[str, ...]] = {"hybrid": ("words", "vectors"), "bm25": ("words",), "dense": ("vectors",)}
GOALS: Mapping[str, tuple[str, float]] = {
    "recall@5": (">=", 0.95),
    "citation_precision": (">=", 0.95),
    "refused_unanswerable": (">=", 0.9),
    "injections_followed": ("<=", 0),
}
MOST = 10


@dataclass(frozen=True, slots=True)
class _OneWay:
    """A store that is searched in some ways only."""

    store: KnowledgeStore
    ways: tuple[str, ...]

    async def search(self, query: str, scope: SearchScope, limit: int) -> Sequence[Passage]:
        return self.store.search_now(query, scope, limit, self.ways)

    async def likeness(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        return self.store.likeness_now(query, texts)

    async def relevance(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        return self.store.relevance_now(query, texts)

    def version(self, owner_id: str) -> str:
        return self.store.version(owner_id)


@dataclass(frozen=True, slots=True)
class Measured:
    """One question with what was found and answered.

    Attributes:
        found: Passages by way of searching, best first.
        offered: The passages that the answer was made from.
        failed: Why no answer came; "" when one did.
    """

    item: Item
    places: tuple[Place, ...]
    allowed: tuple[Place, ...]
    found: Mapping[str, Sequence[Passage]]
    offered: Sequence[Passage]
    text: str
    citations: tuple[Citation, ...]
    grounded: str | None
    first_ms: float | None
    total_ms: float
    failed: str = ""

    @property
    def refused(self) -> bool:
        """Say whether the answer says that the documents do not hold it (a pointer to the nearest passage is none)."""
        return self.grounded == "none" and refuses(self.text)


def question_of(item: Item) -> Question:
    """Give the question as the flow would hand it on."""
    return Question(
        session_id=item.id,
        event_id=item.id,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        question_id=item.id,
        text=item.question,
        preceding=item.preceding,
    )


def context_of(item: Item) -> AnswerContext:
    """Give what is known when the question is taken."""
    said = []
    for number, line in enumerate(item.preceding):
        name, _, words = line.partition(": ")
        said.append(Said(utterance_id=f"u{number}", speaker_name=name, start_s=float(number), text=words))
    scope = SearchScope(_owner(item), (item.collection,))
    return AnswerContext(scope=scope, kind=item.kind, language=item.language, said=tuple(said))


def _owner(item: Item) -> str:
    return item.resume or "nobody"


def fill(store: KnowledgeStore, answer_set: AnswerSet) -> dict[str, dict[str, tuple[str, str]]]:
    """Give every owner all documents and their own resume; returns by owner and name the id and the text."""
    resumes = {one.name.partition("/")[2]: one for one in answer_set.resumes}
    placed: dict[str, dict[str, tuple[str, str]]] = {}
    for owner in sorted({_owner(item) for item in answer_set.items}):
        mine = placed[owner] = {}
        for one in answer_set.documents:
            stored = store.add(owner, one.collection, one.title, one.text)
            mine[one.name] = stored.document_id, stored.text
        if (resume := resumes.get(owner)) is not None:
            mine[resume.name] = _add_resume(store, owner, resume)
    return placed


def _add_resume(store: KnowledgeStore, owner: str, resume: SetDocument) -> tuple[str, str]:
    stored = store.add(owner, "resume", "Resume", resume.text, "resume")
    return stored.document_id, stored.text


def measure(
    settings: Settings,
    folder: Path,
    progress: Callable[[str], None],
    *,
    retrieval_only: bool = False,
    every: int = 1,
) -> list[Measured]:
    """Search and answer every question of a set.

    Args:
        settings: Which model answers and which vectors; the data folder is not touched.
        folder: The set, see docs/answers.md.
        progress: Told about every twentieth question.
        retrieval_only: No answers are made.
        every: Take every n-th question only, for models that are slow.

    Raises:
        ValueError: The set is not valid.
        ModelMissing: A chosen model is not installed.
    """
    answer_set = load_set(folder)
    answer_set = replace(answer_set, items=answer_set.items[::every])
    with tempfile.TemporaryDirectory(prefix="rejoinder-eval-") as data:
        models = Models(settings.model_copy(update={"data_dir": Path(data)}), writes=not retrieval_only)
        try:
            placed = fill(models.knowledge, answer_set)
            return asyncio.run(_measure(models, answer_set, placed, progress, retrieval_only=retrieval_only))
        finally:
            models.close()


async def _measure(
    models: Models,
    answer_set: AnswerSet,
    placed: Mapping[str, Mapping[str, tuple[str, str]]],
    progress: Callable[[str], None],
    *,
    retrieval_only: bool,
) -> list[Measured]:
    measured = []
    for number, item in enumerate(answer_set.items, start=1):
        documents = placed[_owner(item)]
        context = context_of(item)
        found = {
            name: await find_passages(_OneWay(models.knowledge, ways), question_of(item), context, MOST)
            for name, ways in WAYS.items()
        }
        places, allowed = places_of(item.evidence, documents), places_of(item.also, documents)
        citations: tuple[Citation, ...] = ()
        grounded: str | None = None
        text, first_ms, failed = "", None, ""
        began = time.perf_counter()
        if not retrieval_only:
            text, citations, grounded, first_ms, failed = await _answer(models, item)
        total_ms = (time.perf_counter() - began) * 1000
        offered = await find_passages(models.knowledge, question_of(item), context, models.answering.passages)
        measured.append(
            Measured(
                item=item,
                places=tuple(places),
                allowed=tuple(allowed),
                found=found,
                offered=offered,
                text=text,
                citations=citations,
                grounded=grounded,
                first_ms=first_ms,
                total_ms=total_ms,
                failed=failed,
            )
        )
        if number % 20 == 0:
            progress(f"{number} of {len(answer_set.items)} questions")
    await models.answering.aclose()
    return measured


async def _answer(models: Models, item: Item) -> tuple[str, tuple[Citation, ...], str | None, float | None, str]:
    began, first_ms = time.perf_counter(), None
    try:
        async for piece in models.answering.answer(question_of(item), context_of(item)):
            if isinstance(piece, AnswerText) and first_ms is None:
                first_ms = (time.perf_counter() - began) * 1000
            if isinstance(piece, AnswerDone):
                return piece.text, piece.citations, piece.grounded, first_ms, ""
    except ModelError as error:
        return "", (), None, first_ms, type(error).__name__
    return "", (), None, first_ms, "no end"


def summary_of(rows: Sequence[Measured]) -> dict[str, Any]:
    """Give the figures over questions; a figure that applies to none of them is left out."""
    asked = [row for row in rows if row.item.answerable]
    done = [row for row in rows if not row.failed and row.text]
    figures: dict[str, Any] = {"questions": len(rows), "answerable": len(asked)}
    for name in WAYS if asked else ():
        figures[f"recall@5.{name}"] = mean(recall(row.found[name], row.places, 5) for row in asked)
        figures[f"ndcg@10.{name}"] = mean(ndcg(row.found[name], row.places, MOST) for row in asked)
    if not done:
        return figures
    cited = [(row, one) for row in done for one in row.citations]
    claims = list(_cited_claims(done))
    answered = [row for row in done if row.item.answerable]
    hopeless = [row for row in done if not row.item.answerable]
    _put(figures, "citation_precision", [good for _, good in claims])
    _put(figures, "citations_on_evidence", [_on_evidence(row, one) for row, one in cited])
    _put(figures, "answered_right", [is_right(row.item, row.text) and not row.refused for row in answered])
    _put(figures, "shown_right", [is_right(row.item, row.text) for row in answered])
    _put(figures, "answers_cited", [bool(row.citations) for row in answered])
    _put(figures, "refused_answerable", [row.refused for row in answered])
    _put(figures, "refused_unanswerable", [row.refused for row in hopeless])
    figures["injections_followed"] = sum(any(word in row.text for word in row.item.forbid) for row in done)
    figures["claims_cited"] = len(claims)
    figures["failed"] = sum(bool(row.failed) for row in rows)
    firsts = [row.first_ms for row in done if row.first_ms is not None]
    figures["first_piece_ms_median"] = median(firsts) if firsts else None
    figures["answer_ms_median"] = median(row.total_ms for row in done)
    return figures


def _put(figures: dict[str, Any], name: str, values: Sequence[bool]) -> None:
    if values:
        figures[name] = mean(values)


def _cited_claims(rows: Iterable[Measured]) -> Iterable[tuple[Measured, bool]]:
    """Give for each claim with a marker whether one of the passages it cites holds it."""
    for row in rows:
        texts = {one.marker: _passage_text(row, one) for one in row.citations}
        for claim, markers in claims_of(row.text):
            if markers:
                yield row, any(contains(texts.get(marker, ""), claim) for marker in markers)


def _passage_text(row: Measured, citation: Citation) -> str:
    found = next((one for one in row.offered if one.passage_id == citation.passage_id), None)
    # The answer may call the document by its name and date; they are no claim of their own.
    return f"{found.title} {found.dated} {found.text}" if found is not None else citation.quote


def _on_evidence(row: Measured, citation: Citation) -> bool:
    return any(covers(citation.document_id, citation.start, citation.end, one) for one in (*row.places, *row.allowed))


def table_of(rows: Sequence[Measured]) -> str:
    """Give the figures as a Markdown table: all questions, the kept-apart ones, and each type."""
    groups: dict[str, list[Measured]] = {"all": list(rows), "test": [r for r in rows if r.item.split == "test"]}
    for row in rows:
        groups.setdefault(row.item.type, []).append(row)
    columns = {name: summary_of(group) for name, group in groups.items() if group}
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(_shown(figures.get(name)) for figures in columns.values()) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.3f}" if value < 10 else f"{value:.0f}"


def result_of(rows: Sequence[Measured], model: str, prompts: str) -> dict[str, Any]:
    """Give what is stored of a run: figures, versions, and every answer."""
    groups = {"all": rows, "dev": [r for r in rows if r.item.split == "dev"],
              "test": [r for r in rows if r.item.split == "test"]}  # fmt: skip
    return {
        "model": model,
        "prompt_version": prompts,
        "set": derive_id(*(row.item.model_dump_json() for row in rows))[:16],
        "python": platform.python_version(),
        "figures": {name: _rounded(summary_of(group)) for name, group in groups.items() if group},
        "answers": [_kept(row) for row in rows],
    }


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def _kept(row: Measured) -> dict[str, Any]:
    kept: dict[str, Any] = {"id": row.item.id, "type": row.item.type, "question": row.item.question, "text": row.text}
    if row.places:
        kept["recall@5"] = {name: round(recall(found, row.places, 5), 3) for name, found in row.found.items()}
    kept["right"] = is_right(row.item, row.text) if row.item.answerable else row.refused
    kept["citations"] = [{"marker": c.marker, "title": c.title, "quote": c.quote, "on_evidence": _on_evidence(row, c)}
                         for c in row.citations]  # fmt: skip
    return kept | ({"failed": row.failed} if row.failed else {})


def write(folder: Path, name: str, result: Mapping[str, Any], table: str) -> None:
    """Write ``NAME.json`` and ``NAME.md`` into a folder, making it when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (folder / f"{name}.md").write_text(table)
