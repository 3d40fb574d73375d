"""question + memory + documents -> the pieces of an answer, closed by its citations."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from operators.extractive import Quote, best_quotes, cite, stems_of
from operators.ports import LanguageModel, Message, ModelUsage, PassageSearch, SearchScope
from operators.prompts import PROMPT_VERSION, PromptParts, build_prompt, prompt_hash
from schemas.answers import Cause, Citation, Passage, PassageUsed, Receipt
from schemas.base import derive_id
from schemas.errors import ModelFailed
from schemas.memory import Note, Said
from schemas.questions import Question

__all__ = [
    "AnswerContext",
    "AnswerDone",
    "AnswerText",
    "Answering",
    "citations_in",
    "messages_for",
    "search_query",
    "used",
]

NOTHING_FOUND = "Your documents hold nothing on this, and no language model is configured to answer without them."
QUOTED = "From your documents: "
_MARKER = re.compile(r"\[(\d{1,2})\]")


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """What is known when a question is taken; it is kept in snapshots so that the answer can be begun again."""

    scope: SearchScope
    kind: str = "meeting"
    language: str = "en"
    said: tuple[Said, ...] = ()
    notes: tuple[Note, ...] = ()
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerDone:
    """The end of an answer; `text` is all pieces joined."""

    text: str
    citations: tuple[Citation, ...]
    mode: Literal["model", "extractive"]
    model: str = ""
    finish: Literal["complete", "length"] = "complete"
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    receipt: Receipt = field(default_factory=Receipt)


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers questions with a search over documents and, when there is one, a language model.

    Attributes:
        search: Finds passages.
        model: Writes the answer; None = the best sentences are quoted.
        passages: How many passages are offered.
        prompt_chars: Longest prompt, characters (about four to a token).
    """

    search: PassageSearch
    model: LanguageModel | None = None
    passages: int = 6
    prompt_chars: int = 9_000

    async def answer(self, question: Question, context: AnswerContext) -> AsyncGenerator[AnswerText | AnswerDone, None]:
        """Give pieces of text and then exactly one `AnswerDone`.

        Raises:
            ModelTimeout: The model gave nothing (more) before the deadline.
            ModelFailed: The model refused, broke off or cannot be reached.
        """
        version = self.search.version(context.scope.owner_id)
        found = await self.search.search(search_query(question, context), context.scope, self.passages)
        receipt = Receipt(causes=context.causes, passages=tuple(map(used, found)), index_version=version)
        if self.model is None:
            for piece in _quoted(question, found, receipt):
                yield piece
            return
        messages = messages_for(question, context, found, self.prompt_chars)
        receipt = receipt.model_copy(
            update={
                "prompt_version": PROMPT_VERSION,
                "prompt_hash": prompt_hash(messages),
                "prompt_chars": self.prompt_chars,
                "model_hash": self.model.fingerprint,
            }
        )
        text, usage, finish = "", ModelUsage(), None
        pieces: Any = self.model.generate(messages)
        async with aclosing(pieces):
            async for piece in pieces:
                if piece.text:
                    text += piece.text
                    yield AnswerText(piece.text)
                usage, finish = piece.usage or usage, piece.finish or finish
        if finish is None:
            raise ModelFailed("the model broke off before the end of its answer")
        citations = citations_in(text, found)
        tokens = usage.prompt_tokens, usage.answer_tokens
        yield AnswerDone(text, citations, "model", self.model.name, finish, *tokens, receipt)

    async def aclose(self) -> None:
        """Close what the model holds open."""
        close = getattr(self.model, "aclose", None)
        if close is not None:
            await close()


def used(passage: Passage) -> PassageUsed:
    """Give the trace of a passage that was offered."""
    return PassageUsed(
        passage_id=passage.passage_id,
        document_id=passage.document_id,
        start=passage.start,
        end=passage.end,
        text_hash=derive_id(passage.text)[:16],
    )


def messages_for(
    question: Question, context: AnswerContext, found: Sequence[Passage], prompt_chars: int
) -> list[Message]:
    """Give the messages that a model is sent for a question."""
    parts = PromptParts(context.kind, context.language, found, context.said, context.notes)
    return build_prompt(question, parts, prompt_chars)


def search_query(question: Question, context: AnswerContext) -> str:
    """Give the words to search for; a short follow-up ("and how long?") takes the lines before it along."""
    words = stems_of(question.text)
    if len(words) >= 3:
        return question.text
    before = list(question.preceding[-2:]) or [line.text for line in context.said[-2:]]
    return " ".join([question.text, *before])


def _quoted(question: Question, found: Sequence[Passage], receipt: Receipt) -> list[AnswerText | AnswerDone]:
    quotes = best_quotes(question.text, found)
    if not quotes:
        return [AnswerText(NOTHING_FOUND), AnswerDone(NOTHING_FOUND, (), "extractive", receipt=receipt)]
    pieces = [AnswerText(QUOTED)]
    for marker, quote in enumerate(quotes, start=1):
        pieces.append(AnswerText(f"{quote.text} [{marker}]" + (" " if marker < len(quotes) else "")))
    text = "".join(piece.text for piece in pieces)
    citations = tuple(cite(marker, quote) for marker, quote in enumerate(quotes, start=1))
    return [*pieces, AnswerDone(text, citations, "extractive", receipt=receipt)]


def citations_in(text: str, found: Sequence[Passage]) -> tuple[Citation, ...]:
    """Give the citations of a model's text: its own markers, else passages that share much with a sentence.

    A marker without a passage is no citation. The quote is the sentence of the passage nearest to the claim.
    """
    cited: dict[int, Citation] = {}
    begin = 0
    for match in _MARKER.finditer(text):
        marker = int(match.group(1))
        if 1 <= marker <= len(found) and marker not in cited:
            cited[marker] = cite(marker, _support(text[begin : match.start()], found[marker - 1]))
        begin = match.end()
    if cited:
        return tuple(cited[marker] for marker in sorted(cited))
    for marker, passage in enumerate(found, start=1):
        quotes = best_quotes(text, [passage], most=1, least_score=0.45)
        if quotes:
            cited[marker] = cite(marker, quotes[0])
    return tuple(list(cited.values())[:3])


def _support(claim: str, passage: Passage) -> Quote:
    quotes = best_quotes(claim, [passage], most=1, least_score=0.0)
    if quotes:
        return quotes[0]
    head = passage.text[:200]
    return Quote(passage, head, passage.start, passage.start + len(head), 0.0)
