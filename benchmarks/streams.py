"""A thousand clients of one API process: how long until a caption is read, beside clients that are no good neighbours.

``uv run python -m benchmarks.streams`` starts the engine (API and flows in one process) on the embedded log and on a
real Kafka, and two processes with clients: raw sockets that follow the streams of fifty sessions. Captions and
questions are posted at a steady rate. 800 clients are counted. The other 200, turn by turn, read as well (`read`), or
never read (`stall`: every one of them has to be cut in the end, or the run fails), or read a meeting from its start and
begin again when they have it (`catch_up`). It writes ``benchmarks/results/streams.json``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks.latency import quantiles
from benchmarks.processes import cpu_s, memory_mb
from benchmarks.talk import LINES

RESULTS = Path(__file__).parent / "results" / "streams.json"
PEOPLE = [{"id": "ann", "name": "Ann"}, {"id": "me", "is_user": True}]
MADE = re.compile(rb'event: caption\r\ndata: .*?"text":\s?"T(\d+) ')
SMALL = 4096
WAYS = ("read", "stall", "catch_up")


class Reader(asyncio.Protocol):
    """One client; notes how long each caption took from the moment it was posted until it was read."""

    def __init__(self, request: bytes, waits: list[float], until: bytes) -> None:
        """Send `request`; keep waits in `waits`, or only look for `until` when there is such."""
        self._request, self._waits, self._until = request, waits, until
        self.caught_up = asyncio.Event()
        self._left = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look for captions, and for the end of what there is to catch up with."""
        if not self.opened.done():
            self.opened.set_result(None)
        now = time.monotonic_ns()
        whole, end, self._left = (self._left + data).rpartition(b"\r\n\r\n")
        if self._until:
            if self._until in whole + end:
                self.caught_up.set()
            return
        self._waits.extend((now - int(made)) / 1e6 for made in MADE.findall(whole + end))


class Clients:
    """The clients of one server, in this process."""

    def __init__(self, port: int, until: str, sessions: list[str]) -> None:
        """Connect to `port`; clients are spread evenly over `sessions`, whose history ends with the text `until`."""
        self._port, self._until, self._sessions = port, until.encode(), sessions
        self.waits: list[float] = []
        self.catch_ups: list[float] = []
        self._open: dict[str, list[Callable[[], Any]]] = {}

    async def connect(self, name: str, count: int, way: str) -> None:
        """Add a group of clients of one kind and wait until all of them are connected."""
        group = self._open.setdefault(name, [])
        for number in range(count):
            session = self._sessions[number % len(self._sessions)]
            if way == "stall":
                group.append(await self._stalled(session))
            elif way == "catch_up":
                task = asyncio.ensure_future(self._again_and_again(session))
                group.append(task.cancel)
            else:
                reader, transport = await self._reader(session, "now", self.waits if name == "counted" else [])
                await reader.opened
                group.append(transport.abort)

    async def _reader(
        self, session: str, place: str, waits: list[float], until: bytes = b""
    ) -> tuple[Reader, asyncio.Transport]:
        reader = Reader(_request(session, place), waits, until)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: reader, "127.0.0.1", self._port)
        return reader, transport

    async def _again_and_again(self, session: str) -> None:
        while True:
            began = time.monotonic()
            reader, transport = await self._reader(session, "start", [], self._until)
            try:
                await reader.caught_up.wait()
            finally:
                transport.abort()
            self.catch_ups.append((time.monotonic() - began) * 1000)

    async def _stalled(self, session: str) -> Callable[[], Any]:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, ("127.0.0.1", self._port))
        await loop.sock_sendall(plain, _request(session, "start"))
        return plain.close

    def drop(self, name: str) -> None:
        """Hang up on a group."""
        for hang_up in self._open.pop(name, []):
            hang_up()


