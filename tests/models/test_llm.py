"""The client against servers that misbehave, and against a real local model."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response

from models.breaker import CircuitBreaker
from models.llm import ChatOptions, ChatServer, ServerFailed
from models.local_llm import LocalServer
from operators.ports import Message
from schemas.errors import ModelMissing, ModelTimeout
from tests.llm_server import GOOD, Faulty

ASK = [Message("user", "Name a fruit.")]


@pytest.fixture
def server() -> Iterator[Faulty]:
    faulty = Faulty()
    yield faulty
    faulty.stop()


def run(url: str, breaker: CircuitBreaker | None = None, **options: Any) -> str:
    async def ask() -> str:
        settings: dict[str, Any] = {
            "first_piece_s": 2.0,
            "piece_s": 0.5,
            "deadline_s": 5.0,
            "backoff_s": 0.01,
        } | options
        client = ChatServer(ChatOptions(base_url=url, model="m", **settings), breaker)
        try:
            return "".join([piece.text async for piece in client.generate(ASK)])
        finally:
            await client.aclose()

    return asyncio.run(ask())


def status(number: int, **headers: str) -> Callable[[], Response]:
    return lambda: JSONResponse({"error": {"message": "no", "code": "x"}}, number, headers)


def test_a_whole_answer_comes_through(server: Faulty) -> None:
    server.steps = [server.stream(GOOD)]
    assert run(server.url) == "An apple."


@pytest.mark.parametrize("number", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Faulty, number: int) -> None:
    server.steps = [status(number, **{"retry-after": "0.01"}), status(number), server.stream(GOOD)]
    assert run(server.url) == "An apple."
    assert server.calls == 3


@pytest.mark.parametrize("number", [400, 401, 404])
def test_a_refusal_is_final(server: Faulty, number: int) -> None:
    server.steps = [status(number)]
    with pytest.raises(ServerFailed) as caught:
        run(server.url)
    assert (caught.value.reason, server.calls) == ("rejected", 1)
    assert "fruit" not in str(caught.value)


def test_a_server_that_stays_down_is_unavailable(server: Faulty) -> None:
    server.steps = [status(500)]
    with pytest.raises(ServerFailed) as caught:
        run(server.url, attempts=2)
    assert (caught.value.reason, server.calls) == ("unavailable", 2)
    with pytest.raises(ServerFailed):
        run("http://127.0.0.1:9/v1", attempts=1)


def test_half_an_answer_is_broken_and_not_begun_again(server: Faulty) -> None:
    server.steps = [server.stream(GOOD[:1])]
    with pytest.raises(ServerFailed) as caught:
        run(server.url)
    assert (caught.value.reason, server.calls) == ("broken", 1)


@pytest.mark.parametrize("begun", [0, 1])
def test_a_server_that_hangs_runs_into_the_time_limit(server: Faulty, begun: int) -> None:
    server.steps = [server.stream(GOOD[:begun], hang=True)]
    with pytest.raises(ModelTimeout):
        run(server.url, first_piece_s=0.3, piece_s=0.3, attempts=1)


def test_an_answer_that_never_ends_runs_into_the_deadline(server: Faulty) -> None:
    server.steps = [server.stream(GOOD[:1] * 1000, pause_s=0.05)]
    with pytest.raises(ModelTimeout):
        run(server.url, deadline_s=0.5)


def test_nonsense_is_broken(server: Faulty) -> None:
    server.steps = [server.stream(["data: {nonsense\n\n"])]
    with pytest.raises(ServerFailed) as caught:
        run(server.url)
    assert caught.value.reason == "broken"


def test_one_byte_at_a_time_is_an_answer_too(server: Faulty) -> None:
    server.steps = [server.stream(list("".join(GOOD)), pause_s=0.0)]
    assert run(server.url) == "An apple."


def test_leaving_closes_the_connection_at_once(server: Faulty) -> None:
    server.steps = [server.stream(GOOD[:1], hang=True)]

    async def leave() -> None:
        client = ChatServer(ChatOptions(base_url=server.url, model="m", piece_s=30))
        pieces = client.generate(ASK)
        assert (await anext(pieces)).text == "An "
        await pieces.aclose()
        await client.aclose()

    asyncio.run(leave())
    assert server.closed.wait(5)


def test_the_breaker_stops_calls_and_lets_one_probe_through(server: Faulty) -> None:
    now = [0.0]
    breaker = CircuitBreaker(failures=2, cool_s=10, clock=lambda: now[0])
    server.steps = [status(500), status(500), server.stream(GOOD)]
    with pytest.raises(ServerFailed):
        run(server.url, breaker, attempts=2)
    with pytest.raises(ServerFailed, match="left alone"):
        run(server.url, breaker)
    assert server.calls == 2
    now[0] = 11.0
    assert breaker.allows()
    assert not breaker.allows(), "one probe at a time"
    breaker.abandoned()
    assert run(server.url, breaker) == "An apple."
    assert breaker.allows()


@pytest.fixture(scope="module")
def local() -> Iterator[LocalServer]:
    started = LocalServer()
    yield started
    started.stop()


def test_weights_of_ones_own_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"no file .*own\.gguf"):
        LocalServer(tmp_path / "own.gguf")


def test_a_real_model_streams(local: LocalServer) -> None:
    assert run(local.base_url, max_tokens=12, first_piece_s=60.0, deadline_s=60.0, piece_s=30.0).strip()


def test_a_real_model_refuses_a_prompt_that_is_too_long(local: LocalServer) -> None:
    async def ask() -> None:
        client = ChatServer(ChatOptions(base_url=local.base_url, model="m", first_piece_s=60, deadline_s=60))
        try:
            async for _ in client.generate([Message("user", "word " * 20_000)]):
                pass
        finally:
            await client.aclose()

    with pytest.raises(ServerFailed) as caught:
        asyncio.run(ask())
    assert caught.value.reason == "rejected"


def test_a_real_model_takes_the_next_question_after_one_was_left(local: LocalServer) -> None:
    async def ask() -> str:
        client = ChatServer(ChatOptions(base_url=local.base_url, model="m", max_tokens=8, first_piece_s=60, piece_s=30))
        first = client.generate([Message("user", "Write a very long story.")])
        await anext(first)
        await first.aclose()
        try:
            return "".join([piece.text async for piece in client.generate(ASK)])
        finally:
            await client.aclose()

    assert asyncio.run(ask()).strip()
