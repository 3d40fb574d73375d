"""A real HTTP server that speaks the chat protocol and does what a test tells it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse


def chunk(text: str | None, finish: str | None = None) -> str:
    delta = {"content": text} if text is not None else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


GOOD = [chunk("An "), chunk("apple."), chunk(None, "stop"), "data: [DONE]\n\n"]


class Faulty:
    """A real HTTP server that does what a test tells it, one step per request."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], Response]] = []
        self.calls = 0
        self.closed = threading.Event()
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            await request.body()
            step = self.steps[min(self.calls, len(self.steps) - 1)]
            self.calls += 1
            return step()

        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            threading.Event().wait(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/v1"

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    def stream(self, pieces: list[str], *, hang: bool = False, pause_s: float = 0.0) -> Callable[[], Response]:
        async def body() -> AsyncIterator[bytes]:
            try:
                for piece in pieces:
                    await asyncio.sleep(pause_s)
                    yield piece.encode()
                if hang:
                    await asyncio.sleep(60)
            finally:
                self.closed.set()

        return lambda: StreamingResponse(body(), media_type="text/event-stream")


@contextmanager
def serving_words(text: str) -> Iterator[str]:
    """Give the address of a server that answers everything with the same words."""
    faulty = Faulty()
    pieces = [chunk(word + " ") for word in text.split()]
    faulty.steps.append(faulty.stream([*pieces, chunk(None, "stop"), "data: [DONE]\n\n"]))
    try:
        yield faulty.url
    finally:
        faulty.stop()