def _request(session: str, place: str) -> bytes:
    return f"GET /api/sessions/{session}/stream?from={place} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def serve_clients(port: int, until: str, sessions: list[str]) -> None:
    """Do what the standard input says, a JSON line each, and answer each with a line."""
    clients, loop = Clients(port, until, sessions), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wish = json.loads(line)
        told: dict[str, Any] = {}
        if wish["do"] == "connect":
            await clients.connect(wish["name"], wish["count"], wish["way"])
        elif wish["do"] == "drop":
            clients.drop(wish["name"])
            caught_up = sorted(clients.catch_ups) or [float("inf")]
            clients.catch_ups.clear()
            told = {"times": len(caught_up), **quantiles(caught_up)}
        else:
            clients.waits.clear()
            await asyncio.sleep(wish["seconds"])
            waits = sorted(clients.waits) or [float("inf")]
            told = {
                "events": len(waits),
                **quantiles(waits),
                "p95": round(waits[int(0.95 * len(waits))], 2),
            }
        print(json.dumps(told), flush=True)


class ClientProcess:
    """The process with the clients."""

    def __init__(self, port: int, until: str, sessions: list[str]) -> None:
        """Start it."""
        command = [sys.executable, "-m", "benchmarks.streams", "--clients-of", str(port), until, *sessions]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, **wish: Any) -> dict[str, Any]:
        """Have it do something."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def stop(self) -> None:
        """End it."""
        self._process.communicate(timeout=20)


class Talk:
    """Posts captions round the sessions at a steady rate; the text begins with the time it was posted."""

    def __init__(self, client: httpx.Client, sessions: list[str], per_second: float) -> None:
        """Talk in `sessions` until `stop`."""
        self._client, self._sessions, self._pause = client, sessions, 1 / per_second
        self._stopped = threading.Event()
        self.posted = self.late = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            number, session = divmod(self.posted, len(self._sessions))
            speaker, text = LINES[number % len(LINES)]
            start_s = 10_000 + number * 10.0
            caption = {"caption_id": f"t{number}", "speaker": speaker, "start_s": start_s, "end_s": start_s + 2}
            body = {"captions": [{**caption, "text": f"T{time.monotonic_ns()} {text}"}]}
            self._client.post(f"/api/sessions/{self._sessions[session]}/captions", json=body).raise_for_status()
            self.posted += 1
            due += self._pause
            left = due - time.monotonic()
            self.late += left < 0
            if left > 0:
                time.sleep(left)
            else:
                due = time.monotonic()

    def stop(self) -> None:
        """Stop talking."""
        self._stopped.set()
        self._thread.join(20)


def counted(client: httpx.Client, name: str) -> float:
    """Give a figure of /metrics."""
    found = re.search(rf"^{name} ([\d.e+]+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


@contextlib.contextmanager
def engine(folder: Path, log: str, stalled_s: float) -> Iterator[tuple[httpx.Client, int]]:
    """Give a client of a running engine, and the id of its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "REJOINDER_DATA_DIR": str(folder / "data"),
        "REJOINDER_LOG": log,
        "REJOINDER_STREAMS": "2000",
        "REJOINDER_STALLED_S": str(stalled_s),
        "REJOINDER_PORT": str(port),
        "REJOINDER_QA_PORT": str(port),
    }
    with (folder / "engine.out").open("ab") as out:
        child = subprocess.Popen([sys.executable, "-m", "rejoinder", "up"], env=env, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/api/health").is_success:
                        break
                time.sleep(0.1)
            yield client, child.pid
    finally:
        child.terminate()
        child.wait(20)


def prepare(client: httpx.Client, sessions: int, history: int) -> list[str]:
    """Open sessions that have talked before; gives their ids."""
    made = []
    for number in range(sessions):
        reply = client.post("/api/sessions", json={"participants": PEOPLE})
        made.append(str(reply.json()["session_id"]))
        captions = [
            {
                "caption_id": f"h{one}",
                "speaker": LINES[one % len(LINES)][0],
                "start_s": one * 3.0,
                "end_s": one * 3.0 + 2,
                "text": LINES[(one + number) % len(LINES)][1],
            }
            for one in range(history)
        ]
        client.post(f"/api/sessions/{made[-1]}/captions", json={"captions": captions}).raise_for_status()
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if all(flow["behind_s"] == 0 for flow in client.get("/api/health").json()["flows"]):
            break
        time.sleep(0.5)
    return made


def one_round(
    client: httpx.Client, pid: int, clients: tuple[ClientProcess, ClientProcess], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure once with the others reading, stalling and catching up.

    Raises:
        RuntimeError: A stalled client was not cut.
    """
    few, one = options.count // 5, {}
    good, others = clients
    for way in options.ways:
        cut = counted(client, "rejoinder_streams_cut_total")
        others.do(do="connect", name="others", count=few, way=way)
        time.sleep(1.0)
        cpu, began = cpu_s(pid), time.monotonic()
        one[way] = good.do(do="measure", seconds=options.seconds)
        one[way]["share_of_a_core"] = round((cpu_s(pid) - cpu) / (time.monotonic() - began), 2)
        one[way]["rss_mb"] = round(memory_mb(pid, "VmRSS"), 1)
        if way == "stall":
            end = time.monotonic() + options.stalled * 2
            while (done := counted(client, "rejoinder_streams_cut_total") - cut) < few:
                if time.monotonic() > end:
                    message = f"only {done:.0f} of {few} stalled clients were cut"
                    raise RuntimeError(message)
                time.sleep(0.2)
            one[way]["cut"] = round(done)
            one[way]["rss_mb_after_cut"] = round(memory_mb(pid, "VmRSS"), 1)
        caught_up = others.do(do="drop", name="others")
        if way == "catch_up":
            one[way]["caught_up"] = caught_up
        time.sleep(1.0)
    return one


def measure(folder: Path, log: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one log: rounds with the others reading, stalling and catching up, turn by turn."""
    folder.mkdir()
    few = options.count // 5
    with engine(folder, log, options.stalled) as (client, pid):
        sessions = prepare(client, options.sessions, options.history)
        before_mb = round(memory_mb(pid, "VmRSS"), 1)
        until = f'"caption_id":"h{options.history - 1}"'
        good, others = (ClientProcess(client.base_url.port or 0, until, sessions) for _ in range(2))
        good.do(do="connect", name="counted", count=options.count - few, way="read")
        talk = Talk(client, sessions, options.rate)
        rounds: list[dict[str, Any]] = []
        for _ in range(options.rounds):
            rounds.append(one_round(client, pid, (good, others), options))
            print(json.dumps(rounds[-1]), flush=True)
        talk.stop()
        good.stop()
        others.stop()
        ratios = {
            way: sorted(round(one[way]["p95"] / one["read"]["p95"], 3) for one in rounds) for way in options.ways[1:]
        }
        return {
            "p95_ms": {way: [one[way]["p95"] for one in rounds] for way in options.ways},
            "p95_ratio": {way: {"median": one[len(one) // 2], "all": one} for way, one in ratios.items()},
            "rounds": rounds,
            "captions_posted": talk.posted,
            "posts_late": talk.late,
            "rss_mb": {"before_clients": before_mb, "peak": round(memory_mb(pid, "VmHWM"), 1)},
        }


def main() -> None:
    """Measure, print, store; or be the process with the clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000, help="clients; every fifth is no good neighbour")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--history", type=int, default=600, help="captions said before anybody connects")
    parser.add_argument("--rate", type=float, default=20.0, help="captions a second over all sessions")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--stalled", type=float, default=10.0, help="REJOINDER_STALLED_S")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="what the others do; first: read")
    parser.add_argument("--logs", nargs="+", choices=("embedded", "kafka"), default=["embedded", "kafka"])
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--clients-of", nargs="+", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (8_192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if options.clients_of:
        asyncio.run(serve_clients(int(options.clients_of[0]), options.clients_of[1], options.clients_of[2:]))
        return
    result: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    result["machine"] = {"cores": os.cpu_count(), "python": platform.python_version()}
    result["clients"] = {"all": options.count, "others": options.count // 5, "sessions": options.sessions}
    result["history_captions"] = options.history
    result["captions_per_second"] = options.rate
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        for kind in options.logs:
            log = ""
            if kind == "kafka":
                from tests.kafka.finding import real_kafka

                address, _ = stack.enter_context(real_kafka(Path(name) / "broker"))
                log = f"kafka://{address}"
                command = [sys.executable, "-m", "rejoinder", "topics", "apply", "--log", log]
                subprocess.run(command, check=True, capture_output=True, timeout=60)
            result[kind] = measure(Path(name) / kind, log, options)
    print(json.dumps({kind: result[kind]["p95_ratio"] for kind in options.logs}))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
