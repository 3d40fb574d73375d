"""What operators may ask of the outside: models and searches, as protocols they are handed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.question_features import Heard
from schemas.answers import Passage

__all__ = [
    "LanguageModel",
    "Message",
    "ModelPiece",
    "ModelUsage",
    "PassageSearch",
    "QuestionScorer",
    "Reranker",
    "Score",
    "SearchScope",
    "SoundStretch",
    "SpeechDetector",
    "SpeechMemory",
    "TextEmbedder",
    "Transcriber",
    "Transcript",
    "TranscriptWord",
    "Vectors",
]

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat prompt."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Tokens a call took; None where the server did not say."""

    prompt_tokens: int | None = None
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ModelPiece:
    """The next text from a model; the last piece has `finish` set (its text may be empty)."""

    text: str
    finish: Literal["complete", "length"] | None = None
    usage: ModelUsage | None = None


class LanguageModel(Protocol):
    """Something that writes text."""

    @property
    def name(self) -> str:
        """The model's name, to show and to record."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of the model with the settings that change what it writes, 16 hex digits."""
        ...

    def generate(self, messages: Sequence[Message]) -> AsyncIterator[ModelPiece]:
        """Stream the answer to a prompt, piece by piece; closing the iterator ends the call and its cost.

        Raises:
            ModelTimeout: No (further) piece before the deadline.
            ModelFailed: The server refused or broke off; ``str(error)`` says why without the prompt.
        """
        ...


class TextEmbedder(Protocol):
    """Turns texts into vectors whose dot product is their likeness."""

    @property
    def name(self) -> str:
        """Name and version of the weights; vectors of different names do not mix."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Give one unit-length row per text, shape (texts, dim); blocking, releases the interpreter lock."""
        ...


class Reranker(Protocol):
    """Reads a question and a text together: dearer and better than comparing their vectors."""

    @property
    def name(self) -> str:
        """Name and version of the weights."""
        ...

    def scores(self, query: str, texts: Sequence[str]) -> Vectors:
        """Give how well each text answers, shape (texts,), any scale; blocking, releases the interpreter lock."""
        ...


@dataclass(frozen=True, slots=True)
class SearchScope:
    """Whose documents may be searched: one owner's, in these collections (empty = all of them) and the resume.

    Attributes:
        about_user: The question is about the owner: passages of the resume count twice.
    """

    owner_id: str
    collections: tuple[str, ...] = ()
    about_user: bool = False


class PassageSearch(Protocol):
    """Finds the passages that may hold the answer."""

    async def search(self, query: str, scope: SearchScope, limit: int) -> Sequence[Passage]:
        """Give at most `limit` passages, best first; never blocks the event loop."""
        ...

    async def likeness(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Give how near each text is to a query in meaning, 1 = the same; never blocks the event loop."""
        ...

    async def relevance(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Give how well each text answers a query, by a model trained on questions with their answers.

        Values of one model compare with one another only; never blocks the event loop.
        """
        ...

    def version(self, owner_id: str) -> str:
        """Give the identity of what is searched for an owner: other documents or vectors, another version."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SpeechMemory:
    """What a speech detector keeps between two calls; empty arrays at the start of a track.

    Attributes:
        hidden: State of the network, float32.
        cell: State of the network, float32.
        context: The last samples it heard, float32, at most a few milliseconds.
    """

    hidden: Vectors
    cell: Vectors
    context: Vectors


class SpeechDetector(Protocol):
    """Tells speech from everything else, hop by hop."""

    @property
    def hop_samples(self) -> int:
        """Samples per hop."""
        ...

    def initial(self) -> SpeechMemory:
        """Give the memory of a track of which nothing was heard."""
        ...

    def probabilities(self, samples: NDArray[np.int16], memory: SpeechMemory) -> tuple[Vectors, SpeechMemory]:
        """Give how likely each hop holds speech, shape (hops,), 0 to 1, and the memory after it.

        Args:
            samples: Whole hops, 16 kHz, shape (hops * hop_samples,).
            memory: Of the hop before.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SoundStretch:
    """Sound to be written down.

    Attributes:
        samples: int16, 16 kHz, shape (samples,).
        language: ISO 639-1 code; None = find out.
        before: What was said before, to go on in its spelling.
        glossary: Names and terms that may come, to be spelled like this.
        best: Take the more careful and slower way.
    """

    samples: NDArray[np.int16]
    language: str | None = None
    before: str = ""
    glossary: str = ""
    best: bool = True


@dataclass(frozen=True, slots=True)
class TranscriptWord:
    """One word; times are seconds from the start of the stretch, and a space before it is part of the text."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard in a stretch, and how sure the recogniser is.

    Attributes:
        words: In order; joined they are the text.
        language: ISO 639-1 code.
        log_probability: Mean of the tokens, natural logarithm.
        no_speech_probability: That the stretch holds no speech.
        compression_ratio: Length of the text by its length when compressed; above 2 it repeats itself.
        tries: Decodes it took.
    """

    words: tuple[TranscriptWord, ...]
    language: str
    log_probability: float
    no_speech_probability: float
    compression_ratio: float
    tries: int = 1

    @property
    def text(self) -> str:
        """The words as one text."""
        return "".join(word.text for word in self.words).strip()


class Transcriber(Protocol):
    """Writes down what is said."""

    @property
    def name(self) -> str:
        """The model's name, to show and to record."""
        ...

    @property
    def multilingual(self) -> bool:
        """Whether it knows other languages than English."""
        ...

    def transcribe(self, stretches: Sequence[SoundStretch]) -> list[Transcript]:
        """Write down several stretches together; blocking, releases the interpreter lock, safe from many threads.

        Raises:
            ModelFailed: The model cannot work on one of them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a caption asks, 0-1, and at which of its words the asking begins."""

    probability: float
    at: int


class QuestionScorer(Protocol):
    """Judges whether a caption asks for something that deserves an answer."""

    def score(self, heard: Heard, text: str) -> Score:
        """Give how likely a caption asks; in well under 2 ms, whatever its length.

        Args:
            heard: The caption's words with what was said before.
            text: The same words as they were heard.
        """
        ...
