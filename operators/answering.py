"""question + memory + documents -> the pieces of an answer, closed by its citations."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from operators.extractive import Quote, best_quotes, cite
from operators.grounding import UNSUPPORTED, Grounding
from operators.ports import LanguageModel, Message, ModelUsage, PassageSearch, SearchScope
from operators.prompts import PLAIN, PromptParts, PromptSet, build_prompt, canary_of, prompt_hash
from operators.queries import about_user, queries_of
from operators.quoting import quoted_answer, quotes_for
from operators.retrieval import fuse
from operators.safety import HELP, in_danger
from schemas.answers import Cause, Citation, Grounded, Passage, PassageUsed, Receipt
from schemas.base import derive_id
from schemas.errors import ModelFailed
from schemas.hops import Timings
from schemas.memory import Note, Said
from schemas.questions import Question

__all__ = [
    "AnswerContext",
    "AnswerDone",
    "AnswerText",
    "Answering",
    "citations_in",
    "find_passages",
    "messages_for",
    "search_query",
    "used",
]

FIRST_QUERY = 2.0
"""The query that counts most counts twice."""
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
    grounded: Grounded | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers questions with a search over documents and, when there is one, a language model.

    Attributes:
        search: Finds passages.
        model: Writes the answer; None = the best sentences are quoted.
        passages: How many passages are offered.
        prompt_chars: Longest prompt, characters (about four to a token).
        prompts: The wording of prompts.
        careful: Ask the model only when a sentence probably answers, else point to what is nearest; for small models,
            which rather invent than refuse.
        embedding: Where whoever made the search counts the time of its text vectors; None = nowhere.
    """

    search: PassageSearch
    model: LanguageModel | None = None
    passages: int = 6
    prompt_chars: int = 9_000
    prompts: PromptSet = PLAIN
    careful: bool = False
    embedding: Timings | None = None

    async def answer(self, question: Question, context: AnswerContext) -> AsyncGenerator[AnswerText | AnswerDone, None]:
        """Give pieces of text and then exactly one `AnswerDone`.

        Raises:
            ModelTimeout: The model gave nothing (more) before the deadline.
            ModelFailed: The model refused, broke off or cannot be reached.
        """
        if in_danger(question.text, context.kind, by_user=question.origin == "asked"):
            yield AnswerText(HELP)
            yield AnswerDone(HELP, (), "extractive", receipt=Receipt(causes=context.causes), grounded="none")
            return
        version = self.search.version(context.scope.owner_id)
        found = await find_passages(self.search, question, context, self.passages)
        receipt = Receipt(causes=context.causes, passages=tuple(map(used, found)), index_version=version)
        if self.model is None or self.careful:
            quotes = await quotes_for(self.search, question, search_query(question, context), context.kind, found)
            made = quoted_answer(quotes, question.text)
            if self.model is None or made.grounded == "none":
                for piece in made.pieces:
                    yield AnswerText(piece)
                text = "".join(made.pieces)
                yield AnswerDone(text, made.citations, "extractive", receipt=receipt, grounded=made.grounded)
                return
        async for one in self._written(self.model, question, context, found, receipt):
            yield one

    async def _written(
        self,
        model: LanguageModel,
        question: Question,
        context: AnswerContext,
        found: Sequence[Passage],
        receipt: Receipt,
    ) -> AsyncGenerator[AnswerText | AnswerDone, None]:
        messages = messages_for(question, context, found, self.prompt_chars, self.prompts)
        receipt = receipt.model_copy(
            update={
                "prompt_version": self.prompts.version,
                "prompt_hash": prompt_hash(messages),
                "prompt_chars": self.prompt_chars,
                "model_hash": model.fingerprint,
            }
        )
        said = " ".join([*(line.text for line in context.said), *(note.text for note in context.notes), question.text])
        grounding = Grounding(found, said, messages[0].text, canary_of(question))
        text, usage, finish = "", ModelUsage(), None
        pieces: Any = model.generate(messages)
        async with aclosing(pieces):
            async for piece in pieces:
                if shown := grounding.feed(piece.text):
                    text += shown
                    yield AnswerText(shown)
                usage, finish = piece.usage or usage, piece.finish or finish
                if grounding.stopped:
                    finish = "complete"  # nothing more of it would be shown, and every token costs
                    break
        if finish is None:
            raise ModelFailed("the model broke off before the end of its answer")
        if rest := grounding.close():
            text += rest
            yield AnswerText(rest)
        citations = citations_in(text, found)
        tokens = usage.prompt_tokens, usage.answer_tokens
        yield AnswerDone(text, citations, "model", model.name, finish, *tokens, receipt, _grounded(text, citations))

    async def aclose(self) -> None:
        """Close what the model holds open."""
        close = getattr(self.model, "aclose", None)
        if close is not None:
            await close()


def _grounded(text: str, citations: Sequence[Citation]) -> Grounded:
    if not citations:
        return "none"
    return "partly" if UNSUPPORTED in text else "fully"


async def find_passages(search: PassageSearch, question: Question, context: AnswerContext, limit: int) -> list[Passage]:
    """Give the passages for a question, best first; what several queries find is fused by rank."""
    scope = replace(context.scope, about_user=about_user(question.text, context.kind))
    queries = queries_of(question, context.said, context.notes)
    rankings = [await search.search(query, scope, max(limit, 10)) for query in queries]
    if len(rankings) == 1:
        return list(rankings[0][:limit])
    known = {one.passage_id: one for ranking in rankings for one in ranking}
    weights = [FIRST_QUERY, *[1.0] * (len(rankings) - 1)]
    ranked = fuse([[one.passage_id for one in ranking] for ranking in rankings], limit, weights)
    return [known[name].model_copy(update={"score": score}) for name, score in ranked]


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
    question: Question,
    context: AnswerContext,
    found: Sequence[Passage],
    prompt_chars: int,
    prompts: PromptSet = PLAIN,
) -> list[Message]:
    """Give the messages that a model is sent for a question."""
    parts = PromptParts(context.kind, context.language, found, context.said, context.notes)
    return build_prompt(question, parts, prompt_chars, prompts)


def search_query(question: Question, context: AnswerContext) -> str:
    """Give the words that count most in the search; a follow-up takes the lines before it along."""
    return queries_of(question, context.said, context.notes)[0]


def citations_in(text: str, found: Sequence[Passage]) -> tuple[Citation, ...]:
    """Give the citations of a text: the passages its markers name, each with the sentence nearest to the claim.

    A marker without a passage is no citation.
    """
    cited: dict[int, Citation] = {}
    begin = 0
    for match in _MARKER.finditer(text):
        marker = int(match.group(1))
        if 1 <= marker <= len(found) and marker not in cited:
            cited[marker] = cite(marker, _support(text[begin : match.start()], found[marker - 1]))
        begin = match.end()
    return tuple(cited[marker] for marker in sorted(cited))


def _support(claim: str, passage: Passage) -> Quote:
    quotes = best_quotes(claim, [passage], most=1, least_score=0.0)
    if quotes:
        return quotes[0]
    head = passage.text[:200]
    return Quote(passage, head, passage.start, passage.start + len(head), 0.0)
