"""Serves the apps: two ports or one, in one event loop, until a signal; then everything ends within five seconds."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI

from api.app import begin_shutdown

if TYPE_CHECKING:
    from rejoinder.engine import Engine

__all__ = ["PortTaken", "Served", "serve", "serving"]

GRACE_S = 2
MOST_MESSAGE = 1_048_576
"""Largest message of a WebSocket, bytes; the door's own limits are below it and answer with words."""
SEND_BUFFER_BYTES = 128 * 1024
"""The kernel holds twice this for a client that does not read; left alone, Linux holds up to four megabytes each."""


class PortTaken(OSError):
    """A port is in use."""


class _Server(uvicorn.Server):
    """A server that leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _ending(protocol: type[Any]) -> type[Any]:
    """Give a protocol that tells the app how to end its connection at once (`api.stream` cuts stalled clients)."""

    class Ending(protocol):  # type: ignore[misc]
        app_state: dict[str, Any]

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.app_state = {**self.app_state, "abort": lambda: _abort(transport)}
            super().connection_made(transport)

    return Ending


def _abort(transport: asyncio.Transport) -> None:
    # Without this the kernel would go on offering what was sent to a client that does not read.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Served:
    """Two running servers; `port` and `qa_port` are the ports they got."""

    def __init__(self, doors: Sequence[tuple[FastAPI, str, int]]) -> None:
        """Bind the ports of apps, hosts and ports.

        Raises:
            PortTaken: One of them is in use.
        """
        self._apps: list[FastAPI] = []
        self._servers: list[_Server] = []
        self._sockets: list[socket.socket] = []
        bound = [(self._add(*door), getattr(door[0].state, "metrics_only", False)) for door in doors]
        ports = [port for port, metrics_only in bound if not metrics_only]
        self.host, self.port, self.qa_port = doors[0][1], ports[0], ports[-1]

    def _add(self, app: FastAPI, host: str, port: int) -> int:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections have it from here
        try:
            opened.bind((host, port))
        except OSError as error:
            opened.close()
            for other in self._sockets:
                other.close()
            raise PortTaken(error.errno, f"port {port} on {host} cannot be used: {error.strerror}") from None
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
            ws="websockets-sansio",
            ws_max_size=MOST_MESSAGE,
            ws_per_message_deflate=False,  # sound does not get smaller, and a small message cannot become a large one
        )
        config.load()
        config.http_protocol_class = _ending(config.http_protocol_class)
        self._apps.append(app)
        self._servers.append(_Server(config))
        self._sockets.append(opened)
        return int(opened.getsockname()[1])

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is called; calls `ready` once both servers answer."""
        tasks = [
            asyncio.ensure_future(server.serve(sockets=[opened]))
            for server, opened in zip(self._servers, self._sockets, strict=True)
        ]
        while not all(server.started for server in self._servers) and not any(task.done() for task in tasks):
            await asyncio.sleep(0.01)
        ready()
        await asyncio.gather(*tasks)

    def stop(self) -> None:
        """End the streams, then the servers; called in the event loop."""
        for app in self._apps:
            begin_shutdown(app)
        for server in self._servers:
            server.should_exit = True


def serve(
    doors: Sequence[tuple[FastAPI, str, int]],
    ready: Callable[[Served], None],
    ended: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until SIGINT or SIGTERM, or until `ended` says so; a second signal ends the process at once."""
    served = Served(doors)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[int] = []

        def on_signal(number: int) -> None:
            if told:
                os._exit(128 + number)
            told.append(number)
            served.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal, number)
        watching = asyncio.ensure_future(watch())
        await served.run(lambda: ready(served))
        watching.cancel()

    async def watch() -> None:
        while not ended():
            await asyncio.sleep(0.1)
        served.stop()

    asyncio.run(main())


@contextlib.contextmanager
def serving(engine: "Engine") -> Iterator[Served]:
    """Serve a started engine in a thread while the context lasts."""
    import threading

    served = Served(engine.doors())
    up = threading.Event()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        await served.run(up.set)
        # The stream library keeps a watcher per loop; it must end before the loop does.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), name="serving", daemon=True)
    thread.start()
    if not up.wait(20):
        message = "the servers did not start"
        raise RuntimeError(message)
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(served.stop)
        thread.join(8)
        loop.close()
