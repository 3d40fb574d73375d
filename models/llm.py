"""Any server that speaks the OpenAI chat protocol: OpenAI, Ollama, vLLM, llama.cpp."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from models.breaker import CircuitBreaker
from operators.ports import Message, ModelPiece, ModelUsage
from schemas.base import derive_id
from schemas.errors import ModelError, ModelFailed, ModelTimeout

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["ChatOptions", "ChatServer", "FailureReason", "ServerFailed"]

FailureReason = Literal["unavailable", "rejected", "broken"]
RETRY_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class ServerFailed(ModelFailed):
    """A failed call with the word that clients see: unavailable, rejected or broken."""

    def __init__(self, message: str, reason: FailureReason) -> None:
        """Keep the reason beside the message; neither holds any of the prompt."""
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to call the server; all durations in seconds.

    Attributes:
        first_piece_s: Longest wait for the first piece, of each attempt.
        piece_s: Longest wait between two pieces.
        deadline_s: Longest time for the whole answer, retries included.
        attempts: How often to try, as long as no piece came.
        backoff_s: Wait before the second attempt; doubled for each further one.
    """

    base_url: str
    model: str
    api_key: str = "none"
    temperature: float = 0.2
    max_tokens: int = 400
    first_piece_s: float = 15.0
    piece_s: float = 10.0
    deadline_s: float = 60.0
    attempts: int = 3
    backoff_s: float = 0.5


class ChatServer:
    """A language model behind an OpenAI-compatible base URL; used from one event loop."""

    def __init__(self, options: ChatOptions, breaker: CircuitBreaker | None = None) -> None:
        """Keep the options; nothing is connected before the first question."""
        self._options = options
        self._breaker = breaker or CircuitBreaker()
        self._client: AsyncOpenAI | None = None
        self._clock: Callable[[], float] = time.monotonic

    @property
    def name(self) -> str:
        """The model's name."""
        return self._options.model

    @property
    def fingerprint(self) -> str:
        """Identity of server, model and sampling; a server that changes a model under its name is not seen."""
        options = self._options
        return derive_id(options.base_url, options.model, str(options.temperature), options.max_tokens)[:16]

    def _connected(self) -> "AsyncOpenAI":
        if self._client is None:
            from openai import AsyncOpenAI

            # Retries are ours: the client's own would not know the deadline.
            options = self._options
            self._client = AsyncOpenAI(base_url=options.base_url, api_key=options.api_key, max_retries=0)
        return self._client

    async def generate(self, messages: Sequence[Message]) -> AsyncGenerator[ModelPiece, None]:
        """Stream an answer; see `operators.ports.LanguageModel.generate`."""
        end_s = self._clock() + self._options.deadline_s
        for attempt in range(self._options.attempts):
            if not self._breaker.allows():
                raise ServerFailed("the model's server kept failing; it is left alone for a while", "unavailable")
            begun = False
            try:
                async for piece in self._once(messages, end_s):
                    begun = True
                    yield piece
            except (GeneratorExit, asyncio.CancelledError):
                self._breaker.abandoned()
                raise
            except ModelError as error:
                self._note(error)
                pause = self._pause(error, attempt, end_s)
                if begun or pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                self._breaker.succeeded()
                return

    def _note(self, error: ModelError) -> None:
        if isinstance(error, ServerFailed) and error.reason == "rejected":
            self._breaker.succeeded()  # the server is well; it does not want this request
        else:
            self._breaker.failed()

    def _pause(self, error: ModelError, attempt: int, end_s: float) -> float | None:
        """Give how long to wait before the next attempt, None when there is to be none."""
        if attempt + 1 >= self._options.attempts:
            return None
        if isinstance(error, ServerFailed) and error.reason != "unavailable":
            return None
        pause: float = getattr(error, "retry_after_s", None) or self._options.backoff_s * 2**attempt
        return pause if self._clock() + pause < end_s else None

    async def _once(self, messages: Sequence[Message], end_s: float) -> AsyncGenerator[ModelPiece, None]:
        stream = await self._within(self._open(messages), self._options.first_piece_s, end_s)
        try:
            chunks = aiter(stream)
            wait_s = self._options.first_piece_s
            finish: Literal["complete", "length"] | None = None
            while True:
                chunk = await self._within(_next(chunks), wait_s, end_s)
                if chunk is None:
                    break
                piece = _piece(chunk)
                if piece is None:
                    continue
                finish = piece.finish or finish
                wait_s = self._options.piece_s
                yield piece
            if finish is None:
                raise ServerFailed("the model's server broke off in the middle of an answer", "broken")
        finally:
            await stream.close()

    async def _open(self, messages: Sequence[Message]) -> Any:
        options = self._options
        said: Any = [{"role": one.role, "content": one.text} for one in messages]
        return await self._connected().chat.completions.create(
            model=options.model,
            messages=said,
            temperature=options.temperature,
            max_tokens=options.max_tokens,
            stream=True,
            stream_options={"include_usage": True},
        )

    async def _within(self, work: Any, wait_s: float, end_s: float) -> Any:
        """Wait for one step of the call, and put its failures into our words."""
        import httpx
        import openai

        try:
            async with asyncio.timeout(min(wait_s, max(0.0, end_s - self._clock()))):
                return await work
        except (TimeoutError, openai.APITimeoutError):
            raise ModelTimeout("the model's server gave no answer in time") from None
        except openai.APIStatusError as error:
            raise _refused(error) from None
        except openai.APIConnectionError:
            raise ServerFailed("the model's server cannot be reached", "unavailable") from None
        except openai.APIError as error:
            raise ServerFailed(f"the model's server reported an error: {error.code or 'unknown'}", "broken") from None
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, httpx.HTTPError) as error:
            raise ServerFailed(f"the model's server sent no valid answer: {type(error).__name__}", "broken") from None
        except OSError as error:
            raise ServerFailed(
                f"the connection to the model's server broke: {type(error).__name__}", "broken"
            ) from None
        except Exception as error:
            # The client's HTTP library has its own tree of errors; all of them mean a broken connection here.
            if type(error).__module__.partition(".")[0] not in ("httpx2", "httpcore2", "httpcore", "h11"):
                raise
            raise ServerFailed(
                f"the connection to the model's server broke: {type(error).__name__}", "broken"
            ) from None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None


async def _next(chunks: Any) -> Any:
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        return None


def _piece(chunk: Any) -> ModelPiece | None:
    """Give what a chunk of the stream says, None when nothing."""
    usage = None
    if getattr(chunk, "usage", None) is not None:
        usage = ModelUsage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
    if not chunk.choices:
        return ModelPiece("", None, usage) if usage is not None else None
    choice = chunk.choices[0]
    finish: Literal["complete", "length"] | None = None
    if choice.finish_reason is not None:
        finish = "length" if choice.finish_reason == "length" else "complete"
    text = choice.delta.content or "" if choice.delta is not None else ""
    return ModelPiece(text, finish, usage) if text or finish or usage else None


def _refused(error: Any) -> ServerFailed:
    status = error.status_code
    if status not in RETRY_STATUS:
        return ServerFailed(f"the model's server refused the request (status {status})", "rejected")
    failed = ServerFailed(f"the model's server answered with status {status}", "unavailable")
    wait = error.response.headers.get("retry-after", "")
    if wait.replace(".", "", 1).isdigit():
        failed.retry_after_s = float(wait)  # type: ignore[attr-defined]
    return failed
