"""Reads a set of documents, resumes and questions that answers are measured on."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rejoinder.knowledge.parsing import DocumentRefused, parse_upload

__all__ = ["AnswerSet", "Evidence", "Item", "SetDocument", "load_set"]

RESUME = "resume"
_DATED = re.compile(r"^\d{4}-\d\d-\d\d[ -]")


class Evidence(BaseModel):
    """A stretch of a document that holds (part of) the answer; `document` is "COLLECTION/FILE" or "resume/FILE"."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    document: str
    text: Annotated[str, Field(min_length=1)]


class Item(BaseModel):
    """One question with what a good answer is made of.

    Attributes:
        split: "dev" may be looked at while mending, "test" is only measured.
        type: What is tested; "unanswerable" has no evidence and wants a refusal.
        preceding: Lines said just before, "Name: words".
        evidence: Stretches that hold the answer; retrieval should find every one.
        also: Stretches that may be cited as well, but need not be found.
        expect: Patterns (regular expressions) that a right answer matches, all of them.
        forbid: Words that no answer may hold: what an injection asks for, or an invented fact.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    split: Literal["dev", "test"] = "test"
    type: str = "plain"
    kind: str = "meeting"
    language: str = "en"
    collection: str
    resume: str = ""
    question: str
    preceding: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    also: tuple[Evidence, ...] = ()
    expect: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()

    @property
    def answerable(self) -> bool:
        """Say whether the documents hold the answer."""
        return bool(self.evidence)


@dataclass(frozen=True, slots=True)
class SetDocument:
    """One document; `name` is what evidence calls it."""

    name: str
    collection: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class AnswerSet:
    """The whole set; documents in the order in which they are to be added, oldest first."""

    documents: tuple[SetDocument, ...]
    resumes: tuple[SetDocument, ...]
    items: tuple[Item, ...]


def load_set(folder: Path) -> AnswerSet:
    """Read ``questions.jsonl``, ``collections/NAME/*`` and ``resumes/*`` of a folder.

    Raises:
        ValueError: Something is missing or wrong; the message names the file and the question.
    """
    path = folder / "questions.jsonl"
    if not path.is_file():
        raise ValueError(f"{folder} holds no questions.jsonl; docs/answers.md describes the format")
    documents = [
        _document(file, f"{file.parent.name}/{file.stem}", file.parent.name)
        for file in sorted(folder.glob("collections/*/*"), key=lambda file: (file.name, file.parent.name))
    ]
    resumes = [_document(file, f"{RESUME}/{file.stem}", RESUME) for file in sorted(folder.glob("resumes/*"))]
    items = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            items.append(Item.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{path.name}, line {number}: {first['loc']}: {first['msg']}") from None
    known = {one.name: one for one in (*documents, *resumes)}
    for item in items:
        _check(item, known)
    return AnswerSet(tuple(documents), tuple(resumes), tuple(items))


def _document(file: Path, name: str, collection: str) -> SetDocument:
    try:
        text, kind = parse_upload(file.name, file.read_bytes())
    except DocumentRefused as refused:
        raise ValueError(f"{name}: {refused}") from None
    if kind == "json":
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    head = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return SetDocument(name, collection, head.removeprefix("# ").strip() or _DATED.sub("", file.stem), text)


def _check(item: Item, known: dict[str, SetDocument]) -> None:
    wanted = [f"{RESUME}/{item.resume}"] if item.resume else []
    for name in (*wanted, *(one.document for one in (*item.evidence, *item.also))):
        if name not in known:
            raise ValueError(f"question {item.id}: there is no document {name!r}")
    for one in (*item.evidence, *item.also):
        if one.text not in known[one.document].text:
            raise ValueError(f"question {item.id}: {one.document} does not hold {one.text[:60]!r}")
    for pattern in item.expect:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"question {item.id}: the pattern {pattern!r} is none: {error}") from None
